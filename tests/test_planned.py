"""One run of a benchmark: the words it is started by, and what its folder says is still to be done."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from gymnast.errors import UsageError
from gymnast.settings.request import resolve
from gymnast.storage import folder
from gymnast.suites import planned_run
from gymnast.suites.options import SuiteOptions
from gymnast.suites.planned_run import Planned
from tests.runs import write_run

WORDS = ("--env", "gymnast/Chain-v0", "--learning-rate", "0.01")


def item(out: Path, words: tuple[str, ...] = WORDS, *, seed: int = 0, **options: Any) -> Planned:
    made = planned_run.plan("DQN", "dqn", words, SuiteOptions(**{"steps": 1000, **options}))
    return made.at(seed, str(out), f"b-seed{seed}")


def lying(wanted: Planned, *, steps: int = 1000, score: float | None = 1.0, last: bool = True, **changes: Any) -> None:
    """A run in the folder of the one that is wanted, started by its words."""
    command = ["gymnast", "train", wanted.agent, *changes.get("words", wanted.words), "--seed", "0"]
    write_run(wanted.path, steps=steps, score=score, command=command, agent=wanted.agent)
    if last:
        (wanted.path / "checkpoints").mkdir()
        (wanted.path / "checkpoints" / "last.pt").touch()


def test_the_words_are_those_of_train(tmp_path: Path) -> None:
    wanted = item(tmp_path, seed=3)
    assert wanted.path == tmp_path / "gymnast-Chain-v0" / "dqn" / "b-seed3"
    task = planned_run.task(wanted)
    assert task.words[:2] == ("train", "dqn")
    asked = resolve("dqn", task.words[2:], of="train dqn")
    assert (asked.options.steps, asked.options.seed, asked.options.video) == (1000, 3, False)
    assert (asked.options.out, asked.options.name) == (str(tmp_path), "b-seed3")
    assert (asked.options.eval_every, asked.options.checkpoint_every) == (50, 50)
    assert asked.config.learning_rate == 0.01


def test_presets_and_options_are_kept_and_runs_are_of_one_length(tmp_path: Path) -> None:
    words = ("--env", "CartPole", "--preset", "cartpole", "--video")
    wanted = item(tmp_path, words, steps=None, checkpoint_every=700)
    asked = resolve("dqn", wanted.words, of="train dqn").options
    assert wanted.env == "CartPole-v1"
    assert (asked.steps, wanted.steps, asked.eval_every, asked.checkpoint_every) == (50_000, 50_000, 2_500, 700)
    assert (asked.stop_return, asked.video) == (None, True)
    short = item(tmp_path, words, steps=400)  # the preset's period has none in it
    asked = resolve("dqn", short.words, of="train dqn").options
    assert (asked.steps, asked.eval_every, asked.checkpoint_every) == (400, 20, 20)
    long = item(tmp_path, WORDS, steps=50_000_000, eval_every=10)
    asked = resolve("dqn", long.words, of="train dqn").options
    assert (asked.checkpoint_every, asked.eval_every) == (250_000, 10)


@pytest.mark.parametrize(
    ("agent", "words", "message"),
    [
        ("dqn", (*WORDS, "--steps", "5"), "--steps cannot be used after --"),
        ("dqn", (*WORDS, "--batch-siz", "5"), "train dqn has no option --batch-siz; did you mean --batch-size?"),
        ("dqn", ("--env", "CartPol-v1"), "unknown environment 'CartPol-v1'; did you mean CartPole-v1?"),
        (
            "dqn",
            (*WORDS, "--protocol", "nature"),
            "protocol nature is for Atari games, and gymnast/Chain-v0 is not one",
        ),
        ("dqn", (*WORDS, "--batch-size", "0"), "--batch-size must be >= 1, got 0"),
        ("dnq", WORDS, "unknown agent 'dnq'"),
        ("value-iteration", ("--env", "gymnast/Chain-v0"), "value-iteration plans without env steps"),
    ],
)
def test_what_train_would_refuse_is_refused_at_once(agent: str, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError) as error:
        planned_run.plan("x", agent, words, SuiteOptions(steps=100))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_run_that_is_done_is_finished(tmp_path: Path) -> None:
    wanted = item(tmp_path)
    assert not planned_run.is_finished(wanted)
    lying(wanted)
    planned_run.check(wanted)
    assert planned_run.is_finished(wanted)
    assert not planned_run.is_finished(item(tmp_path, seed=1))


def test_a_run_without_its_final_evaluation_goes_on(tmp_path: Path) -> None:
    wanted = item(tmp_path)
    lying(wanted, score=None)
    planned_run.check(wanted)
    assert not planned_run.is_finished(wanted)
    planned_run.prepare(wanted)
    words = ("resume", str(wanted.path), "--steps", "1000", "--trust")
    assert planned_run.task(wanted).words == words


def test_more_steps_go_on_with_a_finished_run(tmp_path: Path) -> None:
    lying(item(tmp_path))
    wanted = item(tmp_path, steps=3000)  # its evaluations are further apart, which nobody asked for
    planned_run.check(wanted)
    assert not planned_run.is_finished(wanted)
    assert planned_run.task(wanted).words == ("resume", str(wanted.path), "--steps", "3000", "--trust")


def test_a_run_without_a_checkpoint_is_begun_anew(tmp_path: Path) -> None:
    wanted = item(tmp_path)
    lying(wanted, score=None, last=False)
    planned_run.check(wanted)
    planned_run.prepare(wanted)
    assert not wanted.path.exists()
    assert list(wanted.path.parent.iterdir()) == []
    assert planned_run.task(wanted).words[:2] == ("train", "dqn")


def test_what_a_kill_in_the_middle_of_replacing_left_is_removed(tmp_path: Path) -> None:
    wanted = item(tmp_path)
    stale = wanted.path.with_name(f".{wanted.path.name}.replaced")
    write_run(stale)
    planned_run.prepare(wanted)
    assert not stale.exists()
    wanted.path.mkdir()
    (wanted.path / ".lock").touch()  # killed before its config was written
    planned_run.check(wanted)
    planned_run.prepare(wanted)
    assert not wanted.path.exists()


@pytest.mark.parametrize(
    ("words", "steps", "message"),
    [
        (("--env", "gymnast/Chain-v0", "--learning-rate", "0.1"), 1000, "--learning-rate is 0.1 there, but 0.01 here"),
        ((*WORDS, "--double"), 1000, "--double is True there, but not given here"),
        (("--env", "CartPole-v1", *WORDS[2:]), 1000, "--env is CartPole-v1 there, but gymnast/Chain-v0 here"),
        ((*WORDS, "--gone", "1"), 1000, "its command is not valid: train has no option --gone"),
        (WORDS, 2000, "is a run of 2,000 env steps, but 1,000 are requested"),
    ],
)
def test_a_folder_of_another_request_is_refused(
    words: tuple[str, ...], steps: int, message: str, tmp_path: Path
) -> None:
    wanted = item(tmp_path)
    lying(wanted, words=(*words, "--stop-return", "None"), steps=steps)
    with pytest.raises(UsageError) as error:
        planned_run.check(wanted)
    assert str(wanted.path) in str(error.value)
    assert message in str(error.value)
    assert "another --name" in str(error.value)


def test_how_a_run_is_watched_and_kept_is_free(tmp_path: Path) -> None:
    wanted = item(tmp_path)
    lying(wanted, words=(*WORDS, "--stop-return", "None", "--track", "tensorboard", "--video", "--threads", "2"))
    planned_run.check(wanted)


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path) -> None:
    wanted = item(tmp_path)
    wanted.path.mkdir(parents=True)
    (wanted.path / "thesis.tex").touch()
    with pytest.raises(UsageError, match=r"exists and is not a run"):
        planned_run.check(wanted)


def test_a_finished_run_without_a_checkpoint_is_not_extended(tmp_path: Path) -> None:
    lying(item(tmp_path), last=False)
    with pytest.raises(UsageError, match=r"finished at 1,000 env steps and has no checkpoint to resume from"):
        planned_run.check(item(tmp_path, steps=2000))


def test_a_run_that_another_process_trains_is_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planned_run, "LOCK_SECONDS", 0.2)
    wanted = item(tmp_path)
    lying(wanted, score=None, last=False)
    with folder.locked(wanted.path), pytest.raises(UsageError, match="another process is training"):
        planned_run.prepare(wanted)
    assert (wanted.path / "config.json").is_file()


def test_the_same_run_is_planned_once_for_all_seeds(tmp_path: Path) -> None:
    first, second = item(tmp_path), item(tmp_path, seed=1)
    assert dataclasses.replace(second, seed=0, path=first.path) == first
