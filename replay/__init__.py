"""Replay: rings of transitions, samplers, and building transitions from steps."""
