"""How gradients change weights: one update, its optimizers, its compiled and recorded forms."""
