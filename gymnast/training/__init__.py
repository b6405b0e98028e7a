"""A run in progress: the loop, and what happens around it."""
