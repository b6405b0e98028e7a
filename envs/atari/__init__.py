"""Atari games through ale-py's vector environment: names, options and history for exact resume."""
