#!/usr/bin/env bash
# Numba compiles structs with a bool and structs with arrays of numbers, but not a struct with an array of bools.
#
# Seen with Numba 0.68.1: a NumPy struct of which one field is an array of bools cannot be an argument. The error is an AttributeError
# from the type's construction ('Boolean' object has no attribute 'bitwidth'), not a TypingError, and names neither the field nor
# the struct. A single bool, an array of uint8 and an array of bools outside a struct all work: declare such a field as uint8 and
# view it as bool where NumPy reads it.
#
# Output seen:
#   a bool: compiled
#   uint8 [3]: compiled
#   bool [3]: AttributeError: 'Boolean' object has no attribute 'bitwidth'
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q numba==0.68.1
cat > "$folder/check.py" <<'PY'
import numpy as np
from numba import njit


@njit
def total(rows):
    sum = 0
    for row in rows:
        sum += row.number
    return sum


seen = {}
fields = {"a bool": (np.bool_,), "uint8 [3]": (np.uint8, (3,)), "bool [3]": (np.bool_, (3,))}
for name, field in fields.items():
    rows = np.zeros(2, np.dtype([("number", np.int64), ("flags", *field)]))
    try:
        total(rows)
        seen[name] = "compiled"
    except Exception as error:
        seen[name] = f"{type(error).__name__}: {error}"
    print(f"{name}: {seen[name]}")
assert seen["a bool"] == seen["uint8 [3]"] == "compiled", seen
assert seen["bool [3]"].startswith("AttributeError"), seen
PY
"$folder/venv/bin/python" "$folder/check.py"
