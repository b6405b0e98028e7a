"""Errors inside an environment, as opposed to wrong options for making it."""

from __future__ import annotations

import warnings


class EnvError(RuntimeError):
    """An environment raised, or returned a value outside its spaces; one line names it, the call and the value.

    It ends a run with a checkpoint and exit code 1.
    """


class EnvWarning(UserWarning):
    """A problem with an environment that does not stop a run, but that its user should know."""


def cause(error: BaseException) -> str:
    """The type and text of an error on one line; also if its text cannot be obtained."""
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def display_hint(text: str) -> str:
    """A hint for an error from drawing without a display; empty for other errors."""
    said = text.lower()
    words = ("opengl", "glfw", "mjr_makecontext", "display environment variable")
    return "; without a display, set MUJOCO_GL=egl" if any(word in said for word in words) else ""


def one_line_warnings() -> None:
    """Show an `EnvWarning` of this process as one line, as a command line shows its errors; others stay as they are."""
    shown = warnings.formatwarning

    def formatted(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if issubclass(category, EnvWarning):
            return f"gymnast: {' '.join(str(message).split())}\n"
        return shown(message, category, filename, lineno, line)

    warnings.formatwarning = formatted
