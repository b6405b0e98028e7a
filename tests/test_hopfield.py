"""Hopfield networks: rules by hand, energy, capacity as theory has it, and `gymnast hopfield`."""

import json
from pathlib import Path

import pytest
import torch

from gymnast.cli.main import main
from gymnast.networks.energy.hopfield import Hopfield, binarised, corrupted, random_patterns, recall
from gymnast.networks.energy.states import states


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_hebbs_rule_by_hand() -> None:
    network = Hopfield(3)
    network.store(torch.tensor([[1.0, 1, -1], [1, -1, -1]]))
    third = 1 / 3
    wanted = torch.tensor([[0, 0, -2 * third], [0, 0, 0], [-2 * third, 0, 0]])
    assert torch.allclose(network.weight, wanted)
    assert torch.allclose(
        network.energy(torch.tensor([[1.0, 1, -1], [1, 1, 1]])), torch.tensor([-2 * third, 2 * third])
    )


def test_energy_never_rises_when_units_change_one_at_a_time() -> None:
    network = Hopfield(60, dtype=torch.float64)
    network.store(random_patterns(12, 60, seeded()))
    now = random_patterns(40, 60, seeded(1)).double()
    fell = 0
    for _ in range(20):
        energy = network.energy(now)
        now = network.recall(now, seeded(2), sweeps=1)
        assert bool((network.energy(now) <= energy + 1e-9).all())
        fell += int((network.energy(now) < energy - 1e-9).sum())
    assert fell >= 40
    assert torch.equal(network.recall(now, seeded(3)), now)  # at rest in every order


def test_one_sweep_equals_a_loop_over_units() -> None:
    network = Hopfield(9, dtype=torch.float64)
    network.store(random_patterns(3, 9, seeded()))
    start = states(9, low=-1.0)[::17]
    order = torch.randperm(9, generator=seeded(5)).tolist()
    for row, end in zip(start, network.recall(start, seeded(5), sweeps=1), strict=True):
        state = row.clone()
        for unit in order:
            field = float(sum(network.weight[unit, other] * state[other] for other in range(9)))
            if abs(field) > 1e-12:
                state[unit] = 1.0 if field > 0 else -1.0
        assert torch.equal(state, end)


def test_two_units_of_opposite_signs_take_turns_forever_only_when_updated_together() -> None:
    network = Hopfield(2)
    network.store(torch.tensor([[1.0, 1.0]]))
    apart = torch.tensor([[1.0, -1.0]])
    assert torch.equal(network.recall(apart, seeded(), order="synchronous", sweeps=1), -apart)
    assert torch.equal(network.recall(apart, seeded(), order="synchronous", sweeps=100), apart)
    assert abs(float(network.recall(apart, seeded()).sum())) == 2


@pytest.mark.parametrize("seed", range(3))
def test_capacity_is_that_of_theory(seed: int) -> None:
    """Below 0.138 patterns per unit recall is almost free of errors; above it breaks down (Amit et al. 1985)."""
    generator = seeded(seed)
    below, above = (recall(random_patterns(number, 400, generator), generator).error for number in (40, 80))
    assert below < 0.02
    assert above > 0.1


def test_corrupted_patterns_are_restored() -> None:
    found = recall(random_patterns(20, 300, seeded()), seeded(1), noise=0.1)
    assert (found.corrupted != found.stored).sum(1).tolist() == [30] * 20
    assert found.error < 0.001
    assert found.exact > 0.9
    together = recall(random_patterns(20, 300, seeded()), seeded(1), noise=0.1, order="synchronous")
    assert together.error < 0.001


def test_the_pseudo_inverse_keeps_what_hebbs_rule_confuses() -> None:
    """150 patterns in 300 units: more than three times the capacity of Hebb's rule."""
    patterns = random_patterns(150, 300, seeded())
    kept = recall(patterns, seeded(), rule="pseudo-inverse")
    assert (kept.error, kept.exact) == (0.0, 1.0)
    assert recall(patterns, seeded()).error > 0.1
    network = Hopfield(4)
    network.store(torch.tensor([[1.0, 1, 1, 1], [1, 1, -1, -1]]), "pseudo-inverse")
    assert torch.allclose(
        network.weight, torch.tensor([[0, 0.5, 0, 0], [0.5, 0, 0, 0], [0, 0, 0, 0.5], [0, 0, 0.5, 0]])
    )


def test_binarising_and_corrupting() -> None:
    assert binarised(torch.tensor([[0.0, 5, 3], [1, 5, 1]])).tolist() == [[-1, -1, 1], [1, -1, -1]]
    ones = torch.ones(3, 8)
    assert torch.equal(corrupted(ones, 0.0, seeded()), ones)
    assert torch.equal(corrupted(ones, 1.0, seeded()), -ones)


def test_wrong_states_are_refused() -> None:
    network = Hopfield(3)
    with pytest.raises(ValueError, match="states must be -1 or 1"):
        network.store(torch.zeros(1, 3))
    with pytest.raises(ValueError, match=r"states must be \[B, 3\], got \[1, 4\]"):
        network.recall(torch.ones(1, 4), seeded())
    with pytest.raises(ValueError, match="rule must be one of hebb, pseudo-inverse, got 'oja'"):
        network.store(torch.ones(1, 3), "oja")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="share must be between 0 and 1, got 2"):
        corrupted(torch.ones(1, 3), 2, seeded())


def test_the_command_measures_capacity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    printed = []
    for _ in range(2):
        assert main(["hopfield", "--units", "400", "--patterns", "40", "80", "--json"]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    found = json.loads(printed[0])
    assert [(row["patterns"], row["load"]) for row in found["stored"]] == [(40, 0.1), (80, 0.2)]
    assert found["stored"][0]["error"] < 0.02 < 0.1 < found["stored"][1]["error"]
    assert set(found["files"]) == {"capacity", "numbers"}
    assert all((tmp_path / file).stat().st_size > 0 for file in found["files"].values())
    assert main(["hopfield", "--units", "60"]) == 0
    assert "0.133" in capsys.readouterr().out  # 8 of 60


def test_the_command_stores_frames_and_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    stored = ["--patterns", "15", "--rule", "pseudo-inverse", "--noise", "0.05", "--json"]
    assert main(["hopfield", "--dataset", "digits", *stored]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["units"], set(found["files"])) == (64, {"recall", "numbers"})
    assert found["stored"][0]["error"] < 0.05
    rbm = ["pretrain", "energy", "--kind", "rbm", "--dataset", "digits"]
    assert main([*rbm, "--epochs", "1", "--hidden-sizes", "32", "--name", "r"]) == 0
    capsys.readouterr()
    assert main(["hopfield", "--dataset", "digits", "--encoder", "runs/digits/energy-rbm/r", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["units"] == 32
    assert main(["hopfield", "--env", "gymnast/Catch-v0", "--env-steps", "200", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["units"] == 50
    assert main(["hopfield", "--env", "CartPole-v1", "--env-steps", "50", "--encoder", "runs/digits/energy-rbm/r"]) == 2
    assert "reads uint8 [8, 8, 1], and the data have float32 [4]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--noise", "2"], "--noise must be between 0 and 1, got 2.0"),
        (["--patterns", "0"], "--patterns must be numbers >= 1, got 0"),
        (["--rule", "oja"], "--rule must be one of hebb, pseudo-inverse, got oja"),
        (["--units", "9", "--dataset", "digits"], "--units 9 has no effect with dataset or env"),
        (["--encoder", "x"], "--encoder x has no effect without dataset or env"),
        (["--dataset", "digits", "--patterns", "2000"], "patterns must be at most 17"),
        (["--env-steps", "9"], "--env-steps 9 has no effect without env"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["hopfield", *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error, error
