"""What a run is asked to be: options, flags, seeds, names of agents, presets."""
