"""The compiled loop over a known transition table, and exact results from such a table."""
