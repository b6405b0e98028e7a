#!/usr/bin/env bash
# torch.export with a dynamic batch refuses len(x) in a module with strict=False, and takes it with strict=True.
#
# Seen with torch 2.13.0: x.shape[0] stays a symbol in both modes. len(x) must return a Python int, which fixes the batch axis
# in the mode that runs the module's own Python, so the export fails because the axis was declared dynamic; the mode that
# analyses bytecode keeps it a symbol. The mode named strict is the one that accepts the code.
#
# Output seen:
#   len(x), strict=True: works
#   len(x), strict=False: fails
#   x.shape[0], strict=True: works
#   x.shape[0], strict=False: works
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q torch==2.13.0 numpy
cat > "$folder/lengths.py" <<'PY'
import torch


class Len(torch.nn.Module):
    def forward(self, x):
        return x.reshape(len(x), -1)


class Shape(torch.nn.Module):
    def forward(self, x):
        return x.reshape(x.shape[0], -1)


for name, module in (("len(x)", Len()), ("x.shape[0]", Shape())):
    for strict in (True, False):
        axes = ({0: torch.export.Dim.DYNAMIC},)
        try:
            torch.export.export(module, (torch.zeros(3, 4),), dynamic_shapes=axes, strict=strict)
            said = "works"
        except Exception:
            said = "fails"
        print(f"{name}, strict={strict}: {said}")
PY
found=$("$folder/venv/bin/python" "$folder/lengths.py" 2>/dev/null)
echo "$found"
expected=$'len(x), strict=True: works\nlen(x), strict=False: fails\nx.shape[0], strict=True: works\nx.shape[0], strict=False: works'
[ "$found" = "$expected" ] || { echo "changed: expected"; echo "$expected"; exit 1; }
