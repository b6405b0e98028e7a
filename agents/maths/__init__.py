"""Pure functions of tensors: targets, returns, losses and means."""
