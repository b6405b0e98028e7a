"""An exported policy, with NumPy and onnxruntime alone.

`gymnast export` copies this file, as `policy.py`, into the folder that it writes:

    from policy import Policy

    policy = Policy()  # the folder of this file
    action = policy(obs, start=True)  # of one observation, or of a batch of them

`python policy.py` prints what goes in and out, and plays random observations.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

CONTRACT = "policy.json"
FORMAT = "gymnast policy 1"


class Policy:
    """The actions of an exported policy, and the recurrent memory of the episodes that it plays.

    A policy that was exported with `--sample` draws its actions by seeds, one for each observation. Without given ones
    they come from a generator of its own, which `seed` starts.

    Raises:
        ValueError: the folder has no contract, another format, or a file that differs from its digest.
    """

    format, reader = "onnx", "onnxruntime"

    def __init__(self, folder: str | Path = Path(__file__).parent, *, threads: int = 1, seed: int = 0) -> None:
        self.contract = read_contract(folder)
        if self.contract["format"] != self.format:
            raise ValueError(f"{folder} holds a policy for {self.contract['format']}, not for {self.reader}")
        self.inputs: list[dict[str, Any]] = self.contract["inputs"]
        self.parts = [port for port in self.inputs if "path" in port]
        self.names = [port["name"] for port in self.contract["outputs"]]
        self.discrete = self.contract["action_space"]["type"] == "Discrete"
        content = read_checked(Path(folder) / self.contract["file"], self.contract["sha256"])
        self.session = self.session_of(content, threads)
        self.draws = any(port["name"] == "seed" for port in self.inputs)
        self.seeds = np.random.default_rng(seed)
        self.memory_size = next((port["shape"][1] for port in self.inputs if port["name"] == "memory"), 0)
        self.masked = any(port["name"] == "action_mask" for port in self.inputs)
        self.memory: np.ndarray | None = None

    def session_of(self, content: bytes, threads: int) -> Any:
        """What computes the policy of a file's content."""
        import onnxruntime  # here, because gymnast reads contracts without it

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def reset(self) -> None:
        """Forget the episodes in progress: the next observations begin new ones."""
        self.memory = None

    def run(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs for the inputs [N, ...], all by the names of the contract."""
        made: list[np.ndarray] = self.session.run(self.names, arrays)
        return dict(zip(self.names, made, strict=True))

    def __call__(self, obs: Any, *, start: Any = None, action_mask: Any = None, seed: Any = None) -> Any:
        """The action for one observation, or the actions [N, ...] for a batch of them.

        An observation is as Gymnasium has it: an array, or a dict or tuple of them; in a batch each has the leading
        axis N. `start` says which rows begin an episode, for policies with a memory; at first, and when N changes, all
        do. `action_mask` has the allowed actions, [A] or [N, A], and `seed` an integer, or [N] of them, by which a
        policy draws: the same seed draws the same action. ValueError if a shape or a dtype does not fit.
        """
        arrays, single = self.arrays(obs)
        rows = len(next(iter(arrays.values())))
        if self.memory_size:
            begins = np.zeros(rows, np.bool_)
            if self.memory is None or len(self.memory) != rows:
                self.memory, begins = np.zeros((rows, self.memory_size), np.float32), ~begins
            arrays["memory"] = self.memory
            arrays["start"] = begins if start is None else begins | np.asarray(start, np.bool_)
        if self.masked:
            arrays["action_mask"] = self.mask(action_mask, rows)
        elif action_mask is not None:
            raise ValueError("the policy was exported without action masks")
        if self.draws:
            arrays["seed"] = self.drawn_seeds(rows) if seed is None else _seeds(seed, rows)
        elif seed is not None:
            raise ValueError("the policy was exported without --sample, so it draws nothing")
        found = self.run(arrays)
        if self.memory_size:
            self.memory = found["next_memory"]
        action = found["action"]
        if not single:
            return action
        return int(action[0]) if self.discrete else action[0]

    def arrays(self, obs: Any) -> tuple[dict[str, np.ndarray], bool]:
        """The parts of an observation or of a batch as inputs [N, ...], and whether it was a single one."""
        found: dict[str, np.ndarray] = {}
        for port in self.parts:
            values = obs
            for key in port["path"]:
                values = _part(values, key)
            found[port["name"]] = _cast(np.asarray(values), port)
        ranks = {found[port["name"]].ndim - len(port["shape"]) for port in self.parts}  # of a batch: 0
        single = ranks == {-1}
        if single:
            found = {name: values[None] for name, values in found.items()}
        for port in self.parts:
            shape = found[port["name"]].shape
            if ranks not in ({0}, {-1}) or list(shape[1:]) != port["shape"][1:] or shape[0] == 0:
                given = shape[1:] if single else shape
                raise ValueError(f"{port['name']} has the shape {given}, but the policy takes {port['shape'][1:]}")
        if len({len(values) for values in found.values()}) != 1:
            raise ValueError("the parts of the observations have different numbers of rows")
        return found, single

    def drawn_seeds(self, rows: int) -> np.ndarray:
        """The next seeds [N] of the policy's own generator."""
        return self.seeds.integers(1 << 63, size=rows)

    def mask(self, action_mask: Any, rows: int) -> np.ndarray:
        """Allowed actions as bool [N, A]; None allows all."""
        size = next(port["shape"][1] for port in self.inputs if port["name"] == "action_mask")
        allowed = np.ones((rows, size), np.bool_) if action_mask is None else np.asarray(action_mask, np.bool_)
        if allowed.shape not in ((size,), (rows, size)):
            raise ValueError(f"the action mask has the shape {allowed.shape}, but the policy takes [{rows}, {size}]")
        return np.array(np.broadcast_to(allowed, (rows, size)))


def read_contract(folder: str | Path) -> dict[str, Any]:
    """policy.json of an exported folder; ValueError if there is none that this file understands."""
    path = Path(folder) / CONTRACT
    try:
        contract = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{folder} is not an exported policy: it has no {CONTRACT}") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not isinstance(contract, dict) or contract.get("contract") != FORMAT:
        raise ValueError(f"{path} is not the contract of a policy ({FORMAT})")
    return contract


def read_checked(path: Path, digest: str) -> bytes:
    """A file's content; ValueError if it differs from its SHA-256 digest."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(f"{path} is damaged: it does not match its digest in {CONTRACT}")
    return content


def random_obs(part: dict[str, Any], rows: int, rng: np.random.Generator) -> np.ndarray:
    """Random values [rows, ...] of a part of the observation: uniform between finite bounds, else normal."""
    shape, dtype, space = (rows, *part["shape"][1:]), np.dtype(part["dtype"]), part["space"]
    if space["type"] in ("Discrete", "MultiDiscrete"):
        return np.asarray(rng.integers(space.get("n", space.get("nvec")), size=shape) + np.array(space["start"]), dtype)
    if space["type"] == "MultiBinary":
        return rng.integers(2, size=shape).astype(dtype)
    low, high = (np.array(space[name], np.float64) for name in ("low", "high"))
    low, high = (bound.reshape(shape[1:]) if bound.ndim else bound for bound in (low, high))
    finite = np.isfinite(low) & np.isfinite(high) & (high - low < 1e6)
    uniform = rng.uniform(np.where(finite, low, 0.0), np.where(finite, high, 1.0), shape)
    drawn = np.where(finite, uniform, np.clip(rng.standard_normal(shape), low, high))
    return drawn.round().astype(dtype) if dtype.kind in "iu" else drawn.astype(dtype)


def _seeds(seed: Any, rows: int) -> np.ndarray:
    """Given seeds as int64 [N]."""
    found = np.asarray(seed)
    if found.dtype.kind not in "iu" or found.shape not in ((), (rows,)):
        raise ValueError(f"the seed must be an integer, or {rows} of them")
    return np.array(np.broadcast_to(found.astype(np.int64), (rows,)))


def _part(values: Any, key: str) -> Any:
    """A part of a dict or a tuple."""
    for known in (key, int(key) if key.isdigit() else key):
        try:
            return values[known]
        except (KeyError, IndexError, TypeError):
            continue
    raise ValueError(f"the observation has no part {key!r}")


def _cast(values: np.ndarray, port: dict[str, Any]) -> np.ndarray:
    """Values in the dtype of an input; ValueError where that would change more than the precision of floats."""
    dtype = np.dtype(port["dtype"])
    if values.dtype == dtype:
        return values
    integers = values.dtype.kind in "iub"
    if dtype.kind == "f" and values.dtype.kind in "iubf":
        return values.astype(dtype)
    if integers and (not values.size or (values.min() >= np.iinfo(dtype).min and values.max() <= np.iinfo(dtype).max)):
        return values.astype(dtype)
    raise ValueError(f"{port['name']} is {values.dtype}, but the policy takes {dtype}")


def main() -> None:
    """Print the contract, and play random observations."""
    parser = argparse.ArgumentParser(description="Print what the policy takes and gives, and play random observations.")
    parser.add_argument("--steps", type=int, default=100, help="batches of random observations")
    parser.add_argument("--rows", type=int, default=1, help="observations of a batch")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    policy, rng = Policy(), np.random.default_rng(options.seed)
    contract = policy.contract
    print(f"{contract['agent']}, trained on {contract['env']} for {contract['env_step']:,} steps")
    for title, ports in (("in", policy.inputs), ("out", contract["outputs"])):
        for port in ports:
            print(f"  {title:<4}{port['name']:<16}{port['dtype']:<9}{port['shape']}")
    spent, memory = 0.0, np.zeros((options.rows, policy.memory_size), np.float32)
    for step in range(options.steps):
        arrays = {part["name"]: random_obs(part, options.rows, rng) for part in policy.parts}
        if policy.memory_size:
            arrays |= {"memory": memory, "start": np.full(options.rows, step == 0)}
        if policy.masked:
            arrays["action_mask"] = policy.mask(None, options.rows)
        if policy.draws:
            arrays["seed"] = policy.drawn_seeds(options.rows)
        began = time.perf_counter()
        found = policy.run(arrays)
        spent += time.perf_counter() - began
        memory = found.get("next_memory", memory)
    print(f"the last of {options.steps} random batches: action {found['action'].tolist()}")
    print(f"{spent / options.steps * 1e6:.0f} us a batch of {options.rows}")


if __name__ == "__main__":
    main()
