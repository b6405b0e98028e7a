"""Learning from data: tasks that fit a network to examples or to recorded episodes."""
