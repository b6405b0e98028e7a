"""From features to what an agent needs."""
