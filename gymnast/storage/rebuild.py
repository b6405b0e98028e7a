"""Saving an agent to a checkpoint, and loading it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from gymnast.agents.base import Agent, ConfiguredAgent, CudaGraphsConfig, ReplayAgent
from gymnast.errors import UsageError, first_line
from gymnast.networks.build import Backbone
from gymnast.settings import agents
from gymnast.storage import checkpoint, folder, replay_blocks, space_json
from gymnast.storage.checkpoint import About, find, read_agent
from gymnast.storage.fitted import FIT


def agent_class(about: About, *, agent: type[Any] | None = None, trust: bool = False) -> type[Any]:
    """The class of a checkpoint's agent; `agent` is the class if it is not one of gymnast's, `trust` imports it."""
    if about.agent == FIT:
        raise UsageError(f"the checkpoint holds a network fitted to {about.config.get('task')}, which cannot act")
    if agent is not None:
        return agent
    if agents.is_builtin(about.agent) or trust:
        return agents.agent_class(about.agent)
    raise UsageError(
        f"the agent {about.agent} is code from outside gymnast; trust=True (--trust) runs it, or pass agent=Class"
    )


def config_of(about: About, agent: type[Any], *, trust: bool = False) -> Any:
    """The config of a checkpoint's agent; UsageError if this version has other fields.

    With `trust` the module of a user's own backbone is imported.
    """
    try:
        config = agents.config_class(agent)(**_kept(about.config))
    except (TypeError, ValueError) as error:
        raise UsageError(f"the checkpoint's {about.agent} does not match this version of gymnast: {error}") from None
    if trust:
        agents.import_backbone(config)
    return config


def _kept(config: dict[str, Any]) -> dict[str, Any]:
    """The fields of a config as it was kept; earlier builds called the network a backbone."""
    return {"network" if key == "backbone" else key: checkpoint.tuples(value) for key, value in config.items()}


def build(
    about: About, agent: type[Any], *, device: str, trust: bool = False, network: Backbone | None = None
) -> Agent:
    """An untrained agent as a checkpoint describes it, without settings that need a GPU on another device."""
    config = config_of(about, agent, trust=trust)
    recorded = isinstance(config, CudaGraphsConfig) and config.cuda_graphs
    if recorded and not device.startswith("cuda"):
        config = dataclasses.replace(config, cuda_graphs=False)
    try:
        observation_space, action_space = (
            space_json.decode(about.observation_space),
            space_json.decode(about.action_space),
        )
        num_envs = int(about.run.get("num_envs") or 1)
        own: dict[str, Any] = {} if network is None else {"network": network}
        made: Agent = agent(observation_space, action_space, config, num_envs=num_envs, device=device, seed=0, **own)
    except (TypeError, ValueError, KeyError) as error:
        raise UsageError(f"the checkpoint's {about.agent} cannot be built: {error}") from None
    return made


def load(
    path: str | Path,
    *,
    device: str = "cpu",
    agent: type[Any] | None = None,
    network: Backbone | None = None,
    trust: bool = False,
) -> Any:
    """`gymnast.load` of a run's folder or a checkpoint file; its arguments are those of `gymnast.export.load.load`."""
    file = find(path)
    about, state = read_agent(file)
    if about.agent != FIT:
        return agent_of(file, about, state, device=device, agent=agent, network=network, trust=trust)
    for name, value in (("agent", agent), ("network", network)):
        if value is not None:
            raise UsageError(f"{name} has no effect on {file}, a fitted network; trust=True imports its own code")
    from gymnast.storage.network import network_of  # imports all that fits networks, which agents do not need

    return network_of(about, state, file, device=device, trust=trust)


def load_trained(path: str | Path, *, device: str = "cpu", trust: bool = False) -> Agent:
    """`load` for those who need an agent; UsageError if the run has fitted a network that cannot act."""
    file = find(path)
    about, state = read_agent(file)
    return agent_of(file, about, state, device=device, trust=trust)


def agent_of(
    file: Path,
    about: About,
    state: dict[str, Any],
    *,
    device: str,
    agent: type[Any] | None = None,
    network: Backbone | None = None,
    trust: bool,
) -> Agent:
    """The trained agent of a checkpoint that was read from a file; the arguments are those of `load`."""
    cls = agent_class(about, agent=agent, trust=trust)
    made = build(about, cls, device=device, trust=trust, network=network)
    load_agent(made, state, file)
    return made


def save(agent: Agent, path: str | Path, *, env: str = "") -> None:
    """Write an agent, without its replay, to a checkpoint file that `load` reads.

    `env` is the id of its environment, which `gymnast evaluate` needs. Raises UsageError for an agent without a
    config, and OSError if the file cannot be written; an existing file is then untouched.
    """
    if not isinstance(agent, ConfiguredAgent):
        raise UsageError(f"{type(agent).__name__} has no attribute config, which its checkpoint needs")
    about = checkpoint.describe(
        agent,
        name=agents.name_of(type(agent)),
        config=agent.config,
        env=env,
        run={"num_envs": getattr(agent, "num_envs", 1)},
        versions=folder.versions(),
    )
    checkpoint.save_agent(Path(path), about, agent.state_dict())


def load_agent(agent: Agent, state: dict[str, Any], path: Path, *, replay: bool = False) -> None:
    """Load the state of an agent from the checkpoint at `path`, with its replay only if asked.

    The frames of a replay are read file by file into the agent's own memory. UsageError names a missing or damaged
    file, or a mismatch.
    """
    device = agent.device if isinstance(agent, ReplayAgent) else "cpu"
    own = {key: value for key, value in state.items() if replay or key != "replay"}
    try:
        agent.load_state_dict(replay_blocks.without_frames(own, path, device=device))
    except (KeyError, ValueError, RuntimeError, TypeError, IndexError) as error:
        raise UsageError(f"{path} does not match its own description: {first_line(error)}") from None
    if "files" in own.get("replay", {}):
        replay_blocks.read_frames(own["replay"], path, agent.state_dict()["replay"]["arrays"])
