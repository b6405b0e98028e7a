"""Schedules against their closed forms."""

from __future__ import annotations

import math

import pytest

from gymnast.agents.schedules import SCHEDULES, schedule


def values(text: str | float, steps: list[int]) -> list[float]:
    follow = schedule(text, name="x")
    return [follow(step) for step in steps]


@pytest.mark.parametrize(
    ("text", "steps", "expected"),
    [
        (0.5, [0, 10, 10**9], [0.5, 0.5, 0.5]),
        ("0.5", [0, 7], [0.5, 0.5]),
        ("constant:0.25", [0, 7], [0.25, 0.25]),
        ("linear:1:0.1:100", [0, 50, 100, 1000], [1.0, 0.55, 0.1, 0.1]),
        ("linear:0:2:10", [0, 5, 20], [0.0, 1.0, 2.0]),
        ("exponential:1:0.1:0.5", [0, 1, 3, 4, 100], [1.0, 0.5, 0.125, 0.1, 0.1]),
        ("exponential:1:3:2", [0, 1, 2], [1.0, 2.0, 3.0]),
        ("power:1:0.2:10:2", [0, 5, 10, 11], [1.0, 0.2 + 0.8 * 0.25, 0.2, 0.2]),
        ("inverse:1:10", [0, 10, 30], [1.0, 0.5, 0.25]),
        ("piecewise:10:1:20:0:40:0.5", [0, 10, 15, 20, 30, 40, 99], [1.0, 1.0, 0.5, 0.0, 0.25, 0.5, 0.5]),
        ("piecewise:0:1", [0, 5], [1.0, 1.0]),
        ("cosine:1:0:100", [0, 25, 50, 99, 100, 150], [1, 0.5 + 0.5 * math.sqrt(0.5), 0.5, None, 1.0, 0.5]),
        ("one-cycle:1:100", [0, 15, 30, 100, 200], [0.04, 0.52, 1.0, 4e-6, 4e-6]),
        ("one-cycle:2:100:0.5:10", [0, 25, 50, 75], [0.2, 1.1, 2.0, 1.00001]),
    ],
)
def test_closed_forms(text: str | float, steps: list[int], expected: list[float | None]) -> None:
    for step, got, want in zip(steps, values(text, steps), expected, strict=True):
        if want is not None:
            assert got == pytest.approx(want, rel=1e-6, abs=1e-9), (text, step)


def test_cosine_restarts_after_growing_periods() -> None:
    follow = schedule("cosine:1:0:10:2", name="x")
    for begins, length in ((0, 10), (10, 20), (30, 40), (70, 80)):  # periods of 10, 20, 40, 80 steps
        assert follow(begins) == pytest.approx(1.0)
        assert follow(begins + length // 2) == pytest.approx(0.5)
        last = 0.5 * (1 + math.cos(math.pi * (length - 1) / length))
        assert follow(begins + length - 1) == pytest.approx(last)


def test_cosine_restarts_are_exact_far_out() -> None:
    follow = schedule("cosine:1:0:1000:3", name="x")
    begins, length = 0, 1000
    for _ in range(9):
        assert follow(begins) == pytest.approx(1.0), begins
        assert follow(begins + length - 1) < 0.1
        begins, length = begins + length, 3 * length


def test_one_cycle_is_continuous_at_its_peak() -> None:
    follow = schedule("one-cycle:1:1000", name="x")
    assert max(abs(follow(step + 1) - follow(step)) for step in range(1000)) < 0.006


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("liner:1:0:10", "did you mean linear?"),
        ("half", "x must be a number or one of constant, linear"),
        ("linear:1:0", "x takes linear:start:end:steps, got 'linear:1:0'"),
        ("linear:1:a:10", "x takes numbers after linear:"),
        ("linear:1:0:0", "steps must be > 0"),
        ("linear:1:0:nan", "x takes finite numbers"),
        ("linear:2:0:10", "x must be between 0 and 1, got linear:2:0:10"),
        ("piecewise:0:1:0:0", "with rising steps"),
        ("piecewise:0:1:5", "with rising steps"),
        ("one-cycle:1:10:1.5", "warmup must be between 0 and 1"),
        (float("nan"), "x must be between 0 and 1, got nan"),
        ("nan", "x must be between 0 and 1, got nan"),
        (-0.1, "x must be between 0 and 1"),
        ("inf", "x must be between 0 and 1, got inf"),
        ("piecewise:nan:1", "x takes finite numbers, got 'piecewise:nan:1'"),
        ("linear:1:0:inf", "x takes finite numbers"),
    ],
)
def test_wrong_schedules_are_refused(text: str | float, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is looked at below
        schedule(text, name="x", high=1.0)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_is_a_function_of_the_step(name: str) -> None:
    text = {"constant": "constant:1", "piecewise": "piecewise:0:1:50:0.5", "power": "power:1:0:50:2"}.get(name)
    others = {"inverse": "inverse:1:50", "one-cycle": "one-cycle:1:50", "exponential": "exponential:1:0.5:0.9"}
    text = text or others.get(name, f"{name}:1:0.5:50")
    one, other = schedule(text, name="x"), schedule(text, name="x")
    forwards = [one(step) for step in range(100)]
    assert [other(step) for step in reversed(range(100))] == forwards[::-1]


@pytest.mark.parametrize(
    ("text", "steps", "expected"),
    [
        ("exponential:0.1:1:1.01", [10**5, 10**20, 10**300], [1.0, 1.0, 1.0]),
        ("exponential:0:1:2", [10**6], [0.0]),
        ("exponential:1:0.1:0.5", [10**20], [0.1]),
        ("cosine:1:0:100:0.5", [0, 100, 150, 199, 200, 201, 10**20], [1.0, 1.0, 1.0, None, 0.0, 0.0, 0.0]),
        ("cosine:1:0.2:100:0.001", [0, 101, 10**9], [1.0, 0.2, 0.2]),
        ("cosine:1:0:100:1e300", [0, 50, 10**20], [1.0, 0.5, 1.0]),
        ("cosine:1:0:1:2", [10**20], [None]),
        ("one-cycle:1:1e-9", [0, 10**20], [0.04, 4e-6]),
        ("inverse:1:1e-9", [10**20], [None]),
        ("power:1:0:100:0.5", [100, 10**20], [0.0, 0.0]),
        ("piecewise:0:1:10:0.5", [10, 10**20], [0.5, 0.5]),
    ],
)
def test_schedules_stay_finite_at_their_ends_and_for_ever(
    text: str, steps: list[int], expected: list[float | None]
) -> None:
    for value, right in zip(values(text, steps), expected, strict=True):
        assert math.isfinite(value)
        assert 0.0 <= value <= 1.0
        assert right is None or value == pytest.approx(right, abs=1e-9)


@pytest.mark.parametrize("factor", ["0.1", "0.5", "0.9", "0.999", "1", "1.001", "7"])
def test_cosine_stays_between_its_ends_at_every_step(factor: str) -> None:
    follow = schedule(f"cosine:0.9:0.1:50:{factor}", name="x")
    assert all(0.1 - 1e-12 <= follow(step) <= 0.9 + 1e-12 for step in range(3000))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("exponential:1:0.1:1.01", "x: decay must be < 1 to fall from 1 to 0.1, got 'exponential:1:0.1:1.01'"),
        ("exponential:0.1:1:0.9", "x: decay must be > 1 to rise from 0.1 to 1, got 'exponential:0.1:1:0.9'"),
        ("one-cycle:0.9:100:0.3:0.1", "x must be between 0 and 1, got one-cycle:0.9:100:0.3:0.1"),
    ],
)
def test_schedules_that_leave_their_limits_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="must be") as error:
        schedule(text, name="x", high=1.0)
    assert str(error.value) == message
