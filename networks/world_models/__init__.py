"""Models of an environment that are learned from experience: latents of observations, and their dynamics."""
