"""The command line: `gymnast COMMAND ...`, and what each command prints."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module

from gymnast.envs.errors import EnvError, one_line_warnings
from gymnast.errors import RunError, UsageError, nearest
from gymnast.settings import flags
from gymnast.settings.options import TrainOptions
from gymnast.version import __version__

USAGE = """\
usage: gymnast COMMAND ...

  gymnast train AGENT --env ID [options]       train an agent and write a run folder
  gymnast train AGENT --reference NAME         repeat a run that is known to learn
  gymnast fit TASK --dataset NAME [options]    fit a network to data and write a run folder
  gymnast pretrain MODEL --kind KIND --env ID  fit a model of observations, without labels
  gymnast sample RUN --number N --out FILE     draw samples from a pretrained model
  gymnast probe RUN_OR_NETWORK --env ID        fit linear probes on frozen features
  gymnast explain RUN --env ID                 look inside a trained network: pictures and a page
  gymnast dream RUN [--video]                  compare a world model with its environment
  gymnast hopfield [--dataset NAME]            store patterns in a Hopfield network and recall them
  gymnast resume RUN [--steps N]               resume a run from its last checkpoint
  gymnast evaluate RUN_OR_CHECKPOINT           play episodes with the trained agent
  gymnast record RUN_OR_random --dataset NAME  play and write a data set
  gymnast export RUN --to FORMAT               write the policy for use without gymnast
  gymnast import sb3 FILE.zip --env ID         read a policy of Stable-Baselines3 as a run
  gymnast serve RUN [NAME=RUN ...]             serve trained agents over HTTP, and show them playing
  gymnast watch [RUN_OR_FOLDER]                show runs on a local page, as they go
  gymnast benchmark SUITE_OR_IDS --agents A B  train agents in many environments and report
  gymnast ablate AGENT --env ID [ID ...]       compare an agent with and without its parts
  gymnast tune AGENT --env ID [--trials N]     search for settings of an agent
  gymnast report RUN_OR_FOLDER ...             compare runs in tables and figures
  gymnast list agents|datasets|envs|networks|presets|protocols|references|scores|suites
                                               list the available ones
  gymnast check-env ID                         try an environment and report problems

  gymnast COMMAND --help                       the options of a command
  gymnast train AGENT --help                   all options of an agent
  gymnast --version
"""


COMMANDS = {
    "train": ("train", "train"),
    "fit": ("fit", "fit"),
    "pretrain": ("fit", "pretrain"),
    "sample": ("sample", "sample"),
    "probe": ("probe", "probe"),
    "explain": ("explain", "explain"),
    "dream": ("dream", "dream"),
    "hopfield": ("hopfield", "hopfield"),
    "resume": ("runs", "resume"),
    "evaluate": ("runs", "evaluate"),
    "record": ("record", "record"),
    "export": ("export", "export"),
    "import": ("imports", "import_policy"),
    "serve": ("serve", "serve"),
    "watch": ("watch", "watch"),
    "benchmark": ("suites", "benchmark"),
    "ablate": ("suites", "ablate"),
    "tune": ("tune", "tune"),
    "report": ("suites", "report"),
    "list": ("look", "show"),
    "check-env": ("look", "check"),
}
"""The file in this folder and the function that run a command: of its words, to an exit code."""
ALSO_IN_PYTHON = ("device", "out", "steps")
"""Options that start messages of `gymnast.train` and `gymnast.resume`; here they are flags."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 for a failed run, 2 for wrong input, 128 + a signal's number."""
    words = sys.argv[1:] if argv is None else list(argv)
    shown = warnings.formatwarning
    one_line_warnings()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a character that a terminal's encoding lacks is a "?", not an error
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except UsageError as error:
        return _complain(error, 2)
    except (RunError, EnvError) as error:
        return _complain(error, 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader closed the pipe; buffered output must not raise at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    finally:
        warnings.formatwarning = shown


def _complain(error: Exception, code: int) -> int:
    known = flags.flags_of(TrainOptions)
    message = flags.with_flags(" ".join(str(error).splitlines()), {name: known[name] for name in ALSO_IN_PYTHON})
    print(f"gymnast: {message}", file=sys.stderr)
    return code


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return 0
    if words[0] == "--version":
        print(f"gymnast {__version__}")
        return 0
    if words[0] not in COMMANDS:
        kind = "option" if words[0].startswith("-") else "command"
        raise UsageError(f"unknown {kind} {words[0]!r}; choose from {', '.join(COMMANDS)}{nearest(words[0], COMMANDS)}")
    module, function = COMMANDS[words[0]]
    code: int = getattr(import_module(f"gymnast.cli.{module}"), function)(words[1:])
    return code
