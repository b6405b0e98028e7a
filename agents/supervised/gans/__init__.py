"""Tasks that fit a generator and a discriminator to observations."""
