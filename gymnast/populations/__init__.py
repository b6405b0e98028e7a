"""Runs of many agents at once."""
