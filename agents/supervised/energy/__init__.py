"""Energy models of observations."""
