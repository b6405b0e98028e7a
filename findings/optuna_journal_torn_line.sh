#!/usr/bin/env bash
# After a killed writer, Optuna's journal file opens once more, and is unreadable for good after the next write.
#
# Seen with optuna 5.0.0: a process that is killed in the middle of a write leaves half a line at the end of the file. The study opens,
# because a half line at the end is skipped. The next write appends to the half line instead of beginning a new one: it
# raises JSONDecodeError, and so does every later attempt to open the study, whose trials are all still in the file. The file
# is advised for many processes and for file systems without locks, where killed writers are to be expected; SQLite's files
# recover.
#
# Output seen:
#   opened with 1 trial
#   write: JSONDecodeError
#   reopen: JSONDecodeError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -q optuna==5.0.0
cat > "$folder/torn.py" <<'PY'
import sys

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

optuna.logging.set_verbosity(optuna.logging.ERROR)
file = sys.argv[1]


def study():
    storage = JournalStorage(JournalFileBackend(file))
    return optuna.create_study(storage=storage, study_name="study", load_if_exists=True)


def attempt(name, action):
    try:
        action()
        print(f"{name}: works")
    except Exception as error:
        print(f"{name}: {type(error).__name__}")


first = study()
first.tell(first.ask(), 1.0)
with open(file, "ab") as journal:  # the first bytes of a record whose writer was killed
    journal.write(b'{"op_code": 5, "work')
again = study()
print("opened with", len(again.trials), "trial")
attempt("write", lambda: again.tell(again.ask(), 2.0))
attempt("reopen", study)
PY
found=$("$folder/venv/bin/python" "$folder/torn.py" "$folder/journal.log" 2>/dev/null)
echo "$found"
expected=$'opened with 1 trial\nwrite: JSONDecodeError\nreopen: JSONDecodeError'
[ "$found" = "$expected" ] || { echo "changed: expected"; echo "$expected"; exit 1; }
