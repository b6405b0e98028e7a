"""Where Minari's data sets lie on disk, their metadata, and the packages that reading and writing them needs."""

from __future__ import annotations

import difflib
import json
import os
import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import gymnasium as gym

METADATA, DATA = "metadata.json", "main_data.hdf5"
NAME = re.compile(r"(?:[-_\w][-_\w/]*[-_\w]+/)?[-_\w]+?-v\d+")
"""Minari's names: `NAME-vN` or `NAMESPACE/NAME-vN`; a namespace has at least two characters."""
FRAME_STACK, FRAME_FILL = "gymnast_frame_stack", "gymnast_frame_fill"
"""Metadata of ours: frames per observation, and what a stack shows before an episode, `zero` or `first`."""
FILLS = ("zero", "first")
VERSION = "0.5"


def datasets_root() -> Path:
    """Minari's folder of data sets: MINARI_DATASETS_PATH, or ~/.minari/datasets."""
    given = os.environ.get("MINARI_DATASETS_PATH")
    return Path(given) if given else Path.home() / ".minari" / "datasets"


def local_datasets(root: str | Path | None = None) -> list[str]:
    """The names of all data sets in Minari's folder (or in `root`), in order."""
    top = datasets_root() if root is None else Path(root)
    found = [file.parent.parent.relative_to(top).as_posix() for file in top.glob(f"**/data/{METADATA}")]
    return sorted(name for name in found if not any(part.startswith(".") for part in name.split("/")))


def check_name(name: str) -> None:
    """ValueError for a name that Minari would not accept."""
    if NAME.fullmatch(name) is None:
        form = "NAME-vN or NAMESPACE/NAME-vN, such as cartpole/expert-v0"
        raise ValueError(f"dataset must be named {form}, got {name!r}")


def find(name: str, root: str | Path | None) -> Path:
    """The folder of a data set given by name or path, in which `data/` lies; ValueError if there is none."""
    top = datasets_root() if root is None else Path(root)
    for folder in (top / name, Path(name).expanduser()):
        if (folder / "data" / METADATA).is_file():
            return folder
    known = local_datasets(top)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    there = f"it has {', '.join(known[:8])}{', …' if len(known) > 8 else ''}" if known else "it has no data sets"
    raise ValueError(f"unknown data set {name!r}: neither a folder nor in {top}; {there}{hint}")


def needs(module: str) -> Any:
    """Import a module of the extra `data`; ValueError in one line if it is missing."""
    try:
        return import_module(module)
    except ImportError:
        raise ValueError("data sets need minari: pip install 'gymnast[data]'") from None


@dataclass(frozen=True, eq=False)
class Metadata:
    """The contents of `metadata.json` that reading needs."""

    name: str
    env: str | None
    observation_space: gym.Space[Any]
    """Of one stored frame."""
    action_space: gym.Space[Any]
    episodes: int
    steps: int
    frame_stack: int
    frame_fill: str
    about: dict[str, Any]
    """Everything that is in the file."""


def read_metadata(folder: Path) -> Metadata:
    """The metadata of the data set in `folder`; ValueError if they are damaged or of another format or version."""
    file = folder / "data" / METADATA
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
        name, version = str(about.get("dataset_id", folder.name)), str(about.get("minari_version", ""))
        kind, episodes, steps = about["data_format"], int(about["total_episodes"]), int(about["total_steps"])
        stack, fill = int(about.get(FRAME_STACK, 1)), str(about.get(FRAME_FILL, "zero"))
        env = about.get("gymnast_env") or json.loads(about.get("env_spec", "{}")).get("id")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is damaged: {type(error).__name__}: {error}") from None
    if not version.startswith(f"{VERSION}."):
        raise ValueError(f"data set {name} was written by Minari {version or '?'}; gymnast reads {VERSION}")
    if kind != "hdf5":
        raise ValueError(f"data set {name} is in Minari's format {kind}; gymnast reads hdf5")
    if fill not in FILLS or stack < 1:
        raise ValueError(f"{file} is damaged: {FRAME_STACK} {stack}, {FRAME_FILL} {fill}")
    observed, acted = (_space(about, key, name) for key in ("observation_space", "action_space"))
    return Metadata(name, env, observed, acted, episodes, steps, stack, fill, about)


def _space(about: dict[str, Any], key: str, name: str) -> gym.Space[Any]:
    """A space of the metadata, or else of the environment that they name."""
    if key in about:
        read = needs("minari.serialization").deserialize_space
        try:
            space: gym.Space[Any] = read(about[key])
        except Exception as error:  # whatever Gymnasium raises for impossible bounds
            raise ValueError(f"data set {name}: its {key} is damaged: {error}") from None
        return space
    try:
        env = gym.make(gym.envs.registration.EnvSpec.from_json(about["env_spec"]))
    except Exception as error:  # whatever the environment's own code raises
        raise ValueError(f"data set {name} states no {key}, and its environment cannot be made: {error}") from None
    found: gym.Space[Any] = getattr(env, key)
    env.close()
    return found
