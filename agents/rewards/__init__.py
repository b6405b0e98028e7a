"""Learned rewards in place of the environment's: those of a discriminator (GAIL), and of a model that was fitted."""
