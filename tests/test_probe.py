"""Linear probes: the fits beside scikit-learn's, true states beside the environments, the command from end to end."""

import json
from pathlib import Path

import ale_py
import gymnasium as gym
import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from gymnast.atari.ram import VARIABLES, Variable
from gymnast.cli.main import main
from gymnast.envs.atari.games import Atari
from gymnast.envs.factory import make
from gymnast.errors import UsageError
from gymnast.fitting.probe import one_hot, probe
from gymnast.fitting.probe_data import Target, Targets, chance, random_policy, record
from gymnast.fitting.probes import IGNORED, Basis, Probes, Split, accuracy, logistic, r2, ridge, split
from gymnast.fitting.representations import Architecture, features
from gymnast.fitting.true_state import reader_of
from gymnast.networks.layers.inputs import Vector
from gymnast.settings.probe_options import ProbeOptions

BREAKOUT = "gymnast/MinAtar-Breakout-v1"
SEED = np.random.SeedSequence(0)


def examples(rows: int = 300, columns: int = 7) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(rows, columns, generator=generator) @ torch.randn(columns, columns, generator=generator)
    return torch.cat([mixed * torch.arange(1, columns + 1), torch.full((rows, 1), 3.0)], 1)  # a constant feature too


@pytest.mark.parametrize("strength", [1e-3, 1.0])
def test_ridge_is_that_of_the_normal_equations_and_of_scikit_learn(strength: float) -> None:
    x = examples()
    y = x @ torch.randn(8, 2, generator=torch.Generator().manual_seed(1)) + torch.tensor([5.0, -2.0])
    basis = Basis.of(x)
    weights, bias = ridge(basis, y, strength)
    normal = (x[:, :7].double() - x[:, :7].double().mean(0)) / x[:, :7].double().std(0, correction=0)
    gram = normal.T @ normal + len(x) * strength * torch.eye(7)
    solved = torch.linalg.solve(gram, normal.T @ (y.double() - y.double().mean(0)))
    torch.testing.assert_close((basis.directions @ weights)[:7], solved)
    peer = Ridge(alpha=len(x) * strength).fit(normal.numpy(), y.double().numpy())
    torch.testing.assert_close(basis.rotate(x) @ weights + bias, torch.from_numpy(peer.predict(normal.numpy())))


@pytest.mark.parametrize("strength", [1e-3, 0.1])
def test_logistic_regression_is_that_of_scikit_learn(strength: float) -> None:
    x = examples()
    generator = torch.Generator().manual_seed(2)
    label = (x @ torch.randn(8, 3, generator=generator) + 20 * torch.randn(300, 3, generator=generator)).argmax(1)
    left_out = torch.arange(300) % 10 == 0
    basis = Basis.of(x)
    weights, bias = logistic(basis, label.masked_fill(left_out, IGNORED), 3, strength)
    normal = (basis.rotate(x) @ basis.directions.T)[:, :7].numpy()
    kept = ~left_out.numpy()
    peer = LogisticRegression(C=1 / (strength * kept.sum()), tol=1e-8, max_iter=10_000)
    peer.fit(normal[kept], label.numpy()[kept])
    mine = (basis.rotate(x) @ weights + bias).softmax(1).numpy()
    np.testing.assert_allclose(mine, peer.predict_proba(normal), atol=1e-3)


def test_scores_by_hand() -> None:
    target = torch.tensor([[1.0, 4.0], [3.0, 4.0]])
    scores = r2(torch.tensor([[1.0, 4.0], [2.0, 5.0]]), target)
    assert scores[0] == 0.5  # error 1, deviation 2
    assert scores[1].isnan()
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    assert accuracy(logits, torch.tensor([0, 0, IGNORED])) == 0.5
    label = Target("label", torch.tensor([1, 1, 0, 0, 1, IGNORED]), 2)
    assert chance(label, torch.tensor([0, 1, 2]), torch.tensor([3, 4, 5])) == 0.5


def test_a_feature_that_leaves_its_range_of_training_is_limited_to_it() -> None:
    x = torch.rand(50, 2)
    x[:, 1] = 0.0
    x[0, 1] = 1e-3
    basis = Basis.of(x)
    silent, loud = x[:1].clone(), x[:1].clone()
    loud[0, 1] = 5.0
    assert torch.equal(basis.rotate(loud), basis.rotate(silent))


def test_splits_have_whole_episodes() -> None:
    episode = torch.randint(0, 17, (400,), generator=torch.Generator().manual_seed(0))
    seen = []
    for seed in range(20):
        parts = split(episode, seed=seed)
        groups = [set(episode[part].tolist()) for part in parts]
        assert sorted(torch.cat(list(parts)).tolist()) == list(range(400))
        assert sum(map(len, groups)) == len(groups[0] | groups[1] | groups[2]) == 17
        assert [len(group) for group in groups] == [11, 3, 3]
        seen.append(frozenset(groups[2]))
    assert len(set(seen)) > 10
    with pytest.raises(ValueError, match="2 episodes cannot be split"):
        split(torch.tensor([0, 0, 1]), seed=0)


def test_the_strength_is_chosen_on_validation_alone() -> None:
    """Of pure noise the strongest one is, so that the test score stays near 0 though there are features to overfit."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(120, 70, generator=generator), torch.randn(120, 1, generator=generator)
    parts = Split(torch.arange(80), torch.arange(80, 100), torch.arange(100, 120))
    assert Probes(x, parts).regress(y)[0] > -0.2
    weights, bias = ridge(Basis.of(x[:80]), y[:80], 1e-4)
    assert r2(Basis.of(x[:80]).rotate(x[100:]) @ weights + bias, y[100:])[0] < -1


def test_constant_targets_and_rare_classes_are_left_out() -> None:
    targets = Targets()
    targets.numbers("height", torch.full((4, 1), 2.0))
    targets.numbers("board", torch.tensor([[0, 1], [0, 2]]))
    targets.labels("room", torch.tensor([5, 7, 5, 9, 7]))
    targets.labels("door", torch.tensor([1, 1, 2]))
    assert targets.left_out == {
        "height": "it is always 2",
        "board": "1 of its 2 values never change",
        "room": "its value 9 occurs once",
        "door": "it is always 1",
    }
    board, room = targets.found
    assert board.values.tolist() == [[1.0], [2.0]]
    assert (room.values.tolist(), room.classes) == ([0, 1, 0, IGNORED, 1], 2)


def test_actions_as_numbers() -> None:
    assert one_hot(torch.tensor([3, 1]), gym.spaces.Discrete(3, start=1)).tolist() == [[0, 0, 1], [1, 0, 0]]
    box = gym.spaces.Box(-1, 1, (2,))
    assert one_hot(torch.tensor([[0.5, -0.5]]), box).tolist() == [[0.5, -0.5]]


def test_more_features_than_the_most_are_projected_and_constant_ones_dropped() -> None:
    obs = torch.randint(0, 256, (40, 30), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    network = Vector(gym.spaces.Box(0, 255, (30,), np.uint8))
    few = {"count": 40, "device": torch.device("cpu"), "seed": SEED}
    torch.testing.assert_close(features(network, obs, most=30, **few).values, obs / 255)  # type: ignore[arg-type]
    found = features(network, obs, most=8, **few)  # type: ignore[arg-type]
    assert (found.values.shape, found.told) == ((40, 8), "8 random directions of 30")
    assert np.linalg.matrix_rank(found.values.numpy()) == 8
    obs[:, 5:] = 7
    found = features(network, obs, most=8, **few)  # type: ignore[arg-type]
    assert found.told == "5 that change of 30"
    torch.testing.assert_close(found.values, obs[:, :5] / 255)


def test_recorded_states_belong_to_their_observations() -> None:
    """Of device-native Breakout, whose board shows the ball, and of CartPole, whose observation is the state."""
    env = make(BREAKOUT, 3)
    env.reset()
    found = record(env, random_policy(env.single_action_space, 0), reader_of(env), 100, seed=SEED)
    assert isinstance(found.obs, torch.Tensor)
    assert found.obs.dtype is torch.bool
    ball = found.obs[..., 1].nonzero()  # step, row, column
    assert torch.equal(ball[:, 1:], torch.cat([found.state["ball_y"], found.state["ball_x"]], 1))
    assert len(found.reward) == 100
    assert len(set(found.episode.tolist())) > 3
    env = make("CartPole-v1", 2, vectorization="serial")
    env.reset()
    found = record(env, random_policy(env.single_action_space, 0), reader_of(env), 60, seed=SEED)
    assert list(found.state) == ["x", "x_dot", "theta", "theta_dot"]
    torch.testing.assert_close(torch.cat(list(found.state.values()), 1).float(), found.obs)


def test_the_angle_of_the_pendulum_is_that_of_its_observation() -> None:
    env = make("Pendulum-v1", 2, vectorization="serial")
    env.reset()
    found = record(env, random_policy(env.single_action_space, 0), reader_of(env), 400, seed=SEED)
    obs = found.obs
    assert isinstance(obs, torch.Tensor)
    torch.testing.assert_close(
        torch.atan2(obs[:, 1], obs[:, 0]).double(), found.state["theta"][:, 0], atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(
    ("rom", "x", "y", "colour", "most"),
    [("Pong", "ball_x", "ball_y", (236, 236, 236), 8), ("Breakout", "ball_x", "ball_y", (200, 72, 72), 8)],
)
def test_ram_moves_with_the_object_on_the_screen(rom: str, x: str, y: str, colour: tuple[int, ...], most: int) -> None:
    env = make(rom, 1, render=True, options={"frame_skip": 1, "sticky": 0.0, "noop_max": 0})
    assert isinstance(env, Atari)
    env.reset()
    act = random_policy(env.single_action_space, 0)
    seen = []
    table = VARIABLES[rom.lower()]
    for _ in range(500):
        env.step(act(env.obs, env.start, None))
        ball = (env.render()[93:189, 8:152] == colour).all(-1).nonzero()
        if 0 < len(ball[0]) <= most:
            ram = env.ram()
            seen.append([ball[1].mean(), table[x].value(ram), ball[0].mean(), table[y].value(ram)])
    column, ram_x, row, ram_y = np.array(seen).T
    assert len(seen) > 50
    assert np.corrcoef(column, ram_x)[0, 1] > 0.999
    assert np.corrcoef(row, ram_y)[0, 1] > 0.999


def test_ram_of_scores_and_lives() -> None:
    assert Variable(0, bcd=True).value(np.array([0x37], np.uint8)) == 37
    for id, name in (("Pong", "enemy_score"), ("Boxing", "")):
        env = make(id, 2, options={"sticky": 0.0})
        assert isinstance(env, Atari)
        env.reset()
        act = random_policy(env.single_action_space, 0)
        total = torch.zeros(2)
        for _ in range(250):
            total += env.step(act(env.obs, env.start, None)).reward
        table = VARIABLES[id.lower()]
        for row in range(2):
            ram = env.ram(row)
            assert table["player_score"].value(ram) - table["enemy_score"].value(ram) == total[row]
        assert total.abs().sum() > 0, name


def test_every_game_with_known_bytes_exists() -> None:
    known = set(ale_py.roms.get_all_rom_ids())
    assert set(VARIABLES) <= known
    assert all(0 <= variable.byte < 128 for table in VARIABLES.values() for variable in table.values())


def test_a_linear_state_is_recovered(tmp_path: Path) -> None:
    found = probe(ProbeOptions("mlp", env="CartPole-v1", steps=1500, repeats=3, out=str(tmp_path)))
    assert [score.name for score in found.scores] == ["x", "x_dot", "theta", "theta_dot"]
    assert all(score.mean("raw") > 0.99 for score in found.scores)
    assert found.left_out == {"reward": "it is always 1"}
    kept = json.loads((tmp_path / "CartPole-v1.json").read_text())
    assert kept["targets"]["theta"]["raw"]["mean"] == found.scores[2].mean("raw")
    assert len(kept["targets"]["theta"]["random"]["values"]) == 3
    assert (tmp_path / "CartPole-v1.png").stat().st_size > 10_000


@pytest.mark.long
def test_a_run_beside_a_random_network_and_raw_observations(tmp_path: Path) -> None:
    words = f"train dqn --env {BREAKOUT} --network minatar-cnn --steps 500 --learning-rate 1e-3 --no-video".split()
    assert (
        main(
            [
                *words,
                "--learning-starts",
                "50",
                "--train-period",
                "1",
                "--eval-episodes",
                "1",
                "--name",
                "one",
                "--out",
                str(tmp_path),
            ]
        )
        == 0
    )
    run = tmp_path / "gymnast-MinAtar-Breakout-v1" / "dqn" / "one"
    options = ProbeOptions(str(run), env=BREAKOUT, steps=600, repeats=2, teacher=str(run))
    found = probe(options)
    assert found.representations == ("encoder", "random", "raw")
    names = [score.name for score in found.scores]
    assert names[:2] == ["reward", "action"]
    assert {"ball_x", "ball_y", "pos", "last_action"} <= set(names)
    ball = found.scores[names.index("ball_x")]
    assert ball.mean("raw") > 0.9
    assert ball.mean("encoder") != ball.mean("random")
    assert ball.spread("raw") > 0
    assert found.files["figure"].parent == run / "probe"
    assert probe(options).as_json() == found.as_json()
    other = ProbeOptions(str(run), env=BREAKOUT, steps=600, repeats=2, seed=1, targets=("ball_x",))
    (only,) = probe(other).scores
    assert only.name == "ball_x"
    assert only.values != ball.values
    with pytest.raises(UsageError, match=r"reads bool \[10, 10, 4\] .* but observations of CartPole-v1 are float32"):
        probe(ProbeOptions(str(run), env="CartPole-v1"))
    with pytest.raises(UsageError, match="the policy has observations"):
        probe(ProbeOptions("mlp", env="CartPole-v1", policy=str(run)))


def test_the_random_network_has_other_weights_in_each_repeat() -> None:
    space = gym.spaces.Box(-1, 1, (4,))
    first, second, again = (Architecture("mlp").random(space, np.random.SeedSequence(seed)) for seed in (0, 1, 0))
    for one, two, three in zip(first.parameters(), second.parameters(), again.parameters(), strict=True):
        assert one.dim() == 1 or not torch.equal(one, two)
        assert torch.equal(one, three)


@pytest.mark.slow
def test_pong(tmp_path: Path) -> None:
    found = probe(ProbeOptions("nature-cnn", env="Pong", steps=400, repeats=1, out=str(tmp_path)))
    assert {"player_y", "enemy_y", "ball_x", "ball_y"} <= {score.name for score in found.scores}
    assert "of 28,224" in found.features["raw"]


@pytest.mark.long
def test_pixels_of_classic_control(tmp_path: Path) -> None:
    """Rendered frames, whose true state is not in the observation."""
    words = ["probe", "linear", "--env", "CartPole-v1", "--wrapper", "AddRenderObservation", "--steps", "160"]
    words += ["--repeats", "1", "--out", str(tmp_path), "--json", "--targets", "x", "theta"]
    words += ["--env-options", '{"render_mode": "rgb_array"}']
    assert main(words) == 0
    kept = json.loads((tmp_path / "CartPole-v1.json").read_text())
    assert "of 720,000" in kept["features"]["raw"]
    assert kept["targets"]["theta"]["raw"]["mean"] > 0.3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mpl", "--env", "CartPole-v1"], "mpl is neither a run nor one of the networks"),
        (["mlp", "--env", "CartPole-v1", "--targets", "thta"], "did you mean theta?"),
        (["mlp", "--env", "CartPole-v1", "--targets", "action"], "needs teacher RUN"),
        (["mlp", "--env", "CartPole-v1", "--targets", "reward"], "has nothing to probe (reward: it is always 1)"),
        (["mlp", "--env", "CartPole-v1", "--steps", "20", "--num-envs", "1"], "a split needs 3"),
        (["nature-cnn", "--env", "CartPole-v1"], "nature-cnn needs images"),
        (["mlp", "--env", "gymnast/Bandit-v0", "--targets", "state"], "targets state is not known"),
        (["mlp", "--env", "CartPole-v1", "--policy", "nobody"], "no run or checkpoint nobody"),
        (["mlp"], "needs --env ID"),
    ],
)
def test_wrong_input_is_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["probe", *words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())
