"""Environments as the rules of one row, compiled by Numba for the CPU."""
