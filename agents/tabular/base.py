"""Base of tabular agents: states, a table, actors, and learning once from each transition in turn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from gymnast.agents.base import Acted, HostAgent, Metrics, seed_sequence
from gymnast.agents.prediction import Predicts
from gymnast.agents.schedules import schedule
from gymnast.agents.tabular import exploration
from gymnast.agents.tabular.config import Explorer, TabularConfig, TracedConfig
from gymnast.agents.tabular.discretize import States
from gymnast.agents.tabular.greedy import GreedyTable
from gymnast.agents.tabular.updates import (
    Rates,
    clear_traces,
    close_window,
    learn_window,
    make_traces,
    make_window,
    update_pair,
)
from gymnast.envs.step import Obs, Step


class TableStep(NamedTuple):
    """One step of N rows as table indices."""

    env_step: int  # before the step; schedules use it
    active: list[int]  # the rows to learn from
    pair: np.ndarray  # int64 [N], state * A + action
    reward: np.ndarray  # float64 [N]
    discount: np.ndarray  # float64 [N]
    next_state: np.ndarray  # int64 [N]
    ended: np.ndarray  # bool [N], later transitions do not follow from this one
    next_mask: np.ndarray | None  # bool [N, A]


class TabularAgent(Predicts, HostAgent, ABC):
    """The part that tabular agents share; each defines in `_learn_row` how it learns from one transition.

    `store` queues a step of N rows and `learn` processes the oldest one: each transition is learned from once, rows in
    ascending order, each seeing the updates of the rows before it. Everything is in NumPy arrays on the host.
    Under a finite horizon the row of state s at time t is t * S + s; steps past the horizon count as its last one.
    """

    config: TabularConfig
    defaults: ClassVar[TabularConfig]
    tables = 1
    values_of_states = False
    cuts_traces = False
    """Whether an action that is not greedy ends the traces (Watkins)."""
    window_steps = 0
    """Transitions kept until later ones arrive; 0 learns from each at once."""

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        config: Any = None,
        *,
        num_envs: int = 1,
        device: str | torch.device = "cpu",
        seed: int | np.random.SeedSequence = 0,
    ) -> None:
        if not isinstance(action_space, gym.spaces.Discrete):
            raise ValueError(
                f"a tabular agent needs Discrete actions, got {type(action_space).__name__}; see list agents"
            )
        self.observation_space: gym.Space[Any] = observation_space
        self.action_space: gym.Space[Any] = action_space
        self.config = config = self.defaults if config is None else config
        self.explorer = Explorer.of(config)
        self.num_envs = num_envs
        self.device = torch.device(device)
        self.states = States(observation_space, bins=config.bins, low=config.low, high=config.high)
        self.num_actions, self.first_action = int(action_space.n), int(action_space.start)
        self.stages = config.horizon or 1
        rows = self.states.size * self.stages
        self.q = np.full((self.tables, rows, 1 if self.values_of_states else self.num_actions), float(config.initial_q))
        self.counts = np.zeros((rows, self.num_actions), np.int64)
        self.allowed = np.ones((self.states.size, self.num_actions), np.bool_)
        self.average = np.zeros(1)
        self.trace_decay, self.replacing = 0.0, False
        if isinstance(config, TracedConfig):
            self.trace_decay, self.replacing = float(config.trace_decay), config.trace == "replacing"
        self.traces = make_traces(num_envs, self.q[0].size if self.trace_decay else 0)
        self.window = make_window(num_envs, self.window_steps)
        self.clock = np.zeros(num_envs, np.int64)
        self.alpha = schedule(config.alpha, name="alpha")
        self.rng = np.random.default_rng(seed_sequence(seed).spawn(1)[0])
        self.env_step = 0
        self.updates = 0
        self._queue: list[TableStep] = []
        self._known: tuple[Obs | None, np.ndarray] = (None, np.zeros(0, np.int64))
        self._prepare()

    def _prepare(self) -> None:
        """Make what an agent has beside the table; called once, after everything else is there."""

    def state_of(self, obs: Obs) -> np.ndarray:
        """States, int64 [N]; those of the last step's `obs`, which does not change, are not looked up twice."""
        return self._known[1] if obs is self._known[0] else self.states.index(obs)

    def rates(self, env_step: int) -> Rates:
        """The numbers of the updates at an env step."""
        average = self.config.average_step if self.config.objective == "average-reward" else 0.0
        return Rates(self.alpha(env_step), average, self.trace_decay, self.replacing, self.cuts_traces)

    @abstractmethod
    def _learn_row(self, step: TableStep, row: int, rates: Rates, draws: list[float]) -> tuple[float, int]:
        """Learn from one row of a step; returns the sum of |error| and the number of updates."""

    def _learning_draws(self, rows: int) -> list[list[float]]:
        """The random numbers that learning from each row takes."""
        return [[]] * rows

    def _next_row(self, step: TableStep, row: int, table: int = 0) -> tuple[list[float], list[int]]:
        """Q-values and counts of the allowed actions in a transition's next state."""
        state = step.next_state[row]
        q, counts = self.q[table, state].tolist(), self.counts[state].tolist()
        if step.next_mask is None or step.next_mask[row].all():
            return q, counts
        allowed = np.flatnonzero(step.next_mask[row]).tolist()
        return [q[action] for action in allowed], [counts[action] for action in allowed]

    def _update(self, step: TableStep, row: int, next_value: float, rates: Rates, table: int = 0) -> tuple[float, int]:
        """Learn from one row of a step, given the value of its next state."""
        reward, discount, ended = float(step.reward[row]), float(step.discount[row]), bool(step.ended[row])
        q, pair = self.q[table], self._entry(int(step.pair[row]))
        error = update_pair(q, self.average, self.traces, row, pair, reward, discount, next_value, ended, rates)
        return abs(float(error)), 1

    def _learn_window(self, step: TableStep, row: int, rates: Rates, draws: list[float]) -> tuple[float, int]:
        """Add one row of a step to its window; if it ended, the policy draws the action to bootstrap from."""
        pair, ended = int(step.pair[row]), bool(step.ended[row])
        last_pair = 0
        if ended:
            state, mask = int(step.next_state[row]), None if step.next_mask is None else step.next_mask[row]
            action = self.select(state, mask, draws, env_step=step.env_step, explore=True)
            last_pair = state * self.num_actions + action
        reward, discount = float(step.reward[row]), float(step.discount[row])
        return learn_window(
            self.q[0], self.average, self.traces, self.window, row, pair, reward, discount, last_pair, ended, rates
        )

    def _entry(self, pair: int) -> int:
        """The table entry of state * A + action."""
        return pair

    def action_values(self, state: int) -> list[float]:
        """The values that the policy compares in a table row (for POLICY: the probabilities)."""
        return self.q[0, state].tolist()  # type: ignore[no-any-return]

    def q_table(self) -> np.ndarray:
        """Q, float64 [S, A] ([horizon, S, A] under a finite horizon), -inf for actions that a mask forbade."""
        q = self.q.mean(0).reshape(self.stages, self.states.size, -1)
        q = np.where(self.allowed, q, -np.inf)
        return q if self.config.horizon else q[0]

    def select(self, state: int, mask: np.ndarray | None, draws: list[float], *, env_step: int, explore: bool) -> int:
        """An action, counted from 0, for a table row; `draws` as from `draw`, schedules as at `env_step`."""
        q, counts = self.action_values(state), self.counts[state].tolist()
        allowed = list(range(self.num_actions))
        if mask is not None and not mask.all():
            allowed = np.flatnonzero(mask).tolist()
            q, counts = [q[action] for action in allowed], [counts[action] for action in allowed]
        explorer = self.explorer
        if not explore and explorer.kind != exploration.POLICY:
            return allowed[exploration.best(exploration.GREEDY, q, counts, 0.0, False, 0.0)]
        strength = explorer.strength(env_step)
        if explorer.kind == exploration.THOMPSON:
            return allowed[exploration.thompson(q, counts, strength, [draws[action] for action in allowed])]
        return allowed[exploration.choose(explorer.kind, q, counts, strength, explorer.random_ties, *draws)]

    def draw(self, rng: np.random.Generator, rows: int) -> list[list[float]]:
        """The random numbers of a decision for each row: two uniform ones, or A normal ones for Thompson sampling."""
        if self.explorer.kind == exploration.THOMPSON:
            return rng.standard_normal((rows, self.num_actions)).tolist()  # type: ignore[no-any-return]
        return rng.random((rows, 2)).tolist()  # type: ignore[no-any-return]

    def actor(self, num_envs: int, *, explore: bool, seed: int | np.random.SeedSequence) -> TabularActor:
        return TabularActor(self, num_envs, explore=explore, seed=seed)

    def greedy_policy(self) -> GreedyTable:
        """The greedy action as a module; see `ExportableAgent`. ValueError for a policy that draws its actions."""
        if self.explorer.kind == exploration.POLICY:
            raise ValueError("it predicts values of a fixed policy, and draws its actions in evaluations too")
        values = np.array([self.action_values(row) for row in range(self.states.size * self.stages)])
        settings = {"first_action": self.first_action, "stages": self.stages}
        return GreedyTable(self.states, values, takes_masks=self.config.action_masks, **settings)

    def masks(self, mask: Tensor | None) -> np.ndarray | None:
        """An action mask as the agent uses it, bool [N, A]."""
        return mask.cpu().numpy() if mask is not None and self.config.action_masks else None

    def store(self, obs: Obs, acted: Acted, step: Step) -> None:
        state = self.state_of(obs)
        action = acted.action.cpu().numpy() - self.first_action
        next_state = self.states.index(step.next_obs)
        self._known = (step.obs, next_state if step.obs is step.next_obs else self.states.index(step.obs))
        terminated, truncated = step.terminated.cpu().numpy(), step.truncated.cpu().numpy()
        ended = terminated | truncated
        next_mask, first_mask = self.masks(step.next_action_mask), self.masks(step.action_mask)
        if next_mask is not None:
            self.allowed[next_state] = next_mask
        if first_mask is not None:
            self.allowed[self.state_of(step.obs)] = first_mask
        if self.config.objective == "average-reward":
            discount, cut = np.ones(len(state)), truncated & ~terminated
            if terminated.any():  # the next episode's first state follows the last one of this
                next_state = np.where(terminated, self.state_of(step.obs), next_state)
                if next_mask is not None and first_mask is not None:
                    next_mask = np.where(terminated[:, None], first_mask, next_mask)
        else:
            discount, cut = self.config.gamma * (1.0 - terminated), ended
        if self.config.horizon:
            later = np.minimum(self.clock + 1, self.stages - 1)
            discount = discount * (self.clock + 1 < self.stages)
            state, next_state = state + self.clock * self.states.size, next_state + later * self.states.size
            self.clock = np.where(ended, 0, later)
        active = list(range(len(state))) if step.active is None else step.active.nonzero().flatten().tolist()
        pair = state * self.num_actions + action
        reward = step.reward.cpu().numpy().astype(np.float64)
        self._queue.append(TableStep(self.env_step, active, pair, reward, discount, next_state, cut, next_mask))
        self.env_step += step.num_active

    def cut_off(self, rows: Sequence[int]) -> None:
        """Drop traces; learn from a window except its last step, whose successor is not stored."""
        rates = self.rates(self.env_step)
        for row in rows:
            close_window(self.q[0], self.average, self.traces, self.window, row, rates)
            clear_traces(self.traces, row)
            self.clock[row] = 0

    def updates_due(self, env_step: int) -> int:
        return len(self._queue)

    def learn(self) -> Metrics:
        """Learn from the oldest step stored; `td_error` is the mean of |error|."""
        step = self._queue.pop(0)
        rates = self.rates(step.env_step)
        total, updates = 0.0, 0
        for row, draws in zip(step.active, self._learning_draws(len(step.active)), strict=True):
            pair = int(step.pair[row])
            self.counts[pair // self.num_actions, pair % self.num_actions] += 1
            errors, done = self._learn_row(step, row, rates, draws)
            total, updates = total + errors, updates + done
        self.updates += 1
        return {"td_error": torch.from_numpy(np.array(total / max(updates, 1)))}

    def scheduled(self) -> dict[str, float]:
        values = {"alpha": self.alpha(self.env_step)}
        if self.explorer.name:
            values[self.explorer.name] = self.explorer.strength(self.env_step)
        if self.config.objective == "average-reward":
            values["average_reward"] = float(self.average[0])
        return values

    def state_dict(self) -> dict[str, Any]:
        """Tables, counts and pending transitions of unfinished episodes."""
        if self._queue:
            raise ValueError("a stored step has not been learned from; call learn before state_dict")
        rows = {name: torch.from_numpy(array.copy()) for name, array in self._row_arrays().items()}
        tables = {name: torch.from_numpy(array.copy()) for name, array in self._table_arrays().items()}
        return {
            "tables": tables,
            "rows": rows,
            "env_step": self.env_step,
            "updates": self.updates,
            "rng": self.rng.bit_generator.state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state; pending transitions only if the number of rows is the same."""
        for name, array in self._table_arrays().items():
            if state["tables"][name].shape != array.shape:
                given = tuple(state["tables"][name].shape)
                raise ValueError(f"the checkpoint's {name} table has shape {given}, this agent's has {array.shape}")
        fits = len(state["rows"]["clock"]) == self.num_envs
        loaded = {**state["tables"], **(state["rows"] if fits else {})}
        for name, array in {**self._table_arrays(), **(self._row_arrays() if fits else {})}.items():
            array[...] = loaded[name].numpy()
        self.env_step, self.updates = state["env_step"], state["updates"]
        self.rng.bit_generator.state = state["rng"]
        self._queue.clear()

    def _table_arrays(self) -> dict[str, np.ndarray]:
        return {"q": self.q, "counts": self.counts, "allowed": self.allowed, "average": self.average}

    def _row_arrays(self) -> dict[str, np.ndarray]:
        return {
            "clock": self.clock,
            **{f"trace_{name}": array for name, array in self.traces._asdict().items()},
            **{f"window_{name}": array for name, array in self.window._asdict().items()},
        }


class TabularActor:
    """One stream of experience of a tabular agent; it reads the agent's current table."""

    def __init__(
        self,
        agent: TabularAgent,
        num_envs: int,
        *,
        explore: bool,
        seed: int | np.random.SeedSequence,
    ) -> None:
        self.agent = agent
        self.explore = explore
        self.rng = np.random.default_rng(seed)
        self.clock = np.zeros(num_envs, np.int64)

    def act(self, obs: Obs, start: Tensor, action_mask: Tensor | None = None) -> Acted:
        agent = self.agent
        states = agent.state_of(obs)
        if agent.stages > 1:
            self.clock = np.where(start.cpu().numpy(), 0, np.minimum(self.clock + 1, agent.stages - 1))
            states = states + self.clock * agent.states.size
        masks = agent.masks(action_mask)
        draws = agent.draw(self.rng, len(states))
        actions = [
            agent.select(
                state, None if masks is None else masks[row], draws[row], env_step=agent.env_step, explore=self.explore
            )
            for row, state in enumerate(states.tolist())
        ]
        action = torch.from_numpy(np.array(actions, np.int64) + agent.first_action)
        return Acted(action.to(agent.device))

    def state_dict(self) -> dict[str, Any]:
        return {"rng": self.rng.bit_generator.state, "clock": torch.from_numpy(self.clock.copy())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state = state["rng"]
        self.clock = state["clock"].numpy().copy()
