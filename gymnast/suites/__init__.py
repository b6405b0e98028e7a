"""Many runs at once: benchmarks and ablations."""
