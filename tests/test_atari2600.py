"""The console beside facts of its chips, found with probe programs, and beside ale-py's console."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from numba import njit

from gymnast.envs.atari2600 import decode, rules
from gymnast.envs.atari2600.__main__ import main
from gymnast.envs.atari2600.check import Pair, play, play_well
from gymnast.envs.atari2600.emulator import Emulator
from gymnast.envs.atari2600.games import GameError, load_game, names, record_of, table
from gymnast.envs.atari2600.mersenne import below, draw, seed_generator
from tests.probes import ADC, CLC, CLV, LDA, LDA_ZP, PHP, PLA, SBC, SEC, SED, STA_ZP, WSYNC, console, memory

VECTORS = {
    "pong": ("aec387e4", "bd9918e0", "db45a4d5", "609b05cc", -2),
    "breakout": ("553fc857", "0ae968e5", "9e432dd8", "0cfc683c", 0),
    "seaquest": ("b0c2aa61", "bab0b271", "7fe06ad8", "171a857f", 0),
    "robotank": ("5dbd51a2", "954d570b", "4abfcb52", "c209f0d1", 0),
    "montezuma_revenge": ("bfbdab7f", "3f37c0e7", "1564ac43", "7bdb9c85", 0),
    "qbert": ("c2a8fa9d", "53f3fd34", "2753dc23", "d50d4ede", 25),
    "wizard_of_wor": ("63937a52", "abc6da0e", "2b086c1e", "d90ae2cb", 0),
    "amidar": ("f78a1379", "8257a10b", "a5885aa2", "d455ff20", 3),
}
"""CRC-32 of RAM and screen after power-on and after 500 frames, and the rewards' sum, of ale-py 0.12.1."""
SOME = ("alien", "berzerk", "double_dunk", "montezuma_revenge", "pong", "robotank", "skiing", "solaris", "surround")
DECIMAL = (
    *((ADC, 0x15, 0x27, 0, 0x42, 0x3C), (ADC, 0x99, 0x01, 0, 0x00, 0x3F), (ADC, 0x99, 0x99, 1, 0x99, 0xBD)),
    *((ADC, 0x0F, 0x01, 0, 0x16, 0x3C), (ADC, 0x9A, 0x00, 0, 0x00, 0x3F), (ADC, 0xFF, 0xFF, 1, 0x75, 0x7D)),
    *((ADC, 0x80, 0x7F, 1, 0x66, 0x3D), (ADC, 0x79, 0x80, 1, 0x60, 0x3D), (ADC, 0x50, 0x50, 0, 0x00, 0x3F)),
    *((SBC, 0x15, 0x27, 0, 0x87, 0xFC), (SBC, 0x99, 0x01, 0, 0x97, 0xBD), (SBC, 0x99, 0x99, 1, 0x00, 0x7F)),
    *((SBC, 0x0F, 0x01, 0, 0x13, 0x3D), (SBC, 0x00, 0x01, 1, 0x99, 0xFC), (SBC, 0x80, 0x7F, 1, 0x95, 0xBD)),
    *((SBC, 0x0A, 0x05, 1, 0x05, 0x3D), (SBC, 0x00, 0xFF, 0, 0x7C, 0x3C), (SBC, 0x79, 0x80, 1, 0x99, 0xBC)),
)
"""Operation, A, operand, carry, then the result and the status that PHP pushes, of ale-py 0.12.1."""
TIMERS = (
    *((0x294, 5, 0, [1, 128, 231, 0]), (0x294, 1, 0, [251, 0, 237, 0]), (0x295, 1, 0, [0, 128, 245, 0])),
    *((0x295, 0, 0, [252, 0, 250, 0]), (0x296, 5, 0, [4, 0, 4, 0]), (0x296, 0, 60, [192, 0, 191, 0])),
    *((0x294, 1, 124, [3, 0, 245, 0]), (0x295, 2, 191, [55, 0, 53, 0]), (0x297, 2, 191, [1, 0, 1, 0])),
)
"""Register, value, cycles to wait, and what INTIM, INSTAT, INTIM, INSTAT read then."""


def crc(array: np.ndarray) -> str:
    return f"{zlib.crc32(np.ascontiguousarray(array).tobytes()):08x}"


def wait(cycles: int) -> list[int]:
    """Instructions that take so many cycles, without an effect: NOPs, and one that reads page zero if odd."""
    return [0x04, 0x80] * (cycles % 2) + [0xEA] * ((cycles - 3 * (cycles % 2)) // 2)


def test_the_instruction_set_has_all_opcodes() -> None:
    assert len(decode.OPERATION) == len(decode.MODE) == len(decode.CYCLES) == 256
    assert all(getattr(decode, name) == number for number, name in enumerate(decode.NAMES))
    assert all(getattr(decode, name.upper()) == number for number, name in enumerate(decode.MODES))
    assert decode.NAMES[decode.OPERATION[0x20]] == "JSR"
    assert decode.CYCLES[0x20] == 6


@pytest.mark.parametrize(("op", "a", "operand", "carry", "result", "status"), DECIMAL)
def test_decimal_arithmetic(op: int, a: int, operand: int, carry: int, result: int, status: int) -> None:
    program = [SED, CLV, SEC if carry else CLC, LDA, a, op, operand, STA_ZP, 0x80, PHP, PLA, STA_ZP, 0x81, 0xD8]
    assert memory(program, count=2) == [result, status]


@pytest.mark.parametrize(("register", "value", "cycles", "expected"), TIMERS)
def test_the_timer(register: int, value: int, cycles: int, expected: list[int]) -> None:
    program = [LDA, value, 0x8D, register & 0xFF, register >> 8, *wait(cycles)]
    for place, at in enumerate((0x84, 0x85, 0x84, 0x85)):  # INTIM, INSTAT
        program += [0xAD, at, 0x02, STA_ZP, 0x80 + place]
    assert memory(program, count=4) == expected


def test_undriven_bits_of_the_tia_come_from_the_bus() -> None:
    program = [LDA_ZP, 0x38, STA_ZP, 0x80, LDA_ZP, 0x0E, STA_ZP, 0x81]
    program += [0xAD, 0x0E, 0x00, STA_ZP, 0x82, 0xAD, 0x3E, 0x01, STA_ZP, 0x83]
    assert memory(program, count=4) == [0x38, 0x0E, 0x00, 0x01]


@pytest.mark.parametrize(
    ("action", "expected"),
    [(0, [0x3F, 0xFF, 0xBC, 0xBD]), (1, [0x3F, 0xFF, 0x3C, 0xBD]), (14, [0x3F, 0x6F, 0x3C, 0xBD])],
)
def test_switches_and_joystick(action: int, expected: list[int]) -> None:
    program = [0xAD, 0x82, 0x02, STA_ZP, 0x80, 0xAD, 0x80, 0x02, STA_ZP, 0x81]
    emulator = console([*program, LDA_ZP, 0x3C, STA_ZP, 0x82, LDA_ZP, 0x3D, STA_ZP, 0x83])
    emulator.act(action)
    assert emulator.m["RAM"][:4].tolist() == expected


@pytest.mark.parametrize(("cycle", "x"), [(22, 3), (23, 6), (24, 9), (40, 57)])
def test_a_player_begins_where_the_beam_is(cycle: int, x: int) -> None:
    once = [LDA, 0x0E, STA_ZP, 0x06, LDA, 0x80, STA_ZP, 0x1B]  # COLUP0, GRP0: one pixel
    emulator = console([STA_ZP, WSYNC] * 200, once=[*once, STA_ZP, WSYNC, *wait(cycle - 3), STA_ZP, 0x10])
    for _ in range(4):
        emulator.act(0)
    assert np.unique(np.argwhere(emulator.screen() == 0x0E)[:, 1]).tolist() == [x]


def test_rows_that_a_short_frame_does_not_reach_stay() -> None:
    emulator = console([STA_ZP, WSYNC] * 100, once=[LDA, 0x0E, STA_ZP, 0x09])  # COLUBK
    for _ in range(4):
        emulator.act(0)
    assert (emulator.screen() == 0x0E).all(1).sum() == 69


def test_25_000_instructions_are_a_frame() -> None:
    emulator = console([0xE6, 0x80, 0xD0, 0xFC, 0x4C, 0x09, 0xF0], once=[])  # INC and BNE for ever
    counts = [int(emulator.m["RAM"][0])]
    for _ in range(3):
        emulator.act(0)
        counts.append(int(emulator.m["RAM"][0]))
    assert set(np.diff(counts) % 256) <= {n % 256 for n in range(12_400, 12_500)}


@njit
def numbers(words: np.ndarray, seed: int, count: int) -> np.ndarray:
    """The first numbers of a seed, and as many below 30."""
    seed_generator(words, seed)
    found = np.zeros((2, count), np.int64)
    for at in range(count):
        found[0, at] = draw(words)
    for at in range(count):
        found[1, at] = below(words, 30)
    return found


def test_the_generator_is_numpys() -> None:
    reference = np.random.MT19937()
    reference._legacy_seeding(4753849)
    found = numbers(np.zeros(625, np.uint32), 4753849, 700)
    assert found[0].tolist() == reference.random_raw(700).tolist()
    assert set(found[1].tolist()) == set(range(30))


@pytest.mark.parametrize("game", VECTORS)
def test_a_game_has_the_checksums_of_ale_py(game: str) -> None:
    ram, screen, ram_later, screen_later, total = VECTORS[game]
    emulator = Emulator(load_game(game), seed=1)
    assert (crc(emulator.m["RAM"]), crc(emulator.screen())) == (ram, screen)
    rewards = 0
    for frame in range(500):
        rewards += emulator.act(emulator.game.actions[frame // 10 % len(emulator.game.actions)])
        if emulator.m["terminal"]:
            emulator.reset()
    assert (crc(emulator.m["RAM"]), crc(emulator.screen()), rewards) == (ram_later, screen_later, total)
    emulator.reset()


@pytest.mark.parametrize("game", SOME)
def test_games_are_those_of_ale_py(game: str) -> None:
    outcome = play(game, frames=120, seed=3, sticky=0.25, reset_every=50)
    assert (outcome.difference, outcome.frames) == (None, 120)
    assert outcome.resets >= 5


def test_all_games_are_those_of_ale_py() -> None:
    differences = {game: play(game, frames=100, seed=2).difference for game in names()}
    assert {game: found for game, found in differences.items() if found} == {}


@pytest.mark.parametrize(("game", "mode", "difficulty"), [("pong", 1, 3), ("breakout", 36, 1), ("ms_pacman", 2, 0)])
def test_modes_and_difficulties_are_those_of_ale_py(game: str, mode: int, difficulty: int) -> None:
    pair = Pair(game)
    pair.select(mode, difficulty)
    for frame in range(60):
        pair.act(pair.ours.game.actions[frame // 4 % len(pair.ours.game.actions)])
    assert (pair.difference, pair.frames) == (None, 60)


def test_a_restored_state_goes_on_equally() -> None:
    emulator = Emulator(load_game("seaquest"), seed=4, sticky=0.25)
    for action in range(40):
        emulator.act(action % 18)
    state = emulator.clone_state()
    first = [(emulator.act(action % 18), crc(emulator.screen())) for action in range(60)]
    emulator.restore_state(state)
    assert [(emulator.act(action % 18), crc(emulator.screen())) for action in range(60)] == first


def test_the_way_to_a_score_is_that_of_ale_py() -> None:
    outcome = play_well("ms_pacman", frames=1_000, seed=1, sticky=0.25)
    assert outcome.difference is None
    assert outcome.score > 0


@pytest.mark.parametrize(
    ("words", "frames"),
    [
        (["--frames", "5"], 5),
        (["--modes", "--frames", "2"], 2 * 2 * 4),
        (["--search", "--frames", "20"], None),
        (["--vector", "--steps", "3", "--envs", "2"], 3 * 2 * 4),
    ],
)
def test_the_check_prints_a_line_for_each_game(
    words: list[str], frames: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--games", "pong", *words]) == 0
    line, total = capsys.readouterr().out.splitlines()
    assert line.split()[:3] == ["pong", "equal", "in"]
    assert frames is None or line.split()[3] == str(frames)
    assert total.startswith("1 of 1 games are equal in ")


def test_the_check_finds_a_difference(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    act = Emulator.act

    def with_a_fault(self: Emulator, action: int) -> int:
        reward = act(self, action)
        self.m["RAM"][7] ^= int(self.m["frames"]) == 3
        return reward

    monkeypatch.setattr(Emulator, "act", with_a_fault)
    assert main(["check", "--games", "pong", "--sticky", "0.25", "--frames", "5"]) == 1
    line, total = capsys.readouterr().out.splitlines()
    assert "pong  seed 0, sticky 0.25, frame 2 after 0 resets: RAM at 7 is " in line
    assert total == "0 of 1 games are equal in 3 frames"


def test_amounts_of_other_kinds_of_play_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--vector", "--frames", "5"]) == 2
    assert capsys.readouterr().err == "error: --frames has no effect on play of the kind vector\n"


def test_games_that_cannot_be_played_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--games", "pongg"]) == 2
    assert capsys.readouterr().err == "error: game 'pongg' is not one of the 57 known; did you mean pong?\n"
    with pytest.raises(GameError, match=r"pong: there is no image .*pong\.bin"):
        load_game("pong", tmp_path / "pong.bin")
    (tmp_path / "pong.bin").write_bytes(bytes(2048))
    with pytest.raises(GameError, match="pong: the image has md5 c99a74c555371a433d121f551d6c6398, expected 60e0ea"):
        load_game("pong", tmp_path / "pong.bin")
    with pytest.raises(GameError, match="pong: cartridges of type DPC are not supported"):
        record_of({**table()["pong"], "cartridge": "DPC"})


@pytest.mark.parametrize("text", ["print(1)", "score = x", "score = r1 ** 2", "score = r1 < r2 < r3"])
def test_rules_that_cannot_be_compiled(text: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        rules.compile_rules(text)
