"""A run in progress: the loop, its events, and the files that it leaves."""
