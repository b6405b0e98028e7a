"""Options of `gymnast serve`."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gymnast.errors import nearest
from gymnast.settings.options import at_least, check_device

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
"""Names of models and versions: they are parts of a URL."""
TARGET = re.compile(rf"(?P<name>{NAME})(@(?P<version>{NAME}))?=(?P<path>.+)", re.DOTALL)
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Target:
    """One version of a model: where its policy lies."""

    name: str
    version: str
    path: str

    @property
    def label(self) -> str:
        return f"{self.name}:{self.version}"


@dataclass(frozen=True)
class ServeOptions:
    """Serve trained agents over HTTP: actions for observations, and a page that shows the agents playing."""

    runs: tuple[str, ...] = field(metadata={"positional": "RUN"})
    """Runs or checkpoints, each RUN, NAME=RUN or NAME@VERSION=RUN. Default: the folder's name, versions 1, 2, ..."""
    host: str = field(default="127.0.0.1", metadata={"metavar": "ADDRESS"})
    """Address to listen on. One that other machines reach needs --token-file."""
    port: int = 8000
    """Port to listen on; 0 takes a free one, which is printed."""
    token_file: str | None = field(default=None, metadata={"metavar": "FILE"})
    """File with the token that every request, except for the health, must bring as `Authorization: Bearer TOKEN`."""
    split: tuple[str, ...] = field(default=(), metadata={"metavar": "NAME:V=WEIGHT,V=WEIGHT ...", "repeatable": True})
    """Shares of a model's versions in requests that name no version. Default: the last version answers them all."""
    max_batch: int = 64
    """Observations per forward pass; those that arrive during one are stacked for the next."""
    max_wait: float = 0.0
    """Milliseconds that a forward pass waits for more observations."""
    max_queue: int = 1_024
    """Observations of a version that may wait; further requests are answered with 503."""
    max_body: float = 16.0
    """Megabytes of a request."""
    max_sessions: int = 1_000
    """Sessions of a recurrent version; beyond, the least recently used one is dropped."""
    live: bool = True
    """Serve the page at / on which agents play in their environments."""
    seed: int = 0
    """Seed of all draws."""
    device: str = field(default="cpu", metadata={"metavar": "DEVICE"})
    """auto, cpu, cuda, cuda:N or mps."""
    threads: int = 1
    """CPU threads of torch and NumPy."""
    trust: bool = False
    """Import the agents and environments from outside gymnast that the checkpoints name."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise ValueError("serve needs a RUN")
        for name in ("max_batch", "max_queue", "max_sessions", "threads"):
            at_least(name, getattr(self, name), 1)
        at_least("seed", self.seed, 0)
        if not 0 <= self.port <= 65_535:
            raise ValueError(f"port must be between 0 and 65535, got {self.port}")
        if not 0.0 <= self.max_wait <= 10_000.0:
            raise ValueError(f"max_wait must be between 0 and 10,000 ms, got {self.max_wait:g}")
        if not 0.001 <= self.max_body <= 10_000.0:
            raise ValueError(f"max_body must be between 0.001 and 10,000 MB, got {self.max_body:g}")
        check_device(self.device)
        if not self.host:
            raise ValueError("host must be an address, got ''")
        if self.token_file is None and not is_loopback(self.host):
            raise ValueError(f"host {self.host} is reachable from other machines, and so needs --token-file FILE")
        split_of(self.split, targets_of(self.runs))


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address; names other than localhost count as reachable."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def targets_of(runs: Sequence[str]) -> list[Target]:
    """The versions that the words name; ValueError for a name that no URL takes, or one that is given twice."""
    found: list[Target] = []
    for word in runs:
        matched = None if Path(word).exists() else TARGET.fullmatch(word)
        name, version, path = (None, None, word) if matched is None else matched.group("name", "version", "path")
        name = name or _name_of(word)
        taken = {target.version for target in found if target.name == name}
        version = version or next(str(number) for number in range(1, len(taken) + 2) if str(number) not in taken)
        if version in taken:
            raise ValueError(f"{name}@{version} is given twice")
        found.append(Target(name, version, path))
    return found


def _name_of(path: str) -> str:
    """The name of a run's folder, or a file's name without its ending."""
    place = Path(path).resolve()
    name = place.name if place.is_dir() else place.stem
    if not re.fullmatch(NAME, name):
        raise ValueError(f"{path} has no name that a URL takes; write NAME={path}")
    return name


def split_of(words: Sequence[str], targets: Sequence[Target]) -> dict[str, dict[str, float]]:
    """The weights of the versions by model, of every version; ValueError for a split of anything that is not served."""
    versions: dict[str, list[str]] = {}
    for target in targets:
        versions.setdefault(target.name, []).append(target.version)
    weights = {name: {one: float(one == known[-1]) for one in known} for name, known in versions.items()}
    seen: set[str] = set()
    for word in words:
        name, separator, shares = word.partition(":")
        if not separator:
            raise ValueError(f"split must be NAME:VERSION=WEIGHT,..., got {word}")
        if name not in versions:
            raise ValueError(f"split {word}: no model {name} is served{nearest(name, versions)}")
        if name in seen:
            raise ValueError(f"split of {name} is given twice")
        seen.add(name)
        weights[name] = _shares(word, shares, dict.fromkeys(versions[name], 0.0))
    return weights


def _shares(word: str, shares: str, weights: Mapping[str, float]) -> dict[str, float]:
    found: dict[str, float] = dict(weights)
    for share in shares.split(","):
        version, separator, text = share.partition("=")
        if version not in found:
            raise ValueError(f"split {word}: no version {version!r} is served; choose from {', '.join(found)}")
        try:
            weight = float(text)
        except ValueError:
            weight = math.nan
        if not separator or not 0.0 <= weight < math.inf:
            raise ValueError(f"split {word}: the weight of {version} must be a number from 0, got {text!r}")
        found[version] = weight
    if not sum(found.values()) > 0.0:
        raise ValueError(f"split {word}: one weight must be above 0")
    return found
