"""Comparing runs: tables, statistics and figures."""
