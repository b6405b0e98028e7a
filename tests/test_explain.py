"""`gymnast explain`: decisions as differentiable functions, what is drawn, and the command from end to end."""

import base64
import dataclasses
import json
import re
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from gymnasium import spaces
from PIL import Image
from torch import Tensor

from gymnast.agents.base import DecidingAgent
from gymnast.agents.off_policy.config import OffPolicyActorCriticConfig
from gymnast.agents.off_policy.off_policy import OffPolicyActorCritic
from gymnast.agents.policy.actor_critic import ActorCritic
from gymnast.agents.policy.actor_critic_config import ActorCriticConfig
from gymnast.agents.policy.reinforce import Reinforce
from gymnast.agents.policy.reinforce_config import ReinforceConfig
from gymnast.agents.value.dqn import DQN
from gymnast.agents.value.dqn_config import DQNConfig
from gymnast.agents.value.pqn import PQN
from gymnast.agents.value.pqn_config import PQNConfig
from gymnast.cli.main import main
from gymnast.envs.factory import make
from gymnast.explain.adversarial import ball_of
from gymnast.explain.context import Context
from gymnast.explain.features import most_varied
from gymnast.explain.form import Form
from gymnast.explain.methods import METHODS, covers, over_episode
from gymnast.explain.parts import PARTS
from gymnast.explain.played import Played, Range
from gymnast.explain.scores import attack_loss, chosen, greedy, scores_of
from gymnast.explain.subject import Subject
from gymnast.explain.units import hinton, matrix
from gymnast.explain.values import discounted
from gymnast.explain.view import View, overlaid
from gymnast.networks.insight.attribution import gradient
from gymnast.settings import explain_options
from gymnast.settings.explain_options import ExplainOptions
from gymnast.storage import rebuild

VECTOR = spaces.Box(-1.0, 1.0, (3,), np.float32)
SCREEN = spaces.Box(0, 255, (4, 36, 36), np.uint8)
FEW = spaces.Discrete(3, start=1)
BREAKOUT = "gymnast/MinAtar-Breakout-v1"
QUICK = ["--steps", "24", "--integrated-steps", "4", "--smooth-samples", "2", "--ascent-steps", "3"]
QUICK += ["--texture-steps", "3", "--pgd-steps", "2"]
AGENTS: dict[str, Any] = {
    "dqn": lambda space: DQN(space, FEW, DQNConfig(activation="tanh")),
    "dueling": lambda space: DQN(space, FEW, DQNConfig(dueling=True, noisy=True, activation="tanh")),
    "c51": lambda space: DQN(space, FEW, DQNConfig(values="categorical", v_min=-1.0, v_max=1.0, activation="tanh")),
    "iqn": lambda space: DQN(space, FEW, DQNConfig(values="implicit", dueling=True, activation="tanh")),
    "r2d2": lambda space: DQN(space, FEW, DQNConfig(recurrent="lstm", values="rescaled", activation="tanh")),
    "pqn": lambda space: PQN(space, FEW, PQNConfig(activation="tanh"), num_envs=32),
    "ppo": lambda space: ActorCritic(space, FEW, ActorCriticConfig(normalise_obs=True, activation="tanh")),
    "recurrent-ppo": lambda space: ActorCritic(
        space, FEW, ActorCriticConfig(recurrent="gru", activation="tanh"), num_envs=8
    ),
    "recurrent-sac": lambda space: OffPolicyActorCritic(
        space, FEW, OffPolicyActorCriticConfig(recurrent="gru", activation="tanh", hidden_sizes=(16,))
    ),
    "reinforce": lambda space: Reinforce(space, FEW, ReinforceConfig(activation="tanh", baseline="none")),
}


def observations(space: spaces.Box, count: int = 6) -> Tensor:
    space.seed(0)
    return torch.from_numpy(np.stack([space.sample() for _ in range(count)]))


def asked(agent: Any, x: Tensor, memory: Tensor | None) -> Tensor:
    preference: Tensor = agent.decide(x, memory).preference
    return preference


@pytest.mark.parametrize("space", [VECTOR, SCREEN], ids=["vector", "screen"])
@pytest.mark.parametrize("name", AGENTS)
def test_a_decision_is_what_the_agent_acts_on(name: str, space: spaces.Box) -> None:
    agent, obs = AGENTS[name](space), observations(space, 5)
    assert isinstance(agent, DecidingAgent)
    actor = agent.actor(1, explore=False, seed=0)
    memory = None
    for step in range(5):
        one = obs[step : step + 1]
        decision = agent.decide(one.float(), memory)
        memory = decision.memory
        acted = actor.act(one, torch.tensor([step == 0]))
        assert int(decision.preference.argmax()) + 1 == int(acted.action)
        assert decision.preference.shape == (1, 3)
        assert (memory is not None) == (agent.decision_memory > 0)
    if name != "reinforce":
        assert agent.decide(obs).value.shape == (5,)


def test_an_agent_without_values_has_none() -> None:
    assert AGENTS["reinforce"](VECTOR).decide(observations(VECTOR)).value is None
    learned = Reinforce(VECTOR, FEW, ReinforceConfig(baseline="value"))
    assert learned.decide(observations(VECTOR)).value is not None


@pytest.mark.parametrize("name", AGENTS)
def test_the_gradient_of_a_decision_is_that_of_finite_differences(name: str) -> None:
    """A dueling head scales the gradient of its features, which a decision undoes."""
    agent, x = AGENTS[name](VECTOR), observations(VECTOR)
    if isinstance(agent, ActorCritic | Reinforce):
        agent.network.policy.weight.data.mul_(100)
    if name == "ppo":
        agent.network.norm.update(3 * x)
    memory = torch.randn(6, agent.decision_memory) * 0.3 if agent.decision_memory else None
    found = gradient(lambda batch: asked(agent, batch, memory)[:, 1], x)
    expected = torch.zeros_like(x)
    for place in range(3):
        step = torch.zeros(3)
        step[place] = 0.01
        with torch.no_grad():
            high, low = (asked(agent, x + sign * step, memory)[:, 1] for sign in (1, -1))
        expected[:, place] = (high - low) / 0.02
    assert float((found - expected).norm() / expected.norm()) < 0.02


def test_forbidden_actions_are_far_below_the_others() -> None:
    mask = torch.tensor([[True, False, True]]).expand(6, 3)
    for agent in (
        DQN(VECTOR, FEW, DQNConfig(action_masks=True)),
        ActorCritic(VECTOR, FEW, ActorCriticConfig(action_masks=True)),
    ):
        decision = agent.decide(observations(VECTOR), None, mask)
        assert (decision.preference[:, 1] == -1e8).all()
        assert (decision.preference[:, ::2].abs() < 100).all()
        assert decision.preference.isfinite().all()


def test_the_preference_for_an_action_by_hand() -> None:
    preference = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])

    def of(space: Any, action: Any) -> list[float]:
        return (chosen(space, preference, torch.tensor(action)) * preference).sum(1).tolist()

    assert of(FEW, [1, 3]) == [1.0, 32.0]
    assert of(spaces.MultiDiscrete([1, 2], start=[0, 5]), [[0, 6], [0, 5]]) == [5.0, 24.0]
    assert of(spaces.MultiBinary(3), [[1, 0, 1], [0, 0, 1]]) == [3.0, 8.0]
    signed = torch.tensor([[-1.0, 2.0, -4.0]])
    assert float((chosen(spaces.Box(-9, 9, (3,)), signed, signed) * signed).sum()) == 7.0


def test_greedy_actions_by_hand() -> None:
    preference = torch.tensor([[3.0, 1.0, 2.0], [-1.0, 4.0, 5.0]])
    assert greedy(FEW, preference).tolist() == [[0], [2]]
    assert greedy(spaces.MultiDiscrete([1, 2]), preference).tolist() == [[0, 1], [0, 1]]
    assert greedy(spaces.MultiBinary(3), preference).tolist() == [[1, 1, 1], [0, 1, 1]]
    assert greedy(spaces.Box(-9, 9, (3,)), preference) is preference


def context(agent: Any, x: Tensor, **changes: Any) -> Context:
    """The steps of observations [N, ...] by an agent, in two episodes: the last two thirds are the longer one."""
    decision = agent.decide(x)
    rows = len(x)
    played = Played(
        x=x,
        action=decision.preference.argmax(1) + 1,
        reward=torch.arange(float(rows)),
        episode=(torch.arange(rows) >= rows // 3).long(),
        features=decision.features.detach(),
        preference=decision.preference.detach(),
        value=None if decision.value is None else decision.value.detach(),
    )
    subject = Subject("run", "dqn", agent.observation_space, agent.decision_network, torch.device("cpu"), agent)
    options = ExplainOptions("run", env="any", **changes)
    return Context(options, subject, FEW, 30.0, "", played, Path("."))


def test_targets_by_hand() -> None:
    agent, x = AGENTS["dqn"](VECTOR), observations(VECTOR)
    preference = agent.decide(x).preference
    best = preference.amax(1)
    for target, expected in (("action", best), ("margin", best - preference.mean(1)), ("value", best)):
        found = scores_of(context(agent, x, target=target), slice(0, 6))(x)
        torch.testing.assert_close(found, expected)


def test_the_longest_episode_and_its_discounted_rewards() -> None:
    found = context(AGENTS["dqn"](VECTOR), observations(VECTOR, 6))
    assert found.played.longest == slice(2, 6)
    gamma = found.subject.agent.config.gamma  # type: ignore[union-attr]
    expected = [sum(reward * gamma ** (reward - first) for reward in range(first, 6)) for first in range(2, 6)]
    np.testing.assert_allclose(discounted(found), expected)


def test_explained_steps_are_the_most_decisive_of_each_part() -> None:
    agent, x = AGENTS["dqn"](VECTOR), observations(VECTOR, 9)
    made = context(agent, x, frames=3)
    preference = agent.decide(x).preference
    spread = preference.amax(1) - preference.amin(1)
    assert made.frames == [low + int(spread[low : low + 3].argmax()) for low in (0, 3, 6)]
    same = context(agent, torch.cat([x[:3], x[:3], x[:3]]), frames=3)  # no observation twice
    assert len({step % 3 for step in same.frames}) == 3


def test_ranges_by_hand() -> None:
    space = spaces.Box(np.array([0.0, -np.inf], np.float32), np.array([2.0, np.inf], np.float32))
    found = Range.of(Form(space), torch.tensor([[0.5, 1.0], [1.5, 3.0], [0.7, 2.0]]))
    assert found.low[0] == 0.0
    assert found.high[0] == 2.0
    deviation = float(np.std([1, 3, 2]))
    assert float(found.low[1]) == pytest.approx(2 - 3 * deviation)
    assert float(found.span[1]) == pytest.approx(6 * deviation)
    assert found.middle.tolist() == pytest.approx([0.7, 2.0])
    assert not found.whole
    assert float(found.bound_high[1]) == float("inf")
    still = Range.of(Form(space), torch.ones(4, 2))
    assert (still.low[1], still.high[1]) == (0.0, 2.0)  # a number that never changed


def test_pixels_change_by_whole_numbers() -> None:
    made = context(AGENTS["dqn"](SCREEN), observations(SCREEN).float(), epsilon=0.01)
    assert ball_of(made).radius.unique().tolist() == [2.0]  # 2.55
    assert ball_of(made, 4.0).radius.unique().tolist() == [10.0]
    assert ball_of(made).whole


@pytest.mark.parametrize(
    ("shape", "dtype", "frames", "size"),
    [
        ((4, 36, 36), np.uint8, 4, (36, 36)),
        ((36, 40, 3), np.uint8, 1, (36, 40)),
        ((3, 36, 40), np.uint8, 1, (36, 40)),
        ((2, 36, 40, 3), np.uint8, 2, (36, 40)),
        ((36, 40, 4), np.uint8, 4, (36, 40)),
        ((10, 10, 4), np.bool_, 1, (10, 10)),
        ((10, 5), np.float32, 1, (10, 5)),
    ],
)
def test_pictures_of_every_layout(shape: tuple[int, ...], dtype: Any, frames: int, size: tuple[int, int]) -> None:
    view = View(spaces.Box(0, 255 if dtype == np.uint8 else 1, shape, dtype))
    assert (view.frames, view.size) == (frames, size)
    x = torch.rand(shape)
    assert view.axes is not None
    assert tuple(np.array((1, *shape))[list(view.axes)]) == size
    others = tuple(axis - 1 for axis in range(1, len(shape) + 1) if axis not in view.axes)
    np.testing.assert_allclose(view.heat(x), x.double().sum(others) if others else x.double())
    assert view.image(x).shape == (*size, 3)
    assert view.strip(x).shape[1] >= frames * size[1]
    grid = torch.rand(3, *size) > 0.5
    spread = view.spread(grid)
    assert spread.shape == (3, *shape)
    np.testing.assert_array_equal(view.heat(spread[1].float()) > 0, grid[1])


def test_vectors_are_no_pictures() -> None:
    assert View(VECTOR).layout is None
    assert View(spaces.Box(0, 1, (2, 50))).layout is None


def test_grey_pixels_keep_their_place() -> None:
    view = View(SCREEN)
    x = torch.zeros(4, 36, 36)
    x[3, 5, 7] = 255
    x[0, 1, 2] = 51
    assert view.image(x)[5, 7].tolist() == [1, 1, 1]
    assert view.image(x)[1, 2].tolist() == [0, 0, 0]  # of an older frame
    assert view.image(x, 0)[1, 2].tolist() == pytest.approx([0.2] * 3)


def test_heat_colours() -> None:
    picture = np.ones((1, 3, 3))
    heat = np.array([[2.0, -2.0, 0.0]])
    red, blue, grey = overlaid(picture, heat, 2.0, signed=True)[0]
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    assert grey.tolist() == [0.5, 0.5, 0.5]


def test_occlusion_covers_all_planes_of_a_square_or_single_numbers() -> None:
    made = context(AGENTS["dqn"](SCREEN), observations(SCREEN, 2).float(), patch=9)
    masks = covers(made)
    assert masks.shape[1:] == (4, 36, 36)
    assert masks[0].sum() == 4 * 81
    assert torch.equal(masks[0, 0], masks[0, 3])
    vector = covers(context(AGENTS["dqn"](VECTOR), observations(VECTOR)))
    assert vector.int().tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize("method", METHODS)
def test_saliency_over_an_episode_is_that_of_its_steps(method: str) -> None:
    """Of the longest one, here the steps 2 to 5, each by its own action."""
    made = context(AGENTS["dqn"](VECTOR), observations(VECTOR), smooth_sigma=1e-6)
    found = over_episode(made, method, torch.Generator())
    assert found.shape == (4, 3)
    for row, step in enumerate(range(2, 6)):
        single = scores_of(made, slice(step, step + 1))
        x = made.played.x[step]
        if method in ("gradient", "smoothgrad"):
            expected = gradient(single, x[None])[0] * made.range.deviation
        elif method == "occlusion":
            others = [torch.where(torch.arange(3) == place, made.baseline, x) for place in range(3)]
            expected = single(x[None]) - single(torch.stack(others))
        else:
            assert float(found[row].sum()) == pytest.approx(
                float((single(x[None]) - single(made.baseline[None])).detach()), abs=1e-3
            )
            continue
        torch.testing.assert_close(found[row], expected.detach(), atol=1e-5, rtol=1e-3)


def test_the_loss_of_an_attack_by_hand() -> None:
    agent, x = AGENTS["dqn"](VECTOR), observations(VECTOR)
    made, steps = context(agent, x), torch.tensor([4, 1])
    preference = agent.decide(x).preference[steps]
    expected = torch.nn.functional.cross_entropy(preference, preference.argmax(1), reduction="none")
    torch.testing.assert_close(attack_loss(made, steps)(x[steps]), expected)
    parts = spaces.MultiDiscrete([1, 2], start=[3, 5])
    found = attack_loss(dataclasses.replace(made, action_space=parts), steps)(x[steps])
    torch.testing.assert_close(found, -(preference[:, 0] + preference[:, 1:].amax(1)))


def test_units_that_vary_most_come_first() -> None:
    active = torch.tensor([[0.0, 5.0, 1.0, 0.0], [0.0, 5.0, 9.0, 1.0]])
    assert most_varied(active, 4)[:2] == [2, 3]
    assert most_varied(active, 3)[0] == 2


def test_large_tables_keep_the_largest_rows_and_columns() -> None:
    weight = torch.zeros(40, 70)
    weight[5:37, 3:67] = 1.0
    table, cut = matrix(weight)
    assert table.shape == (32, 64)
    assert table.min() == 1.0
    assert cut == ", 32 of 40 units and 64 of 70 inputs"
    assert matrix(torch.ones(2, 3, 2, 2))[0].shape == (2, 12)


def test_a_hinton_diagram_has_a_square_for_each_weight(tmp_path: Path) -> None:
    """Its area is the size; light is positive. A table that stands is laid down."""
    made = dataclasses.replace(context(AGENTS["dqn"](VECTOR), observations(VECTOR)), out=tmp_path)
    shown = hinton(made, "a.b", torch.tensor([[4.0, -1.0, 0.0]]).T, ", cut")
    assert shown.file.name == "weights-a-b.png"
    assert shown.caption == "a.b, cut: a column for each unit, a row for each input."
    with Image.open(shown.file) as picture:
        pixels = np.asarray(picture.convert("L")).astype(int)
    light, dark = (pixels == 255), (pixels == 0)
    framed = np.argwhere((pixels > 120) & (pixels < 135))  # the grey panel
    (top, left), (bottom, right) = framed.min(0), framed.max(0)
    inside = np.s_[top : bottom + 1, left : right + 1]
    assert light[inside].sum() / dark[inside].sum() == pytest.approx(4.0, rel=0.15)
    assert np.argwhere(light[inside])[:, 1].mean() < np.argwhere(dark[inside])[:, 1].mean()


# the command


def save(agent: Any, path: Path, env: str) -> str:
    rebuild.save(agent, path, env=env)
    return str(path)


def breakout(tmp_path: Path) -> str:
    with_spaces = make(BREAKOUT, 1)
    own = with_spaces.single_observation_space, with_spaces.single_action_space
    with_spaces.close()
    agent = PQN(*own, PQNConfig(network="minatar-cnn", hidden_sizes=(16,)), num_envs=32)
    return save(agent, tmp_path / "pqn.pt", BREAKOUT)


def pendulum(tmp_path: Path, **changes: Any) -> str:
    own = spaces.Box(np.array([-1, -1, -8], np.float32), np.array([1, 1, 8], np.float32)), spaces.Box(-2, 2, (1,))
    agent = ActorCritic(*own, ActorCriticConfig(hidden_sizes=(8,), **changes))
    return save(agent, tmp_path / "ppo.pt", "Pendulum-v1")


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All parts, for an untrained agent."""
    out = tmp_path_factory.mktemp("explain")
    assert main(["explain", breakout(out), "--env", BREAKOUT, *QUICK, "--out", str(out / "made")]) == 0
    return out / "made"


def test_the_page_has_every_picture_and_no_link_outside(explained: Path) -> None:
    text = (explained / "explain.html").read_text(encoding="utf-8")
    pictures = sorted([*explained.glob("*.png"), *explained.glob("*.mp4")])
    assert len(pictures) >= len(PARTS)
    for path in pictures:
        assert base64.b64encode(path.read_bytes()).decode() in text, path.name
    outside = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    assert len(re.findall(r"<img|<video", text)) == len(pictures)
    assert "://" not in outside
    assert not re.findall(r'(?:src|href)="(?!data:|#)', outside)
    for tag in ("<script", "<link", "@import", "url("):
        assert tag not in outside
    assert set(re.findall(r'<section id="(\w+)"', text)) == set(PARTS)


def test_the_video_has_a_frame_for_each_step(explained: Path) -> None:
    parts = json.loads((explained / "explain.json").read_text(encoding="utf-8"))["parts"]
    with av.open(str(explained / "saliency.mp4")) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(frames) == parts["video"]["steps"] == parts["values"]["steps"] > 5
    assert frames[0].shape == (240, 480, 3)


def test_the_numbers_belong_together(explained: Path) -> None:
    numbers = json.loads((explained / "explain.json").read_text(encoding="utf-8"))
    parts = numbers["parts"]
    assert list(parts) == list(PARTS)
    assert (numbers["steps"], numbers["env"], numbers["kind"]) == (24, BREAKOUT, "pqn")
    named = {path.name for path in explained.iterdir()}
    assert {Path(path).name for path in numbers["files"].values()} == named
    assert all(Path(path).is_file() for path in numbers["files"].values())
    for frame in parts["saliency"]["frames"]:
        difference = frame["score"] - frame["baseline_score"]
        assert frame["integrated_sum"] - difference == pytest.approx(frame["integrated_error"], abs=1e-5)
        assert abs(frame["integrated_error"]) <= max(0.01 * abs(difference), 0.05)
    assert sum(parts["saliency"]["share_by_plane"]) == pytest.approx(1.0)
    units = parts["units"]
    assert units["hidden"]["units"] == 16 + 16
    assert units["layers"]["backbone.network.convolutions.0"]["units"] == 16
    assert units["hidden"]["dead"] <= units["hidden"]["dormant"] <= 32
    assert parts["features"]["layer"] == "backbone.network.convolutions.0"
    assert len(parts["features"]["units"]) == 6
    assert parts["values"]["greedy_share_of_all_steps"] == 1.0
    assert parts["adversarial"]["epsilon"] == pytest.approx([0.0025, 0.005, 0.01, 0.02, 0.04])
    assert parts["adversarial"]["example"]["largest_change"] <= 0.01 + 1e-6
    for texture in parts["texture"]["layers"].values():
        assert texture["after"] < texture["before"]


def test_the_same_seed_gives_the_same_files(explained: Path, tmp_path: Path) -> None:
    """Also of parts without the others: each has random numbers of its own."""
    words = ["explain", breakout(tmp_path), "--env", BREAKOUT, *QUICK, "--out", str(tmp_path / "again")]
    assert main([*words, "--only", "adversarial", "saliency", "features", "texture"]) == 0
    again = tmp_path / "again"
    made = sorted(path.name for path in again.glob("*.png"))
    assert made == ["adversarial-epsilon.png", "adversarial.png", "features.png", "saliency.png", "texture.png"]
    for name in made:
        assert (again / name).read_bytes() == (explained / name).read_bytes(), name
    first, second = (json.loads((path / "explain.json").read_text(encoding="utf-8")) for path in (explained, again))
    for part, numbers in second["parts"].items():
        assert numbers == first["parts"][part]


def test_vectors_have_bars_and_no_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["explain", pendulum(tmp_path), "--env", "Pendulum-v1", *QUICK, "--out", str(tmp_path / "made"), "--json"]
    assert (
        main([*words, "--frames", "2", "--target", "value", "--layer", "actor.backbone.layers.0", "--unit", "3"]) == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert set(found["left_out"]) == {"video", "texture"}
    frames = found["parts"]["saliency"]["frames"]
    assert len(frames) == 2
    for frame in frames:
        assert frame["integrated_sum"] == pytest.approx(sum(frame["attribution"]["integrated"]), abs=1e-5)
        assert len(frame["attribution"]["occlusion"]) == 3
    assert [unit["unit"] for unit in found["parts"]["features"]["units"]] == [3]
    assert found["parts"]["adversarial"]["measure"] == "mean distance of the action"
    assert list(found["parts"]["weights"]) == ["actor.backbone.layers.0", "policy"]


def test_recurrent_agents_keep_their_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    agent = DQN(spaces.Box(0, 1, (3,), np.float32), spaces.Discrete(2), DQNConfig(recurrent="gru", hidden_sizes=(8,)))
    run = save(agent, tmp_path / "r2d2.pt", "gymnast/Memory-v0")
    words = ["explain", run, "--env", "gymnast/Memory-v0", *QUICK, "--out", str(tmp_path / "made"), "--json"]
    assert main([*words, "--only", "saliency", "values", "adversarial", "units"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parts"]["values"]["greedy_share_of_all_steps"] == 1.0
    assert list(found["parts"]) == ["saliency", "values", "adversarial", "units"]


@pytest.mark.slow
def test_an_encoder_has_the_parts_that_need_no_decision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["pretrain", "autoencoder", "--kind", "convolutional", "--env", BREAKOUT, "--env-steps", "40"]
    words += ["--updates", "1", "--latent-size", "3", "--hidden-sizes", "5", "--network", "minatar-cnn"]
    assert main([*words, "--out", str(tmp_path), "--name", "code"]) == 0
    capsys.readouterr()
    (run,) = tmp_path.glob("*/*/code")
    assert main(["explain", str(run), "--env", BREAKOUT, *QUICK, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["parts"]) == ["features", "texture", "embedding", "units", "weights"]
    assert "needs an agent that decides" in found["left_out"]["saliency"]
    assert found["kind"] == "encoder minatar-cnn"
    assert found["parts"]["embedding"]["points"] == 24
    assert (run / "explain" / "explain.html").is_file()
    for words, message in (
        (["--only", "values"], "only values needs an agent that decides"),
        (["--target", "value"], "--target value needs an agent that decides"),
    ):
        assert main(["explain", str(run), "--env", BREAKOUT, *words]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_tsne_is_repeatable_and_names_its_extra(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["explain", pendulum(tmp_path), "--env", "Pendulum-v1", *QUICK, "--projection", "tsne"]
    words += ["--only", "embedding", "--json", "--out"]
    made = []
    for name in ("one", "two"):
        assert main([*words, str(tmp_path / name)]) == 0
        made.append(json.loads(capsys.readouterr().out)["parts"]["embedding"])
    assert made[0] == made[1]
    assert made[0]["kl_divergence"] >= 0
    assert (tmp_path / "one/embedding.png").read_bytes() == (tmp_path / "two/embedding.png").read_bytes()
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    assert main([*words, str(tmp_path / "three")]) == 2
    assert "needs scikit-learn: pip install 'gymnast[data]'" in capsys.readouterr().err
    assert not (tmp_path / "three").exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["explain", pendulum(tmp_path), "--env", "Pendulum-v1", *QUICK, "--only", "units", "--out"]
    (tmp_path / "file").write_text("", encoding="utf-8", newline="\n")
    assert main([*words, str(tmp_path / "file")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"gymnast: --out {tmp_path / 'file'}: ")
    assert said.count("\n") == 1
    (tmp_path / "made" / "units.png").mkdir(parents=True)
    assert main([*words, str(tmp_path / "made")]) == 1
    said = capsys.readouterr().err
    assert "made: " in said
    assert "directory" in said


def test_the_help_names_every_part() -> None:
    assert tuple(PARTS) == explain_options.PARTS


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("nobody --env CartPole-v1", "no run or checkpoint nobody"),
        ("RUN", "needs --env ID"),
        ("RUN --env Pendulum-v2", "Pendulum"),
        ("RUN --env CartPole-v1", "reads float32 [3], but observations of CartPole-v1 are float32 [4]"),
        ("RUN --env Pendulum-v1 --only salency", "did you mean saliency?"),
        ("RUN --env Pendulum-v1 --only units units", "only takes each name once"),
        ("RUN --env Pendulum-v1 --only video", "only video needs observations that are pictures"),
        ("RUN --env Pendulum-v1 --layer actor.backbone.layer.0", "did you mean actor.backbone.layers.0?"),
        ("RUN --env Pendulum-v1 --unit 8", "unit must be below 8, the units of actor.backbone.layers.0, got 8"),
        ("RUN --env Pendulum-v1 --unit 1 1", "unit takes each number once"),
        ("RUN --env Pendulum-v1 --target margin", "target margin needs Discrete actions"),
        ("RUN --env Pendulum-v1 --target q", "action, margin, value"),
        ("RUN --env Pendulum-v1 --epsilon 0", "epsilon must be > 0 and <= 1, got 0"),
        ("RUN --env Pendulum-v1 --steps 4001", "steps must be at most 4,000, got 4,001"),
        ("RUN --env Pendulum-v1 --frames 0", "frames must be >= 1, got 0"),
        ("RUN --env Pendulum-v1 --patch 0", "patch must be >= 1, got 0"),
        ("RUN --env Pendulum-v1 --baseline mean", "median, zero"),
        ("RUN --env FrozenLake-v1", "reads float32 [3], but observations of FrozenLake-v1 are Discrete(16)"),
        ("TABLE --env CartPole-v1", "explain needs an agent whose network it can differentiate"),
    ],
)
def test_wrong_input_is_one_line(
    words: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if words.startswith("TABLE"):
        from gymnast.agents.search.hill_climbing import HillClimbing, HillClimbingConfig

        box = spaces.Box(-1, 1, (4,), np.float32)
        save(HillClimbing(box, spaces.Discrete(2), HillClimbingConfig()), tmp_path / "kept.pt", "CartPole-v1")
    else:
        pendulum(tmp_path)
    before = list(tmp_path.iterdir())
    given = words.replace("RUN", "ppo.pt").replace("TABLE", "kept.pt").split()
    assert main(["explain", *given]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == before
