"""The settings of a run: options, flags, seeds, names of agents, presets."""
