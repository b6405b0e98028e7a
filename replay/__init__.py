"""What is remembered: rings of transitions, how they are sampled, how steps become transitions."""
