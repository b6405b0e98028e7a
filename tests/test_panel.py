"""The panel: known states give known text, unknown values a dash, and no trouble with the terminal stops a run."""

import io
import os
import pty
import subprocess
import sys
import textwrap

import pytest
from rich.console import Console

from gymnast.output.panel import (
    Panel,
    PanelState,
    ProgressConsole,
    Speed,
    duration,
    number,
    sparkline,
)

STATE = PanelState(
    env_step=21_000,
    total_steps=50_000,
    seconds={"act": 3.0, "env": 2.0, "learn": 4.0, "compiled": 0.0},
    episodes=312,
    returns=(100.0, 110.0, 120.0),
    lengths=(10, 20, 30),
    losses={"loss": 0.0123456, "td_error": float("nan")},
    scheduled={"epsilon": 0.05},
    evaluation=480.25,
    best=500.0,
)
SPEED = Speed(8214.4, {"act": 0.3, "env": 0.2, "learn": 0.4, "other": 0.1}, 192.0)


def shown(state: PanelState, speed: Speed, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(state.render("dqn on CartPole-v1", speed, width=width))
    return console.export_text().replace("\N{NO-BREAK SPACE}", " ")


def plain(clock: list[float], file: io.StringIO) -> Panel:
    return Panel("title", live=False, console=Console(file=file, width=80), clock=lambda: clock[0])


def test_plain_line() -> None:
    assert STATE.line(SPEED) == (
        "step 21,000/50,000 (42%)  8,214 steps/s (act 30% env 20% learn 40% other 10%)  return 110  length 20  "
        "episodes 312  loss 0.01235  td_error -  epsilon 0.05  eval 480.2 best 500  left 0:03:12"
    )


def test_what_is_not_known_yet_is_a_dash() -> None:
    empty = PanelState(env_step=0, total_steps=50_000)
    line = empty.line(Speed())
    assert line == "step 0/50,000 (0%)  - steps/s  return -  length -  episodes 0  eval - best -  left -"
    text = shown(empty, Speed(), 60)
    assert "nan" not in text + line
    assert "return      -" in text


@pytest.mark.parametrize("width", [60, 100, 200])
def test_the_live_panel_shows_everything_at_any_width_and_never_exceeds_it(width: int) -> None:
    text = shown(STATE, SPEED, width)
    assert max(len(line) for line in text.splitlines()) <= width
    for part in (
        "dqn on CartPole-v1",
        "42%",
        "21,000/50,000",
        "8,214 steps/s",
        "act 30%",
        "env 20%",
        "learn 40%",
        "0:03:12",
        "110",
        "mean of the last 3 of 312 episodes",
        "loss 0.01235",
        "td_error -",
        "epsilon 0.05",
        "480.2",
        "best 500",
        "▁▅█",
    ):
        assert part in text, part


def test_sparkline() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], width=20) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 0, 7, 7], width=2) == "▁█"
    assert sparkline([float("nan"), 3.0, 3.0], width=5) == "▄▄"
    assert sparkline([], width=5) == ""
    assert len(sparkline(range(97), width=20)) == 20
    assert sparkline([1e300, -1e300, 0.0], width=3) == "█▁▅"


def test_numbers_and_durations() -> None:
    assert [number(value) for value in (None, float("nan"), 0.0, -21.0, 12345.6, 2.5e-4, 1e12, float("inf"))] == [
        "-",
        "-",
        "0",
        "-21",
        "12,346",
        "0.00025",
        "1e+12",
        "inf",
    ]
    assert [duration(value) for value in (float("nan"), 0.4, 59.6, 3661)] == ["-", "0:00:00", "0:01:00", "1:01:01"]


def test_speed_and_split_are_those_of_the_last_seconds() -> None:
    clock, file = [0.0], io.StringIO()
    with plain(clock, file) as panel:
        for second in range(101):  # 10 steps a second, then, from second 50 on, 100
            clock[0] = float(second)
            steps = 10 * min(second, 50) + 100 * max(second - 50, 0)
            seconds = {"act": 0.25 * second, "learn": 0.5 * second, "env": 0.0}
            panel.update(PanelState(env_step=steps, total_steps=10_500, seconds=seconds))
            if second == 40:
                early = file.getvalue().splitlines()[-1]
    last = file.getvalue().splitlines()[-1]
    assert "10 steps/s (act 25% learn 50% other 25%)" in early
    assert "100 steps/s (act 25% learn 50% other 25%)" in last
    assert "left 0:00:50" in last  # 5,000 steps are left


def test_a_state_is_asked_for_once_a_period() -> None:
    clock, file = [100.0], io.StringIO()
    panel = Panel("title", live=False, period=5.0, console=Console(file=file), clock=lambda: clock[0])
    with panel:
        assert not panel.due(104.9)
        assert panel.due(105.0)
        clock[0] = 105.0
        panel.update(STATE)
        assert not panel.due(109.9)
        assert panel.due(110.0)


def test_messages_are_printed_as_they_are() -> None:
    file = io.StringIO()
    path = "runs/[bold]x[/bold]/" + "y" * 200
    with plain([0.0], file) as panel:
        panel.message(path)
    assert file.getvalue() == f"title\n{path}\n"


class Broken(io.StringIO):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "No space left on device"), ValueError("closed")])
def test_a_stderr_that_is_gone_ends_the_showing_and_not_the_run(live: bool, error: Exception) -> None:
    console = ProgressConsole(file=Broken(error), force_terminal=live, width=80)
    with Panel("title", live=live, console=console) as panel:
        panel.message("hello")
        panel.update(STATE)
        panel.update(STATE)


SCRIPT = textwrap.dedent("""
    from gymnast.output.panel import Panel, PanelState
    with Panel("my title") as panel:
        panel.message("a message")
        panel.update(PanelState(env_step=1, total_steps=2))
    print("the result")
""")


def test_without_a_terminal_progress_is_ascii_on_stderr_and_stdout_is_left_alone() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True)
    assert done.stdout == b"the result\n"
    assert done.stderr.decode("ascii").splitlines() == [
        "my title",
        "a message",
        "step 1/2 (50%)  - steps/s  return -  length -  episodes 0  eval - best -  left -",
    ]


@pytest.mark.parametrize(
    ("term", "encoding", "live"), [("xterm", "utf-8", True), ("dumb", "utf-8", False), ("xterm", "ascii", False)]
)
def test_on_a_terminal_the_panel_is_live_and_stdout_still_only_the_result(term: str, encoding: str, live: bool) -> None:
    parent, child = pty.openpty()
    env = {**os.environ, "TERM": term, "COLUMNS": "80", "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=child, env=env, check=True)
    os.close(child)
    terminal = os.read(parent, 65_536).decode()
    os.close(parent)
    assert done.stdout == b"the result\n"
    assert "a message" in terminal
    assert ("╭─ my title" in terminal) is live
    assert ("step 1/2 (50%)" in terminal) is not live


BUFFERED = 'import sys, time; sys.stderr = open(2, "w", closefd=False); time.sleep(0.3)'
"""Leaves text in a buffer when writing it fails, which Python flushes when it ends."""


@pytest.mark.parametrize("before", ["", BUFFERED], ids=["plain", "buffered"])
def test_a_reader_that_leaves_does_not_end_the_run(before: str) -> None:
    script = before + SCRIPT.replace("a message", "x" * 100_000)
    command = f"{sys.executable} -c '{script}' 2>&1 >&3 | true"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; exec 3>&1; {command}"], capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"the result\n")
