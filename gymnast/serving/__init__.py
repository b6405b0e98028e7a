"""Trained policies behind HTTP: requests in, actions out, and pages that show policies playing and runs going on."""
