"""Autoencoders as tasks of the trainer: a backbone encodes, a decoder restores; one kind a file."""
