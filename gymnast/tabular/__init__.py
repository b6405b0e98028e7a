"""The compiled loop over a known transition table, and what such a table tells exactly."""
