"""`gymnast explain` of agents with a world model: their decisions, gradients, layers, and the command."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn import functional

from gymnast.agents import Dreamer, DreamerConfig, Iris, IrisConfig, WorldModels, WorldModelsConfig
from gymnast.agents.base import DecidingAgent, SteppedDecision
from gymnast.cli.main import main
from gymnast.envs.factory import make
from gymnast.networks.insight.attribution import gradient
from gymnast.networks.insight.units import recording
from gymnast.networks.world_models import frames
from gymnast.networks.world_models.layers import EPS
from gymnast.networks.world_models.rssm import State, one_hot_argmax
from gymnast.storage import rebuild
from tests.test_explain import BREAKOUT, QUICK
from tests.test_resume import SMALL_DREAMER, SMALL_IRIS, SMALL_WORLD

VECTOR = spaces.Box(-1.0, 1.0, (3,), np.float32)
SCREEN = spaces.Box(0, 255, (3, 16, 16), np.uint8)
PHOTO = spaces.Box(0, 255, (36, 36, 3), np.uint8)
FEW = spaces.Discrete(3, start=1)
FORCE = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 5.0], np.float32))


def observations(space: spaces.Box, count: int = 6) -> Tensor:
    space.seed(0)
    return torch.from_numpy(np.stack([space.sample() for _ in range(count)]))


def built(name: str, space: spaces.Box, actions: Any) -> Any:
    """An agent whose policy is not nearly uniform."""
    torch.manual_seed(0)
    if name == "dreamer":
        dreamer = Dreamer(space, actions, DreamerConfig(**SMALL_DREAMER))
        dreamer.model.policy.output.weight.data.mul_(100)
        return dreamer
    if name == "iris":
        iris = Iris(space, actions, IrisConfig(**SMALL_IRIS))
        model, generator = iris.model, torch.Generator().manual_seed(0)
        frames.start(model.tokenizer, observations(space))
        model.tokenizer_loss(observations(space), generator)  # the codebook's first values
        model.policy.policy.weight.data.mul_(100)
        return iris
    agent = WorldModels(space, actions, WorldModelsConfig(**{**SMALL_WORLD, "latent_size": 4}))
    agent.policy = 0.3 * torch.randn(agent.policy.shape)
    return agent


@pytest.mark.parametrize("actions", [FEW, FORCE], ids=["few", "force"])
@pytest.mark.parametrize(
    ("name", "space"),
    [
        ("dreamer", VECTOR),
        ("dreamer", SCREEN),
        ("iris", VECTOR),
        ("iris", SCREEN),
        ("world-models", VECTOR),
        ("world-models", PHOTO),
    ],
)
def test_a_decision_is_what_the_agent_acts_on(name: str, space: spaces.Box, actions: Any) -> None:
    """Over an episode with the memory of its own decisions, and over the next one from an empty memory."""
    agent, obs = built(name, space, actions), observations(space)
    assert isinstance(agent, DecidingAgent)
    assert isinstance(agent, SteppedDecision) == (name != "world-models")
    actor, memory = agent.actor(1, explore=False, seed=0), None
    for step, one in enumerate(obs.split(1)):
        memory = None if step == 4 else memory
        decision = agent.decide(one.float(), memory)
        memory = decision.memory
        assert memory is not None
        assert memory.shape == (1, agent.decision_memory)
        action = actor.act(one, torch.tensor([step in (0, 4)])).action
        if actions is FEW:
            assert int(decision.preference.argmax()) + 1 == int(action)
        else:
            torch.testing.assert_close(decision.preference, action)
    empty = torch.zeros(6, agent.decision_memory)
    torch.testing.assert_close(agent.decide(obs, empty).preference, agent.decide(obs).preference)
    value = agent.decide(obs).value
    assert value is None if name == "world-models" else value.shape == (6,)


def preference(agent: Any) -> Any:
    return lambda x: agent.decide(x).preference[:, 1]


def test_the_gradient_of_a_dreamer_passes_straight_through_its_latents() -> None:
    agent, x = built("dreamer", VECTOR, FEW), observations(VECTOR)
    model, asked = agent.model, x.clone().requires_grad_(True)
    nothing = model.rssm.initial(6, device=agent.device)
    deter, probs = model.posterior(nothing, torch.zeros(6, model.actions.size), model.inputs(asked))
    stoch = one_hot_argmax(probs).requires_grad_(True)
    (slope,) = torch.autograd.grad(model.act(State(deter.detach(), stoch))[:, 1].sum(), stoch)
    (expected,) = torch.autograd.grad((probs * slope).sum(), asked)
    assert expected.abs().max() > 0
    torch.testing.assert_close(gradient(preference(agent), x), expected)


def test_the_gradient_of_iris_passes_straight_through_its_codes() -> None:
    agent, x = built("iris", SCREEN, FEW), observations(SCREEN).float()
    model, asked = agent.model, x.clone().requires_grad_(True)
    latents = model.tokenizer.latents(asked)
    codes = model.tokenizer.quantised(latents)[0].detach().requires_grad_(True)
    memory = torch.zeros(6, model.policy.memory_size)
    (slope,) = torch.autograd.grad(model.policy.step(model.shown(codes), memory)[0][:, 1].sum(), codes)
    (expected,) = torch.autograd.grad((latents * slope).sum(), asked)
    assert expected.abs().max() > 0
    torch.testing.assert_close(gradient(preference(agent), x), expected)


def test_the_gradient_of_a_controller_is_that_of_finite_differences() -> None:
    agent, x = built("world-models", VECTOR, FORCE), observations(VECTOR)
    memory = 0.3 * torch.randn(6, agent.decision_memory)
    found = gradient(lambda batch: agent.decide(batch, memory).preference[:, 1], x)
    for place in range(3):
        step = 0.01 * functional.one_hot(torch.tensor(place), 3)
        high, low = (agent.decide(x + sign * step, memory).preference[:, 1].detach() for sign in (1, -1))
        torch.testing.assert_close(found[:, place], (high - low) / 0.02, rtol=0.02, atol=1e-3)


def test_a_gradient_at_zero_is_that_of_the_logarithm() -> None:
    """Of a Dreamer's numbers: sign(x) log(1 + |x|) has the slope 1 there."""
    agent = built("dreamer", VECTOR, FEW)
    at_zero, near = (gradient(preference(agent), torch.tensor([[0.5, number, -0.7]])) for number in (0.0, 1e-6))
    assert at_zero.abs().min() > 0
    torch.testing.assert_close(at_zero, near, rtol=1e-3, atol=0.0)


def test_an_image_of_floats_is_not_written_to() -> None:
    agent, x = built("dreamer", spaces.Box(0, 255, (16, 16, 1), np.uint8), FEW), torch.full((1, 16, 16, 1), 100.0)
    agent.decide(x)
    assert (x == 100).all()


def test_activations_of_a_dreamers_convolutions_are_by_channel() -> None:
    """They are normalised with the channels last, and the activation comes after that."""
    agent = built("dreamer", SCREEN, FEW)
    with recording(agent.decision_network) as found:
        agent.decide(observations(SCREEN))
    layer = found.layers["encoder.images.0.layers.0"]
    size = (layer.output.square().mean(1, keepdim=True) + EPS).sqrt()
    torch.testing.assert_close(layer.active, functional.silu(layer.output / size))
    assert not found.layers["rssm.mix_of_stoch"].activated  # what follows is that of the sum with an unrecorded layer


def saved(name: str, env: str, path: Path) -> str:
    with_spaces = make(env, 1)
    agent = built(name, with_spaces.single_observation_space, with_spaces.single_action_space)
    with_spaces.close()
    rebuild.save(agent, path / f"{name}.pt", env=env)
    return str(path / f"{name}.pt")


def test_a_dreamer_is_explained_by_its_encoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = saved("dreamer", BREAKOUT, tmp_path)
    words = ["explain", run, "--env", BREAKOUT, *QUICK[2:], "--frames", "1", "--steps", "12", "--json"]
    only = ["--only", "saliency", "values", "features", "texture", "weights"]
    assert main([*words, *only, "--out", str(tmp_path / "made")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parts"]["values"]["greedy_share_of_all_steps"] == 1.0
    assert found["parts"]["values"]["value_mean"] == pytest.approx(0.0, abs=1e-3)  # values begin at 0
    assert found["parts"]["saliency"]["frames"][0]["integrated_steps"] == 4  # more would not make them complete
    assert found["parts"]["features"]["layer"] == "encoder.images.0.layers.0"
    assert list(found["parts"]["texture"]["layers"]) == ["encoder.images.0.layers.0"]
    assert list(found["parts"]["weights"]) == ["encoder.images.0.layers.0", "policy.output"]
    text = (tmp_path / "made/explain.html").read_text(encoding="utf-8")
    assert "What the agent remembers of the steps before is held fixed." in text
    assert "The decision goes through discrete latents" in text
    assert main([*words, "--layer", "rssm.of_deter.0"]) == 2
    assert "layer rssm.of_deter.0 does not depend on the observation of its own step" in capsys.readouterr().err


def test_iris_and_world_models_leave_out_what_does_not_apply(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = [*QUICK[2:], "--frames", "1", "--steps", "12", "--json"]
    run = saved("iris", "gymnast/Catch-v0", tmp_path)
    only = ["--only", "saliency", "features", "units"]
    words = ["explain", run, "--env", "gymnast/Catch-v0", *few, "--out", str(tmp_path / "iris")]
    assert main([*words, *only]) == 0
    found = json.loads(capsys.readouterr().out)["parts"]
    assert found["features"]["layer"] == "encoder.layers.2"
    assert list(found["units"]["layers"])[-2:] == ["policy", "value"]
    assert main([*words, "--only", "texture"]) == 2
    assert "only texture needs a network with convolutions" in capsys.readouterr().err
    run = saved("world-models", "CartPole-v1", tmp_path)
    words = ["explain", run, "--env", "CartPole-v1", *few, "--out", str(tmp_path / "world")]
    assert main([*words, "--only", "values", "weights"]) == 0
    found = json.loads(capsys.readouterr().out)["parts"]
    assert "value_mean" not in found["values"]
    assert list(found["weights"]) == ["controller"]
    assert main([*words, "--target", "value"]) == 2
    assert "target value needs an agent that learns values" in capsys.readouterr().err
