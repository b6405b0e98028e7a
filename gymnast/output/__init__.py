"""What a person watches: the panel, TensorBoard and W&B, videos."""
