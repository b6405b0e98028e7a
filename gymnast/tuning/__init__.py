"""Searching for settings: spaces, studies and what they found."""
