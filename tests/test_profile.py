"""`--profile`: all time belongs to one phase, operations are counted, and the run stays what it is without it."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gymnast.agents import DQN, DQNConfig
from gymnast.cli.main import main
from gymnast.envs import make
from gymnast.errors import UsageError
from gymnast.settings.options import TrainOptions
from gymnast.training import flops
from gymnast.training.clock import WARM_UP, Clock
from gymnast.training.flops import Counter, Flops
from gymnast.training.loop import Loop
from gymnast.training.profile_result import LEARN, UPDATE, Profile
from gymnast.training.profiler import Profiler, check_profile
from gymnast.training.train import resume, train
from tests.test_loop import Counting, Fives
from tests.test_resume import SMALL_DQN, SMALL_DREAMER, SMALL_PPO, config, last_state, options, same


@pytest.fixture(autouse=True)
def _short_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flops, "PEAK_SECONDS", 0.01)


class Hand:
    """A clock's hand, moved by what is timed."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at

    def wait(self, seconds: float) -> None:
        self.at += seconds


def test_each_second_belongs_to_the_innermost_phase() -> None:
    hand = Hand()
    clock = Clock("rest", hand)
    inner = clock.timed("inner", hand.wait)

    def work() -> None:
        hand.wait(1.0)
        inner(10.0)
        hand.wait(100.0)

    outer = clock.timed("outer", work)
    outer()  # the first calls of both
    outer()
    outer()
    hand.wait(5.0)
    clock.turn()
    assert clock.seconds == {WARM_UP: 111.0, "outer": 202.0, "inner": 20.0, "rest": 5.0}
    assert clock.calls == {"outer": 3, "inner": 3}
    assert hand.at == sum(clock.seconds.values())


def test_only_calls_within_a_phase_count_and_a_phase_does_not_contain_itself() -> None:
    hand = Hand()
    clock = Clock("rest", hand)
    forward = clock.timed("forward", hand.wait, within="learn", warms_up=False)
    again = clock.timed("forward", forward, within="learn", warms_up=False)
    learn = clock.timed("learn", again, warms_up=False)
    forward(1.0)
    learn(10.0)
    clock.turn()
    assert clock.seconds == {"rest": 1.0, "learn": 0.0, "forward": 10.0}
    assert clock.calls == {"learn": 1, "forward": 1}


def test_drawing_the_items_of_an_iterator_is_a_phase() -> None:
    hand = Hand()
    clock = Clock("rest", hand)

    def batches(count: int) -> Iterator[int]:
        for number in range(count):
            hand.wait(10.0)
            yield number

    seen = []
    for number in clock.timed_iterator("sample", batches)(3):
        hand.wait(1.0)
        seen.append(number)
    clock.turn()
    assert seen == [0, 1, 2]
    assert clock.seconds == {WARM_UP: 10.0, "sample": 20.0, "rest": 3.0}


def test_a_phase_ends_with_an_exception() -> None:
    hand = Hand()
    clock = Clock("rest", hand)

    def fails() -> None:
        hand.wait(1.0)
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        clock.timed("act", fails, warms_up=False)()
    hand.wait(2.0)
    clock.turn()
    assert clock.seconds == {"act": 1.0, "rest": 2.0}


def test_operations_of_a_layer() -> None:
    layer = torch.nn.Linear(3, 4)
    inputs = torch.rand(5, 3, requires_grad=True)
    with Counter() as forward:
        output = layer(inputs).sum()
    with Counter() as backward:
        output.backward()
    product = 2 * 5 * 3 * 4
    assert (forward.flops, backward.flops) == (product, 2 * product)  # by the inputs and by the weights
    with Counter() as written:
        torch.mm(torch.rand(5, 3), torch.rand(3, 4), out=torch.empty(5, 4))
    assert written.flops == product


def test_operations_are_counted_in_calls_1_10_100_and_stand_for_the_calls_between() -> None:
    clock = Clock("rest", Hand())
    counts = Flops(clock)
    sizes = iter([*[1] * 9, *[3] * 10])

    def multiply() -> None:
        torch.mm(torch.rand(1, 1), torch.rand(1, next(sizes)))

    run = counts.counted("forward", multiply, backward=False)
    for _ in range(19):
        run()
    assert counts.total == 8 * 2 + 9 * 6  # calls 2 to 9 like the first, 11 to 19 like the tenth


def test_a_backward_pass_is_known_by_its_forward_pass_and_inner_functions_are_not_counted_twice() -> None:
    counts = Flops(Clock("rest", Hand()))
    one = counts.counted("one", lambda: None, backward=False)
    two = counts.counted("two", lambda: None, backward=False)
    multiply = counts.counted("inner", lambda width: torch.mm(torch.rand(1, 1), torch.rand(1, width)), backward=True)
    backward = counts.counted("backward", multiply, backward=True)
    for _ in range(3):
        one()
        backward(1)
        two()
        backward(5)
    assert counts.total == 2 * (2 + 10)


@pytest.mark.parametrize(
    ("agent", "env", "steps", "changes", "phases"),
    [
        ("dqn", "CartPole-v1", 400, SMALL_DQN, {"sample", "forward", "backward", "optimizer"}),
        ("ppo", "CartPole-v1", 400, SMALL_PPO, {"sample", "forward+backward", "optimizer"}),
        (
            "ppo",
            "CartPole-v1",
            400,
            {**SMALL_PPO, "policy_loss": "trust-region"},
            {"sample", "forward+backward", "optimizer"},
        ),
        ("dreamer", "CartPole-v1", 120, {**SMALL_DREAMER, "train_ratio": 1}, {"sample", "forward", "backward"}),
        ("q-learning", "Blackjack-v1", 200, {}, set()),
    ],
)
def test_a_profiled_run(
    tmp_path: Path, agent: str, env: str, steps: int, changes: dict[str, Any], phases: set[str]
) -> None:
    """Its metrics, weights, replay and generators are those of a run without a profile."""
    settings = {"steps": steps, "eval_every": 100, "num_envs": 2, "eval_episodes": 1}
    plain = train(agent, options(tmp_path / "a", env, **settings), config(agent, changes))
    found = train(agent, options(tmp_path / "b", env, profile=True, **settings), config(agent, changes))
    assert plain.profile is None
    assert not (plain.path / "profile.json").exists()
    assert (found.path / "metrics.jsonl").read_bytes() == (plain.path / "metrics.jsonl").read_bytes()
    same(last_state(plain.path), last_state(found.path))

    profile = found.profile
    assert profile is not None
    assert profile.env_steps == found.env_step
    known = {"act", "env", "store", LEARN, WARM_UP, "events", "rest", *phases}
    assert known <= profile.phases.keys() <= known | {"optimizer"}
    assert min(profile.phases.values()) > 0.0
    assert (profile.flops is not None) == profile.divided == bool(phases)

    content = json.loads((found.path / "profile.json").read_text(encoding="utf-8"))
    assert sum(row["share"] for row in content["phases"].values()) == pytest.approx(1.0)
    assert sum(row["seconds"] for row in content["phases"].values()) == pytest.approx(content["seconds"])
    assert content["phases"]["act"]["calls"] == profile.calls["env"] == steps // 2
    assert content["gflops_per_second"]["peak"] > 0.0


def test_the_table() -> None:
    profile = Profile(
        env_steps=1_000,
        phases={"act": 0.25, "forward": 0.5, LEARN: 0.15, "rest": 0.1},
        calls={"act": 1_000, "forward": 500, LEARN: 500},
        divided=True,
        flops=1_300_000_000,
        peak=50e9,
        device="cpu",
        threads=2,
    )
    lines = [line.split() for line in profile.as_text().splitlines()]
    assert [line[:4] for line in lines[1:5]] == [
        ["act", "25.0%", "250.00", "1,000"],
        ["forward", "50.0%", "500.00", "500"],
        ["learn", "15.0%", "150.00", "500"],
        ["rest", "10.0%", "100.00", "-"],
    ]
    assert lines[5][:3] == ["all", "100.0%", "1,000.00"]
    assert " ".join(lines[6]) == (
        "learner: 2 GFLOP/s, 2.6 in its passes; this machine's peak: 50.0 GFLOP/s (float32 matrix product, 2 threads)"
    )
    unknown = dataclasses.replace(profile, flops=None, divided=False).as_text()
    assert "learner: operations not counted; " in unknown
    assert "updates, whose phases this agent does not tell apart" in unknown


def test_the_run_has_its_own_functions_before_and_after() -> None:
    env = make("CartPole-v1", 1, seed=0)
    env.reset()
    agent = DQN(env.single_observation_space, env.single_action_space, DQNConfig(**SMALL_DQN), seed=0)
    loop = Loop(agent, agent.actor(1, explore=True, seed=0), env)
    parts = [loop, loop.actor, env, agent, agent.replay, *(part.owner for part in agent.update_parts())]
    before = [dict(vars(part)) for part in parts]
    backward = torch.Tensor.backward
    with Profiler(loop, agent.device) as profiler:
        assert torch.Tensor.backward is not backward
        loop.advance(60, lambda: False)
    assert torch.Tensor.backward is backward
    assert [vars(part).keys() for part in parts] == [part.keys() for part in before]
    for part, own in zip(parts, before, strict=True):
        assert all(vars(part)[name] is value for name, value in own.items() if callable(value))
    seconds = profiler.result().seconds
    loop.advance(80, lambda: False)
    assert profiler.result().seconds == seconds


class Own(Counting):
    """An agent that names no functions of its updates."""

    weight = torch.zeros(2, requires_grad=True)

    def learn(self) -> dict[str, torch.Tensor]:
        self.weight.square().sum().backward()
        return super().learn()


def test_of_an_agent_of_ones_own_the_backward_passes_are_known() -> None:
    agent, env = Own(), make(Fives, 1)
    env.reset()
    loop = Loop(agent, agent, env)
    with Profiler(loop, torch.device("cpu")) as profiler:
        loop.advance(40, lambda: False)
    profile = profiler.result()
    assert not profile.divided
    assert set(UPDATE) & profile.phases.keys() == {"backward", LEARN}
    assert profile.calls == {"act": 40, "env": 40, "store": 40, "backward": 10, LEARN: 10, "rest": 1}


# What is refused, and what resuming does.


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("q-learning --env FrozenLake-v1", "profile cannot divide q-learning on FrozenLake-v1: act, env and learn are"),
        ("value-iteration --env FrozenLake-v1", "profile times env steps, and value-iteration plans without any"),
        ("a3c --env CartPole-v1", "profile cannot be combined with workers, which train in other processes"),
        ("ppo --env gymnast/CartPole-v1 --seeds 0:2", "--profile cannot be combined with --seeds"),
    ],
)
def test_what_cannot_be_profiled(words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *words.split(), "--profile", "--out", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"gymnast: {message}")
    assert not any(tmp_path.iterdir())


def test_recorded_updates_are_refused() -> None:
    parts: Any = SimpleNamespace(
        options=TrainOptions(env="CartPole-v1", profile=True), processes=None, config=SimpleNamespace(cuda_graphs=True)
    )
    with pytest.raises(ValueError, match="profile cannot be combined with cuda_graphs"):
        check_profile(parts)


def test_resuming_with_a_profile_and_without(tmp_path: Path) -> None:
    chosen = config("dqn", SMALL_DQN)
    first = train("dqn", options(tmp_path, "CartPole-v1", steps=100, eval_episodes=1), chosen)
    profiled = resume(first.path, steps=200, profile=True)
    assert profiled.profile is not None
    assert profiled.profile.env_steps == 100
    assert profiled.files["profile"].is_file()
    assert "profile" in profiled.as_text()
    again = resume(first.path, steps=250)  # its own options now say so
    assert again.profile is not None
    assert resume(first.path, steps=300, profile=False).profile is None


def test_the_profile_of_a_population_is_refused(tmp_path: Path) -> None:
    from gymnast.populations.train import train as train_population

    with pytest.raises(UsageError, match="profile cannot be combined with seeds"):
        train_population("ppo", options(tmp_path, "gymnast/CartPole-v1", profile=True), seeds=[0, 1])
