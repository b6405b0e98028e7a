"""Trained policies behind HTTP: requests in, actions out, and a page that shows the policies playing."""
