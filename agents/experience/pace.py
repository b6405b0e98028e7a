"""When an agent with a replay learns: a number of updates in every period of env steps, for any number of streams."""

from __future__ import annotations

from typing import Any


class Pace:
    """`updates` updates in every `period` env steps from env step `begins` on."""

    def __init__(self, begins: int, *, period: int, updates: int) -> None:
        self.begins, self.period, self.updates = begins, period, updates
        self.before = 0
        """Updates done when the replay was last empty."""

    def due(self, env_step: int, done: int) -> int:
        """Updates due at an env step, of which `done` have been done in all."""
        if env_step < self.begins:
            return 0
        return (env_step - self.begins) // self.period * self.updates - (done - self.before)

    def step_of(self, update: int) -> int:
        """The env step at which an update is due, the argument of its schedules, whatever the number of streams."""
        return self.begins + ((update - self.before) // self.updates + 1) * self.period

    def restart(self, begins: int, done: int) -> None:
        """The replay is empty again after `done` updates: the next is due a period after `begins`."""
        self.begins, self.before = begins, done

    def state_dict(self) -> dict[str, Any]:
        """Its numbers, under names of their own in the agent's state."""
        return {"learns_from": self.begins, "updates_before": self.before}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load them from the agent's state."""
        self.begins, self.before = state["learns_from"], state["updates_before"]
