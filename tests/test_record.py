"""`gymnast record`: what it plays is what it writes, for every kind of space, and mistakes are one line."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import minari
import numpy as np
import pytest
import torch
from gymnasium import spaces

import gymnast
from gymnast.agents.random_actor import RandomActor
from gymnast.cli.main import main
from gymnast.envs.factory import make
from gymnast.envs.rows.frames import StackFrames
from gymnast.evaluation.environment import make_env
from gymnast.evaluation.play import episode_seeds
from gymnast.replay.datasets import files
from gymnast.replay.datasets.episodes import local_datasets, read_dataset

NAME = "some/set-v0"


class Frames(gym.Env[np.ndarray, Any]):
    """Grey images of noise with the seed's own values; episodes of 3 to 9 steps."""

    observation_space = spaces.Box(0, 255, (6, 5), np.uint8)
    action_space = spaces.MultiDiscrete([2, 3], start=[0, 1])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(3, 10))
        return self.frame(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert self.action_space.contains(action)
        self.left -= 1
        return self.frame(), 3.5 * float(action[0]) - 0.25, self.left == 0, False, {}

    def frame(self) -> np.ndarray:
        return self.np_random.integers(1, 256, (6, 5), dtype=np.uint8)


class Parts(Frames):
    """The image and a number in a Dict, and continuous actions."""

    observation_space = spaces.Dict({"image": Frames.observation_space, "left": spaces.Discrete(10)})  # type: ignore[assignment]
    action_space = spaces.Box(-2, 2, (2,), np.float32)  # type: ignore[assignment]

    def frame(self) -> Any:
        return {"image": super().frame(), "left": self.left}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "sets"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "sets"


def record(*words: str, name: str = NAME) -> int:
    return main(["record", *words, "--dataset", name])


def here(cls: type) -> str:
    return f"{__file__}:{cls.__name__}"


def replayed(cls: type[gym.Env[Any, Any]], seed: int, actions: np.ndarray) -> Iterator[tuple[Any, ...]]:
    """The environment's own answers to an episode's actions."""
    env = cls()
    obs, _ = env.reset(seed=seed)
    for action in actions:
        following, reward, terminated, truncated, _ = env.step(action)
        yield obs, reward, terminated, truncated, following
        obs = following


@pytest.mark.parametrize("cls", [Frames, Parts])
@pytest.mark.parametrize("num_envs", ["1", "3"])
def test_episodes_are_the_environments_own(cls: type[gym.Env[Any, Any]], num_envs: str) -> None:
    assert record("random", "--env", here(cls), "--episodes", "7", "--seed", "4", "--num-envs", num_envs) == 0
    data = read_dataset(NAME)
    assert data.episodes == 7
    assert set(data.seeds) == set(episode_seeds(4, 7))  # none is left out for being long
    for number, seed in enumerate(data.seeds):
        assert seed is not None
        index = torch.arange(data.starts[number], data.starts[number + 1])
        before, after = data.observations(index), data.next_observations(index)
        for step, (obs, reward, terminated, truncated, following) in enumerate(
            replayed(cls, seed, data.actions(index).numpy())
        ):
            assert_equal(before, step, obs)
            assert_equal(after, step, following)
            at = index[step]
            assert (float(data.rewards[at]), bool(data.terminated[at])) == (np.float32(reward), terminated)
            assert not bool(data.truncated[at]) | truncated
        assert terminated


def assert_equal(batch: Any, row: int, value: Any) -> None:
    if isinstance(value, dict):
        for key, part in value.items():
            assert_equal(batch[key], row, part)
    else:
        np.testing.assert_array_equal(batch[row].numpy(), value)


def test_stacks_are_those_of_the_environment() -> None:
    assert record("random", "--env", here(Frames), "--episodes", "5", "--frame-stack", "3") == 0
    data = read_dataset(NAME)
    assert data.observation_space == StackFrames(Frames(), 3).observation_space
    assert minari.load_dataset(NAME).observation_space == Frames.observation_space
    for number, seed in enumerate(data.seeds):
        index = torch.arange(data.starts[number], data.starts[number + 1])
        env = StackFrames(Frames(), 3)
        stacks = [env.reset(seed=seed)[0], *(env.step(action)[0] for action in data.actions(index).numpy())]
        np.testing.assert_array_equal(data.observations(index).numpy(), np.stack(stacks[:-1]))
        np.testing.assert_array_equal(data.next_observations(index).numpy(), np.stack(stacks[1:]))


def test_steps_are_exact_and_the_rest_is_cut() -> None:
    assert record("random", "--env", here(Frames), "--steps", "50", "--num-envs", "4") == 0
    data = read_dataset(NAME)
    assert len(data) == 50
    ends = data.starts[1:] - 1
    assert bool((data.terminated | data.truncated)[ends].all())
    assert 1 <= int(data.truncated.sum()) <= 4
    assert minari.load_dataset(NAME).total_steps == 50


def test_the_same_seed_gives_the_same_file(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, seed in (("some/one-v0", "3"), ("some/two-v0", "3"), ("some/other-v0", "4")):
        assert record("random", "--env", "CartPole-v1", "--steps", "100", "--seed", seed, name=name) == 0
    one, two, other = ((root / "some" / name / "data" / files.DATA) for name in ("one-v0", "two-v0", "other-v0"))
    assert one.read_bytes() == two.read_bytes() != other.read_bytes()
    assert "random on CartPole-v1: mean return" in capsys.readouterr().out


def test_minari_recovers_the_environment() -> None:
    words = ("--env", "FrozenLake-v1", "--env-options", '{"map_name": "8x8"}', "--max-episode-steps", "9")
    assert record("random", *words, "--steps", "40") == 0
    data = minari.load_dataset(NAME)
    env = data.recover_environment()
    assert env.observation_space == data.observation_space == spaces.Discrete(64)
    assert env.spec is not None
    assert env.spec.max_episode_steps == 9
    first = data[0]
    obs, _ = env.reset(seed=next(iter(data.storage.get_episode_metadata([0])))["seed"])
    assert obs == first.observations[0]
    assert [int(env.step(int(action))[0]) for action in first.actions] == first.observations[1:].tolist()
    assert read_dataset(NAME).env == "FrozenLake-v1"


def test_a_device_native_environment() -> None:
    assert record("random", "--env", "gymnast/DeepSea-v0", "--episodes", "5") == 0
    data = read_dataset(NAME)
    env = make("gymnast/DeepSea-v0")
    assert data.observation_space == env.single_observation_space
    assert data.episodes == 5
    env.reset(episode_seeds=[data.seeds[0] or 0])
    index = torch.arange(int(data.starts[1]))
    assert torch.equal(data.observations(index[:1]), env.obs)
    for at in index.tolist():
        step = env.step(data.actions(torch.tensor([at])))
        assert torch.equal(data.next_observations(torch.tensor([at])), step.next_obs)
        assert float(data.rewards[at]) == float(step.reward)


def test_atari_frames_are_stored_once(root: Path) -> None:
    assert record("random", "--env", "ALE/Pong-v5", "--steps", "60", "--num-envs", "2", "--protocol", "machado") == 0
    data = read_dataset(NAME)
    assert data.observation_space.shape == (4, 84, 84)
    assert minari.load_dataset(NAME)[0].observations.shape == (31, 84, 84)
    assert (root / "some" / "set-v0" / "data" / files.DATA).stat().st_size < 1.1 * 62 * 84 * 84 + 20_000
    first = data.observations(torch.tensor([0, 1, 2, 3]))
    assert not first[0, :3].any()
    for step in range(3):
        assert torch.equal(first[step + 1, :3], first[step, 1:])
    env = make_env("ALE/Pong-v5", 1, protocol="machado")
    env.reset(episode_seeds=[data.seeds[0] or 0])
    for at in range(30):
        index = torch.tensor([at])
        assert torch.equal(data.observations(index), env.obs)
        assert torch.equal(data.next_observations(index), env.step(data.actions(index)).next_obs)
    env.close()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The checkpoint of an untrained agent."""
    env = make("gymnast/Catch-v0")
    agent = gymnast.agents.Reinforce(env.single_observation_space, env.single_action_space, seed=1)
    path = tmp_path / "agent.pt"
    gymnast.save(agent, path, env="gymnast/Catch-v0")
    return path


def test_a_run_plays_its_own_environment(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert record(str(run), "--episodes", "4", "--seed", "5") == 0
    assert "reinforce on gymnast/Catch-v0: mean return" in capsys.readouterr().out
    data = read_dataset(NAME)
    assert main(["evaluate", str(run), "--episodes", "4", "--seed", "5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    totals = sorted(float(data.rewards[data.episode == number].sum()) for number in range(4))
    assert sum(totals) / 4 == pytest.approx(found["mean_return"])
    assert len(data) == found["env_steps"]
    assert data.about["algorithm_name"] == "reinforce"
    assert record(str(run), "--episodes", "4", "--seed", "5", "--explore", name="some/explored-v0") == 0
    explored = read_dataset("some/explored-v0")
    assert not torch.equal(explored.actions(torch.arange(len(explored))), data.actions(torch.arange(len(data))))


def test_mistakes_are_one_line_and_write_nothing(run: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = [
        (["random", "--episodes", "3"], "--env is needed"),
        (["random", "--env", "CartPole-v1"], "--steps or else episodes must be given, got neither"),
        (["random", "--env", "CartPole-v1", "--episodes", "3", "--steps", "3"], "got both"),
        (["random", "--env", "CartPole-v1", "--steps", "3", "--explore"], "--explore has no effect on random actions"),
        (["random", "--env", "CartPol-v1", "--steps", "3"], "did you mean CartPole-v1"),
        (["random", "--env", "CartPole-v1", "--steps", "3", "--protocol", "machado"], "is for Atari games"),
        (["nowhere", "--steps", "3"], "no run or checkpoint nowhere"),
        ([str(run), "--steps", "3", "--env", "CartPole-v1"], "--env CartPole-v1 has observations"),
    ]
    for words, message in cases:
        assert record(*words) == 2
        error = capsys.readouterr().err
        said = [line for line in error.splitlines() if line.startswith("gymnast: ")]
        assert len(said) == 1
        assert message in said[0]
    assert record("random", "--env", "CartPole-v1", "--steps", "3", name="set") == 2
    assert "--dataset must be named NAME-vN" in capsys.readouterr().err
    assert local_datasets() == []
    assert record("random", "--env", "CartPole-v1", "--steps", "3") == 0
    before = (root / "some" / "set-v0" / "data" / files.DATA).read_bytes()
    assert record("random", "--env", "CartPole-v1", "--steps", "9") == 2
    assert "--dataset some/set-v0 exists already" in capsys.readouterr().err
    assert (root / "some" / "set-v0" / "data" / files.DATA).read_bytes() == before


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert record("random", "--env", "CartPole-v1", "--steps", "3") == 2
    assert capsys.readouterr().err.endswith("gymnast: data sets need minari: pip install 'gymnast[data]'\n")


@pytest.mark.slow
def test_an_interrupt_leaves_no_half_data_set(root: Path) -> None:
    words = [sys.executable, "-m", "gymnast", "record", "random", "--env", "CartPole-v1", "--steps", "100000000"]
    with subprocess.Popen(
        [*words, "--dataset", NAME], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stderr is not None
        assert "random on CartPole-v1" in run.stderr.readline()
        while not list((root / "some").glob(".set-v0-*/data/*")):
            assert run.poll() is None
        os.kill(run.pid, signal.SIGINT)
        out, _ = run.communicate(timeout=60)
    assert run.returncode == 130
    assert out == "stopped: data set some/set-v0 was not written\n"
    assert list((root / "some").iterdir()) == []


def test_list_datasets(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "datasets"]) == 0
    out = capsys.readouterr().out
    assert "none yet" in out
    assert "1,797 handwritten digits" in out
    assert record("random", "--env", "CartPole-v1", "--steps", "30") == 0
    (root / "some" / "bad-v0" / "data").mkdir(parents=True)
    (root / "some" / "bad-v0" / "data" / files.METADATA).write_text("{")
    capsys.readouterr()
    assert main(["list", "datasets"]) == 0
    out = capsys.readouterr().out
    assert "CartPole-v1: " in out
    assert " 30 steps, " in out
    assert "damaged metadata.json" in out
    assert main(["list", "datasets", "--json"]) == 0
    local = json.loads(capsys.readouterr().out)["local"]
    assert local[NAME]["steps"] == 30
    assert "error" in local["some/bad-v0"]


def test_random_actions_are_uniform_allowed_and_seeded() -> None:
    space = spaces.MultiDiscrete([2, 3], start=[5, -1])
    mask = torch.tensor([[1, 0, 1, 0, 1]] * 3000, dtype=torch.bool)
    actor, again = (RandomActor(space, 3000, seed=np.random.SeedSequence(1)) for _ in range(2))
    action = actor.act(torch.zeros(3000), torch.ones(3000), mask).action
    assert set(action[:, 0].tolist()) == {5}
    assert set(action[:, 1].tolist()) == {-1, 1}
    assert torch.equal(action, again.act(torch.zeros(3000), torch.ones(3000), mask).action)
    free = actor.act(torch.zeros(3000), torch.ones(3000)).action
    counts = np.bincount(free[:, 1].numpy() + 1, minlength=3)
    assert (abs(counts - 1000) < 130).all()  # five standard deviations
    box = RandomActor(spaces.Box(-1, 3, (2,), np.float32), 4, seed=np.random.SeedSequence(1))
    assert box.act(torch.zeros(4), torch.ones(4)).action.shape == (4, 2)
    with pytest.raises(ValueError, match="random actions need"):
        RandomActor(spaces.Tuple(()), 2, seed=np.random.SeedSequence(1))


@pytest.mark.parametrize("space", [spaces.Box(-1, 3, (2,), np.float32), spaces.MultiBinary(3), spaces.Discrete(50)])
def test_a_restored_random_actor_goes_on_with_the_same_actions(space: Any) -> None:
    obs, start = torch.zeros(4), torch.zeros(4, dtype=torch.bool)
    actor, other = (RandomActor(space, 4, seed=np.random.SeedSequence(seed)) for seed in (1, 2))
    first = actor.act(obs, start).action
    other.load_state_dict(actor.state_dict())
    for _ in range(3):
        assert torch.equal(other.act(obs, start).action, actor.act(obs, start).action)
    assert not torch.equal(first, actor.act(obs, start).action)


@pytest.mark.parametrize("id", ["Pong", "ALE/Pong-v5", "PongNoFrameskip-v4"])
def test_every_spelling_of_a_game_is_recorded(id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 22, for data sets, and with them for what is fitted to an environment."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    assert (
        main(["record", "random", "--env", id, "--steps", "12", "--num-envs", "1", "--dataset", "games/pong-v0"]) == 0
    )
    data = read_dataset("games/pong-v0")
    assert len(data) == 12
    assert data.observations(torch.arange(3)).shape == (3, 4, 84, 84)
