"""`python -m gymnast.cli.watched ...`: the command line, but it ends when its parent process ends.

The parent holds the other end of standard input. When it ends, killed or not, the pipe closes, and this process
ends at once: its run resumes from its last checkpoint when the parent runs again.
"""

from __future__ import annotations

import os
import sys
import threading

from gymnast.cli.main import main


def _end_with_starter() -> None:
    while os.read(0, 1):
        pass
    os._exit(137)  # as after SIGKILL, without waiting: a run's files are complete at any moment


if __name__ == "__main__":
    threading.Thread(target=_end_with_starter, daemon=True).start()
    sys.exit(main())
