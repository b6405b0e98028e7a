"""`gymnast explain` of observations that are no single Box: parts of a Dict or Tuple, bits and choices."""

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.agents.policy.actor_critic import ActorCritic
from gymnast.agents.policy.actor_critic_config import ActorCriticConfig
from gymnast.agents.value.dqn import DQN
from gymnast.agents.value.dqn_config import DQNConfig
from gymnast.cli.main import main
from gymnast.explain.adversarial import attacked, ball_of
from gymnast.explain.canvases import read_by, unread
from gymnast.explain.context import Context
from gymnast.explain.form import Form
from gymnast.explain.methods import covers, falls
from gymnast.explain.played import Played
from gymnast.explain.subject import Subject
from gymnast.networks.insight.canvas import Canvas, Collage
from gymnast.networks.layers.inputs import Vector
from gymnast.settings.explain_options import ExplainOptions
from gymnast.storage import rebuild
from tests.test_explain import QUICK

CAMERA = spaces.Box(0, 255, (36, 40, 3), np.uint8)
SPACE = spaces.Dict(
    {
        "camera": CAMERA,
        "inner": spaces.Tuple([spaces.Discrete(3, start=5), spaces.Box(-1.0, np.inf, (2,), np.float32)]),
        "map": spaces.Box(0.0, 1.0, (6, 5), np.float32),
        "bits": spaces.MultiBinary(2),
    }
)


def observations(rows: int = 6) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "bits": torch.from_numpy(rng.integers(0, 2, (rows, 2), np.int8)),
        "camera": torch.from_numpy(rng.integers(0, 256, (rows, 36, 40, 3), np.uint8)),
        "inner": {
            "0": torch.from_numpy(np.array([5, 7, 7, 6, 7, 5])[:rows]),
            "1": torch.from_numpy(rng.uniform(-1, 1, (rows, 2)).astype(np.float32)),
        },
        "map": torch.from_numpy(rng.uniform(0, 1, (rows, 6, 5)).astype(np.float32)),
    }


def context(**changes: Any) -> Context:
    """Six steps of a DQN whose convolutions read the camera and whose layers read all parts."""
    agent = DQN(SPACE, spaces.Discrete(3), DQNConfig(network="combined", hidden_sizes=(16,), activation="tanh"))
    form, obs = Form(SPACE), observations()
    decision = agent.decide(obs)
    played = Played(
        x=form.floats(obs),
        action=decision.preference.argmax(1),
        reward=torch.zeros(6),
        episode=torch.zeros(6).long(),
        features=decision.features.detach(),
        preference=decision.preference.detach(),
    )
    subject = Subject("run", "dqn", SPACE, agent.decision_network, torch.device("cpu"), agent)
    options = ExplainOptions("run", env="any", **changes)
    return Context(options, subject, spaces.Discrete(3), 30.0, "backbone.parts.1.convolutions.0", played, Path("."))


def test_observations_become_numbers_and_back() -> None:
    form, obs = Form(SPACE), observations()
    assert [part.name for part in form.parts] == ["bits", "camera", "inner.0", "inner.1", "map"]
    assert [part.name for part in form.pictures] == ["camera", "map"]
    assert form.shape == (2 + 36 * 40 * 3 + 3 + 2 + 30,)
    x = form.floats(obs)
    again: Any = form.obs(x)
    for mine, theirs in ((again["bits"], obs["bits"]), (again["camera"], obs["camera"]), (again["map"], obs["map"])):
        torch.testing.assert_close(mine, theirs.float())
    assert again["inner"]["0"].tolist()[:4] == [[1, 0, 0], [0, 0, 1], [0, 0, 1], [0, 1, 0]]
    torch.testing.assert_close(Vector(SPACE)(again), Vector(SPACE)(obs))
    assert form.numbers(x, form.vectors).tolist()[0][2:5] == [1, 0, 0]
    assert form.components == " Components: bits 0 to 1, inner.0 2 to 4, inner.1 5 to 6."
    assert [name for _, name in form.files("saliency")] == ["saliency-of-camera.png", "saliency-of-map.png"]


def test_choices_without_parts() -> None:
    form = Form(spaces.MultiDiscrete([2, 3], start=[1, 0]))
    x = form.floats(torch.tensor([[2, 0], [1, 2]]))
    assert x.tolist() == [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1]]
    assert form.obs(x) is not None
    assert torch.equal(form.obs(x), x)  # type: ignore[arg-type]
    assert [list(range(5))[choice] for choice in form.parts[0].choices] == [[0, 1], [2, 3, 4]]


def test_files_of_parts_have_names_of_their_own() -> None:
    picture = spaces.Box(0.0, 1.0, (5, 5))
    form = Form(spaces.Dict({"a/b": picture, "a b": picture, "c": picture}))
    names = [name for _, name in form.files("x")]
    assert names == ["x-of-a-b-0.png", "x-of-a-b-1.png", "x-of-c.png"]


def test_ranges_of_parts() -> None:
    made = context()
    limits, form = made.range, made.form
    bits, camera, choice, numbers, _ = (form.of(limits.span, part) for part in form.parts)
    assert bits.tolist() == [1, 1]
    assert (camera == 255).all()
    assert choice.tolist() == [1, 1, 1]
    own = observations()["inner"]["1"]
    assert limits.bound_low[form.parts[3].place].tolist() == [-1, -1]
    assert (numbers >= own.amax(0) - own.amin(0)).all()
    assert form.of(limits.middle, form.parts[2]).tolist() == [0, 0, 1]  # 7 is the most frequent
    whole = limits.whole
    assert isinstance(whole, Tensor)
    assert [bool(whole[part.place].all()) for part in form.parts] == [False, True, False, False, False]


def test_a_decision_on_numbers_is_that_on_the_observations() -> None:
    made = context()
    assert made.subject.agent is not None
    expected = made.subject.agent.decide(observations())
    torch.testing.assert_close(made.subject.decide(made.played.x).preference, expected.preference)
    nested = spaces.Dict({"a": spaces.Dict({"b": spaces.Box(-1.0, 1.0, (2,)), "c": spaces.Discrete(2)})})
    agent = ActorCritic(nested, spaces.Discrete(2), ActorCriticConfig(recurrent="gru", memory_size=4), num_envs=8)
    assert agent.decide({"a": {"b": torch.zeros(5, 2), "c": torch.zeros(5, 2)}}).preference.shape == (5, 2)


def test_occlusion_covers_squares_choices_and_numbers() -> None:
    made = context(patch=18)
    form, masks = made.form, covers(made)
    of_part = {part.name: masks[masks[:, part.place].any(1)][:, part.place] for part in form.parts}
    assert sum(len(own) for own in of_part.values()) == len(masks)
    assert of_part["bits"].int().tolist() == [[1, 0], [0, 1]]
    assert of_part["inner.0"].int().tolist() == [[1, 1, 1]]
    assert of_part["camera"][0].sum() == 3 * 18 * 18
    assert of_part["map"][0].sum() == 25  # squares are at most as large as the shorter side


def test_a_whole_part_is_replaced() -> None:
    made = context()
    x, place = made.played.x[2].clone(), made.form.parts[3].place
    x[place] = made.baseline[place]
    action = int(made.played.action[2])
    scores = made.subject.decide(torch.stack([made.played.x[2], x])).preference[:, action]
    found = falls(made, 2)
    assert list(found) == ["bits", "camera", "inner.0", "inner.1", "map"]
    assert found["inner.1"] == pytest.approx(float((scores[0] - scores[1]).detach()), abs=1e-6)


def test_whole_numbers_stay_whole_in_an_attack_and_others_do_not() -> None:
    made = context(epsilon=0.01, pgd_steps=2)
    found = attacked(made, torch.arange(3), ball_of(made), torch.Generator().manual_seed(0))
    camera, other = made.form.parts[1].place, made.form.parts[4].place
    change = found["PGD"] - made.played.x[:3]
    assert set(change[:, camera].abs().unique().tolist()) == {0, 1, 2}  # 2.55
    assert 0 < float(change[:, other].abs().max()) <= 0.01 + 1e-6


def test_parts_that_a_layer_does_not_read_are_found() -> None:
    made = context()
    found = read_by(made, lambda x: made.subject.layers(x)[made.layer].output)
    assert [part.name for part in found] == ["camera"]
    assert unread(made, found).endswith("do not read them: bits, inner.0, inner.1, map.")
    assert read_by(made, lambda x: made.subject.decide(x).preference) == made.form.parts
    assert unread(made, made.form.parts) == ""


def test_a_collage_has_a_canvas_for_each_part() -> None:
    low, middle = torch.full((20,), -1.0), torch.linspace(-0.8, 0.8, 20)
    shape, limits = (3, 4), {"low": torch.full((3, 4), -1.0), "high": torch.full((3, 4), 1.0)}
    canvas = Canvas(
        2, **limits, middle=middle[4:16].view(shape), axes=(1, 2), amplitude=0.0, generator=torch.Generator()
    )
    made = Collage([((4,), None), (shape, canvas), ((4,), None)], low=low, high=-low, middle=middle, count=2)
    torch.testing.assert_close(made.picture(), middle.expand(2, 20))
    assert made.parameters == [canvas.parameter]
    x = torch.rand(2, 20)
    torch.testing.assert_close(made.variation(x), canvas.variation(x[:, 4:16].view(2, 3, 4)))
    shifted = made.shifted(x, 2, generator=torch.Generator().manual_seed(1))
    assert torch.equal(shifted[:, :4], x[:, :4])
    assert not torch.equal(shifted, x)
    torch.testing.assert_close(shifted.sort(1).values, x.sort(1).values)


class Room(gym.Env):  # type: ignore[misc]
    """Random observations; ends at random."""

    observation_space = SPACE
    action_space = spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self.seen(), {}

    def seen(self) -> Any:
        camera = self.np_random.integers(0, 256, CAMERA.shape, np.uint8)
        inner = (int(self.np_random.integers(5, 8)), self.np_random.uniform(-1, 1, 2).astype(np.float32))
        field = self.np_random.uniform(0, 1, (6, 5)).astype(np.float32)
        return {"bits": np.array([1, 0], np.int8), "camera": camera, "inner": inner, "map": field}

    def step(self, action: Any) -> Any:
        return self.seen(), float(action), bool(self.np_random.random() < 0.2), False, {}


def test_the_page_has_every_part_of_an_observation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(gym.registry, "Room-v0", gym.envs.registration.EnvSpec("Room-v0", entry_point=Room))
    agent = DQN(SPACE, spaces.Discrete(3), DQNConfig(network="combined", hidden_sizes=(8,)))
    rebuild.save(agent, tmp_path / "dqn.pt", env="Room-v0")
    words = ["explain", str(tmp_path / "dqn.pt"), "--env", "Room-v0", *QUICK[2:], "--steps", "10", "--frames", "1"]
    words += ["--only", "saliency", "adversarial", "features", "texture", "--patch", "12", "--json"]
    assert main([*words, "--out", str(tmp_path / "made")]) == 0
    found = json.loads(capsys.readouterr().out)
    (frame,) = found["parts"]["saliency"]["frames"]
    assert list(frame["parts"]["occlusion"]) == ["bits", "camera", "inner.0", "inner.1", "map"]
    assert sum(frame["parts"]["integrated"].values()) == pytest.approx(frame["integrated_sum"], abs=1e-4)
    assert len(frame["attribution"]["gradient"]) == 7
    assert found["parts"]["saliency"]["parts"]["camera"]["patch"] == 12
    named = {path.name for path in (tmp_path / "made").glob("*.png")}
    for name in ("saliency-of-camera", "saliency-of-map", "saliency", "adversarial-components", "texture-of-camera"):
        assert f"{name}.png" in named
    assert {"features-of-map.png", "features.png", "texture-of-map.png"}.isdisjoint(named)  # not read by the layer
    text = (tmp_path / "made/explain.html").read_text(encoding="utf-8")
    assert "Not shown, since the layers do not read them: bits, inner.0, inner.1, map." in text


class Table(nn.Module):
    """A user's own network that looks choices up."""

    out_features = 4

    def __init__(self, _: Any) -> None:
        super().__init__()
        self.table = nn.Embedding(3, 4)

    def forward(self, obs: Any) -> Tensor:
        found: Tensor = self.table(obs)
        return found


def test_a_network_that_needs_whole_numbers_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = DQN(spaces.Discrete(3), spaces.Discrete(2), DQNConfig(), network=Table)
    monkeypatch.setattr(rebuild, "load_trained", lambda *_, **__: agent)
    rebuild.save(agent, tmp_path / "own.pt", env="gymnast/Chain-v0")
    words = ["explain", str(tmp_path / "own.pt"), "--env", "gymnast/Chain-v0"]
    assert main([*words, "--env-options", '{"length": 3}']) == 2
    said = capsys.readouterr().err
    assert "explain gives choices as float32, a number for each alternative; " in said
    assert said.count("\n") == 1
