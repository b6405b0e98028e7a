"""Agents that keep a table: learning, planning and bandits."""
