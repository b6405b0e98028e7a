"""Parts of world models against independent oracles: two-hot numbers, layers, latents, parts of observations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn
from torch.distributions import Categorical, Normal, kl_divergence

from gymnast.networks.distributions.bounded import BoundedNormal
from gymnast.networks.fast.draws import draw
from gymnast.networks.world_models.actions import ActionInputs
from gymnast.networks.world_models.codec import Decoder, Encoder
from gymnast.networks.world_models.layers import BlockLinear, NormedMLP, RMSNorm, initialise
from gymnast.networks.world_models.observed import joined, parts_of
from gymnast.networks.world_models.rssm import (
    RSSM,
    State,
    balanced_kl,
    barlow,
    kl,
    one_hot_argmax,
    straight_through,
    unimix,
)
from gymnast.networks.world_models.symlog import TwoHot, symexp, symlog

CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rssm(*, tokens: int = 5, actions: int = 2) -> RSSM:
    model = RSSM(tokens, actions, deter=16, hidden_units=8, stoch=3, classes=4, blocks=2)
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0.0, 0.4, generator=generator(parameter.numel()))
    return model


def test_symlog_is_the_identity_near_zero_and_symexp_undoes_it() -> None:
    x = torch.tensor([-1e6, -3.0, -1e-4, 0.0, 1e-4, 1.0, 5e3])
    assert torch.allclose(symlog(x), torch.tensor([math.copysign(math.log1p(abs(v)), v) for v in x.tolist()]))
    assert torch.allclose(symexp(symlog(x)), x, rtol=1e-5)


def test_two_hot_weights_are_those_of_the_neighbours() -> None:
    two_hot = TwoHot(5)  # bins at symexp of -20, -10, 0, 10, 20
    edge = math.expm1(10.0)
    assert two_hot.bins.tolist() == pytest.approx([-math.expm1(20.0), -edge, 0.0, edge, math.expm1(20.0)])
    hot = two_hot.encode(torch.tensor([0.0, edge / 4, -edge / 2, 1e12, -1e12]))
    expected = [[0, 0, 1, 0, 0], [0, 0, 0.75, 0.25, 0], [0, 0.5, 0.5, 0, 0], [0, 0, 0, 0, 1], [1, 0, 0, 0, 0]]
    assert torch.allclose(hot, torch.tensor(expected, dtype=torch.float32), atol=1e-6)


def test_two_hot_numbers_have_their_mean_and_the_loss_is_the_cross_entropy() -> None:
    two_hot, value = TwoHot(), torch.tensor([-700.5, -1.0, -0.01, 0.0, 0.3, 21.0, 9e4])
    assert torch.allclose((two_hot.encode(value) * two_hot.bins).sum(-1), value, rtol=1e-4, atol=1e-5)
    logits = torch.randn(7, 255, generator=generator())
    expected = -(two_hot.encode(value) * logits.log_softmax(-1)).sum(-1)
    assert torch.allclose(two_hot.loss(logits.log_softmax(-1), value), expected, atol=1e-5)
    assert two_hot.mean(torch.zeros(3, 255).log_softmax(-1)).tolist() == [0.0, 0.0, 0.0]


def test_layers_equal_naive_ones() -> None:
    x = torch.randn(6, 8, generator=generator())
    norm = RMSNorm(8)
    norm.scale.data.uniform_(0.5, 2.0, generator=generator(1))
    scaled = x / (x.square().mean(-1, keepdim=True) + 1e-4).sqrt() * norm.scale
    assert torch.allclose(norm(x), scaled * scaled.sigmoid(), atol=1e-5)
    blocks = BlockLinear(2, 4, 3)
    nn.init.normal_(blocks.weight, generator=generator(2))
    nn.init.normal_(blocks.bias, generator=generator(3))
    whole = x @ torch.block_diag(*blocks.weight) + blocks.bias.flatten()
    blocked = blocks(x.view(6, 2, 4).transpose(0, 1)).transpose(0, 1).reshape(6, 6)
    assert torch.allclose(blocked, whole, atol=1e-5)


def test_weights_begin_with_the_variance_of_their_inputs() -> None:
    mlp = NormedMLP(400, 300, 1, 7, output_scale=0.0)
    initialise(mlp, generator())
    weight = mlp.hidden[0].weight
    assert weight.std().item() == pytest.approx(1 / math.sqrt(400), rel=0.02)
    assert weight.abs().max() <= 2 / math.sqrt(400) / 0.8796 + 1e-6
    assert mlp(torch.randn(2, 400)).abs().max() == 0.0


def test_the_recurrent_step_is_a_gated_unit_in_blocks() -> None:
    model, rows = rssm(), 3
    stoch = one_hot_argmax(torch.randn(rows, 3, 4, generator=generator()))
    state = State(torch.randn(rows, 16, generator=generator(1)), stoch)
    action = torch.randn(rows, 2, generator=generator(2))
    with torch.no_grad():
        deter = model.advance(state, model.given(action))
        read = [model.of_deter(state.deter), model.of_stoch(stoch.flatten(1)), model.of_action(action)]
        mixing = torch.cat([model.mix_of_deter.weight, model.mix_of_stoch.weight, model.mix_of_action.weight], 1)
        mixed = state.deter @ torch.block_diag(*model.mix_deter.weight) + model.mix_deter.bias.flatten()
        mixed = model.mix_norm(mixed + torch.cat(read, 1) @ mixing.t())
        for block in range(2):
            own = slice(8 * block, 8 * block + 8)
            gates = mixed[:, own] @ model.gates.weight[block] + model.gates.bias[block]
            reset, candidate, update = gates[:, :8], gates[:, 8:16], gates[:, 16:]
            share = torch.sigmoid(update - 1)
            expected = share * torch.tanh(torch.sigmoid(reset) * candidate) + (1 - share) * state.deter[:, own]
            assert torch.allclose(deter[:, own], expected, atol=1e-5)


@pytest.mark.parametrize("index", range(6))
def test_an_episode_that_starts_at_any_index_is_seen_as_if_it_were_alone(index: int) -> None:
    """Row 16: the state, the action and the latents before a start have no effect on what follows, nor a gradient."""
    model, steps = rssm(), 6
    tokens, action = torch.randn(2, steps, 5, generator=generator()), torch.randn(2, steps, 2, generator=generator(1))
    noise = torch.rand((steps, 2, 3), generator=generator(2))
    start = torch.zeros(2, steps, dtype=torch.bool)
    start[0, index] = True
    before = State(torch.randn(2, 16, generator=generator(3)), one_hot_argmax(torch.randn(2, 3, 4)))
    tokens.requires_grad_(True)
    states, posterior, prior = model.observe(tokens, action, start, before, noise)
    alone = torch.zeros(1, steps - index, dtype=torch.bool)
    action_alone = action[:1, index:].clone()
    action_alone[:, 0] = 0.0
    zero = model.initial(1, device=CPU)
    expected = model.observe(tokens[:1, index:], action_alone, alone, zero, noise[index:, :1])
    for found, wanted in zip((*states, posterior, prior), (*expected[0], *expected[1:]), strict=True):
        assert torch.allclose(found[:1, index:], wanted, atol=1e-5)
    later = states.features[0, index:].sum() + prior[0, index:].sum()
    (by_tokens,) = torch.autograd.grad(later, tokens)
    assert by_tokens[0, :index].abs().sum() == 0.0
    assert by_tokens[0, index].abs().sum() > 0.0 or index == steps - 1


def test_observing_step_by_step_equals_observing_a_sequence() -> None:
    model, steps = rssm(), 4
    tokens, action = torch.randn(3, steps, 5, generator=generator()), torch.randn(3, steps, 2, generator=generator(1))
    noise, start = torch.rand((steps, 3, 3), generator=generator(2)), torch.zeros(3, steps, dtype=torch.bool)
    with torch.no_grad():
        states, _, prior = model.observe(tokens, action, start, model.initial(3, device=CPU), noise)
        state = model.initial(3, device=CPU)
        for step in range(steps):
            deter = model.advance(state, model.given(action[:, step]))
            probs = model.posterior_probs(deter, model.posterior_tokens(tokens[:, step]))
            state = State(deter, draw(probs, noise[step]))
            assert torch.allclose(state.features, states.features[:, step], atol=1e-5)
            assert torch.allclose(model.prior_probs(deter).log(), prior[:, step], atol=1e-5)


def test_the_backward_pass_written_out_is_autograds() -> None:
    """Of all inputs and weights, over starts in the middle; outputs first."""
    model, steps, rows = rssm(), 7, 3
    for norm in (model.of_deter[1], model.of_stoch[1], model.mix_norm, model.posterior_norm):
        norm.scale.data.uniform_(0.5, 1.5, generator=generator(9))
    given = torch.randn(steps, rows, 16, generator=generator(), requires_grad=True)
    tokens = torch.randn(steps, rows, 8, generator=generator(1), requires_grad=True)
    start = torch.zeros(rows, steps, dtype=torch.bool)
    start[0, 3] = start[2, 0] = start[1, 6] = True
    keep, uniform = (~start).float().t().unsqueeze(-1), torch.rand((steps, rows, 3), generator=generator(2))
    deter = torch.randn(rows, 16, generator=generator(3), requires_grad=True)
    stoch = one_hot_argmax(torch.randn(rows, 3, 4, generator=generator(4))).requires_grad_(True)
    arguments = (given, tokens, keep, start, State(deter, stoch), uniform)
    plain, fast = model.step_by_step(*arguments), model.by_hand(*arguments)
    weights = [torch.randn(part.shape, generator=generator(5 + i)) for i, part in enumerate(plain)]
    names, parameters = zip(*((n, p) for n, p in model.named_parameters() if "action" not in n), strict=True)
    wanted_of = [*parameters, given, tokens, deter, stoch]
    grads = []
    for outputs in (plain, fast):
        loss = sum((part * weight).sum() for part, weight in zip(outputs, weights, strict=True))
        grads.append(torch.autograd.grad(loss, wanted_of, allow_unused=True))
    for found, expected in zip(fast, plain, strict=True):
        assert torch.allclose(found, expected, atol=1e-5)
    for name, found, expected in zip((*names, "given", "tokens", "deter", "stoch"), grads[1], grads[0], strict=True):
        if expected is None:
            assert name.startswith(("prior", "posterior_tokens"))
            assert found is None
        else:
            assert torch.allclose(found, expected, atol=2e-4 * max(1.0, float(expected.abs().max()))), name


def test_every_probability_has_a_share_of_the_uniform_one() -> None:
    probs = unimix(torch.tensor([[1000.0, 0.0, 0.0, 0.0]]))
    assert torch.allclose(probs, torch.tensor([[0.9925, 0.0025, 0.0025, 0.0025]]))


def test_straight_through_draws_have_the_gradient_of_their_probabilities() -> None:
    logits = torch.randn(5, 3, 4, generator=generator(), requires_grad=True)
    weight = torch.randn(5, 3, 4, generator=generator(1))
    drawn = straight_through(unimix(logits), torch.rand((5, 3), generator=generator(2)))
    assert torch.allclose(drawn.sum(-1), torch.ones(5, 3))
    assert torch.allclose(drawn.max(-1).values, torch.ones(5, 3))
    (found,) = torch.autograd.grad((drawn * weight).sum(), logits)
    (expected,) = torch.autograd.grad((unimix(logits) * weight).sum(), logits)
    assert torch.allclose(found, expected, atol=1e-6)


def test_draws_are_as_frequent_as_their_probabilities() -> None:
    probs = torch.tensor([0.5, 0.3, 0.15, 0.05])
    drawn = draw(probs.expand(40_000, 4), torch.rand(40_000, generator=generator()))
    assert torch.allclose(drawn.mean(0), probs, atol=0.01)
    edges = torch.tensor([0.0, 0.49, 0.5, 0.79, 0.8, 0.949, 0.9501, 0.9999999])
    expected = [0, 0, 1, 1, 2, 2, 3, 3]
    for dtype in (torch.float32, torch.float64):  # the compiled form, and the plain one
        assert draw(probs.to(dtype).expand(8, 4), edges.to(dtype)).argmax(-1).tolist() == expected


def test_kl_balance() -> None:
    posterior, prior = (unimix(torch.randn(6, 3, 4, generator=generator(seed))).log() for seed in (0, 1))
    expected = kl_divergence(Categorical(logits=posterior), Categorical(logits=prior)).sum(-1)
    assert torch.allclose(kl(posterior, prior), expected, atol=1e-5)
    left, right = posterior.clone().requires_grad_(True), prior.clone().requires_grad_(True)
    dynamics, representation = balanced_kl(left, right, free_nats=0.0)
    assert torch.allclose(dynamics, expected, atol=1e-5)
    assert torch.allclose(representation, expected, atol=1e-5)
    of_left, of_right = torch.autograd.grad(dynamics.sum(), (left, right), allow_unused=True, retain_graph=True)
    assert of_left is None
    assert of_right.abs().sum() > 0
    of_left, of_right = torch.autograd.grad(representation.sum(), (left, right), allow_unused=True)
    assert of_right is None
    assert of_left.abs().sum() > 0
    free = balanced_kl(left, right, free_nats=1e3)[0]
    assert free.tolist() == [1e3] * 6
    assert torch.autograd.grad(free.sum(), right)[0].abs().sum() == 0.0


def test_redundancy_reduction_is_zero_for_equal_and_independent_features() -> None:
    x = torch.linalg.qr(torch.randn(64, 5, generator=generator(), dtype=torch.float64) - 0.0)[0]
    x = torch.linalg.qr(x - x.mean(0))[0].float()  # centred and orthogonal
    assert barlow(x, 3 * x + 1, off_diagonal=0.5).item() == pytest.approx(0.0, abs=1e-3)
    assert barlow(x, -x, off_diagonal=0.5).item() == pytest.approx(5 * 4.0, rel=1e-2)
    same = x[:, :1].repeat(1, 3)
    assert barlow(same, same, off_diagonal=0.5).item() == pytest.approx(0.5 * 6, rel=1e-2)


def test_bounded_normal_is_torchs() -> None:
    space = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 10.0], np.float32))
    bounded = BoundedNormal(space, device=CPU)
    output, other = (torch.randn(7, 4, generator=generator(seed)) for seed in (0, 1))
    mean, std = output[:, :2].tanh(), 0.1 + 0.9 * torch.sigmoid(output[:, 2:] + 2)
    reference = Normal(mean, std)
    raw, log_prob = bounded.act(output, generator(2))
    assert torch.allclose(log_prob, reference.log_prob(raw).sum(-1), atol=1e-4)
    assert torch.allclose(bounded.log_prob(output, raw), log_prob, atol=1e-4)
    assert torch.allclose(bounded.entropy(output), reference.entropy().sum(-1), atol=1e-5)
    there = Normal(other[:, :2].tanh(), 0.1 + 0.9 * torch.sigmoid(other[:, 2:] + 2))
    assert torch.allclose(bounded.kl(output, other), kl_divergence(reference, there).sum(-1), atol=1e-4)
    assert torch.equal(bounded.mode(output), mean)
    acted = bounded.to_env(torch.tensor([[-3.0, -1.0], [0.0, 0.0], [1.0, 7.0]]))
    assert acted.tolist() == [[-2.0, 0.0], [0.0, 5.0], [2.0, 10.0]]
    with pytest.raises(ValueError, match="finite bounds"):
        BoundedNormal(spaces.Box(-np.inf, np.inf, (2,)), device=CPU)


SPACES: dict[str, spaces.Space[Any]] = {
    "real": spaces.Box(-5.0, 5.0, (3,)),
    "shares": spaces.Box(0.0, 1.0, (3,)),
    "bytes": spaces.Box(0, 255, (6,), np.uint8),
    "bits": spaces.MultiBinary(4),
    "choice": spaces.Discrete(3, start=2),
    "choices": spaces.MultiDiscrete([2, 4], start=[1, -1]),
    "image": spaces.Box(0, 255, (3, 20, 17), np.uint8),
    "image-last": spaces.Box(0, 255, (10, 12, 3), np.uint8),
    "bit-image": spaces.Box(0, 1, (10, 10, 4), np.bool_),
    "real-image": spaces.Box(-1.0, 1.0, (9, 9, 2)),
    "share-image": spaces.Box(0.0, 1.0, (9, 9, 2)),
    "frames": spaces.Box(0, 255, (2, 9, 9, 3), np.uint8),
    "dict": spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Dict({"c": spaces.Box(0, 255, (8, 8, 3), np.uint8)})}),
}


def sampled(space: spaces.Space[Any], rows: int) -> Any:
    space.seed(3)
    if isinstance(space, spaces.Dict):
        return {key: sampled(part, rows) for key, part in space.spaces.items()}
    return torch.from_numpy(np.stack([np.asarray(space.sample()) for _ in range(rows)]))


@pytest.mark.parametrize("name", SPACES)
def test_observations_come_back_from_perfect_outputs(name: str) -> None:
    """The outputs of a perfect decoder give the observation again, at a loss of nearly 0, or of its own entropy."""
    space, obs = SPACES[name], sampled(SPACES[name], 5)
    parts = parts_of(space, device=CPU)
    inputs = [part.inputs(obs) for part in parts]
    outputs = []
    for part, given in zip(parts, inputs, strict=True):
        output, least = given, torch.zeros(len(given))
        if part.kind in ("bytes", "shares"):
            output = torch.logit(given, eps=1e-6)
        elif part.kind in ("bits", "choices"):
            output = (given - 0.5) * 60
        if part.kind == "shares":
            least = (torch.special.entr(given) + torch.special.entr(1.0 - given)).flatten(1).sum(1)
        assert (part.loss(output, given) - least).abs().max() < 1e-3
        outputs.append(output)
    back = joined(parts, [part.predicted(output) for part, output in zip(parts, outputs, strict=True)])
    for part in parts:
        found, wanted = part.of(back), part.of(obs)
        assert found.dtype == wanted.dtype
        assert found.shape == wanted.shape
        assert torch.allclose(found.float(), wanted.float(), atol=1e-4)


@pytest.mark.parametrize("name", SPACES)
def test_encoder_and_decoder_of_every_space(name: str) -> None:
    parts = parts_of(SPACES[name], device=CPU)
    inputs = [part.inputs(sampled(SPACES[name], 5)) for part in parts]
    encoder = Encoder(parts, depth=2, units=8, layers=2)
    decoder = Decoder(encoder.tokens, parts, depth=2, units=8, layers=2)
    tokens = encoder(inputs)
    assert tokens.shape == (5, encoder.tokens)
    for output, given in zip(decoder(tokens), inputs, strict=True):
        assert output.shape == given.shape


@pytest.mark.parametrize(
    ("space", "action", "expected"),
    [
        (spaces.Discrete(3, start=1), [1, 3], [[1, 0, 0], [0, 0, 1]]),
        (spaces.MultiDiscrete([2, 3]), [[1, 0], [0, 2]], [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1]]),
        (spaces.MultiBinary(2), [[1, 0], [1, 1]], [[1, 0], [1, 1]]),
        (spaces.Box(0.0, 4.0, (1,)), [[0.0], [3.0]], [[-1.0], [0.5]]),
    ],
)
def test_actions_as_the_model_reads_them(space: Any, action: list[Any], expected: list[list[float]]) -> None:
    inputs = ActionInputs(space, device=CPU)
    assert inputs(torch.tensor(action)).tolist() == expected
    assert inputs.size == len(expected[0])


def test_a_space_that_no_model_reads() -> None:
    with pytest.raises(ValueError, match="a network cannot read a Text observation; use Box"):
        parts_of(spaces.Text(3), device=CPU)
