#!/usr/bin/env bash
# The first array assignment by slice that a process compiles with Numba takes seconds; the loop that does the same does not.
#
# Seen with Numba 0.68.1, one core, seconds of processor time to compile `a[:] = b[0]` and the loop over its elements in a process that has
# compiled something before: the assignment pulls in the typing of broadcasts between arrays, once for a process (a second such
# function takes a tenth). Each function that is compiled without a cache pays it again in each new process, test workers
# included. Filling with a number (`a[:] = 0`) costs as little as the loop.
#
# Output seen:
#   loop 0.07 s, fill 0.06 s, slice 2.16 s
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q numba==0.68.1
cat > "$folder/check.py" <<'PY'
import time

import numpy as np
from numba import njit


@njit
def first(a):
    return a[0]


@njit
def loop(a, b):
    for i in range(len(a)):
        a[i] = b[0, i]


@njit
def fill(a, b):
    a[:] = np.float32(0)


@njit
def slice(a, b):
    a[:] = b[0]


a, b = np.zeros(8, np.float32), np.zeros((4, 8), np.float32)
first(a)
seconds = {}
for function in (loop, fill, slice):
    began = time.process_time()
    function(a, b)
    seconds[function.__name__] = time.process_time() - began
print(", ".join(f"{name} {value:.2f} s" for name, value in seconds.items()))
assert seconds["slice"] > 8 * max(seconds["loop"], seconds["fill"]), seconds
PY
"$folder/venv/bin/python" "$folder/check.py"
