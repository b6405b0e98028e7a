"""Forms that are faster than autograd or torch; `python benchmarks/fast.py` measures the gain that each one states."""
