"""Recording data sets, and fitting networks to them."""
