"""Networks of many agents in one, with a leading axis of members."""
