"""What other systems lack or do otherwise is not needed: modules, signals, names of files, encodings."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from gymnast.errors import UsageError
from gymnast.storage import folder
from gymnast.suites.options import SuiteOptions

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("gymnast", "agents", "envs", "networks", "replay", "benchmarks")

WINDOWS = '''
"""Take away what Windows lacks, once other packages have found out that this is Linux."""

import builtins
import io
import mmap
import os
import re
import signal
import subprocess
import sys

import ale_py, av, filelock, gymnasium, matplotlib, numba, numpy, psutil, rich, tensorboard, torch, tyro, wandb  # noqa

flags_of = __import__("fcntl").fcntl
for name in ("fcntl", "pwd", "grp", "resource", "termios", "tty", "pty", "syslog", "curses", "readline", "posix"):
    sys.modules[name] = None
for name in ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCHLD", "SIGQUIT", "SIGSTOP", "SIGCONT",
             "SIGPIPE", "alarm", "setitimer", "pthread_kill", "pause", "sigwait"):
    delattr(signal, name)
for name in ("fork", "forkpty", "geteuid", "getuid", "getgid", "getegid", "sched_getaffinity", "sched_setaffinity",
             "mkfifo", "nice", "setsid", "killpg", "uname", "getloadavg", "posix_fallocate", "sync"):
    delattr(os, name)
INVALID = re.compile(r'[<>:"|?*]|[. ]$')
mkdir, opened, low_open, fsync, rename = os.mkdir, io.open, os.open, os.fsync, os.rename


def named(path):
    text = os.fspath(path) if not isinstance(path, int) else ""
    if os.getcwd() in os.path.abspath(text) and any(INVALID.search(p) for p in text.split("/") if p.strip(".")):
        raise OSError(22, "The filename, directory name, or volume label syntax is incorrect", text)


def new_folder(path, *arguments, **options):
    named(path)
    return mkdir(path, *arguments, **options)


def new_open(path, mode="r", *arguments, **options):
    named(path)
    caller = sys._getframe(1).f_globals["__name__"]
    if caller.startswith("gymnast"):
        assert "b" in mode or options.get("encoding"), f"{caller} opens {path} in the system's encoding"
    return opened(path, mode, *arguments, **options)


def new_low_open(path, *arguments, **options):
    named(path)
    if os.path.isdir(path) and os.getcwd() in os.path.abspath(path):
        raise PermissionError(13, "Permission denied", path)
    return low_open(path, *arguments, **options)


def new_fsync(file):
    number = file if isinstance(file, int) else file.fileno()
    if flags_of(number, 3) & 3 == os.O_RDONLY:
        raise OSError(9, "Bad file descriptor")
    fsync(file)


def new_rename(old, new, **options):
    named(new)
    if os.path.exists(new):
        raise FileExistsError(17, "Cannot create a file when that file already exists")
    rename(old, new, **options)


os.mkdir, builtins.open, io.open, os.open, os.fsync, os.rename = (
    new_folder, new_open, new_open, new_low_open, new_fsync, new_rename
)
'''


def script(path: Path, text: str, *, encoding: str = "utf-8") -> subprocess.CompletedProcess[str]:
    """Run a script in its own folder."""
    file = path / "script.py"
    file.write_text(textwrap.dedent(text), encoding="utf-8")
    return subprocess.run(
        [sys.executable, str(file)],
        cwd=path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )


def test_locked_folders_are_refused_within_a_process(tmp_path: Path) -> None:
    with folder.locked(tmp_path):
        with pytest.raises(UsageError, match="another process is training in"), folder.locked(tmp_path):
            pass
        with pytest.raises(UsageError, match="another process is training in"), folder.locked(tmp_path):
            pass  # the first refusal has let go of nothing
    with folder.locked(tmp_path):
        pass


def test_a_lock_is_released_when_what_it_is_held_for_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="inside"), folder.locked(tmp_path):
        raise RuntimeError("inside")
    with folder.locked(tmp_path):
        pass


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_of_a_killed_process_is_released(tmp_path: Path, how: signal.Signals) -> None:
    text = f"""
    import time
    from pathlib import Path
    from gymnast.storage.folder import locked
    with locked(Path({str(tmp_path)!r})):
        print("locked", flush=True)
        time.sleep(60)
    """
    holder = subprocess.Popen([sys.executable, "-c", textwrap.dedent(text)], stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(UsageError, match="another process is training in"), folder.locked(tmp_path):
            pass
        holder.send_signal(how)
        holder.wait(30)
        with folder.locked(tmp_path):  # whatever file it left
            pass
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


@pytest.mark.parametrize(
    ("id", "expected"),
    [
        ("ALE/Pong-v5", "ALE-Pong-v5"),
        ("./my.py:Mine", "my.py-Mine"),
        ("<lambda>", "lambda"),
        (r"C:\my\env.py:f", "C--my-env.py-f"),
        ('a|b?c*d"e', "a-b-c-d-e"),
        ("ends. ", "ends"),
        ("nul", "_nul"),
        ("Con.py", "_Con.py"),
        ("Console-v0", "Console-v0"),
        ("Ünï/Code-v0", "Ünï-Code-v0"),
    ],
)
def test_folders_have_names_that_every_system_takes(id: str, expected: str) -> None:
    assert folder.folder_name(id) == expected


@pytest.mark.parametrize("name", ["a:b", "a|b", "what?", "<a>", 'a"b', "a*", "a.", "aux"])
def test_names_that_some_system_refuses_are_refused_before_a_folder_is_made(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="name must be valid as a folder name on every system"):
        folder.create(str(tmp_path), env="CartPole-v1", agent="dqn", name=name, seed=0)
    with pytest.raises(ValueError, match="name must be valid as a folder name on every system"):
        SuiteOptions(name=name)
    assert not list(tmp_path.iterdir())


def test_every_text_file_is_opened_with_its_encoding() -> None:
    """Of the calls that open text or decode it: the system's encoding is another one on Windows."""
    without = []
    for top in SOURCES:
        for file in sorted((ROOT / top).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and _decodes(node):
                    keywords = {keyword.arg for keyword in node.keywords}
                    if "encoding" not in keywords:
                        without.append(f"{file.relative_to(ROOT)}:{node.lineno}")
                    if (
                        top != "benchmarks"
                        and ast.unparse(node.func).endswith("write_text")
                        and "newline" not in keywords
                    ):
                        without.append(f"{file.relative_to(ROOT)}:{node.lineno} (newline)")
    assert without == []


def _decodes(call: ast.Call) -> bool:
    function = call.func
    name = (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )
    if name in ("read_text", "write_text"):
        return True
    if name in ("run", "Popen", "check_output"):
        return any(keyword.arg in ("text", "universal_newlines") for keyword in call.keywords)
    if name != "open" or (
        isinstance(function, ast.Attribute) and ast.unparse(function.value) in ("os", "av", "archive", "Image")
    ):
        return False
    place = 1 if isinstance(function, ast.Name) else 0
    modes = [*call.args[place : place + 1], *(word.value for word in call.keywords if word.arg == "mode")]
    return not any(isinstance(mode, ast.Constant) and "b" in str(mode.value) for mode in modes)


def test_the_search_for_encodings_finds_what_it_looks_for() -> None:
    found = {
        text: _decodes(next(node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)))
        for text in ("open('a')", "open('a', 'w')", "path.read_text()", "path.open()", "run(x, text=True)")
    }
    assert all(found.values())
    for text in ("open('a', 'rb')", "os.open('a', 0)", "path.open('wb')", "run(x)"):
        assert not _decodes(next(node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)))


@pytest.mark.slow
def test_a_run_needs_nothing_that_windows_lacks(tmp_path: Path) -> None:
    """Train, resume, evaluate, list and report, in this process and in workers, where Linux's own things are gone."""
    (tmp_path / "windows.py").write_text(WINDOWS, encoding="utf-8")
    ran = script(
        tmp_path,
        """
        import windows  # noqa: F401 - first; workers import it with this script
        import gymnasium
        from gymnast import TrainOptions, evaluate, load, resume, train
        from gymnast.agents import DQNConfig
        from gymnast.cli.main import main

        if __name__ == "__main__":
            shared = dict(eval_every=0, eval_episodes=2, threads=1, log_every=100, video=False)
            small = DQNConfig(replay_size=200, learning_starts=50, hidden_sizes=(8,))
            options = TrainOptions(env="CartPole-v1", steps=150, checkpoint_every=100, track=("tensorboard",), **shared)
            first = train("dqn", options, small)
            assert first.exit_code == 0
            again = resume(first.path, steps=200)
            assert (again.exit_code, again.env_step) == (0, 200)
            assert evaluate(load(again.path), "CartPole-v1", episodes=2).mean_return > 0
            short = TrainOptions(env="CartPole-v1", steps=60, **shared)
            named = train("dqn", short, small, env=lambda: gymnasium.make("CartPole-v1"))
            assert named.exit_code == 0, named
            rows = TrainOptions(env="CartPole-v1", steps=64, num_envs=2, vectorization="async", **shared)
            workers = train("ppo", rows)
            assert workers.exit_code == 0
            assert resume(workers.path, steps=128).exit_code == 0
            assert main(["list", "agents"]) == 0
            assert main(["evaluate", str(first.path), "--episodes", "2"]) == 0
            assert main(["report", str(first.path), str(workers.path), "--out", "reports"]) == 0
            words = ["--agents", "dqn", "--steps", "60", "--seeds", "1", "--", "--learning-starts", "50"]
            assert main(["benchmark", "CartPole-v1", *words]) == 0
            print("all done")
        """,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.endswith("all done\n")
    assert not [path for path in tmp_path.rglob("*") if set(path.name) & set('<>:"|?*')]


UNGUARDED = """
import gymnast

result = gymnast.train(
    {agent!r},
    gymnast.TrainOptions(env="CartPole-v1", steps=64, num_envs=2, eval_every=0, video=False, {more}),
)
raise SystemExit(result.exit_code)
"""
GUARD = """put the script's calls under `if __name__ == "__main__":`"""


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_so_in_one_line(tmp_path: Path) -> None:
    ran = script(
        tmp_path,
        UNGUARDED.format(agent="ppo", more='vectorization="async"'),
    )
    assert ran.returncode == 1
    assert ran.stderr.count("Traceback") == 2  # the error and its cause, whose last line says it; none of the workers'
    assert ran.stderr.rstrip().splitlines()[-1].endswith(GUARD)
    assert not (tmp_path / "runs").exists()


@pytest.mark.long
def test_the_workers_of_a3c_explain_a_script_without_a_guard(tmp_path: Path) -> None:
    ran = script(tmp_path, UNGUARDED.format(agent="a3c", more="threads=1"))
    assert ran.returncode == 1
    assert ran.stderr.count("Traceback") == 0
    assert ran.stderr.count(GUARD) == 1
    assert len(list(tmp_path.glob("runs/CartPole-v1/a3c/*"))) == 1  # no worker began a run of its own


def test_characters_that_a_terminal_lacks_are_no_error(tmp_path: Path) -> None:
    ran = script(
        tmp_path,
        """
        from gymnast.cli import look, main
        look.show = lambda words: print("mean ± spread ▁▂▃") or 0
        raise SystemExit(main.main(["list"]))
        """,
        encoding="ascii",
    )
    assert (ran.returncode, ran.stdout) == (0, "mean ? spread ???\n")
