#!/usr/bin/env bash
# A Numba function with cache=True that closes over another compiled function is compiled anew in every process.
#
# Seen with Numba 0.68.1: the key of the cache on disk has a hash of the pickled closure, and a compiled function pickles with an id
# that differs from process to process. So nothing is ever found: each process compiles again, writes another entry, and no
# warning says so. The same function that calls the other one as a global of its module, or closes over numbers only, is found
# again. Choosing an inner kernel in Python and closing over it therefore costs the whole compilation at every start; choose by
# a constant of the closure inside the compiled function instead.
#
# Output seen:
#   closes over a compiled function: misses 1, hits 0; misses 1, hits 0
#   closes over a number: misses 1, hits 0; misses 0, hits 1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q numba==0.68.1
cat > "$folder/kernels.py" <<'PY'
from numba import njit


@njit
def double(x):
    return 2 * x


@njit
def triple(x):
    return 3 * x


def over_a_function(inner):
    @njit(cache=True)
    def outer(x):
        return inner(x) + 1

    return outer


def over_a_number(number):
    @njit(cache=True)
    def outer(x):
        if number == 2:
            return double(x) + 1
        return triple(x) + 1

    return outer
PY
cat > "$folder/run.py" <<'PY'
import sys

import kernels

outer = kernels.over_a_function(kernels.double) if sys.argv[1] == "function" else kernels.over_a_number(2)
assert outer(4) == 9
print(f"misses {sum(outer.stats.cache_misses.values())}, hits {sum(outer.stats.cache_hits.values())}")
PY
cd "$folder"
twice() { echo "$(venv/bin/python run.py "$1"); $(venv/bin/python run.py "$1")"; }
found="closes over a compiled function: $(twice function)
closes over a number: $(twice number)"
echo "$found"
expected='closes over a compiled function: misses 1, hits 0; misses 1, hits 0
closes over a number: misses 1, hits 0; misses 0, hits 1'
[ "$found" = "$expected" ] || { echo "changed: expected"; echo "$expected"; exit 1; }
