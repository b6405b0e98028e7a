"""Presets: named groups of settings, or files of them. `--preset A B` applies them from left to right, then flags."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gymnast.agents.table import ALGORITHMS
from gymnast.errors import UsageError, nearest
from gymnast.settings import agents, control_presets, game_presets, preset_files


@dataclass(frozen=True)
class Preset:
    """Changes to the options of a run and to the configs of the agents that it supports."""

    help: str
    agent: dict[str, dict[str, Any]]
    """Changes to the config, by agent."""
    run: dict[str, Any] = field(default_factory=dict)
    """Changes to TrainOptions."""


CONTROL = ("q-learning", "sarsa", "expected-sarsa", "double-q-learning", "n-step-sarsa")

PRESETS: dict[str, Preset] = {
    **{name: Preset(algorithm.help, {algorithm.base: algorithm.changes}) for name, algorithm in ALGORITHMS.items()},
    "cartpole": Preset(
        "CartPole-v1 until solved (mean greedy return of 475 over 100 episodes), with a margin",
        control_presets.CARTPOLE,
        run={"steps": 50_000, "eval_every": 2_500, "eval_episodes": 100, "stop_return": 490.0},
    ),
    "classic": Preset(
        "classic control (CartPole-v1, Acrobot-v1, MountainCar-v0)",
        control_presets.CLASSIC,
        run={"steps": 100_000, "eval_every": 5_000, "eval_episodes": 20},
    ),
    "acrobot": Preset(
        "Acrobot-v1", control_presets.ACROBOT, run={"steps": 300_000, "eval_every": 25_000, "eval_episodes": 20}
    ),
    "lunarlander": Preset(
        "LunarLander-v3 (needs gymnasium[box2d])",
        control_presets.LUNARLANDER,
        run={"steps": 1_000_000, "eval_every": 100_000, "eval_episodes": 20},
    ),
    "pendulum": Preset(
        "Pendulum-v1", control_presets.PENDULUM, run={"steps": 200_000, "eval_every": 20_000, "eval_episodes": 20}
    ),
    "mountaincar": Preset(
        "MountainCar-v0", control_presets.MOUNTAINCAR, run={"steps": 300_000, "eval_every": 25_000, "eval_episodes": 20}
    ),
    "mountaincar-continuous": Preset(
        "MountainCarContinuous-v0",
        control_presets.MOUNTAINCAR_CONTINUOUS,
        run={"steps": 100_000, "eval_every": 10_000, "eval_episodes": 20},
    ),
    "mujoco": Preset(
        "MuJoCo's robots, such as Hopper-v5 and HalfCheetah-v5 (needs gymnast[mujoco])",
        control_presets.MUJOCO,
        run={"steps": 1_000_000, "eval_every": 100_000, "eval_episodes": 20},
    ),
    "small": Preset("small networks for observations of few numbers or pixels, on one core", game_presets.SMALL),
    "minatar": Preset(
        "MinAtar (Young & Tian 2019), with the step size of Obando-Ceron & Castro 2021",
        game_presets.MINATAR,
        run={"steps": 5_000_000, "eval_every": 100_000, "eval_episodes": 30},
    ),
    "atari": Preset(
        "Atari with the settings of each algorithm's paper; 200 million frames, 8 GB of memory",
        game_presets.ATARI,
        run={"steps": 50_000_000, "eval_every": 250_000, "eval_episodes": 30, "checkpoint_every": 1_000_000},
    ),
    "hadamax-pqn": Preset(
        "Atari as PQN plays it, with the encoder of Kooi et al. 2025; 200 million frames",
        {"pqn": game_presets.HADAMAX_PQN},
        run={"steps": 50_000_000, "eval_every": 250_000, "eval_episodes": 30, "checkpoint_every": 1_000_000},
    ),
    "atari100k": Preset(
        "Atari in 100,000 env steps, with the settings of van Hasselt et al. 2019",
        game_presets.ATARI100K,
        run={"steps": 100_000, "eval_every": 10_000, "eval_episodes": 10},
    ),
    "frozenlake": Preset(
        "FrozenLake-v1, slippery: decreasing step sizes, and exploration that ends",
        {agent: {"alpha": "inverse:0.5:20000", "epsilon": "linear:1:0.01:1500000"} for agent in CONTROL},
        run={"steps": 2_000_000, "eval_every": 200_000, "eval_episodes": 100, "log_every": 20_000},
    ),
    "taxi": Preset(
        "Taxi: slowly decreasing step sizes, and exploration that ends",
        {agent: {"alpha": "inverse:0.5:100000", "epsilon": "linear:1:0.01:1500000"} for agent in CONTROL},
        run={"steps": 2_000_000, "eval_every": 200_000, "eval_episodes": 100, "log_every": 20_000},
    ),
    "cliffwalking": Preset(
        "CliffWalking-v1 as in Sutton & Barto 2018, example 6.6; decreasing step sizes let SARSA converge to its path",
        {
            agent: {"gamma": 1.0, "epsilon": 0.1, "alpha": 0.5 if "q-learning" in agent else "inverse:0.5:20000"}
            for agent in CONTROL
        },
        run={"steps": 1_000_000, "eval_every": 100_000, "log_every": 10_000},
    ),
    "blackjack": Preset(
        "Blackjack-v1: undiscounted, with decreasing step sizes because it is noisy",
        {agent: {"gamma": 1.0, "alpha": "inverse:0.1:50000", "epsilon": "linear:1:0.1:300000"} for agent in CONTROL},
        run={"steps": 500_000, "eval_every": 100_000, "eval_episodes": 10_000, "eval_envs": 16, "log_every": 5_000},
    ),
}


def config(agent: str, *names: str) -> Any:
    """The config of an agent of `gymnast list agents` under presets: `config("ppo", "cartpole")`.

    The same as for `gymnast train ppo --preset cartpole`, without the presets' options of the run. Raises
    UsageError for an unknown agent or preset, or one that does not support the agent.
    """
    cls = agents.config_class(agents.agent_class(agent))
    fields = {field.name for field in dataclasses.fields(cls)}
    return cls(**{name: value for name, value in apply(names, agent).items() if name in fields})


def apply(names: Sequence[str], agent: str) -> dict[str, Any]:
    """The fields of run and config that presets set for an agent; later presets override earlier ones.

    A name that ends in .toml is a file (`preset_files.py`).

    An algorithm is both an agent and a preset; its settings take precedence over the preset of an environment family,
    which may have further settings for it. Raises UsageError for an unknown preset or one that does not support the
    agent.
    """
    key = ALGORITHMS[agent].base if agent in ALGORITHMS else agent
    algorithm = next((name for name in reversed([agent, *names]) if name in ALGORITHMS), None)
    own: dict[str, Any] = {} if algorithm is None else ALGORITHMS[algorithm].changes
    values: dict[str, Any] = dict(ALGORITHMS[agent].run) | own if agent in ALGORITHMS else {}
    for name in names:
        if preset_files.is_file(name):
            values = over(values, preset_files.read(name, agent))
            continue
        if name not in PRESETS:
            raise UsageError(f"unknown preset {name!r}; choose from {', '.join(PRESETS)}{nearest(name, PRESETS)}")
        preset = PRESETS[name]
        if key not in preset.agent:
            algorithms = [other for other, kind in ALGORITHMS.items() if kind.base in preset.agent]
            fit = ", ".join(dict.fromkeys([*algorithms, *preset.agent]))
            raise UsageError(f"the preset {name} is for {fit}, not for {agent}")
        values = over(values, preset.run | preset.agent[key])
        if name not in ALGORITHMS and algorithm is not None:
            values = over(values, own | preset.agent.get(algorithm, {}))
    return values


def over(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Values under changes: those options of a network that belong to another one are dropped, others are merged."""
    merged = values | changes
    if changes.get("network", values.get("network")) != values.get("network"):
        values = {}
    options = values.get("network_options", {}) | changes.get("network_options", {})
    return {name: value for name, value in merged.items() if name != "network_options"} | (
        {"network_options": options} if options else {}
    )
