"""Replay in GPU memory."""
