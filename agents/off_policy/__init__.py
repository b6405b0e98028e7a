"""Actor-critics that learn from a replay: DDPG, TD3, SAC and their heirs, as settings of one agent."""
