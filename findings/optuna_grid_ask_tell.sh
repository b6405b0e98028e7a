#!/usr/bin/env bash
# Optuna's GridSampler cannot finish a grid through ask and tell: the last tell raises, although the trial is stored.
#
# Seen with optuna 5.0.0: when the last cell of the grid has been told, the sampler calls Study.stop, which is allowed only
# inside Study.optimize, and the tell raises RuntimeError about an objective function that the caller does not have. The
# trial is in the study as complete by then, so a caller that takes the error for a failed tell and repeats it gets a second
# error.
#
# Output seen:
#   told 1 of 2
#   told 2 of 2: RuntimeError, stored as COMPLETE
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q optuna==5.0.0
cat > "$folder/grid.py" <<'PY'
import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.create_study(sampler=optuna.samplers.GridSampler({"x": [1, 2]}, seed=0))
for number in (1, 2):
    trial = study.ask()
    value = trial.suggest_categorical("x", [1, 2])
    try:
        study.tell(trial, float(value))
        print(f"told {number} of 2")
    except RuntimeError as error:
        print(f"told {number} of 2: {type(error).__name__}, stored as {study.trials[-1].state.name}")
PY
found=$("$folder/venv/bin/python" "$folder/grid.py" 2>/dev/null)
echo "$found"
expected=$'told 1 of 2\ntold 2 of 2: RuntimeError, stored as COMPLETE'
[ "$found" = "$expected" ] || { echo "changed: expected"; echo "$expected"; exit 1; }
