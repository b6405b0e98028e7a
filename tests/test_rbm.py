"""Restricted Boltzmann machines against sums over all states, and `gymnast pretrain energy`."""

import math
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from gymnast.agents.supervised.energy.rbm import RBMConfig
from gymnast.cli.main import main
from gymnast.errors import UsageError
from gymnast.fitting.evaluate import evaluate
from gymnast.fitting.fit import fit, resume
from gymnast.fitting.session import FitSession
from gymnast.networks.energy.rbm import RBM
from gymnast.networks.energy.stack import Stack
from gymnast.networks.energy.states import index_of, states, total_variation
from gymnast.settings.fit_options import FitOptions
from gymnast.storage import checkpoint
from gymnast.storage.encoder import read_encoder


def small(visible: int, hidden: int, *, size: float = 1.0, **more: Any) -> RBM:
    generator = torch.Generator().manual_seed(0)
    rbm = RBM(nn.Linear(visible, hidden), **more)
    with torch.no_grad():
        for parameter in rbm.parameters():
            parameter.copy_(size * torch.randn(parameter.shape, generator=generator))
    return rbm


@torch.no_grad()
def joint(rbm: RBM, visible: Tensor) -> Tensor:
    """-E(v, h) of Bernoulli units [B, V] and every state of the hidden ones, [B, 2^H], term by term."""
    weight, hidden = rbm.weight.double(), states(len(rbm.weight))
    visible = visible.double()
    biases = visible @ rbm.visible_bias.double()[:, None] + hidden @ rbm.hidden_bias.double()
    return biases + visible @ (hidden @ weight).T


def test_states_are_counted_in_binary_and_limited() -> None:
    assert states(2).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert states(1, low=-1.0).tolist() == [[-1], [1]]
    assert torch.equal(index_of(states(5)), torch.arange(32))
    assert total_variation(torch.tensor([[0.0], [0.0], [0.0], [1.0]]), torch.tensor([0.5, 0.5])) == 0.25
    with pytest.raises(ValueError, match="1 to 16 units can be enumerated, got 17"):
        states(17)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5)])
def test_free_energy_and_likelihood_equal_sums_over_all_states(shape: tuple[int, int]) -> None:
    rbm = small(*shape, shift=torch.randn(shape[0]), scale=torch.rand(shape[0]) + 0.5)
    every = states(shape[0], dtype=torch.float32)
    logs = joint(rbm, every)
    assert torch.allclose(-rbm.free_energy(every).double(), logs.logsumexp(1), atol=1e-5)
    assert rbm.log_partition() == pytest.approx(float(logs.flatten().logsumexp(0)), abs=1e-5)
    assert float(rbm.log_likelihood(every).exp().sum()) == pytest.approx(1, abs=1e-5)


def test_pseudo_likelihood_is_of_every_unit_given_the_others() -> None:
    rbm = small(4, 3)
    every = states(4, dtype=torch.float32)
    log_prob = rbm.log_likelihood(every)
    naive = torch.zeros(16, dtype=torch.float64)
    for unit in range(4):
        other = every.clone()
        other[:, unit] = 1 - other[:, unit]
        naive += log_prob - torch.logaddexp(log_prob, log_prob[index_of(other)])
    assert torch.allclose(rbm.log_pseudo_likelihood(every), naive / 4, atol=1e-5)
    one = rbm.log_pseudo_likelihood(every, torch.tensor([2]))
    flipped = every.clone()
    flipped[:, 2] = 1 - flipped[:, 2]
    assert torch.allclose(one, log_prob - torch.logaddexp(log_prob, log_prob[index_of(flipped)]), atol=1e-5)


def test_samples_match_the_enumerated_distribution() -> None:
    rbm = small(5, 4)
    every = states(5, dtype=torch.float32)
    probability = rbm.log_likelihood(every).exp()
    assert float((probability - 1 / 32).abs().sum()) / 2 > 0.3  # far from uniform
    generator = torch.Generator().manual_seed(1)
    start = torch.randint(2, (20_000, 5), generator=generator).float()
    assert total_variation(start, probability) > 0.3
    assert total_variation(rbm.gibbs(start, 100, generator), probability) < 0.05


@pytest.mark.parametrize("steps", [1, 3])
def test_the_gradient_of_the_divergence_is_that_of_contrastive_divergence(steps: int) -> None:
    """<h v> of the data less <h v> of the samples, with probabilities for h, as Hinton (2002) writes it."""
    rbm, data = small(6, 4), states(6, dtype=torch.float32)[::7]
    chain = rbm.gibbs(data, steps, torch.Generator().manual_seed(0))
    assert not torch.equal(chain, data)
    rbm.divergence(data, chain).backward()
    before, after = (rbm.hidden_logits(units).sigmoid().detach() for units in (data, chain))
    count = len(data)
    assert torch.allclose(rbm.layer.weight.grad, -(before.T @ data - after.T @ chain) / count, atol=1e-6)
    assert torch.allclose(rbm.layer.bias.grad, -(before - after).mean(0), atol=1e-6)
    assert torch.allclose(rbm.visible_bias.grad, -(data - chain).mean(0), atol=1e-6)


@pytest.mark.parametrize("persistent", [False, True])
def test_contrastive_divergence_learns_a_distribution(persistent: bool) -> None:
    """Two opposite patterns, which independent units cannot tell from all 16."""
    generator = torch.Generator().manual_seed(0)
    rbm = small(4, 3, size=0.1)
    data = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1]]).repeat(50, 1)
    optimizer = torch.optim.Adam(rbm.parameters(), lr=0.05)
    chain = data
    for _ in range(400):
        chain = rbm.gibbs(chain if persistent else data, 1, generator)
        optimizer.zero_grad()
        rbm.divergence(data, chain).backward()
        optimizer.step()
    assert float(rbm.log_likelihood(data[:2]).exp().sum()) > 0.8  # 0.125 of a uniform distribution


def test_gaussian_units_are_normal_given_hidden_ones_and_integrate_to_one() -> None:
    rbm = small(1, 3, units="gaussian")
    grid = torch.linspace(-20, 20, 20_001).unsqueeze(1)
    density = rbm.log_likelihood(grid).exp()
    assert float(density.sum()) * 40 / 20_000 == pytest.approx(1, abs=1e-4)
    hidden = torch.ones(50_000, 3)
    sample = rbm.sample_visible(hidden, torch.Generator().manual_seed(0))
    assert float(sample.detach().mean() - rbm.visible_bias.detach() - rbm.weight.detach().sum()) == pytest.approx(
        0, abs=0.02
    )
    assert float(sample.detach().std()) == pytest.approx(1, abs=0.02)
    moved = rbm.gibbs(torch.zeros(20_000, 1), 100, torch.Generator().manual_seed(1))
    mean = float((density * grid[:, 0]).sum() / density.sum())
    assert float(moved.mean()) == pytest.approx(mean, abs=0.1)


def test_score_matching_equals_derivatives_by_autograd() -> None:
    rbm = small(3, 4, units="gaussian")
    point = torch.randn(1, 3, generator=torch.Generator().manual_seed(0))

    def log_density(vector: Tensor) -> Tensor:
        return -rbm.free_energy(vector)[0]

    score = torch.autograd.functional.jacobian(log_density, point)
    hessian = torch.autograd.functional.hessian(log_density, point).view(3, 3)
    naive = (score.square().sum() / 2 + hessian.trace()) / 3
    assert rbm.score_matching(point).item() == pytest.approx(naive.item(), abs=1e-5)


def test_units_of_the_other_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="score matching is of gaussian units, and these are bernoulli"):
        small(2, 2).score_matching(torch.zeros(1, 2))
    with pytest.raises(ValueError, match="the pseudo-likelihood is of bernoulli units, and these are gaussian"):
        small(2, 2, units="gaussian").log_pseudo_likelihood(torch.zeros(1, 2))
    with pytest.raises(ValueError, match="units must be one of bernoulli, gaussian, got 'relu'"):
        RBM(nn.Linear(2, 2), units="relu")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="over 2 hidden units must have as many visible ones, got 3"):
        Stack([small(4, 2), small(3, 2)])


def test_a_stack_of_one_samples_its_distribution() -> None:
    """The means of the last step average to the probabilities of the units."""
    rbm = small(4, 3)
    every = states(4, dtype=torch.float32)
    wanted = rbm.log_likelihood(every).exp().float() @ every
    generator = torch.Generator().manual_seed(0)
    start = torch.randint(2, (10_000, 4), generator=generator).float()
    assert torch.allclose(Stack([rbm]).sample(start, 50, generator).mean(0), wanted, atol=0.02)


def test_a_stack_goes_up_by_probabilities_and_down_by_means() -> None:
    stack = Stack([small(4, 3), small(3, 2)])
    vector = torch.rand(5, 4)
    assert torch.equal(stack.up(vector, 1), stack[0].layer(vector).sigmoid())
    hidden = torch.ones(5, 3)
    generator = torch.Generator().manual_seed(0)
    assert torch.allclose(stack.down(hidden, 1, generator), stack[0].visible_mean(hidden))


def options(out: Path, **changes: Any) -> FitOptions:
    return FitOptions(**{"dataset": "digits", "out": str(out), "name": "r", "epochs": 3, **changes})


def test_a_run_is_an_encoder_whose_features_are_the_hidden_probabilities(tmp_path: Path) -> None:
    result = fit("energy-rbm", options(tmp_path), RBMConfig(hidden_sizes=(32,)))
    assert result.exit_code == 0
    for name in ("samples.png", "filters.png", "curve.png"):
        assert (result.path / name).stat().st_size > 0
    assert evaluate(result.path) == result.measures
    assert result.measures is not None
    assert result.measures["score"] > -0.45  # -0.69 of coins; -0.48 of independent units
    _, state = checkpoint.read_agent(checkpoint.find(result.path))
    encoder = read_encoder(result.path).build()
    rbm = RBM(nn.Linear(64, 32))
    rbm.load_state_dict({k.removeprefix("stack.rbms.0."): v for k, v in state["heads"].items() if "rbms.0." in k})
    pixels = torch.randint(256, (3, 8, 8, 1), dtype=torch.uint8)
    assert torch.allclose(encoder(pixels), rbm.hidden_logits(pixels.flatten(1) / 255).sigmoid(), atol=1e-6)


def test_inputs_outside_0_to_1_are_scaled_and_the_encoder_reads_them_as_they_are(tmp_path: Path) -> None:
    """`spirals` lie between -6.5 and 6.5."""
    for units in ("bernoulli", "gaussian"):
        config = RBMConfig(hidden_sizes=(4,), units=units)  # type: ignore[arg-type]
        result = fit("energy-rbm", options(tmp_path, dataset="spirals", name=units), config)
        assert result.measures is not None
        assert math.isfinite(result.measures["log_likelihood"])
        _, state = checkpoint.read_agent(checkpoint.find(result.path))
        rbm = RBM(nn.Linear(2, 4), units=units)  # type: ignore[arg-type]
        rbm.load_state_dict({k.removeprefix("stack.rbms.0."): v for k, v in state["heads"].items() if "rbms.0." in k})
        space = read_encoder(result.path).observation_space
        assert isinstance(space, spaces.Box)
        assert np.all(space.high == 6.5)
        point = torch.tensor([[1.0, -3.0]])
        own = rbm.visible(point) @ rbm.weight.T + rbm.hidden_bias
        assert torch.allclose(read_encoder(result.path).build()(point), own.sigmoid(), atol=1e-5)


@pytest.mark.parametrize("stop", [10, 46, 60])
def test_a_resumed_stack_equals_an_uninterrupted_one(
    tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With chains that go on; stopped before and after the second layer begins (at update 46)."""
    config = RBMConfig(hidden_sizes=(16, 8), layer_epochs=2, loss="pcd")
    whole = fit("energy-rbm", options(tmp_path / "whole"), config)
    after = FitSession._after_update

    def interrupted(self: FitSession, metrics: Any) -> None:
        after(self, metrics)
        if self.updates == stop:
            self.interrupts.received = signal.SIGINT

    monkeypatch.setattr(FitSession, "_after_update", interrupted)
    part = fit("energy-rbm", options(tmp_path / "part"), config)
    monkeypatch.undo()
    assert part.updates == stop
    rest = resume(part.path)
    assert (rest.path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()
    ours, theirs = (checkpoint.read(run.path / "checkpoints" / "last.pt")[1]["agent"]["heads"] for run in (rest, whole))
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    assert "progress.chain1" in theirs


def test_the_second_layer_begins_when_the_first_has_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upper: list[Tensor] = []
    after = FitSession._after_update

    def watched(self: FitSession, metrics: Any) -> None:
        upper.append(self.task.network.backbone.layers[1].weight.detach().clone())  # type: ignore[union-attr, index]
        after(self, metrics)

    monkeypatch.setattr(FitSession, "_after_update", watched)
    fit("energy-rbm", options(tmp_path), RBMConfig(hidden_sizes=(16, 8), layer_epochs=2))
    changed = [not torch.equal(one, other) for one, other in pairwise(upper)]
    assert changed == [False] * 45 + [True] * 23  # 23 updates in an epoch


def test_an_agent_starts_from_a_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    data = ["--env", "CartPole-v1", "--env-steps", "300", "--epochs", "4"]
    stack = ["--hidden-sizes", "16", "8", "--layer-epochs", "2", "--units", "gaussian"]
    assert main(["pretrain", "energy", "--kind", "rbm", *data, *stack, "--name", "r"]) == 0
    encoder = ["--encoder", "runs/CartPole-v1/energy-rbm/r", "--freeze-encoder"]
    run = ["--steps", "300", "--no-video", "--name", "d"]
    assert main(["train", "dqn", "--env", "CartPole-v1", *encoder, *run]) == 0
    _, state = checkpoint.read_agent(checkpoint.find("runs/CartPole-v1/dqn/d"))
    for name, value in read_encoder("runs/CartPole-v1/energy-rbm/r").weights.items():
        assert torch.equal(state["online"][f"backbone.{name}"], value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--activation", "relu"], "--activation of an RBM must be sigmoid, got relu"),
        (["--network", "linear"], "--network of an RBM must be mlp, got linear"),
        (["--init", "lsuv"], "--init of an RBM must be any but lsuv, which scales activations"),
        (["--gibbs-steps", "0"], "--gibbs-steps must be >= 1, got 0"),
        (["--loss", "mse"], "--loss must be one of auto, cd, pcd, got mse"),
        (["--hidden-sizes", "8", "4", "--epochs", "10"], "of 2 layers with layer_epochs 10 need more than 10"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["pretrain", "energy", "--kind", "rbm", "--dataset", "digits", *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error, error
    assert not (tmp_path / "runs").exists()


def test_an_unknown_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing"):
        fit("energy-rbm", options(tmp_path, dataset="nothing"))
