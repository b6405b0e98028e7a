"""How spawned worker processes, which import the script that started them, end, or are ended. No torch needed here."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Iterable
from multiprocessing.process import BaseProcess

UNGUARDED = 78
"""The exit code of a worker whose script would start training while it is imported."""


def leave_if_imported() -> None:
    """End this process silently if it is a worker that is importing its parent's script.

    Without `if __name__ == "__main__":` the script would start everything a second time. The parent reports that.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # the same check as in multiprocessing itself
        raise SystemExit(UNGUARDED)


def exit_cause(process: BaseProcess) -> str:
    """How a process ended, for a message."""
    code = process.exitcode
    if code == UNGUARDED:
        return 'imports the script that started it: put the script\'s calls under `if __name__ == "__main__":`'
    if code is None:
        return "closed its connection"
    if code >= 0:
        return f"exited with code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    hint = " (out of memory?)" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"


def end(processes: Iterable[BaseProcess], *, patience: float) -> None:
    """Wait so many seconds for processes that have been told to end, and kill those that have not."""
    over = time.monotonic() + patience
    for process in processes:
        process.join(max(over - time.monotonic(), 0.0))
        if process.is_alive():
            process.kill()
            process.join()
