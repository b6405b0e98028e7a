#!/usr/bin/env bash
# A function that Numba compiles takes error_model and fastmath from whichever function calls it first, and keeps them for all later callers.
#
# Seen with Numba 0.68.1. `ratio` is @njit and says nothing about errors, so that a division by zero raises in it by default. Called first from
# a kernel with error_model="numpy" it gives inf, from then on also to callers that did not ask for it and when called by
# itself; called first by itself it raises in that kernel too. With cache=True the first caller's choice goes to the disk, and a later process, in which
# that caller does not run, has it too. The same with fastmath: x != x is False for NaN for everyone. Functions of
# register_jitable are compiled again for each set of options of their callers. Say error_model and fastmath at every @njit function.
#
# Output seen:
#   quiet caller first: quiet inf, strict inf, alone inf
#   strict caller first: quiet ZeroDivisionError, strict ZeroDivisionError, alone ZeroDivisionError
#   fastmath caller first: is_nan(nan) from it False, from a caller without fastmath False
#   register_jitable, quiet caller first: quiet inf, strict ZeroDivisionError
#   a later process, strict caller only: inf
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q numba==0.68.1
cat > "$folder/functions.py" <<'PY'
from numba import njit
from numba.extending import register_jitable


def callers(decorate):
    @decorate
    def ratio(a, b):
        return a / b

    @njit(error_model="numpy")
    def quiet(a, b):
        return ratio(a, b)

    @njit
    def strict(a, b):
        return ratio(a, b)

    return quiet, strict, ratio


@njit(cache=True)
def kept(a, b):
    return a / b


@njit(error_model="numpy")
def quiet(a, b):
    return kept(a, b)


@njit
def strict(a, b):
    return kept(a, b)


@njit
def is_nan(x):
    return x != x


@njit(fastmath=True)
def fast(x):
    return is_nan(x)


@njit
def exact(x):
    return is_nan(x)


def outcome(function):
    try:
        return str(function(1.0, 0.0))
    except ZeroDivisionError as error:
        return type(error).__name__
PY
cat > "$folder/check.py" <<'PY'
from functions import callers, exact, fast, njit, outcome, quiet, register_jitable

error = "ZeroDivisionError"
first = [outcome(function) for function in callers(njit)]
print("quiet caller first: quiet {}, strict {}, alone {}".format(*first))
made = callers(njit)
second = [outcome(made[number]) for number in (1, 0, 2)]
print("strict caller first: quiet {1}, strict {0}, alone {2}".format(*second))
assert first == ["inf"] * 3 and second == [error] * 3, (first, second)
assert outcome(quiet) == "inf"  # compiles and keeps `kept`
nans = [bool(function(float("nan"))) for function in (fast, exact)]
print("fastmath caller first: is_nan(nan) from it {}, from a caller without fastmath {}".format(*nans))
assert nans == [False, False], nans
jitable = [outcome(function) for function in callers(register_jitable)[:2]]
print("register_jitable, quiet caller first: quiet {}, strict {}".format(*jitable))
assert jitable == ["inf", error], jitable
PY
cat > "$folder/later.py" <<'PY'
from functions import outcome, strict

found = outcome(strict)
print(f"a later process, strict caller only: {found}")
assert found == "inf", found
PY
cd "$folder"
venv/bin/python check.py
venv/bin/python later.py
