"""Agents that learn a model of their environment and train inside it."""
