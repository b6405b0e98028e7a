"""How Atari is played and scored: protocols, reference and published scores."""
