"""Dreams beside reality: prediction error against the horizon, returns inside and outside, films."""
