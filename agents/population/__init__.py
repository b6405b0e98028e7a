"""Many agents trained at once by batched products."""
