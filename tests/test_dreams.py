"""Runs inside dreams, and dreams beside reality, with models that know their environment exactly."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

import gymnast
from gymnast import envs
from gymnast.cli.main import main
from gymnast.dreams.distance import Distance
from gymnast.dreams.film import PAUSE
from gymnast.dreams.panels import Curves, Pictures, panels_of
from gymnast.dreams.prediction import measure, starts_of
from gymnast.dreams.result import Curve
from gymnast.dreams.stream import Stream, play
from gymnast.errors import RunError, UsageError
from gymnast.storage import checkpoint, world_model
from gymnast.storage.metrics_log import read
from tests.dream_worlds import Physics

FILE = Path(__file__).with_name("dream_worlds.py")
TRUST = """{"trust": true}"""
TEMPERATURE = '{"temperature": "hot"}'
QUICK = ["--no-video", "--eval-episodes", "2", "--eval-envs", "2"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def model_run(runs: Path, name: str = "Physics", env: str = "gymnast/CartPole-v1", *words: str) -> Path:
    """A run whose agent knows the environment exactly, made once."""
    label = "-".join(["m", *(word.strip("-") for word in words)])
    path = next(iter(runs.glob(f"*/*{name}/{label}")), None)
    if path is None:
        asked = ["train", f"{FILE}:{name}", "--env", env, "--steps", "20", "--out", str(runs), "--name", label]
        assert main([*asked, *QUICK, *words]) == 0
        path = next(iter(runs.glob(f"*/*{name}/{label}")))
    return path


def plain_run(runs: Path) -> Path:
    """A run of ppo, which learns no model, made once."""
    path = runs / "gymnast-Chain-v0" / "ppo" / "plain"
    if not path.exists():
        asked = ["train", "ppo", "--env", "gymnast/Chain-v0", "--steps", "8", "--out", str(runs), "--name", "plain"]
        assert main([*asked, *QUICK]) == 0
    return path


def inside(runs: Path, name: str, *words: str, quick: Sequence[str] = QUICK) -> Path:
    """A run of ppo in the dream of CartPole."""
    asked = ["train", "ppo", "--env", f"dream:{model_run(runs)}", "--env-options", TRUST, "--name", name]
    assert main([*asked, "--out", str(runs / "inside"), *quick, *words]) == 0
    return next(iter((runs / "inside").glob(f"*/ppo/{name}")))


# Runs inside.


def test_a_run_in_a_dream_keeps_its_env_and_resumes_exactly(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--num-envs", "4", "--rollout-steps", "32", "--log-every", "128", "--eval-every", "256")
    whole = inside(runs, "whole", "--steps", "1024", *words)
    half = inside(runs, "half", "--steps", "512", *words)
    assert json.loads((half / "config.json").read_text())["run"]["env"] == f"dream:{model_run(runs)}"
    capsys.readouterr()
    assert main(["resume", str(half), "--steps", "1024"]) == 2
    assert "is code from outside gymnast; trust=True (--trust) runs it" in capsys.readouterr().err
    assert main(["resume", str(half), "--steps", "1024", "--trust", "--exact-resume"]) == 0
    assert (half / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert len(read(whole / "metrics.jsonl")) > 8


def test_a_run_whose_model_has_changed_says_so(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = model_run(runs, "Physics", "gymnast/CartPole-v1", "--noise", "0.5")
    words = ["train", "ppo", "--env", f"dream:{own}", "--env-options", TRUST, "--steps", "64", "--name", "r"]
    assert main([*words, "--out", str(tmp_path), *QUICK]) == 0
    path = next(iter(tmp_path.glob("*/ppo/r")))
    best = own / "checkpoints" / "best.pt"
    about, state = checkpoint.read_agent(best)
    checkpoint.save_agent(best, about, {**state, "scale": torch.zeros(1)})
    capsys.readouterr()
    assert main(["resume", str(path), "--steps", "96", "--trust", "--exact-resume"]) == 2
    assert "exact_resume: dream:" in (said := capsys.readouterr().err)
    assert "cannot be restored exactly (its world model has changed)" in said
    assert main(["resume", str(path), "--steps", "96", "--trust"]) == 0
    assert "(its world model has changed): resuming with new episodes" in capsys.readouterr().err


def test_the_report_and_evaluations_inside_and_outside(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    path, dream = inside(runs, "told", "--steps", "64"), f"dream:{model_run(runs)}"
    said = capsys.readouterr().out
    final = read(path / "metrics.jsonl")[-1]
    assert (final["env"], final["outside"]["env"]) == (dream, "gymnast/CartPole-v1")
    returns = final["mean_return"], final["outside"]["mean_return"]
    line = f"return inside the dream {returns[0]:.2f}, outside {returns[1]:.2f}: {returns[1] / returns[0]:.0%} of it"
    assert line in said.splitlines()

    def evaluated(*words: str) -> Any:
        assert main(["evaluate", str(path), "--episodes", "2", "--json", "--seed", str(final["seed"]), *words]) == 0
        return json.loads(capsys.readouterr().out)

    outside, within = evaluated(), evaluated("--env", dream, "--trust")
    assert (outside["env"], outside["mean_return"]) == ("gymnast/CartPole-v1", returns[1])
    assert (within["env"], within["mean_return"]) == (dream, returns[0])
    assert evaluated("--env", "CartPole-v1")["env"] == "CartPole-v1"
    for words_, reason in (
        (["--env", dream], "is code from outside gymnast; pass --trust to run it"),
        (
            ["--env", "gymnast/Chain-v0"],
            "gymnast/Chain-v0 has observations Discrete(5), but the agent was trained with",
        ),
        (["--env", dream, "--trust", "--video", "x.mp4"], "has no frames to film; gymnast dream RUN --video films"),
    ):
        assert main(["evaluate", str(path), *words_]) == 2
        assert reason in (error := capsys.readouterr().err)
        assert error.count("\n") == 1


def test_the_checkpoint_names_the_real_environment(runs: Path) -> None:
    about, _ = checkpoint.read_agent(inside(runs, "named", "--steps", "64") / "checkpoints" / "best.pt")
    assert about.env == f"dream:{model_run(runs)}"
    assert about.outside is not None
    assert (about.outside["env"], about.outside["run"]["max_episode_steps"]) == ("gymnast/CartPole-v1", None)
    nested = world_model.outside_of(SimpleNamespace(outside=about.outside))  # type: ignore[arg-type]
    assert nested is about.outside


@pytest.mark.slow
def test_ppo_learns_inside_and_scores_the_same_outside(runs: Path) -> None:
    quick = ["--no-video", "--eval-every", "5000", "--eval-episodes", "10", "--stop-return", "400"]
    path = inside(runs, "learns", "--preset", "cartpole", "--steps", "50000", quick=quick)
    final = read(path / "metrics.jsonl")[-1]
    assert final["mean_return"] > 300.0
    assert final["outside"]["mean_return"] > 0.8 * final["mean_return"]


def test_other_agents_and_populations(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--env", f"dream:{model_run(runs)}", "--env-options", TRUST, "--steps", "60", "--out", str(tmp_path)]
    assert main(["train", "dqn", *words, "--learning-starts", "20", *QUICK]) == 0
    capsys.readouterr()
    assert main(["train", "ppo", *words, "--seeds", "0:2"]) == 2
    assert "has no such version" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--env", "dream:nowhere"], "no run or checkpoint nowhere"),
        (["--env", "dream:"], "names no run"),
        (["--env", "{ppo}"], "was trained with ppo, which learns no world model to dream in"),
        (["--env", "{model}"], "is code from outside gymnast; trust=True runs it"),
        (["--env", "{blind}", "--env-options", TRUST], "the model was trained without a decoder"),
        (["--env", "{model}", "--env-options", '{"heat": 1}'], "unknown option heat; choose from temperature, trust"),
        (
            ["--env", "{model}", "--env-options", '{"temperature": "hot"}'],
            "temperature must be a number >= 0, got 'hot'",
        ),
        (["--env", "{model}", "--env-options", '{"trust": 1}'], "trust must be true or false, got 1"),
        (
            ["--env", "{model}", "--env-options", '{"trust": true, "temperature": -1}'],
            "temperature must be a number >= 0, got -1",
        ),
        (
            ["--env", "{model}", "--wrapper", "FlattenObservation"],
            "wrapper FlattenObservation cannot be set for dream:",
        ),
        (["--env", "{model}", "--vectorization", "async"], "vectorization async cannot be set for dream:"),
        (["--env", "{model}", "--no-native"], "native False cannot be set for dream:"),
        (["--env", "{model}", "--frame-stack", "2"], "frame_stack 2 cannot be set for dream:"),
        (["--env", "{model}", "--protocol", "rainbow"], "is for Atari games"),
    ],
)
def test_mistakes_cost_a_line(
    words: list[str], said: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = model_run(runs)
    names = {"{model}": f"dream:{model}"}
    if "{ppo}" in words:
        names["{ppo}"] = f"dream:{plain_run(runs)}"
    if "{blind}" in words:
        names["{blind}"] = f"dream:{model_run(runs, 'Physics', 'gymnast/CartPole-v1', '--no-decoder')}"
    capsys.readouterr()
    code = main(["train", "ppo", *(names.get(word, word) for word in words), "--out", str(tmp_path)])
    error = capsys.readouterr().err
    assert (code, error.count("\n")) == (2, 1)
    assert said in error
    assert not list(tmp_path.iterdir())


# Opening a dream.


def test_gymnast_dream(runs: Path) -> None:
    run = model_run(runs)
    with pytest.raises(UsageError, match="is code from outside gymnast"):
        gymnast.dream(run)
    env = gymnast.dream(run, num_envs=3, temperature=0.5, seed=2, agent=Physics)
    assert isinstance(env, gym.vector.VectorEnv)
    assert (env.num_envs, env.temperature, env.limit, env.id) == (3, 0.5, 500, f"dream:{run}")
    assert gymnast.dream(run, trust=True, max_episode_steps=7).limit == 7
    assert gymnast.dream(run, trust=True, seed=1).now.obs.tolist() != gymnast.dream(run, trust=True).now.obs.tolist()
    again = gymnast.dream(run / "checkpoints" / "best.pt", num_envs=3, seed=2, trust=True)
    assert torch.equal(again.now.obs, env.now.obs)
    assert again.model_digest == env.model_digest


def about(env: str, **run: Any) -> Any:
    return SimpleNamespace(env=env, run=run, outside=None)


@pytest.mark.parametrize(
    ("env", "run", "limit"),
    [
        ("CartPole-v1", {}, 500),
        ("CartPole-v1", {"max_episode_steps": 30}, 30),
        ("gymnast/Memory-v0", {}, None),
        ("ALE/Pong-v5", {}, 27_000),
        ("Pong", {"env_options": '{"max_frames": 18000, "frame_skip": 5}'}, 3_600),
        ("Pong", {"max_episode_steps": 100}, 100),
        ("./nowhere.py:Env", {"max_episode_steps": 9}, 9),
        ("", {}, None),
    ],
)
def test_the_time_limit_is_the_real_environments(env: str, run: dict[str, Any], limit: int | None) -> None:
    assert world_model._limit(about(env, **run), "r", trust=False) == limit


def test_a_time_limit_in_foreign_code_needs_trust() -> None:
    with pytest.raises(ValueError, match=r"its time limit is in the env ./nowhere.py:Env, code from outside gymnast"):
        world_model._limit(about("./nowhere.py:Env"), "r", trust=False)
    with pytest.raises(ValueError, match=r"no file nowhere.py; max_episode_steps sets a time limit without it"):
        world_model._limit(about("./nowhere.py:Env"), "r", trust=True)


# Dream and reality.


class Counting(gym.Env):
    """Observes [episode, step]; episodes of 3, 4, 5, ... steps, of which every second is truncated."""

    observation_space = spaces.Box(-1e6, 1e6, (2,), np.float32)
    action_space = spaces.Discrete(10)

    def __init__(self) -> None:
        self.episode, self.step_ = -1, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.episode, self.step_ = self.episode + 1, 0
        return np.array([self.episode, 0], np.float32), {}

    def step(self, action: Any) -> Any:
        self.step_ += 1
        ended = self.step_ == 3 + self.episode
        terminated = ended and self.episode % 2 == 0
        obs = np.array([self.episode, self.step_], np.float32)
        return obs, float(action), terminated, ended and not terminated, {}


class Numbered:
    """Acts 0, 1, 2, ... in turn."""

    number = -1

    def act(self, obs: Tensor, start: Tensor, action_mask: Any = None) -> Any:
        self.number += 1
        return SimpleNamespace(action=torch.full((len(obs),), self.number % 10))


def counted() -> Stream:
    return play(Numbered(), envs.make(Counting, 1), episodes=3, seed=0)  # type: ignore[arg-type]


def test_a_stream_has_true_successors() -> None:
    stream = counted()
    assert len(stream) == 3 + 4 + 5
    assert stream.obs[:, 0, 1].tolist() == [0, 1, 2, 0, 1, 2, 3, 0, 1, 2, 3, 4]
    assert stream.start[:, 0].nonzero().flatten().tolist() == [0, 3, 7]
    assert stream.ended[:, 0].nonzero().flatten().tolist() == [2, 6, 11]
    assert stream.terminated[:, 0].nonzero().flatten().tolist() == [2, 11]
    every = stream.after(torch.arange(12), torch.zeros(12, dtype=torch.int64))
    assert every[:, 1].tolist() == [1, 2, 3, 1, 2, 3, 4, 1, 2, 3, 4, 5]
    assert every[:, 0].tolist() == [0] * 3 + [1] * 4 + [2] * 5
    assert stream.reward[:, 0].tolist() == [*map(float, range(10)), 0.0, 1.0]


def test_a_window_has_the_actions_before_its_observations() -> None:
    obs, action, start = counted().window(torch.tensor([4]), torch.tensor([0]), 4)
    assert obs[0].tolist() == [[0, 1], [0, 2], [1, 0], [1, 1]]
    assert action.tolist() == [[0, 1, 2, 3]]
    assert start.tolist() == [[False, False, True, False]]


class Repeats:
    """Imagines that nothing changes, rewards of 2, and never an end."""

    observation_space, action_space, device = Counting.observation_space, Counting.action_space, torch.device("cpu")

    def dream_start(self, num: int, generator: torch.Generator) -> Any: ...

    def dream_after(self, obs: Tensor, action: Tensor, start: Tensor) -> Tensor:
        return obs[:, -1]

    def dream_step(self, state: Tensor, action: Tensor, generator: torch.Generator, *, temperature: float) -> Any:
        rows = len(state)
        never = torch.zeros(rows, dtype=torch.bool)
        return SimpleNamespace(state=state, obs=state, reward=torch.full((rows,), 2.0), terminated=never)


def test_errors_of_a_model_that_repeats_are_computed_by_hand() -> None:
    stream = counted()
    settings = {"context": 2, "horizon": 3, "starts": 99, "temperature": 1.0}
    errors = measure(Repeats(), stream, **settings, seed=0)  # type: ignore[arg-type]
    times, _ = starts_of(stream, context=2, most=99, generator=torch.Generator().manual_seed(0))
    assert sorted(times.tolist()) == list(range(1, 12))
    last_step = {**dict.fromkeys(range(3), 2), **dict.fromkeys(range(3, 7), 6), **dict.fromkeys(range(7, 12), 11)}
    scale = stream.obs[:, 0, 1].std(correction=0)
    for place, time in enumerate(times.tolist()):
        for ahead in range(1, 4):
            now = time + ahead - 1
            known = now <= last_step[time]
            assert bool(errors.known[place, ahead - 1]) == known
            if not known:
                continue
            # The episode's number does not change; the step is `ahead` further on.
            wanted = float((ahead / scale) ** 2 / 2) ** 0.5
            assert float(errors.obs[place, ahead - 1]) == pytest.approx(wanted, rel=1e-5)
            assert errors.obs_repeated[place, ahead - 1] == errors.obs[place, ahead - 1]
            assert float(errors.reward[place, ahead - 1]) == abs(now % 10 - 2.0)
            before = 0.0 if time in (3, 7) else (time - 1) % 10
            assert float(errors.reward_repeated[place, ahead - 1]) == abs(now % 10 - before)
            assert float(errors.end[place, ahead - 1]) == float(errors.never_end[place, ahead - 1]) == (now in (2, 11))


def test_a_context_that_is_too_long_is_an_error() -> None:
    with pytest.raises(RunError, match="context 13: only 12 steps in a row fit into memory"):
        starts_of(counted(), context=13, most=9, generator=torch.Generator())


def test_an_exact_model_has_no_error_at_any_horizon() -> None:
    env = envs.make("gymnast/CartPole-v1", 3)
    model = Physics(env.single_observation_space, env.single_action_space)
    with torch.no_grad():
        stream = play(Tipping(), env, episodes=9, seed=0)  # type: ignore[arg-type]
    errors = measure(model, stream, context=3, horizon=12, starts=99, temperature=1.0, seed=0)
    known = errors.known
    assert bool(known[:, 0].all())
    assert not bool(known.all())
    for name in ("obs", "reward", "end"):
        assert bool((getattr(errors, name)[known] == 0.0).all()), name
    assert float(errors.never_end[known].sum()) > 0.0
    assert float(errors.obs_repeated[known].min()) > 0.0


class Tipping:
    """Pushes to the right."""

    def act(self, obs: Tensor, start: Tensor, action_mask: Any = None) -> Any:
        return SimpleNamespace(action=torch.ones(len(obs), dtype=torch.int64))


def test_distances() -> None:
    recorded = torch.tensor([[[0.0, 5.0]], [[4.0, 5.0]]])  # deviations 2 and 0: the second counts in its own unit
    numbers = Distance(spaces.Box(-9, 9, (2,), np.float32), recorded)
    assert float(numbers(torch.tensor([[6.0, 4.0]]), torch.tensor([[0.0, 0.0]]))) == pytest.approx(
        ((9 + 16) / 2) ** 0.5
    )
    pixels = Distance(spaces.Box(0, 255, (1, 2), np.uint8), torch.zeros((1, 1, 1, 2), dtype=torch.uint8))
    one, other = torch.tensor([[[0, 255]]], dtype=torch.uint8), torch.tensor([[[255, 255]]], dtype=torch.uint8)
    assert float(pixels(one, other)) == pytest.approx(0.5**0.5)
    choices = Distance(spaces.MultiDiscrete([3, 3]), torch.zeros((1, 1, 2), dtype=torch.int64))
    assert choices(torch.tensor([[1, 2], [0, 0]]), torch.tensor([[1, 0], [0, 0]])).tolist() == [0.5, 0.0]
    place = Distance(spaces.Discrete(3), torch.zeros((1, 1), dtype=torch.int64))
    assert place(torch.tensor([1, 2]), torch.tensor([1, 0])).tolist() == [0.0, 1.0]
    both = Distance(
        spaces.Dict({"a": spaces.Discrete(3), "b": spaces.Discrete(3)}),
        {"a": torch.zeros(1, 1), "b": torch.zeros(1, 1)},
    )
    assert both(
        {"a": torch.tensor([1]), "b": torch.tensor([1])}, {"a": torch.tensor([1]), "b": torch.tensor([0])}
    ).tolist() == [0.5]


def test_statistics_leave_out_what_is_not_known() -> None:
    errors = np.array([[0.0, 9.0], [1.0, 2.0], [2.0, 4.0], [5.0, 7.0]])
    curve = Curve.of(errors, np.array([[True, False], [True, True], [True, True], [True, False]]))
    assert (curve.mean.tolist(), curve.median.tolist()) == ([2.0, 3.0], [1.5, 3.0])
    assert (curve.lower_quartile.tolist(), curve.upper_quartile.tolist()) == ([0.75, 2.5], [2.75, 3.5])
    assert np.isnan(Curve.of(errors, np.zeros((4, 2), bool)).mean).all()


def test_the_command_measures_draws_and_films(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = model_run(runs, "Catcher", "gymnast/Catch-v0")
    capsys.readouterr()
    words = ["dream", str(path), "--episodes", "4", "--context", "2", "--horizon", "5", "--video", "--policy", "random"]
    assert main(words) == 2
    assert "is code from outside gymnast" in capsys.readouterr().err
    assert main([*words, "--trust", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((path / "dream" / "dream.json").read_text())
    assert (found["agent"], found["env"], found["policy"]) == (f"{FILE}:Catcher", "gymnast/Catch-v0", "random")
    for name in ("observation", "reward", "end"):
        assert found[name]["error"]["mean"] == found[name]["error"]["upper_quartile"] == [0.0] * 5
    assert found["observation"]["baseline_error"]["mean"][4] > 0.0
    assert found["inside"]["mean_length"] == found["outside"]["mean_length"] == 9.0
    assert (path / "dream" / "dream.png").read_bytes()[1:4] == b"PNG"
    with av.open(str(path / "dream" / "dream.mp4")) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == 3 * (10 + PAUSE)  # three episodes of nine steps
    half = (frames[8].shape[1] - 6) // 2
    left, right = frames[8][24:, :half].astype(int), frames[8][24:, half + 6 : 2 * half + 6].astype(int)
    assert np.abs(left - right).mean() < 2.0  # what is imagined is what happened
    assert left.max() - left.min() > 200
    assert main(["dream", str(path), "--trust", "--episodes", "1", "--context", "11"]) == 0  # longer than an episode
    assert "after watching 11 steps" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--horizon", "0"], "horizon must be >= 1, got 0"),
        (["--context", "0"], "context must be >= 1, got 0"),
        (["--temperature", "-1"], "temperature must be a number >= 0, got -1"),
        (["--policy", "best"], "policy"),
        (["--trust"], "learns no world model to dream in"),
    ],
)
def test_mistakes_of_the_command(words: list[str], said: str, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = plain_run(runs)
    capsys.readouterr()
    assert main(["dream", str(plain), *words]) == 2
    assert said in (error := capsys.readouterr().err)
    assert error.count("\n") == 1


def test_curves_show_the_past_only() -> None:
    space = spaces.Box(-1, 1, (2,), np.float32)
    panels = panels_of(space)
    assert isinstance(panels, Curves)
    true = torch.linspace(-1, 1, 22).view(11, 2)
    frames = panels.imagined(true, true.flip(0), [0, 0, 0, *range(1, 9)])
    assert len(frames) == 11
    blue = [int(((frame[..., 2] > 150) & (frame[..., 0] < 80)).sum()) for frame in frames]
    legend = blue[0]
    assert blue[2] < legend + 10  # the model still watches
    assert legend + 50 < blue[5] < blue[10] - 50


def test_images_are_shown_as_pictures_wherever_they_are() -> None:
    image = spaces.Box(0, 255, (8, 8, 3), np.uint8)
    panels = panels_of(spaces.Dict({"a": spaces.Discrete(2), "b": image}))
    assert isinstance(panels, Pictures)
    obs = {"a": torch.zeros(2), "b": torch.full((2, 8, 8, 3), 51, dtype=torch.uint8)}
    frames = panels.real(obs)
    assert [frame.shape for frame in frames] == [(360, 360, 3)] * 2
    assert frames[0].min() == frames[0].max() == 51
    assert isinstance(panels_of(spaces.Box(0, 1, (2, 2), np.float32)), Curves)
    assert isinstance(panels_of(spaces.Box(-np.inf, np.inf, (8, 8), np.float32)), Curves)
