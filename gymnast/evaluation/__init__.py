"""Playing whole episodes with a trained agent."""

from gymnast.evaluation.play import evaluate

__all__ = ["evaluate"]
