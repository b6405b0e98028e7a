"""gymnast: reinforcement-learning agents on Gymnasium and PyTorch."""

__version__ = "0.1.0"
