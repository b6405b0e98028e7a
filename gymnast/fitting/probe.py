"""Linear probes: what the frozen features of an encoder say about rewards, actions and the true state."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gymnast.errors import UsageError, first_line
from gymnast.fitting import probe_picture
from gymnast.fitting.probe_data import Recording, Target, Targets, chance, record, taught
from gymnast.fitting.probe_parts import Parts, made_env, run_of
from gymnast.fitting.probe_result import ProbeResult, Score
from gymnast.fitting.probes import Probes, Split, split
from gymnast.fitting.representations import Features, features, normalised
from gymnast.machine import limit_threads, pick_device
from gymnast.networks.layers.inputs import Vector
from gymnast.settings.probe_options import ProbeOptions
from gymnast.storage import folder
from gymnast.storage.metrics_log import finite
from gymnast.training.resumed import usage_errors

SETTINGS = ("steps", "policy", "teacher", "repeats", "seed", "num_envs")
"""Options that decide the numbers, beside the environment's."""


def probe(options: ProbeOptions, *, told: Callable[[str], None] = lambda _: None) -> ProbeResult:
    """Record steps in an environment, fit linear probes to them, and write a figure and the numbers.

    `told` gets a line before each part. Raises UsageError (one line) for invalid options, an encoder of other
    observations, an environment without anything to probe, and too few episodes.
    """
    limit_threads(options.threads)
    with usage_errors():
        device, run = pick_device(options.device), run_of(options.what)
        env = made_env(options, run, device, rows=options.num_envs)
    try:
        env.reset()  # only then is there a true state
        with usage_errors():
            parts = Parts.make(env, run, options, device)
        told(f"recording {options.steps:,} steps of {env.id}")
        recording = record(env, parts.policy, parts.read, options.steps, seed=parts.seeds[0])
    finally:
        env.close()
    episodes = len(np.unique(recording.episode))
    if episodes < 3:
        few = f"{options.steps:,} steps of {env.id} are of {episodes} episodes"
        raise UsageError(f"{few}, and a split needs 3; use a larger steps or num_envs")
    targets = _targets(parts, recording, options)
    measured = _Measured(parts, recording, targets.found)
    for repeat, seed in enumerate(parts.seeds[3].spawn(options.repeats)):
        told(f"fitting probes, repeat {repeat + 1} of {options.repeats}")
        measured.repeat(seed)
    result = ProbeResult(
        what=options.what,
        network=parts.architecture.network,
        env=env.id,
        settings={name: getattr(options, name) for name in SETTINGS},
        episodes=episodes,
        features=measured.told,
        scores=measured.scores(),
        left_out=targets.left_out,
    )
    return _written(result, parts.out)


def _targets(parts: Parts, recording: Recording, options: ProbeOptions) -> Targets:
    """The targets asked for; UsageError if all of them are constant."""
    asked, targets = options.targets, Targets()
    if not asked or "reward" in asked:
        targets.numbers("reward", recording.reward.unsqueeze(1), with_action=True)
    if parts.teacher is not None and (not asked or "action" in asked):
        actions = taught(parts.teacher, recording.obs, options.steps)
        targets.actions("action", actions, parts.env.single_action_space)
    every = not asked or "state" in asked
    targets.states(parts.env, {name: part for name, part in recording.state.items() if every or name in asked})
    if not targets.found:
        reasons = ", ".join(f"{name}: {reason}" for name, reason in targets.left_out.items())
        raise UsageError(f"{parts.env.id} has nothing to probe ({reasons})")
    return targets


class _Measured:
    """The scores of every representation, repeat by repeat."""

    def __init__(self, parts: Parts, recording: Recording, targets: list[Target]) -> None:
        self.parts, self.recording, self.targets = parts, recording, targets
        space = parts.env.single_observation_space
        self.action = one_hot(recording.action, parts.env.single_action_space)
        self._features = partial(
            features, obs=recording.obs, count=len(recording.reward), device=parts.device, seed=parts.seeds[2]
        )
        self._fixed: dict[str, Features] = {}
        if parts.trained is not None:
            self._fixed["encoder"] = self._features(parts.trained)
        self._raw = self._features(Vector(space))
        self.told: dict[str, str] = {}
        """How many features each representation has, in words."""
        self._values: dict[str, dict[str, list[float]]] = {target.name: {} for target in targets}
        self._chances: dict[str, list[float]] = {target.name: [] for target in targets}

    def repeat(self, seed: np.random.SeedSequence) -> None:
        """Fit all probes over another split, those of the random network with other weights."""
        of_split, of_weights = seed.spawn(2)
        parts = self.parts
        drawn = split(self.recording.episode, seed=of_split)
        network = parts.architecture.random(parts.env.single_observation_space, of_weights)
        random = self._features(normalised(network, parts.encoder))
        for name, read in {**self._fixed, "random": random, "raw": self._raw}.items():
            self.told[name] = read.told
            for key, value in self._fitted(read.values, drawn).items():
                self._values[key].setdefault(name, []).append(value)
        known = torch.cat([drawn.train, drawn.validation])
        for target in self.targets:
            self._chances[target.name].append(chance(target, known, drawn.test))

    def _fitted(self, x: Tensor, drawn: Split) -> dict[str, float]:
        """The score of each target by features [N, D]."""
        found: dict[str, float] = {}
        acting = [target for target in self.targets if target.with_action]
        others = [target for target in self.targets if not target.with_action]
        if acting:
            found |= _scores(Probes(torch.cat([x, self.action], 1), drawn), acting)
        if others:
            found |= _scores(Probes(x, drawn), others)
        return found

    def scores(self) -> tuple[Score, ...]:
        """Of all repeats so far."""
        return tuple(
            Score(
                name=target.name,
                measure="accuracy" if target.classes else "R2",
                outputs=target.classes or target.values.shape[1],
                values={name: tuple(values) for name, values in self._values[target.name].items()},
                chance=float(np.nanmean(self._chances[target.name])),
            )
            for target in self.targets
        )


def _scores(probes: Probes, targets: list[Target]) -> dict[str, float]:
    """Accuracy of classes; R2 of numbers, the mean over a target's columns that vary in the test episodes."""
    found = {target.name: probes.classify(target.values, target.classes) for target in targets if target.classes}
    numbers = [target for target in targets if not target.classes]
    if numbers:
        every = probes.regress(torch.cat([target.values for target in numbers], 1))
        sizes = [target.values.shape[1] for target in numbers]
        for target, values in zip(numbers, torch.split(every, sizes), strict=True):
            found[target.name] = float(values.nanmean())
    return found


def one_hot(action: Tensor, space: gym.Space[object]) -> Tensor:
    """Actions [N, ...] as float32 [N, A]: numbers of a Box as they are, others as one-hot."""
    flat = action.reshape(len(action), -1)
    if isinstance(space, gym.spaces.Box):
        return flat.float()
    low = flat.amin(0)
    return torch.cat([functional.one_hot(column.long()) for column in (flat.long() - low.long()).T], 1).float()


def _written(result: ProbeResult, out: Path) -> ProbeResult:
    """Write the numbers and the figure, named after the environment; UsageError if they cannot be written."""
    name = folder.folder_name(result.env)
    files = {"numbers": out / f"{name}.json", "figure": out / f"{name}.png"}
    try:
        out.mkdir(parents=True, exist_ok=True)
        files["numbers"].write_text(
            json.dumps(finite(result.as_json()), indent=2) + "\n", encoding="utf-8", newline="\n"
        )
        probe_picture.draw(result, files["figure"])
    except OSError as error:
        raise UsageError(f"out {out}: {first_line(error)}") from None
    result.files.update(files)
    return result
