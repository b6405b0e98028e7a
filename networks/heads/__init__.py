"""From features to action values, policies and values."""
