"""Agents that learn action values with a network: DQN and Rainbow, R2D2, PQN."""
