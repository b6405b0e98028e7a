"""`gymnast dream`: a world model beside its environment, measured, drawn and filmed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch

from gymnast.agents.base import Actor, Agent, WorldModel
from gymnast.agents.random_actor import RandomActor
from gymnast.dreams.distance import Distance
from gymnast.dreams.film import Script, film
from gymnast.dreams.picture import draw
from gymnast.dreams.prediction import Errors, measure
from gymnast.dreams.result import Curve, DreamResult, Quantity
from gymnast.dreams.stream import play
from gymnast.envs.dreams.vector import DreamVectorEnv
from gymnast.envs.env import Env
from gymnast.errors import UsageError, first_line
from gymnast.evaluation import environment, trained
from gymnast.evaluation.play import evaluate, greedy_actor
from gymnast.evaluation.result import Evaluation
from gymnast.machine import limit_threads, pick_device
from gymnast.settings.dream_options import DreamOptions
from gymnast.storage import checkpoint
from gymnast.storage.checkpoint import About
from gymnast.storage.metrics_log import finite
from gymnast.storage.world_model import dream

SETTINGS = ("policy", "context", "horizon", "temperature", "seed")
Told = Callable[[str], None]


@dataclass(frozen=True)
class _Parts:
    """A world model, its dream, and its real environment."""

    about: About
    """With the real environment."""
    dream: DreamVectorEnv
    options: DreamOptions
    device: str
    out: Path

    @property
    def model(self) -> WorldModel:
        model = self.dream.model
        assert isinstance(model, WorldModel)
        return model

    @property
    def agent(self) -> Agent:
        return cast(Agent, self.dream.model)

    def real(self, rows: int, *, render: bool = False) -> Env:
        """The real environment; ValueError if it cannot be made."""
        return trained.settings_of(self.about).make(self.about.env, rows, device=self.device, render=render)

    def actor(self, env: Env) -> Actor:
        """Who acts in the real episodes."""
        seed = np.random.SeedSequence(self.options.seed).spawn(1)[0]
        if self.options.policy == "random":
            return RandomActor(env.single_action_space, env.num_envs, seed=seed)
        if self.options.policy == "explore":
            return self.agent.actor(env.num_envs, explore=True, seed=seed)
        return greedy_actor(self.agent, env, seed=self.options.seed)


def compare(options: DreamOptions, *, told: Told = lambda text: None) -> DreamResult:
    """Measure, draw and, if asked, film; `told` hears what is being done. UsageError in one line."""
    try:
        limit_threads(options.threads)
        parts = _parts(options)
        env = parts.real(min(options.num_envs, options.episodes))
    except (ValueError, OSError) as error:
        raise UsageError(first_line(error)) from error
    try:
        result = _result(parts, env, told)
    finally:
        env.close()
    parts.out.mkdir(parents=True, exist_ok=True)
    files = {"numbers": parts.out / "dream.json", "figure": parts.out / "dream.png"}
    text = json.dumps(finite(result.as_json()), indent=2) + "\n"
    files["numbers"].write_text(text, encoding="utf-8", newline="\n")
    draw(result, files["figure"])
    if options.video:
        told("filming")
        files["video"] = _filmed(parts)
    return dataclasses.replace(result, files=files)


def _parts(options: DreamOptions) -> _Parts:
    """Everything that is compared; UsageError or ValueError if it does not exist or is not trusted."""
    file = checkpoint.find(options.run)
    about = trained.outside(checkpoint.read(file)[0])
    device = pick_device(options.device)
    rows = min(options.num_envs, options.episodes)
    made = dream(options.run, rows, temperature=options.temperature, device=device, trust=options.trust)
    trained.check_trusted(about, file, trust=options.trust)
    out = options.out or (file.parent.parent if file.parent.name == "checkpoints" else file.parent) / "dream"
    return _Parts(about, made, options, device, Path(out))


def _result(parts: _Parts, env: Env, told: Told) -> DreamResult:
    options = parts.options
    told(f"playing {options.episodes} real episodes")
    with torch.random.fork_rng(devices=[]), torch.no_grad(), environment.limited(env):
        least = options.context + options.horizon  # one prediction of each row at least
        stream = play(parts.actor(env), env, episodes=options.episodes, seed=options.seed, least=least)
    errors = measure(
        parts.model,
        stream,
        context=options.context,
        horizon=options.horizon,
        starts=options.starts,
        temperature=options.temperature,
        seed=options.seed,
        told=told,
    )
    told("evaluating outside")
    outside = _evaluated(parts, env)
    told("evaluating inside")
    inside = _evaluated(parts, environment.in_dream(parts.dream))
    return DreamResult(
        run=options.run,
        agent=parts.about.agent,
        env=env.id,
        settings={name: getattr(options, name) for name in SETTINGS},
        steps=int(stream.active.sum()),
        count=errors.known.sum(0).numpy(),
        quantities=_quantities(errors, Distance(parts.model.observation_space, stream.obs).unit),
        inside=inside,
        outside=outside,
    )


def _evaluated(parts: _Parts, env: Env) -> Evaluation:
    options = parts.options
    return evaluate(parts.agent, env, episodes=options.episodes, seed=options.seed, name=parts.about.agent)


def _quantities(errors: Errors, unit: str) -> tuple[Quantity, ...]:
    known = errors.known.numpy()

    def curve(name: str) -> Curve:
        return Curve.of(getattr(errors, name).numpy(), known)

    return (
        Quantity("observation", unit, curve("obs"), curve("obs_repeated"), "if repeated"),
        Quantity("reward", "reward", curve("reward"), curve("reward_repeated"), "if repeated"),
        Quantity("end", "share of wrong steps", curve("end"), curve("never_end"), "if never"),
    )


def _filmed(parts: _Parts) -> Path:
    """The film; without the environment's own frames if it cannot draw any."""
    options, path = parts.options, parts.out / "dream.mp4"
    try:
        env, draws = parts.real(1, render=True), True
    except ValueError:
        env, draws = parts.real(1), False
    script = Script(options.episodes, options.context, options.horizon, options.temperature, options.seed)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), environment.limited(env):
            film(parts.model, parts.actor(env), env, path, script, draws=draws)
    finally:
        env.close()
    return path
