"""A checkpoint of the replay writes what changed; what happens in its middle never costs the one before (row 28)."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from gymnast.errors import UsageError
from gymnast.replay import ring
from gymnast.replay.device import ring as device_ring
from gymnast.replay.device.ring import DeviceRing
from gymnast.replay.device.samplers import DevicePrioritized
from gymnast.replay.layout import Layout
from gymnast.replay.ring import Ring
from gymnast.replay.samplers import Prioritized
from gymnast.replay.transitions import NStep
from gymnast.storage import checkpoint, rebuild, replay_blocks
from gymnast.storage.last import LastCheckpoint, RunState, SessionState
from gymnast.training.train import resume, train
from tests.replay_world import World
from tests.test_checkpoint import ABOUT
from tests.test_resume import SMALL_DQN, config, options, same

BLOCK = 4


class Memory:
    """An agent that is nothing but a replay of `slots`, written at will."""

    def __init__(self, slots: int = 14, *, block: int = BLOCK) -> None:
        self.arrays = {
            "frames0": torch.zeros(slots, 3, 5, dtype=torch.uint8),
            "frames1": torch.zeros(slots, dtype=torch.float32),
            "frames2": torch.zeros(slots, 2, dtype=torch.bool),
            "action": torch.zeros(slots, dtype=torch.int64),
        }
        self.block = block
        self.touched = torch.zeros(-(-slots // block), dtype=torch.int64)
        self.adds = self.used = 0

    def write(self, *slots: int) -> None:
        self.adds += 1
        for slot in slots:
            for name, array in self.arrays.items():
                array[slot] = (self.adds * 7 + slot + len(name)) % 251
            self.touched[slot // self.block] = self.adds
            self.used = max(self.used, slot + 1)

    def state_dict(self) -> dict[str, Any]:
        arrays = {name: array[: self.used] for name, array in self.arrays.items()}
        return {
            "weights": torch.full((3,), float(self.adds)),
            "replay": {"arrays": arrays, "touched": self.touched, "block": self.block, "adds": self.adds},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        replay = state["replay"]
        self.used, self.adds = len(replay["arrays"]["action"]), replay["adds"]
        self.touched[:] = replay["touched"]
        for name, array in self.arrays.items():
            array[: self.used] = replay["arrays"][name]

    def run_state(self) -> RunState:
        return state_of(self.state_dict())

    def copy(self) -> dict[str, torch.Tensor]:
        return {name: array[: self.used].clone() for name, array in self.arrays.items()}


def state_of(agent: dict[str, Any]) -> RunState:
    """A run of which nothing but the agent is looked at."""
    session = SessionState(next={}, best=None, metrics=0, timing=0, seconds=0.0, writers={})
    return RunState(agent, actor={}, env=None, loop={}, torch_rng=torch.get_rng_state(), cuda_rng=[], session=session)


def loaded(path: Path, **sizes: Any) -> Memory:
    memory = Memory(**sizes)
    rebuild.load_agent(memory, LastCheckpoint(path.parent).read()[1].agent, path, replay=True)
    return memory


def equal(memory: Memory, wanted: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(array, wanted[name]) for name, array in memory.copy().items())


def files(path: Path) -> dict[str, int]:
    """The block files and when each was written."""
    return {file.name: file.stat().st_mtime_ns for file in (path.parent / "replay").iterdir()}


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    memory, path = Memory(), tmp_path / "last.pt"
    memory.write(*range(11))
    LastCheckpoint(tmp_path).save(ABOUT, memory.run_state())
    again = loaded(path)
    assert equal(again, memory.copy())
    assert (again.used, again.adds, again.touched.tolist()) == (11, 1, [1, 1, 1, 0])
    sizes = sorted(file.stat().st_size for file in (tmp_path / "replay").iterdir())
    assert sizes == [3 * (15 + 4 + 2), 4 * (15 + 4 + 2), 4 * (15 + 4 + 2)]
    assert all(len(array) == 0 for name, array in frames_in(path).items() if name != "action")


def frames_in(path: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = checkpoint.read(path)[1]["agent"]["replay"]["arrays"]
    return found


def test_only_changed_blocks_are_written_and_old_ones_deleted(tmp_path: Path) -> None:
    memory, path, saver = Memory(), tmp_path / "last.pt", LastCheckpoint(tmp_path)
    memory.write(*range(6))
    saver.save(ABOUT, memory.run_state())
    first = files(path)
    assert sorted(first) == ["000001-0000000000.frames", "000001-0000000004.frames"]
    saver.save(ABOUT, memory.run_state())
    assert files(path) == first
    memory.write(6)  # block 1 grows
    memory.write(9)
    saver.save(ABOUT, memory.run_state())
    second = files(path)
    assert sorted(second) == [
        f"{name}.frames" for name in ("000001-0000000000", "000003-0000000004", "000003-0000000008")
    ]
    assert second["000001-0000000000.frames"] == first["000001-0000000000.frames"]
    assert equal(loaded(path), memory.copy())


def test_a_resumed_run_goes_on_incrementally(tmp_path: Path) -> None:
    memory, path = Memory(), tmp_path / "last.pt"
    memory.write(*range(12))
    LastCheckpoint(tmp_path).save(ABOUT, memory.run_state())
    before = files(path)
    again, saver = loaded(path), LastCheckpoint(tmp_path)
    saver.read()
    again.write(5)
    saver.save(ABOUT, again.run_state())
    after = files(path)
    assert len(after.keys() & before.keys()) == 2
    assert all(after[name] == before[name] for name in after.keys() & before.keys())
    assert equal(loaded(path), again.copy())


@pytest.mark.parametrize("seed", range(5))
def test_any_order_of_writes_saves_and_resumes(tmp_path: Path, seed: int) -> None:
    """A ring that grows, wraps and is saved and resumed at random comes back as it was at the last save."""
    random, path = np.random.default_rng(seed), tmp_path / "last.pt"
    memory, saver, head = Memory(37), LastCheckpoint(tmp_path), 0
    for _ in range(60):
        for _ in range(random.integers(0, 9)):
            memory.write(head)
            head = (head + 1) % 37
        if memory.used == 0:
            continue
        saver.save(ABOUT, memory.run_state())
        again = loaded(path, slots=37)
        assert equal(again, memory.copy())
        assert torch.equal(again.touched, memory.touched)
        named = [block["name"] for block in checkpoint.read(path)[1]["agent"]["replay"]["files"]["blocks"]]
        assert sorted(named) == sorted(files(path))
        if random.random() < 0.3:
            memory, saver = again, LastCheckpoint(tmp_path)
            saver.read()


def test_another_block_size_rewrites_what_no_longer_fits(tmp_path: Path) -> None:
    memory, path, saver = Memory(), tmp_path / "last.pt", LastCheckpoint(tmp_path)
    memory.write(*range(14))
    saver.save(ABOUT, memory.run_state())
    memory.block, memory.touched = 6, torch.ones(3, dtype=torch.int64)
    saver.save(ABOUT, memory.run_state())
    assert [block["rows"] for block in checkpoint.read(path)[1]["agent"]["replay"]["files"]["blocks"]] == [6, 6, 2]
    assert equal(loaded(path, block=6), memory.copy())


class Killed(BaseException):
    """The process ends here: nothing that handles errors runs."""


def interrupt_after(calls: int, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """From now on the call number `calls` to the file system that a save makes raises; says how many there were."""
    made = 0

    def counted(original: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal made
            made += 1
            if made == calls and not after:
                raise error
            result = original(*args, **kwargs)
            if made == calls:
                if hasattr(result, "close"):
                    result.close()
                raise error
            return result

        return call

    monkeypatch.setattr(replay_blocks, "open", counted(open, after=True), raising=False)
    monkeypatch.setattr(checkpoint, "open", counted(open, after=False), raising=False)
    monkeypatch.setattr(os, "fsync", counted(os.fsync, after=False))
    monkeypatch.setattr(torch, "save", counted(torch.save, after=True))
    monkeypatch.setattr(os, "replace", counted(os.replace, after=isinstance(error, Killed)))
    monkeypatch.setattr(Path, "unlink", counted(Path.unlink, after=False))
    return lambda: made


def saved_twice(tmp_path: Path) -> tuple[Memory, LastCheckpoint, Path, dict[str, torch.Tensor]]:
    memory, path, saver = Memory(), tmp_path / "last.pt", LastCheckpoint(tmp_path)
    memory.write(*range(10))
    saver.save(ABOUT, memory.run_state())
    memory.write(3, 4)
    saver.save(ABOUT, memory.run_state())
    before = memory.copy()
    memory.write(2, 11)
    memory.write(3)
    return memory, saver, path, before


STAGES = range(1, 16)


@pytest.mark.parametrize("stage", STAGES)
def test_a_failure_at_any_stage_leaves_the_old_checkpoint(
    tmp_path: Path, stage: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, saver, path, before = saved_twice(tmp_path)
    old_files = files(path)
    with monkeypatch.context() as patched:
        calls = interrupt_after(stage, OSError(28, "No space left on device"), patched)
        try:
            saver.save(ABOUT, memory.run_state())
            failed = False
        except OSError:
            failed = True
    if failed:
        assert equal(loaded(path), before)
        assert files(path) == old_files  # what the failed one had written gives its room back
        assert sorted(file.name for file in tmp_path.iterdir()) == ["last.pt", "replay"]
    else:  # the new one stands: only names in a folder were not synced, or old files not deleted
        assert stage == 5 or stage > 9
        assert equal(loaded(path), memory.copy())
    assert calls() >= min(stage, 8)
    saver.save(ABOUT, memory.run_state())
    assert equal(loaded(path), memory.copy())
    assert len(files(path)) == 3


@pytest.mark.parametrize("stage", STAGES)
def test_a_kill_at_any_stage_leaves_the_old_or_the_new_checkpoint(
    tmp_path: Path, stage: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, saver, path, before = saved_twice(tmp_path)
    with monkeypatch.context() as patched:
        interrupt_after(stage, Killed(), patched)
        with suppress(Killed):
            saver.save(ABOUT, memory.run_state())
    again = loaded(path)
    assert equal(again, before) or equal(again, memory.copy())
    saver = LastCheckpoint(tmp_path)
    saver.read()
    for _ in range(2):
        again.write(1, 13)
        saver.save(ABOUT, again.run_state())
        assert equal(loaded(path), again.copy())
    assert len(files(path)) == 4


def test_stages_are_all_of_a_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, saver, _, _ = saved_twice(tmp_path)
    with monkeypatch.context() as patched:
        calls = interrupt_after(0, Killed(), patched)
        saver.save(ABOUT, memory.run_state())
    assert 8 < calls() <= max(STAGES)


def test_after_an_interrupt_behind_the_rename_a_failing_save_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The saver then still believes in the checkpoint before: it may neither delete nor rewrite the new one's files."""
    memory, saver, path, _ = saved_twice(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "sync_folder", raise_in(checkpoint.sync_folder, tmp_path, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            saver.save(ABOUT, memory.run_state())
    newest = memory.copy()
    assert equal(loaded(path), newest)
    memory.write(0, 9)
    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", raise_in(torch.save, None, OSError("full")))
        with pytest.raises(OSError, match="full"):
            saver.save(ABOUT, memory.run_state())
    assert equal(loaded(path), newest)


def raise_in(function: Callable[..., Any], argument: Any, error: BaseException) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if argument is None or args[0] == argument:
            raise error
        return function(*args, **kwargs)

    return call


def test_a_full_disk_in_the_middle_of_a_block(tmp_path: Path) -> None:
    path, saver = tmp_path / "last.pt", LastCheckpoint(tmp_path)
    memory = Memory(60_000, block=10_000)
    memory.write(*range(100))
    saver.save(ABOUT, memory.run_state())
    before, old_files = memory.copy(), files(path)
    memory.used = 60_000
    memory.touched[:] = 2
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, hard))
        with pytest.raises(OSError, match="too large"):
            saver.save(ABOUT, memory.run_state())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert equal(loaded(path, slots=60_000, block=10_000), before)
    assert files(path) == old_files


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.unlink(), "cannot be read: No such file"),
        (lambda file: file.write_bytes(file.read_bytes()[:-1]), "is damaged: it has 83 bytes"),
        (lambda file: file.write_bytes(file.read_bytes() + b"x"), "is damaged: it has 85 bytes"),
        (lambda file: file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:]), "checksum"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(tmp_path: Path, damage: Callable[[Path], Any], message: str) -> None:
    memory, path = Memory(), tmp_path / "last.pt"
    memory.write(*range(12))
    LastCheckpoint(tmp_path).save(ABOUT, memory.run_state())
    damage(tmp_path / "replay" / "000001-0000000004.frames")
    with pytest.raises(UsageError, match=message) as caught:
        loaded(path)
    assert "000001-0000000004.frames" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "replay", "000001-0000000000.frames/../x", ""])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    memory, path = Memory(), tmp_path / "last.pt"
    memory.write(0, 1)
    LastCheckpoint(tmp_path).save(ABOUT, memory.run_state())
    content = checkpoint.read(path)[1]
    content["agent"]["replay"]["files"]["blocks"][0]["name"] = name
    with pytest.raises(UsageError, match="is damaged: the list of its replay's files"):
        rebuild.load_agent(Memory(), content["agent"], path, replay=True)


def test_nothing_else_in_the_folder_is_deleted(tmp_path: Path) -> None:
    memory, saver = Memory(), LastCheckpoint(tmp_path)
    (tmp_path / "replay").mkdir()
    for name in ("notes.txt", "mine.frames"):
        (tmp_path / "replay" / name).write_text("kept")
    for slot in range(3):
        memory.write(slot)
        saver.save(ABOUT, memory.run_state())
    assert sorted(files(tmp_path / "last.pt")) == ["000003-0000000000.frames", "mine.frames", "notes.txt"]


def test_a_replay_that_does_not_say_what_changed_is_kept_whole(tmp_path: Path) -> None:
    memory, path = Memory(), tmp_path / "last.pt"
    memory.write(*range(12))
    state = memory.run_state()
    del state.agent["replay"]["touched"]
    LastCheckpoint(tmp_path).save(ABOUT, state)
    assert not (tmp_path / "replay").exists()
    assert torch.equal(frames_in(path)["frames0"], memory.arrays["frames0"][:12])


class Holder:
    """An agent that is nothing but a real ring."""

    def __init__(self, kind: str) -> None:
        layout, sizes = Layout(Box(-np.inf, np.inf, (2, 2)), stack=2), {"size": 90, "num_envs": 2, "batch_size": 4}
        self.replay: Ring | DeviceRing
        if kind == "ring":
            sampler = Prioritized(np.random.default_rng(0), alpha=0.6, beta=lambda step: 0.4)
            self.replay = Ring(layout, sampler, NStep(2, 0.9), **sizes)
        else:
            drawn = DevicePrioritized(torch.Generator(), alpha=0.6, beta=lambda step: 0.4)
            self.replay = DeviceRing(layout, drawn, NStep(2, 0.9), **sizes, device=torch.device("cpu"))

    def state_dict(self) -> dict[str, Any]:
        return {"replay": self.replay.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.replay.load_state_dict(state["replay"])


@pytest.mark.parametrize("kind", ["ring", "device ring"])
def test_real_rings_say_all_that_changes(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saved after any number of steps, growing and wrapping, a ring read back is bit for bit the one that was saved."""
    for module in (ring, device_ring):
        monkeypatch.setattr(module, "BLOCK", 8)
    rng, path = np.random.default_rng(1), tmp_path / "last.pt"
    world, holder, saver = World(rng, num_envs=2, stack=2, n=2, capacity=90), Holder(kind), LastCheckpoint(tmp_path)
    reused = 0
    for _ in range(25):
        for _ in range(rng.integers(1, 9)):
            holder.replay.add(**world.step(waits=False))
        before = set(files(path)) if path.exists() else set()
        saver.save(ABOUT, state_of(holder.state_dict()))
        reused += len(before & set(files(path)))
        again = Holder(kind)
        rebuild.load_agent(again, LastCheckpoint(tmp_path).read()[1].agent, path, replay=True)
        same(again.state_dict(), holder.state_dict())
    assert len(files(path)) == 12
    assert reused > 100


# Whole runs.


def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Path:
    monkeypatch.setattr(ring, "BLOCK", 64)
    wanted = options(tmp_path, "CartPole-v1", steps=200, **changes)
    return train("dqn", wanted, config("dqn", {**SMALL_DQN, "replay_size": 400})).path


def test_a_resumed_run_keeps_the_files_of_blocks_that_did_not_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = trained(tmp_path, monkeypatch)
    last = path / "checkpoints" / "last.pt"
    before = files(last)
    assert len(before) >= 4
    resume(path, steps=230)
    after = files(last)
    *whole, written = sorted(before)
    assert {name: after[name] for name in whole} == {name: before[name] for name in whole}
    assert written not in after
    assert len(after) >= len(before)


def test_only_resume_reads_the_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = trained(tmp_path, monkeypatch)
    shutil.rmtree(path / "checkpoints" / "replay")
    agent = rebuild.load(path / "checkpoints" / "last.pt")
    assert agent.env_step == 200
    assert "replay" not in agent.state_dict()
    with pytest.raises(UsageError, match="cannot be read"):
        resume(path, steps=400)


def test_a_disk_that_fills_up_in_training_costs_no_more_than_the_newest_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = trained(tmp_path, monkeypatch)
    last, write = path / "checkpoints" / "last.pt", replay_blocks._write_file

    def full(*args: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(replay_blocks, "_write_file", full)
    result = resume(path, steps=300)
    assert result.exit_code == 1
    assert checkpoint.read(last)[0].env_step == 200
    monkeypatch.setattr(replay_blocks, "_write_file", write)
    assert resume(path, steps=300).exit_code == 0
    assert checkpoint.read(last)[0].env_step == 300


WRITER = """
import sys
from pathlib import Path
from tests.test_replay_files import ABOUT, Memory, LastCheckpoint
memory, saver = Memory(200_000, block=10_000), LastCheckpoint(Path(sys.argv[1]))
memory.used = 200_000
while True:
    memory.adds += 1
    for array in memory.arrays.values():
        array[:] = memory.adds % 2
    memory.touched[memory.adds % 2 :: 2] = memory.adds  # every second block is said to have changed
    for start in range((1 - memory.adds % 2) * 10_000, 200_000, 20_000):
        for array in memory.arrays.values():
            array[start : start + 10_000] = (memory.adds - 1) % 2
    saver.save(ABOUT, memory.run_state())
    print(memory.adds, flush=True)
"""


@pytest.mark.slow
def test_sigkill_in_the_middle_leaves_a_whole_replay(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent
    for number, wait in enumerate((0.0, 0.011, 0.023, 0.05)):
        folder = tmp_path / str(number)
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder)],
            stdout=subprocess.PIPE,
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.readline()
        time.sleep(wait)
        process.kill()
        process.wait()
        process.stdout.close()
        memory = loaded(folder / "last.pt", slots=200_000, block=10_000)
        assert memory.adds >= 2
        for block in range(20):
            wanted = memory.adds % 2 if block % 2 == memory.adds % 2 else (memory.adds - 1) % 2
            for array in memory.arrays.values():
                assert (array[block * 10_000 : (block + 1) * 10_000] == wanted).all()
