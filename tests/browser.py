"""A headless Chromium for tests of pages, asked by its DevTools protocol through a pair of pipes."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FOUND = next((path for name in NAMES if (path := shutil.which(name))), None)
"""The program; None on machines without it."""
START = """
import fcntl, os, sys
read, write = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3])
os.dup2(read, 3), os.dup2(write, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Gives the program the two pipes under the numbers that it expects."""
SECONDS = 30.0


class Page:
    """The one page of a browser."""

    def __init__(self, requests: int, answers: int) -> None:
        self._requests, self._answers = requests, answers
        self._buffer, self._number = b"", 0
        self._session: str | None = None
        self.complaints: list[str] = []
        """Errors of scripts, and what the browser says of requests that it refuses."""
        target = self._call("Target.createTarget", url="about:blank")
        self._session = self._call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def open(self, url: str) -> None:
        self._call("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def value(self, expression: str) -> Any:
        """What a JavaScript expression is on the page, a promise's value included."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, expression: str) -> Any:
        """The value of an expression, once it is true."""
        limit = time.monotonic() + SECONDS
        while not (found := self.value(expression)):
            assert time.monotonic() < limit, (expression, self.value("document.body.innerText"))
            time.sleep(0.02)
        return found

    def size(self, width: int, height: int) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **size)

    def picture(self, path: Path) -> None:
        """Write what the page looks like, as a PNG."""
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot")["data"]))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._requests, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return dict(answer["result"])
            if answer.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(str(answer["params"]["exceptionDetails"]))
            if answer.get("method") == "Log.entryAdded":
                self.complaints.append(str(answer["params"]["entry"]["text"]))

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._answers, 1 << 16)
            assert part, "the browser has ended"
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(line))


@contextmanager
def page(profile: Path) -> Iterator[Page]:
    """A page of a browser of its own, which keeps its files in the folder."""
    assert FOUND is not None
    theirs, requests = os.pipe()
    answers, back = os.pipe()
    # Without a sandbox: tests may run as root in a container, and the pages are ours.
    words = [FOUND, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    words += ["--remote-debugging-pipe", "--no-proxy-server", f"--user-data-dir={profile}"]
    command = [sys.executable, "-c", START, str(theirs), str(back), *words]
    with subprocess.Popen(command, pass_fds=(theirs, back), stderr=subprocess.DEVNULL) as process:
        os.close(theirs)
        os.close(back)
        try:
            yield Page(requests, answers)
        finally:
            os.close(requests)  # which ends the browser
            os.close(answers)
            try:
                process.wait(10)
            finally:
                process.kill()
