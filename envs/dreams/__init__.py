"""Dreams: environments whose dynamics are a learned model."""
