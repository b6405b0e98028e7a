"""Agents that learn a model of their environment and act in what it imagines."""
