"""Output for people: the panel, TensorBoard and W&B, videos."""
