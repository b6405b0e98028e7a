"""Playing and scoring Atari: protocols, reference and published scores."""
