"""Data sets: labelled examples, and recorded episodes in Minari's format."""
