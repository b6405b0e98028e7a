"""Replay that lives on the GPU."""
