"""Agents that search parameters without gradients: hill climbing, a genetic algorithm, evolution strategies."""
