"""Backbones for images and sequences: shapes, gradients, layouts, and torch's own layers as the oracle."""

import copy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from torch import Tensor, nn

from gymnast.networks.backbones.attention import Attention, Embedding, Transformer, TransformerOptions, WaveNet
from gymnast.networks.backbones.branching import DenseNet, Hadamax, HadamaxBlock, Xception, XceptionOptions
from gymnast.networks.backbones.classic import VGG, AlexNet, LeNet5, VGGOptions
from gymnast.networks.backbones.inception import Inception
from gymnast.networks.backbones.recurrent import GRU, LSTM, RNN, GRUOptions, LSTMOptions, RNNOptions
from gymnast.networks.backbones.residual import (
    Impala,
    ImpalaOptions,
    PreBlock,
    ResNet,
    ResNetOptions,
    SqueezeExcitationNet,
)
from gymnast.networks.backbones.strided import DCGAN
from gymnast.networks.backbones.table import BACKBONES
from gymnast.networks.build import build
from gymnast.networks.layers.blocks import NORMS, SqueezeExcitation
from gymnast.networks.layers.cells import ElmanCell, GRUCell, LSTMCell, Unrolled, VariationalDropout, Zoneout
from gymnast.networks.modes import depends_on_mode, with_dropout

IMAGE_NETS = (LeNet5, AlexNet, VGG, ResNet, SqueezeExcitationNet, Impala, Inception, DenseNet, Xception, Hadamax, DCGAN)
SEQUENCE_NETS = (RNN, LSTM, GRU, Transformer, WaveNet)
IMAGES = {
    "minatar": Box(0, 1, (10, 10, 4), np.float32),
    "atari": Box(0, 255, (4, 84, 84), np.uint8),
    "digits": Box(0, 16, (8, 8), np.float32),
    "wide": Box(0, 255, (12, 30, 1), np.uint8),
}


def batch(space: gym.Space, count: int = 3) -> Tensor:
    space.seed(0)
    return torch.as_tensor(np.stack([space.sample() for _ in range(count)]))


@pytest.mark.parametrize("space", IMAGES.values(), ids=IMAGES)
@pytest.mark.parametrize("net", IMAGE_NETS, ids=lambda net: net.name)
def test_images(net: type[nn.Module], space: Box) -> None:
    """Features of the stated width, finite, and a gradient for every parameter."""
    torch.manual_seed(0)
    network = net(space)
    features = network(batch(space))
    assert features.shape == (3, network.out_features)
    assert torch.isfinite(features).all()
    features.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("net", IMAGE_NETS, ids=lambda net: net.name)
def test_whole_frames(net: type[nn.Module]) -> None:
    space = Box(0, 255, (210, 160, 3), np.uint8)
    network = net(space)
    assert network(batch(space, 1)).shape == (1, network.out_features)


@pytest.mark.parametrize("net", IMAGE_NETS, ids=lambda net: net.name)
def test_layouts_are_the_same_image(net: type[nn.Module]) -> None:
    """[H, W, C], [C, H, W] and uint8 or float of the same picture give the same features."""
    last, first = Box(0, 255, (12, 16, 3), np.uint8), Box(0, 255, (3, 12, 16), np.uint8)
    network = net(last).eval()
    other = net(first).eval()
    other.load_state_dict(network.state_dict())
    picture = batch(last)
    torch.testing.assert_close(network(picture), other(picture.movedim(-1, 1)))
    scaled = net(Box(0, 1, (12, 16, 3), np.float32)).eval()
    scaled.load_state_dict(network.state_dict())
    torch.testing.assert_close(network(picture), scaled(picture.float() / 255))


@pytest.mark.parametrize("net", [*IMAGE_NETS, *SEQUENCE_NETS, Embedding], ids=lambda net: net.name)
def test_refuses_other_observations(net: type[nn.Module]) -> None:
    with pytest.raises(ValueError, match=f"network {net.name} needs"):
        net(Dict({"a": Discrete(3)}))


@pytest.mark.parametrize("norm", NORMS)
def test_norms(norm: str) -> None:
    space = Box(0, 1, (10, 10, 4), np.float32)
    network = VGG(space, options=VGGOptions(norm=norm))
    network.finish()
    assert torch.isfinite(network(batch(space))).all()
    if norm == "spectral":
        for layer in network.body.modules():
            if isinstance(layer, nn.Conv2d):
                for _ in range(50):
                    layer(torch.zeros(1, layer.in_channels, 5, 5))
                largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
                assert float(largest) == pytest.approx(1.0, abs=1e-2)


def test_impala_is_that_of_the_paper() -> None:
    """Parameters of the paper's network on 72x96x3 frames, counted by hand."""
    network = Impala(Box(0, 255, (3, 72, 96), np.uint8))
    stages = ((3, 16), (16, 32), (32, 32))
    convolutions = sum(a * b * 9 + b + 4 * (b * b * 9 + b) for a, b in stages)
    assert sum(p.numel() for p in network.parameters()) == convolutions + 9 * 12 * 32 * 256 + 256
    assert network.out_features == 256


def test_impala_of_btr() -> None:
    space = Box(0, 255, (4, 84, 84), np.uint8)
    network = Impala(space, options=ImpalaOptions(width=2, spectral_norm=True, max_pool=6))
    network.finish()
    assert network.layers[0].in_features == 64 * 6 * 6
    blocks = [module for module in network.modules() if isinstance(module, PreBlock)]
    assert len(blocks) == 6
    assert all(hasattr(layer, "parametrizations") for block in blocks for layer in (block.first, block.second))


def test_hadamax_sizes() -> None:
    """SAME padding: 84 to 21 to 11 to 11, and 512 units."""
    network = Hadamax(Box(0, 255, (4, 84, 84), np.uint8))
    assert network.layers[0].in_features == 64 * 11 * 11
    block = HadamaxBlock(1, 2, kernel=4, window=2, stride=2)
    pictures = torch.randn(2, 1, 5, 7)
    padded = nn.functional.pad(pictures, (1, 2, 1, 2))
    first, second = block.first(padded), block.second(padded)
    gelu = nn.GELU("tanh")
    product = gelu(block.first_norm(first)) * gelu(block.second_norm(second))
    expected = nn.functional.max_pool2d(product, 2, 2, ceil_mode=True)
    torch.testing.assert_close(block(pictures), expected)


def test_squeeze_excitation_by_hand() -> None:
    gate = SqueezeExcitation(4, reduction=2)
    features = torch.randn(2, 4, 3, 3)
    hidden = (features.mean((2, 3)) @ gate.squeeze.weight.T + gate.squeeze.bias).clamp(min=0)
    scale = torch.sigmoid(hidden @ gate.excite.weight.T + gate.excite.bias)
    torch.testing.assert_close(gate(features), features * scale.view(2, 4, 1, 1))


def test_resnet_options() -> None:
    space = Box(0, 1, (16, 16, 3), np.float32)
    assert sum(isinstance(m, nn.Conv2d) for m in ResNet(space, options=ResNetOptions(blocks=(1, 1))).modules()) == 6
    with pytest.raises(ValueError, match="norm must be one of"):
        ResNetOptions(norm="instance")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="depth must be one of 11, 13, 16, 19, got 12"):
        VGGOptions(depth=12)
    with pytest.raises(ValueError, match="middle must be >= 0"):
        XceptionOptions(middle=-1)


SEQUENCES = {
    "vectors": Box(-1, 1, (9, 5), np.float32),
    "tokens": MultiDiscrete([4] * 6),
    "rows of pixels": Box(0, 255, (8, 8), np.uint8),
}


@pytest.mark.parametrize("space", SEQUENCES.values(), ids=SEQUENCES)
@pytest.mark.parametrize("net", SEQUENCE_NETS, ids=lambda net: net.name)
def test_sequences(net: type[nn.Module], space: gym.Space) -> None:
    torch.manual_seed(0)
    network = net(space)
    network.finish()
    features = network(batch(space))
    assert features.shape == (3, network.out_features)
    features.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(("cell", "layer"), [(LSTMCell, nn.LSTM), (ElmanCell, nn.RNN)], ids=["lstm", "elman"])
@pytest.mark.parametrize("both", [False, True], ids=["ahead", "both directions"])
def test_cells_equal_torchs(cell: type[nn.Module], layer: type[nn.RNNBase], both: bool) -> None:
    torch.manual_seed(0)
    oracle = layer(5, 7, batch_first=True, bidirectional=both)
    own = Unrolled(cell(5, 7), cell(5, 7) if both else None)
    for cell_, suffix in ((own.ahead, ""), (own.back, "_reverse")):
        if cell_ is not None:
            with torch.no_grad():
                cell_.input.weight.copy_(getattr(oracle, f"weight_ih_l0{suffix}"))
                cell_.hidden.weight.copy_(getattr(oracle, f"weight_hh_l0{suffix}"))
                biases = (getattr(oracle, f"bias_{part}_l0{suffix}") for part in ("ih", "hh"))
                cell_.input.bias.copy_(sum(biases))
    steps = torch.randn(3, 11, 5)
    torch.testing.assert_close(own(steps), oracle(steps)[0])


def test_gru_before_by_hand() -> None:
    """Cho et al. 2014, eq. 5 to 8, with torch's sign of the update gate."""
    torch.manual_seed(0)
    cell = GRUCell(3, 4)
    x, h = torch.randn(2, 3), torch.randn(2, 4)
    wr, wz, wn = cell.input.weight.chunk(3)
    br, bz, bn = cell.input.bias.chunk(3)
    ur, uz = cell.gates.weight.chunk(2)
    cr, cz = cell.gates.bias.chunk(2)
    r = torch.sigmoid(x @ wr.T + br + h @ ur.T + cr)
    z = torch.sigmoid(x @ wz.T + bz + h @ uz.T + cz)
    n = torch.tanh(x @ wn.T + bn + (r * h) @ cell.fresh.weight.T)
    torch.testing.assert_close(cell(cell.input(x), (h,))[0], (1 - z) * n + z * h)


def test_peepholes_and_clip_by_hand() -> None:
    torch.manual_seed(0)
    cell = LSTMCell(3, 4, peepholes=True, clip=0.5)
    nn.init.normal_(cell.peepholes)
    x, h, c = torch.randn(2, 3), torch.randn(2, 4), torch.randn(2, 4)
    i, f, g, o = (cell.input(x) + cell.hidden(h)).chunk(4, 1)
    pi, pf, po = cell.peepholes
    after = (torch.sigmoid(f + pf * c) * c + torch.sigmoid(i + pi * c) * torch.tanh(g)).clamp(-0.5, 0.5)
    output = torch.sigmoid(o + po * after) * torch.tanh(after)
    found = cell(cell.input(x), (h, c))
    torch.testing.assert_close(found, (output, after))
    assert float(after.detach().abs().max()) == 0.5


def test_forget_gates_are_open_at_first() -> None:
    space = Box(-1, 1, (4, 3), np.float32)
    for options in (LSTMOptions(units=5), LSTMOptions(units=5, peepholes=True)):
        network = LSTM(space, options=options)
        network.finish()
        (bias,) = (
            parameter[5:10]
            for name, parameter in network.named_parameters()
            if name.endswith(("bias_ih_l0", "input.bias"))
        )
        assert bias.tolist() == [1.0] * 5


def test_zoneout_and_dropout() -> None:
    torch.manual_seed(0)
    before, after = torch.zeros(1000, 4), torch.ones(1000, 4)
    zoneout = Zoneout(0.25)
    kept = zoneout(before, after)
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    assert float(kept.mean()) == pytest.approx(0.75, abs=0.03)
    assert zoneout.eval()(before, after).unique().tolist() == [0.75]
    dropped = VariationalDropout(0.5)(torch.ones(8, 6, 10))
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))  # one mask for all steps
    assert set(dropped.unique().tolist()) == {0.0, 2.0}


def test_gru_options() -> None:
    with pytest.raises(ValueError, match="reset must be after or before"):
        GRUOptions(reset="never")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="zoneout needs reset before, got after"):
        GRUOptions(zoneout=0.1)
    with pytest.raises(ValueError, match="zoneout must be >= 0 and < 1"):
        RNNOptions(zoneout=1.0)


@pytest.mark.parametrize("score", ["dot", "general", "additive"])
def test_attention_is_a_weighted_mean(score: str) -> None:
    torch.manual_seed(0)
    attention = Attention(4, score)
    steps = torch.randn(2, 5, 4)
    q = steps[:, -1]
    rows = []
    for step in steps.unbind(1):
        if score == "dot":
            rows.append((q * step).sum(1) / 2.0)
        elif score == "general":
            rows.append((q * (step @ attention.bilinear.weight.T)).sum(1))
        else:
            rows.append(attention.energy(torch.tanh(attention.query(q) + attention.key(step)))[:, 0])
    weights = torch.stack(rows, 1).softmax(1)
    torch.testing.assert_close(attention(steps), torch.einsum("bt,btf->bf", weights, steps))


@pytest.mark.parametrize("net", [WaveNet, Transformer], ids=lambda net: net.name)
def test_causal_networks_do_not_see_the_future(net: type[nn.Module]) -> None:
    space = Box(-1, 1, (12, 3), np.float32)
    network = (net(space, options=TransformerOptions(causal=True)) if net is Transformer else net(space)).eval()
    steps = torch.randn(1, 12, 3, requires_grad=True)
    output = network.outputs(steps)[0, 5]
    (output * torch.randn(len(output))).sum().backward()  # the plain sum of normalised features is constant
    assert steps.grad is not None
    seen = steps.grad.abs().sum((0, 2))
    assert not seen[6:].any()
    assert seen[:6].all()


def test_embedding_counts_from_the_start() -> None:
    network = Embedding(MultiDiscrete([3, 4], start=[5, -1]), ())
    found = network(torch.tensor([[5, -1], [7, 2]]))
    expected = network.vectors.weight[torch.tensor([[0, 3], [2, 6]])].flatten(1)
    assert torch.equal(found, expected)


def test_state_is_copied_and_loaded() -> None:
    for net in (Impala, LSTM):
        space = IMAGES["minatar"] if net is Impala else SEQUENCES["vectors"]
        network = net(space).eval()
        other = net(space).eval()
        other.load_state_dict(copy.deepcopy(network.state_dict()))
        assert torch.equal(network(batch(space)), other(batch(space)))


def test_the_axis_of_the_channels() -> None:
    """The smallest axis has the channels where it is the last one; an option overrides that."""
    for shape, planes in (((10, 10, 6), (6, 10, 10)), ((6, 10, 10), (6, 10, 10)), ((10, 10, 10), (10, 10, 10))):
        assert LeNet5(Box(0, 1, shape, np.float32)).layout.planes == planes
    options = LeNet5.Options(channels_axis="last")
    assert LeNet5(Box(0, 1, (10, 10, 10), np.float32), options=options).layout.is_last
    assert LeNet5(Box(0, 1, (6, 12, 14), np.float32), options=options).layout.planes == (14, 6, 12)
    with pytest.raises(ValueError, match="channels_axis must be auto, first or last, got 'middle'"):
        ImpalaOptions(channels_axis="middle")  # type: ignore[arg-type]


FITTING = {
    **dict.fromkeys(("wavenet", "rnn", "lstm", "gru", "attention", "transformer"), Box(-1, 1, (6, 3), np.float32)),
    "embedding": MultiDiscrete([3, 4]),
    **dict.fromkeys(("nature-cnn", "a3c-cnn", "efficient-cnn"), Box(0, 255, (36, 40, 3), np.uint8)),
    "minatar-cnn": Box(0, 1, (10, 10, 4), np.float32),
    "linear": Box(-1, 1, (5,), np.float32),
    "combined": Dict({"a": Box(0, 255, (36, 40, 3), np.uint8), "b": Discrete(3)}),
}
"""Spaces of the backbones that do not read small images."""


@pytest.mark.parametrize("name", BACKBONES)
def test_the_same_seed_gives_the_same_weights(name: str) -> None:
    space = FITTING.get(name, IMAGES["digits"])
    torch.manual_seed(0)
    first = build(name, space, generator=torch.Generator().manual_seed(7))
    torch.manual_seed(1)  # nothing comes from torch's own generator
    second = build(name, space, generator=torch.Generator().manual_seed(7))
    other = build(name, space, generator=torch.Generator().manual_seed(8))
    values = [dict(network.named_parameters()) for network in (first, second, other)]
    assert all(torch.equal(value, values[1][key]) for key, value in values[0].items())
    assert not values[0] or any(not torch.equal(value, values[2][key]) for key, value in values[0].items())


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_is_one_graph(name: str) -> None:
    """torch.compile finds no break in it, and changes no number."""
    if name in ("rnn", "lstm", "gru", "attention"):
        pytest.skip("torch does not trace its own recurrent layers")
    space = FITTING.get(name, IMAGES["digits"])
    network = build(name, space, generator=torch.Generator().manual_seed(0)).eval()
    obs = {"a": batch(space["a"]), "b": batch(space["b"])} if isinstance(space, Dict) else batch(space)
    torch._dynamo.reset()  # its limit of recompilations is for all networks together
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(obs), network(obs))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lstm", {"peepholes": True, "dropout": 0.5}),
        ("gru", {"reset": "before", "zoneout": 0.5}),
        ("rnn", {"zoneout": 0.5}),
        ("mlp", {"dropout": 0.5}),
    ],
)
def test_dropout_and_zoneout_act_in_updates_only(name: str, options: dict[str, Any]) -> None:
    space = Box(-1.0, 1.0, (5, 3), np.float32)
    network = build(name, space, options=options, generator=torch.Generator().manual_seed(0))
    assert depends_on_mode(network)
    obs = torch.randn(4, 5, 3)
    network.train()
    assert not torch.equal(network(obs), network(obs))
    network.eval()
    assert torch.equal(network(obs), network(obs))
    with with_dropout(network):
        assert not torch.equal(network(obs), network(obs))
    assert torch.equal(network(obs), network(obs))
    assert not any(module.training for module in network.modules())
