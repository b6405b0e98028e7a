"""Ten thousand steps of each game's compiled rules of one row are those of its tensors' rules and of MinAtar's own."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from minatar.gym import BaseEnv
from scipy.stats import ks_2samp, mannwhitneyu
from torch import Tensor

from gymnast.envs.native import world
from gymnast.envs.native.draws import Draws
from gymnast.envs.native.world import Moved, World
from tests.minatar_pairs import CASES, Case, Script, compare
from tests.test_kernels import ROUNDED, with_rows
from tests.traces import record

STEPS, PLAY = 10_000, 20_000
cases = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


class Drawn(Draws):
    """Draws that are computed once for all steps of a trace, and then looked up."""

    uniform, integer = cache(Draws.uniform), cache(Draws.integer)  # type: ignore[assignment]


@pytest.mark.parametrize("id", with_rows())
def test_long_traces_are_those_of_the_rules_of_tensors(id: str) -> None:
    """Each step of the trace is a row here: where all of them follow from the ones before, so does the trace."""
    trace = record(id, STEPS)
    before = World({name: value[:-1] for name, value in trace.world.state.items()}, *_cut(trace.world, slice(-1)))
    after = World({name: value[1:] for name, value in trace.world.state.items()}, *_cut(trace.world, slice(1, None)))
    found, moved = world.advance(trace.env.game, before, trace.action, trace.env.limit)
    exact = type(trace.env.game).__name__ not in ROUNDED
    for name, (ours, theirs) in (_pairs(after, found) | _pairs(trace.moved, moved)).items():
        if exact or not ours.is_floating_point():
            assert torch.equal(ours, theirs), name
        else:
            torch.testing.assert_close(ours, theirs, rtol=2e-6, atol=2e-6, msg=name)
    assert bool(moved.ended.any()) or id == "gymnast/CliffWalkingSlippery-v1"  # too long for random play


def _cut(world: World, steps: slice) -> list[Tensor]:
    return [*(getattr(world, name)[steps] for name in World._fields[1:-1]), world.begun]


def _pairs(ours: World | Moved, theirs: World | Moved) -> dict[str, tuple[Tensor, Tensor]]:
    """All tensors of both but the count of episodes, which a trace has of its first step only."""
    pairs = {}
    for name, value in ours._asdict().items():
        if isinstance(value, Tensor) and name != "begun":
            pairs[name] = value, getattr(theirs, name)
        elif isinstance(value, dict):
            other = getattr(theirs, name)
            assert value.keys() == other.keys()
            pairs |= {f"{name} {part}": (value[part], other[part]) for part in other}
    return pairs


@cases
def test_long_traces_are_minatars(case: Case) -> None:
    """The package in the same states, with the same actions and random numbers: all that it keeps and gives."""
    trace, script = record(f"gymnast/MinAtar-{case.name}-v1", STEPS), Script()
    env = BaseEnv(case.game, sticky_action_prob=0.1, difficulty_ramping=True, use_minimal_action_set=True)
    env.game.random = env.game.env.random = script
    key, length = trace.world.key, trace.world.length
    first, draws = Drawn(key, torch.zeros_like(key)), Drawn(key, length + 1)
    sticky, actions = draws.uniform(0).tolist(), trace.action.tolist()
    state = {name: value.numpy() for name, value in trace.world.state.items()}
    seen, rewards = trace.moved.next_obs.numpy(), trace.moved.reward.tolist()  # type: ignore[union-attr]
    ends, starts = trace.moved.terminated.tolist(), (length == 0).tolist()
    for step in range(STEPS):
        if starts[step]:
            script.numbers = case.asked_first(first, step)
            env.reset()
            assert not script.numbers
            env.game.last_action = 0  # in the package the last episode's is kept
        compare(case, env, {name: value[step] for name, value in state.items()})
        script.numbers = [sticky[step], *case.asked(env.game.env, draws, step)]
        obs, reward, ended, _, _ = env.step(actions[step])
        assert (rewards[step], ends[step]) == (reward, ended)
        assert np.array_equal(seen[step], obs)
    assert sum(ends) > 1


@cases
def test_random_play_is_distributed_as_minatars(case: Case) -> None:
    """Lengths and returns of the episodes of 20,000 steps."""
    assert min(_likelihoods(_own_play(case), _play(case))) > 0.01


def test_play_by_other_rules_would_be_noticed() -> None:
    """Repeating actions six times as often."""
    case = next(case for case in CASES if case.name == "Seaquest")
    assert min(_likelihoods(_own_play(case, sticky=0.6), _play(case))) < 1e-6


def _own_play(case: Case, **options: float) -> tuple[Any, Any]:
    moved = record(f"gymnast/MinAtar-{case.name}-v1", PLAY, **options).moved
    return moved.length[moved.ended].numpy(), moved.total[moved.ended].numpy()


@cache
def _play(case: Case) -> tuple[Any, Any]:
    """The package's own random play: lengths and returns of the episodes that ended."""
    env, rng = BaseEnv(case.game, use_minimal_action_set=True), np.random.default_rng(1)
    env.reset(seed=1)
    lengths, returns, length, total = [], [], 0, 0.0
    for action in rng.integers(env.action_space.n, size=PLAY).tolist():  # type: ignore[attr-defined]
        _, reward, ended, _, _ = env.step(action)
        length, total = length + 1, total + reward
        if ended:
            lengths.append(length), returns.append(total)
            env.reset()
            length, total = 0, 0.0
    return np.array(lengths), np.array(returns)


def _likelihoods(ours: Any, theirs: Any) -> list[float]:
    """p values, that the samples are of one distribution, of lengths and of returns by two tests each."""
    pairs = list(zip(ours, theirs, strict=True))
    shapes = [float(ks_2samp(*pair, method="asymp").pvalue) for pair in pairs]
    return shapes + [float(mannwhitneyu(*pair).pvalue) for pair in pairs]
