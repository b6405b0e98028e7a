#!/usr/bin/env bash
# torch.utils.flop_counter.FlopCounterMode counts nothing for nn.LSTM on a CPU.
#
# Seen with torch 2.13.0: in evaluation without gradients nn.LSTM runs as one oneDNN operation, which the counter has no formula
# for, so an LSTM costs 0 operations, silently. nn.GRU and nn.RNN of the same sizes are counted, because they are made of
# matrix products. With oneDNN switched off for the call, the LSTM is counted in full. A table of costs therefore shows an LSTM
# as free beside a GRU.
#
# Output seen:
#   lstm 0
#   gru 144000
#   lstm without oneDNN 192000
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q torch==2.13.0 numpy
cat > "$folder/count.py" <<'PY'
import warnings

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

warnings.simplefilter("ignore")


def count(layer):
    steps = torch.zeros(2, 10, 40)  # [batch, time, features]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        layer(steps)
    return counter.get_total_flops()


lstm, gru = (kind(40, 20, batch_first=True).eval() for kind in (nn.LSTM, nn.GRU))
print("lstm", count(lstm))
print("gru", count(gru))
with torch.backends.mkldnn.flags(enabled=False):
    print("lstm without oneDNN", count(lstm))
PY
found=$("$folder/venv/bin/python" "$folder/count.py" 2>/dev/null)
echo "$found"
# 2 operations x 2 rows x 10 steps x gates x 20 units x (40 + 20) inputs: 4 gates for an LSTM, 3 for a GRU.
expected=$(printf 'lstm 0\ngru %d\nlstm without oneDNN %d' $((2 * 2 * 10 * 3 * 20 * 60)) $((2 * 2 * 10 * 4 * 20 * 60)))
[ "$found" = "$expected" ] || { echo "changed: expected"; echo "$expected"; exit 1; }
