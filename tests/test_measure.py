"""`gymnast list networks --env`: what backbones cost, counted by hand."""

import json

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from gymnast.cli.main import main
from gymnast.networks.build import build
from gymnast.networks.measure import measure, receptive_field
from gymnast.settings.request import resolve

ATARI = Box(0, 255, (4, 84, 84), np.uint8)


def made(name: str, space: Box, **settings: object) -> torch.nn.Module:
    return build(name, space, generator=torch.Generator().manual_seed(0), **settings)  # type: ignore[arg-type]


def test_nature_cnn_by_hand() -> None:
    found = measure(made("nature-cnn", ATARI), ATARI)
    convolutions = 20 * 20 * 32 * 4 * 64 + 9 * 9 * 64 * 32 * 16 + 7 * 7 * 64 * 64 * 9
    assert found.multiply_adds == convolutions + 3136 * 512
    assert found.parameters == 32 * 257 + 64 * 513 + 64 * 577 + 512 * 3137
    assert found.field == (36, 36)
    assert found.milliseconds > 0


def test_recurrent_products_are_counted() -> None:
    space = Box(-1, 1, (6, 3), np.float32)
    assert measure(made("lstm", space, options={"units": 5}), space).multiply_adds == 6 * 4 * 5 * (3 + 5)
    assert measure(made("gru", space, options={"units": 5}), space).multiply_adds == 6 * 3 * 5 * (3 + 5)


@pytest.mark.parametrize(("name", "field"), [("lenet5", 16), ("a3c-cnn", 20), ("efficient-cnn", 25), ("hadamax", 59)])
def test_receptive_fields_by_hand(name: str, field: int) -> None:
    """lenet5: 5, 6 and 14 pixels, then 16. hadamax: 8, 11, 23, 27, 43, 59."""
    assert receptive_field(made(name, ATARI)) == (field, field)  # type: ignore[arg-type]


def test_a_measured_network_is_unchanged() -> None:
    network = made("vgg", Box(0, 255, (3, 36, 40), np.uint8), options={"norm": "batch"})
    before = {name: value.clone() for name, value in network.state_dict().items()}
    measure(network.eval(), Box(0, 255, (3, 36, 40), np.uint8))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not network.training
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.slow
def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "networks", "--env", "gymnast/Catch-v0", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"mlp", "vgg", "impala", "lstm", "transformer"} <= found.keys()
    assert "nature-cnn" not in found  # too small
    assert main(["list", "networks", "--env", "gymnast/Catch-v0"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == [
        *("network", "features", "parameters", "multiply-adds", "receptive", "field", "ms", "of", "32")
    ]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("list agents --env CartPole-v1", "--env belongs to the list networks, not to agents"),
        ("list networks --env CartPole-v9", "CartPole"),
        (
            "train ppo --env CartPole-v1 --network.width 2",
            "--network.width is an option of a backbone, and auto has none",
        ),
        (
            "train ppo --env Pong-v5 --network impala --network.widt 2",
            "no option --network.widt; did you mean --network.width?",
        ),
        ("train ppo --env Pong-v5 --network impala --network.width 0", "network impala: width must be >= 1, got 0"),
        ("train ppo --env CartPole-v1 --network impala", "network impala needs images"),
        ("train ppo --env CartPole-v1 --network lstm", "network lstm needs a sequence"),
    ],
)
def test_mistakes_are_one_line(words: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    said = capsys.readouterr().err.strip()
    assert line in said
    assert len(said.splitlines()) == 1


@pytest.mark.slow
def test_options_are_kept_in_the_run(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "train ppo --env CartPole-v1 --wrapper FrameStackObservation:stack_size=4 --network gru --network.units 7 "
        f"--network.reset before --steps 600 --rollout-steps 32 --no-video --name run --out {tmp_path}"
    )
    assert main(words.split()) == 0
    import gymnast

    agent = gymnast.load(f"{tmp_path}/CartPole-v1/ppo/run")
    assert agent.config.network_options == {"units": 7, "reset": "before"}
    assert main(f"resume {tmp_path}/CartPole-v1/ppo/run --steps 900".split()) == 0
    assert main(f"evaluate {tmp_path}/CartPole-v1/ppo/run --episodes 2".split()) == 0


def test_help_lists_the_options_of_a_network(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "dqn", "--network", "impala", "--help"]) == 0
    text = capsys.readouterr().out
    section = text.split("options of the network impala")[1]
    for option in ("--network.channels ", "--network.width ", "--network.spectral-norm", "--network.max-pool "):
        assert option in section
    assert "(default: 16 32 32)" in section
    assert "--no-network.spectral-norm" in section
    words = ["--env", "X", "--network", "impala", "--no-network.spectral-norm"]
    assert resolve("dqn", words, of="train dqn").config.network_options == {"spectral_norm": False}
    assert main(["train", "dqn", "--help"]) == 0
    assert "options of the network" not in capsys.readouterr().out
