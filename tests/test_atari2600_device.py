"""The console on a device: its environment beside the CPU's, its kernels in 32 bits, in the simulator and as PTX."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numba import njit

from gymnast.agents import PPO, ActorCriticConfig
from gymnast.envs.atari.device import DeviceAtari
from gymnast.envs.atari.games import make_atari
from gymnast.envs.atari.names import atari_name
from gymnast.envs.atari.options import AtariOptions
from gymnast.envs.atari2600 import alu, device, mersenne, observation, rows, targets
from gymnast.envs.atari2600.frame import frame_address
from gymnast.envs.atari2600.narrow import Narrowing
from gymnast.envs.atari2600.targets import Kernels, Target
from gymnast.envs.env import Env
from gymnast.envs.step import Step
from gymnast.evaluation.play import evaluate
from gymnast.training.loop import Loop

ROOT = Path(__file__).parent.parent
SEEN = ("obs", "next_obs", "start", "reward", "terminated", "truncated", "lives")
SIZE = 84


def compiled_for_a_cpu() -> Target:
    """The kernels as the CPU's own environment runs them, already compiled, in place of those of `batch.py`."""

    def command(number: int) -> Any:
        def run(count: int, machines: Any, words: Any, records: Any, *given: Any) -> None:
            game, rom, settings, values = given[:4]
            game["run_frame"] = frame_address()
            kept = given[4][0] if number == rows.STEP else np.zeros(rows.KEPT, np.uint64)
            rows.run_rows(
                machines, words, records, game, rom, settings, number, values.astype(np.int64), 0, count, kept
            )

        return run

    def begin(count: int, machines: Any, records: Any, *given: Any) -> None:
        command(rows.RESET)(count, machines, machines.view(np.uint64).reshape(count, -1), records, *given)

    def copy(count: int, words: Any, records: Any, starts: Any, chosen: Any) -> None:
        first = device.MACHINE.fields["generators"][1] // 4  # type: ignore[index]
        for row in np.flatnonzero(chosen != rows.SKIP):
            words[row, :first] = starts[chosen[row], :first]
            words[row, first + 3 * 625 :] = starts[chosen[row], first + 3 * 625 :]
            for name in ("elapsed", "draw_all", "held", "played"):
                records[name][row] = 0

    seen: list[Any] = []

    def see(count: int, machines: Any, records: Any, settings: Any, changes: Any) -> None:
        seen[:] = [machines, settings]

    def show(count: int, records: Any, changes: Any, *given: Any) -> None:
        columns, across, lines, down, before, planes = given
        wanted, shown = changes.astype(np.int64), np.empty_like(planes)
        maps = (columns, across, observation.edges(columns), lines, down, np.zeros((211, SIZE), np.float32))
        rows.observe_rows(seen[0], records, seen[1], wanted, *maps, before.copy(), shown, 0, count)
        happened = changes != rows.NOTHING
        planes[happened] = shown[happened]

    kernels = Kernels(command(rows.STEP), begin, copy, see, show)
    return Target(kernels, targets._call, targets._memory)


@pytest.fixture(params=["compiled", "narrowed"])
def target(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment with the kernels of either kind."""
    if request.param == "compiled":
        monkeypatch.setattr(device, "target_of", lambda given: compiled_for_a_cpu())


def made(id: str, count: int, *, seed: int = 3, limit: int = 60, **options: Any) -> DeviceAtari:
    """As `make_atari` makes it on a GPU."""
    chosen = AtariOptions(**{"sticky": 0.25, "emulator": "ours", **options})
    return DeviceAtari(
        atari_name(id), count, options=chosen, device=torch.device("cpu"), seed=seed, max_episode_steps=limit
    )


def differing(one: Step, other: Step) -> list[str]:
    return [name for name in SEEN if not torch.equal(getattr(one, name), getattr(other, name))]


def actions(env: Env, steps: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(int(env.single_action_space.n), (steps, env.num_envs), generator=generator)  # type: ignore[attr-defined]


@pytest.mark.parametrize("id", ["Breakout", "Seaquest"])
def test_seeded_episodes_are_those_of_the_cpu(id: str, target: None) -> None:
    """Rows 7, 18, 19, 23: observations, rewards, ends, lives and numbers; unseeded episodes follow the seeded ones."""
    ours, cpu = made(id, 3, resets="exact"), make_atari(id, 3, max_episode_steps=60)
    seeds = [5, 6, 7, 2**40, 9]
    assert torch.equal(ours.reset(episode_seeds=seeds), cpu.reset(episode_seeds=seeds))
    ended = 0
    for action in actions(cpu, 140):
        one, other = ours.step(action), cpu.step(action)
        assert differing(one, other) == []
        assert ours.episode == cpu.episode
        assert one.num_ended == other.num_ended
        if other.num_ended:
            ended += other.num_ended
            over = other.ended
            assert one.episode_return is not None
            assert other.episode_return is not None
            assert one.episode_length is not None
            assert other.episode_length is not None
            assert torch.equal(one.episode_return[over], other.episode_return[over])
            assert torch.equal(one.episode_length[over], other.episode_length[over])
    assert ended >= 6
    assert np.array_equal(ours.ram(1), cpu.ram(1))  # type: ignore[attr-defined]


def test_episodes_from_the_bank_repeat_and_resume_exactly(target: None, tmp_path: Path) -> None:
    env = made("SpaceInvaders", 4, limit=9)
    first = env.reset().clone()  # type: ignore[union-attr]
    chosen = actions(env, 60)
    before = [env.step(action) for action in chosen[:20]]
    torch.save(env.snapshot(), tmp_path / "snapshot.pt")
    after = [env.step(action) for action in chosen[20:]]
    other = made("SpaceInvaders", 4, limit=9, seed=8)
    other.restore(torch.load(tmp_path / "snapshot.pt", weights_only=True))
    assert all(not differing(one, other.step(action)) for one, action in zip(after, chosen[20:], strict=True))
    again = made("SpaceInvaders", 4, limit=9)
    assert torch.equal(torch.as_tensor(again.reset()), first)
    assert all(not differing(one, again.step(action)) for one, action in zip(before + after, chosen, strict=True))
    begun = [again.reset() is not None and again.ram(row).tobytes() for _ in range(5) for row in range(4)]
    assert len(set(begun)) > 10  # episodes begin in different states
    assert sum(step.num_ended or 0 for step in before + after) == 24
    assert all(not step.obs[row, :-1].any() for step in before for row in torch.nonzero(step.start).flatten())  # type: ignore[index]


def test_a_life_lost_is_no_end_and_sticky_actions_differ_between_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "target_of", lambda given: compiled_for_a_cpu())
    env = made("Breakout", 3, limit=400)
    env.reset()
    lives = [env.step(torch.ones(3, dtype=torch.int64)).lives for _ in range(150)]
    assert lives[0] is not None
    assert lives[-1] is not None
    assert int(lives[0].max()) == 5
    assert int(lives[-1].min()) < 5
    assert not np.array_equal(env.ram(0), env.ram(1))


def test_mistakes_cost_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "target_of", lambda given: compiled_for_a_cpu())
    with pytest.raises(ValueError, match="resets must be bank or exact, got 'none'"):
        make_atari("Pong", 1, options={"resets": "none"})
    with pytest.raises(
        ValueError, match="resets exact is for gymnast's console on a GPU, and ALE/Pong-v5 steps on the CPU"
    ):
        make_atari("Pong", 1, options={"resets": "exact"})
    with pytest.raises(ValueError, match=r"pong with 84 pixels a side can have 303,\d+ environments, got 400,000"):
        made("Pong", 400_000)
    env = made("Pong", 2)
    env.reset()
    with pytest.raises(ValueError, match="is of the emulator ours on a device, not ours"):
        make_atari("Pong", 2).restore(env.snapshot())
    with pytest.raises(ValueError, match="has frame_skip 4, not 3"):
        made("Pong", 2, frame_skip=3).restore(env.snapshot())
    with pytest.raises(ValueError, match="holds 2 environments, not 1"):
        made("Pong", 1).restore(env.snapshot())
    with pytest.raises(ValueError, match="the Atari console runs on cpu or cuda, not meta"):
        targets.target_of(torch.device("meta"))


def test_generators_are_seeded_at_once_as_one_by_one() -> None:
    seeds = np.array([0, 1, 2**31 - 1, 2**32 - 1], np.uint32)
    together, seed = mersenne.generators(seeds), njit(mersenne.seed_generator)
    for words, one in zip(together, seeds, strict=True):
        alone = np.zeros(625, np.uint32)
        seed(alone, one)
        assert np.array_equal(words, alone)


def test_narrowed_functions_are_the_plain_ones() -> None:
    """Each operation of signed integers has 32 bits; unsigned ones and floats keep theirs."""
    options: dict[str, Any] = {"error_model": "numpy"}
    narrowed = Narrowing(njit(**options), {"_narrow": targets._narrow, "stay_apart": njit(targets._nothing)})
    rng = np.random.default_rng(0)
    draw, below = narrowed(mersenne.draw), narrowed(mersenne.below)
    one, other = mersenne.generators(np.array([7, 7], np.uint32))
    plain, uniform = njit(mersenne.draw), njit(mersenne.below)
    assert [draw(one) for _ in range(1300)] == [plain(other) for _ in range(1300)]
    counts = [1, 3, 31, 2**31 - 1] * 5
    assert [below(one, np.int32(count)) for count in counts] == [uniform(other, count) for count in counts]
    add, subtract = narrowed(alu.add), narrowed(alu.subtract)
    sums, differences = njit(alu.add), njit(alu.subtract)
    for a, value, carry, decimal in rng.integers([256, 256, 2, 2], size=(300, 4)).tolist():
        given = [np.int32(number) for number in (a, value, carry, decimal)]
        assert add(*given) == sums(a, value, carry, decimal)
        assert subtract(*given) == differences(a, value, carry, decimal)
    kinds = add.signatures[0]
    assert all(str(kind) == "int32" for kind in kinds)
    assert str(add.overloads[kinds].signature.return_type) == "UniTuple(int32 x 3)"


def test_the_simulated_gpu_plays_the_frames_of_the_cpu() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulated_atari"],
        cwd=ROOT,
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="needs numba-cuda")
def test_the_kernels_compile_to_ptx() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.atari2600_ptx"], cwd=ROOT, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(Kernels._fields)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_plays_as_the_cpu() -> None:
    ours, cpu = make_atari("Breakout", 3, device="cuda", options={"resets": "exact"}), make_atari("Breakout", 3)
    seeds = [5, 6, 7]
    assert torch.equal(torch.as_tensor(ours.reset(episode_seeds=seeds)).cpu(), cpu.reset(episode_seeds=seeds))
    for action in actions(cpu, 100):
        one, other = ours.step(action.cuda()), cpu.step(action)
        assert torch.equal(torch.as_tensor(one.next_obs).cpu(), torch.as_tensor(other.next_obs))
        assert torch.equal(one.reward.cpu(), other.reward)


def test_a_run_learns_and_is_evaluated_where_only_the_device_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where no step says how many episodes ended."""
    monkeypatch.setattr(device, "target_of", lambda given: compiled_for_a_cpu())
    env = made("Pong", 4, limit=10)
    env.host_counts = False
    env.reset()
    config = ActorCriticConfig(rollout_steps=8, minibatches=2, epochs=1)
    agent = PPO(env.single_observation_space, env.single_action_space, config, num_envs=4, device="cpu")
    loop = Loop(agent, agent.actor(4, explore=True, seed=0), env)
    loop.advance(4 * 64, lambda: False)
    assert loop.env_step == 4 * 64
    assert agent.updates > 0
    assert loop.episodes.count == 24  # six of ten steps in each row
    assert set(loop.episodes.lengths) == {10}
    found = evaluate(agent, env, episodes=6, seed=3)
    assert found.protocol is not None
    on_host = evaluate(agent, make_atari("Pong", 2, max_episode_steps=10), episodes=6, seed=3)
    assert found.returns == on_host.returns
    assert found.lengths == on_host.lengths
