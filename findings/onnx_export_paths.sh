#!/usr/bin/env bash
# torch.onnx.export writes Python stack traces into the model, with absolute paths of the machine that exported it.
#
# Seen with torch 2.13.0, onnx 1.23.2 and onnxscript 0.7.2: with the exporter that is the default, each node's metadata has an
# entry pkg.torch.onnx.stack_trace that quotes the file, line and source of the module's code. A file given away so shows
# folder and user names and lines of code that the weights alone would not. verbose=False changes nothing.
#
# Output seen:
#   the model names the file that defines the module: True
#   in pkg.torch.onnx.stack_trace
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2 numpy
cat > "$folder/policy_of_mine.py" <<'PY'
import torch


class Greedy(torch.nn.Module):
    def forward(self, q):
        return q.argmax(1)


made = torch.onnx.export(Greedy(), (torch.zeros(3, 4),), dynamo=True, verbose=False).model_proto
print("the model names the file that defines the module:", __file__ in str(made))
entries = {prop.key for node in made.graph.node for prop in node.metadata_props if __file__ in prop.value}
print("in", *sorted(entries))
PY
found=$("$folder/venv/bin/python" "$folder/policy_of_mine.py" 2>/dev/null)
echo "$found"
expected=$'the model names the file that defines the module: True\nin pkg.torch.onnx.stack_trace'
[ "$found" = "$expected" ] || { echo "changed: expected"; echo "$expected"; exit 1; }
