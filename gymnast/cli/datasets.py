"""`gymnast list datasets`: the built-in data sets, and those in Minari's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def found() -> dict[str, Any]:
    """Help of the built-in sets by name; and of each local one its environment, episodes, steps and bytes."""
    from gymnast.replay.datasets import files, labelled  # torch, which the quick commands avoid

    root = files.datasets_root()
    local = {name: _local(root / name) for name in files.local_datasets()}
    return {"built-in": dict(labelled.LABELLED), "folder": str(root), "local": local}


def _local(folder: Path) -> dict[str, Any]:
    """What the metadata say; a damaged file is listed with its error."""
    from gymnast.replay.datasets import files

    size = sum(file.stat().st_size for file in (folder / "data").iterdir() if file.is_file())
    try:
        about = json.loads((folder / "data" / files.METADATA).read_text(encoding="utf-8"))
        env = about.get("gymnast_env") or json.loads(about.get("env_spec", "{}")).get("id")
        return {"env": env, "episodes": about["total_episodes"], "steps": about["total_steps"], "bytes": size}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        return {"error": f"damaged {files.METADATA}: {type(error).__name__}", "bytes": size}


def as_text(content: dict[str, Any]) -> str:
    """Two tables."""
    built_in, local = content["built-in"], content["local"]
    width = max(map(len, [*built_in, *local])) + 2
    lines = ["built-in", *(f"  {name:<{width}}{text}" for name, text in built_in.items()), "", content["folder"]]
    for name, about in local.items():
        megabytes = f"{about['bytes'] / 1e6:,.1f} MB"
        if "error" in about:
            lines.append(f"  {name:<{width}}{about['error']}, {megabytes}")
        else:
            counts = f"{about['episodes']:,} episodes, {about['steps']:,} steps, {megabytes}"
            lines.append(f"  {name:<{width}}{about['env'] or 'no environment'}: {counts}")
    if not local:
        lines.append("  none yet; gymnast record writes one")
    return "\n".join(lines)
