"""A film of imagined beside real episodes: the model watches, then predicts without seeing; again and again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gymnast.agents.base import Actor, WorldModel
from gymnast.dreams.panels import Panels, beside, panels_of
from gymnast.dreams.prediction import watched
from gymnast.dreams.stream import Stream, play
from gymnast.envs.env import Env
from gymnast.envs.step import Obs, map_obs
from gymnast.output.video import VideoWriter

EPISODES = 3
"""Episodes of a film, at most."""
STEPS = 500
"""Steps of an episode that are filmed, at most."""
FASTEST = 20.0
"""Frames per second, at most: there are two pictures to compare."""
PAUSE = 10
"""Frames for which the end of an episode stands still."""


@dataclass(frozen=True)
class Episode:
    """A real episode of T steps and what the model made of it."""

    true: Obs
    """[T + 1, ...]"""
    imagined: Obs
    """[T + 1, ...]; where the model watches, the true ones."""
    ahead: tuple[int, ...]
    """How many steps ago the model last saw the environment, [T + 1]; 0 where it watches."""
    over: tuple[bool, ...]
    """Whether the model has predicted the episode's end since then, [T + 1]."""


@dataclass(frozen=True)
class Script:
    """What is filmed."""

    episodes: int
    context: int
    """Real steps that the model watches before each prediction, at most."""
    horizon: int
    """Steps that it then predicts."""
    temperature: float
    seed: int


def film(model: WorldModel, actor: Actor, env: Env, path: Path, script: Script, *, draws: bool) -> None:
    """Write the film as mp4; `env` has one row, and `draws` says whether it has frames. Raises OSError."""
    generator = torch.Generator(model.device).manual_seed(script.seed)
    panels, frames = panels_of(model.observation_space), list[NDArray[np.uint8]]()
    look = (lambda: frames.append(env.render())) if draws and not panels.is_picture else (lambda: None)
    stream = play(actor, env, episodes=min(script.episodes, EPISODES), seed=script.seed, each=look)
    with torch.no_grad(), VideoWriter(path, min(env.render_fps, FASTEST)) as video:
        for first, last in _spans(stream):
            _add(video, panels, _imagined(model, stream, first, last, script, generator), _frames(frames, first, last))


def _frames(frames: Sequence[NDArray[np.uint8]], first: int, last: int) -> Sequence[NDArray[np.uint8]]:
    """The frames of an episode of these steps: the environment shows the final one in place of the next one's first."""
    return [frames[first if first == 0 else first + 1], *frames[first + 1 : last + 1]] if frames else []


def _spans(stream: Stream) -> list[tuple[int, int]]:
    """The first step of each episode, and the one after its last filmed step."""
    ends = [int(time) + 1 for time in stream.ended[:, 0].nonzero().flatten()]
    if not ends or ends[-1] < len(stream):
        ends.append(len(stream))
    firsts = [int(time) for time in (stream.start[:, 0] & stream.active[:, 0]).nonzero().flatten()] or [0]
    spans = [(first, next(end for end in ends if end > first)) for first in firsts]
    return [(first, min(last, first + STEPS)) for first, last in spans]


def _imagined(
    model: WorldModel, stream: Stream, first: int, last: int, script: Script, generator: torch.Generator
) -> Episode:
    """The episode of these steps. The model watches at most `context` steps, or half of a short episode."""
    steps = last - first
    times, row = torch.arange(first, last), torch.zeros(1, dtype=torch.int64)
    begun = map_obs(lambda part: part[first:last, 0], stream.obs)
    true = _joined(begun, stream.after(times[-1:], row))
    parts: list[Obs] = [map_obs(lambda part, index=index: part[index], true) for index in range(steps + 1)]  # type: ignore[misc]
    ahead, over = [0] * (steps + 1), [False] * (steps + 1)
    seen = min(script.context, max(steps // 2, 1))
    for begin in range(seen - 1, steps, script.horizon):
        length = min(begin + 1, script.context)
        moment = torch.tensor([first + begin])
        state, ended = watched(model, stream, moment, row, length), False
        for index in range(begin, min(begin + script.horizon, steps)):
            taken = stream.action[first + index, :1].to(model.device)
            step = model.dream_step(state, taken, generator, temperature=script.temperature)
            state, ended = step.state, ended or bool(step.terminated[0])
            parts[index + 1] = map_obs(lambda part: part[0].cpu(), step.obs)
            ahead[index + 1], over[index + 1] = index + 1 - begin, ended
    return Episode(true, _stacked(parts), tuple(ahead), tuple(over))


def _add(video: VideoWriter, panels: Panels, episode: Episode, frames: Sequence[NDArray[np.uint8]]) -> None:
    """The frames of an episode: left what is real, as the environment draws it, and right what is imagined."""
    imagined = panels.imagined(episode.true, episode.imagined, episode.ahead)
    real = panels.real(episode.true) if panels.is_picture else frames
    for index, (ahead, over) in enumerate(zip(episode.ahead, episode.over, strict=True)):
        told = "watching" if ahead == 0 else f"imagined, {ahead} ahead{': the episode is over' if over else ''}"
        frame = beside(real[index] if real else None, imagined[index], (f"real, step {index}", told))
        video.add(frame)
    for _ in range(PAUSE):
        video.add(frame)


def _joined(begun: Obs, last: Obs) -> Obs:
    if isinstance(begun, dict) and isinstance(last, dict):
        return {name: _joined(part, last[name]) for name, part in begun.items()}
    assert isinstance(begun, Tensor)
    assert isinstance(last, Tensor)
    return torch.cat([begun, last])


def _stacked(parts: Sequence[Obs]) -> Obs:
    first = parts[0]
    if isinstance(first, dict):
        return {name: _stacked([part[name] for part in parts if isinstance(part, dict)]) for name in first}
    return torch.stack([part for part in parts if isinstance(part, Tensor)])
