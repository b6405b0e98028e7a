"""What `gymnast probe` needs: environment, encoder, policy, teacher; built and checked before steps are recorded."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import nn

from gymnast.agents.supervised.teacher import Teacher
from gymnast.envs.env import Env
from gymnast.envs.factory import full_id
from gymnast.errors import nearest
from gymnast.evaluation import environment
from gymnast.fitting.probe_data import Policy, agent_policy, random_policy
from gymnast.fitting.representations import Architecture, architecture_of, encoder_of, normalised
from gymnast.fitting.true_state import Reader, reader_of
from gymnast.networks.build import NETWORKS
from gymnast.networks.layers.inputs import Vector
from gymnast.settings import agents
from gymnast.settings.probe_options import KINDS, ProbeOptions
from gymnast.storage import checkpoint, folder, rebuild
from gymnast.storage.encoder import Encoder

OF_ENV = ("env_options", "wrapper", "frame_stack", "native")
"""Options of the environment, which a run's own one takes from the run unless they are given."""


def run_of(what: str) -> str:
    """The path of a run or checkpoint, empty for a network; ValueError if it is neither."""
    known = [name for name in NETWORKS if ":" not in name]
    if what in known:
        return ""
    if Path(what).exists():
        return what
    if ":" in what:
        return ""
    raise ValueError(f"{what} is neither a run nor one of the networks {', '.join(known)}{nearest(what, known)}")


class EnvOptions(Protocol):
    """The options of an environment: a frozen dataclass whose defaults a run's own options replace."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def env(self) -> str: ...
    @property
    def env_options(self) -> str: ...
    @property
    def wrapper(self) -> tuple[str, ...]: ...
    @property
    def frame_stack(self) -> int: ...
    @property
    def native(self) -> bool | None: ...


def made_env(options: EnvOptions, run: str, device: str, *, rows: int) -> Env:
    """The environment to record in, as an evaluation has it; ValueError if it cannot be made."""
    given = _of_env(options, run)
    return environment.make_env(
        options.env,
        rows,
        device=device,
        options=json.loads(given["env_options"] or "{}"),
        wrappers=given["wrapper"],
        max_episode_steps=given["max_episode_steps"],
        native=given["native"],
        frame_stack=given["frame_stack"],
    )


def _of_env(options: EnvOptions, run: str) -> dict[str, Any]:
    """The options of the environment: the given ones, else those of the run if it is of this environment."""
    found: dict[str, Any] = {name: getattr(options, name) for name in OF_ENV}
    found["max_episode_steps"] = None
    if not run:
        return found
    about, _ = checkpoint.read(checkpoint.find(run))
    if about.env and options.env != about.env and full_id(options.env) != about.env:
        return found
    plain = {item.name: item.default for item in dataclasses.fields(options)}
    for name in found:
        if name not in OF_ENV or found[name] == plain[name]:
            kept = about.run.get(name, plain.get(name))
            found[name] = tuple(kept) if isinstance(kept, list) else kept
    return found


@dataclass(frozen=True)
class Parts:
    """The parts of a probe."""

    what: str
    env: Env
    device: torch.device
    architecture: Architecture
    encoder: Encoder | None
    trained: nn.Module | None
    read: Reader | None
    policy: Policy
    teacher: Teacher | None
    out: Path
    seeds: list[np.random.SeedSequence]
    """Of the episodes, the actions, the projections and the repeats."""

    @staticmethod
    def make(env: Env, run: str, options: ProbeOptions, device: str) -> Parts:
        """Build all parts; ValueError or UsageError (one line) for anything that does not match."""
        space = env.single_observation_space
        encoder = encoder_of(run, space, env=env.id) if run else None
        architecture = Architecture(options.what) if encoder is None else architecture_of(encoder)
        if encoder is None or options.trust:
            agents.import_backbone(architecture)
        trained = None if encoder is None else normalised(encoder.build(), encoder)
        seeds = np.random.SeedSequence(options.seed).spawn(4)
        architecture.random(space, seeds[3])  # raises if it does not read these observations
        Vector(space)
        read = reader_of(env)
        _check_targets(options.targets, [] if read is None else list(read()), env.id)
        return Parts(
            what=options.what,
            env=env,
            device=torch.device(device),
            architecture=architecture,
            encoder=encoder,
            trained=trained,
            read=read,
            policy=_policy(env, options, seeds[1], device),
            teacher=_teacher(env, options, device),
            out=_out(options, run),
            seeds=seeds,
        )


def _policy(env: Env, options: ProbeOptions, seed: np.random.SeedSequence, device: str) -> Policy:
    if options.policy == "random":
        return random_policy(env.single_action_space, int(seed.generate_state(1)[0]))
    return agent_policy(rebuild.load_trained(options.policy, device=device, trust=options.trust), env, seed)


def _teacher(env: Env, options: ProbeOptions, device: str) -> Teacher | None:
    if not options.teacher:
        return None
    agent = rebuild.load_trained(options.teacher, device=device, trust=options.trust)
    return Teacher(agent, env.single_observation_space, env.single_action_space)


def _out(options: ProbeOptions, run: str) -> Path:
    """The folder of the results: the given one, or probe/ in the run's folder, or one below runs/probe/."""
    if options.out:
        return Path(options.out)
    home = Path(run) if Path(run).is_dir() else Path(run).parent.parent
    if run and (home / "config.json").is_file():
        return home / "probe"
    return Path("runs") / "probe" / folder.folder_name(Path(run).stem if run else options.what)


def _check_targets(asked: tuple[str, ...], variables: list[str], env: str) -> None:
    """ValueError for a target that the environment does not have."""
    if not variables and "state" in asked:
        raise ValueError(f"targets state is not known in {env}")
    kinds = KINDS if variables else KINDS[:2]
    known = [*kinds, *(name for name in variables if name not in kinds)]
    for name in asked:
        if name not in known:
            raise ValueError(f"targets must be among {', '.join(known)} in {env}, got {name!r}{nearest(name, known)}")
