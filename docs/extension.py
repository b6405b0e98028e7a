"""Additions to the pages when the site is built: tables from the code, and the pages at the root of the repository.

- `<!-- page FILE -->` becomes a page at the root of the repository.
- `<!-- agents -->`, `<!-- networks -->` and `<!-- backbones -->` become their lists, the last with all options.
- `<!-- options AGENT [name ...] -->` becomes the table of an agent's options, all of them or the named ones.
- `<!-- tasks -->` becomes the list of what `gymnast fit` fits, `<!-- kinds MODEL -->` that of the kinds of a model of
  `gymnast pretrain`, `<!-- task NAME -->` the table of a task's own options.
- `<!-- command NAME -->` becomes the table of a command's options (train, evaluate, resume, ...).
- `<!-- references -->` becomes the table of references.
- `<!-- presets AGENT -->` becomes the presets for an agent, `<!-- presets -->` all of them.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

from gymnast.agents.supervised.config import FitConfig
from gymnast.agents.supervised.table import TASKS, config_class, kinds_of
from gymnast.agents.table import ALGORITHMS
from gymnast.cli.groups import grouped
from gymnast.cli.help import default_text, field_docs, kind
from gymnast.cli.listing import settings
from gymnast.networks.backbones.table import BACKBONES, backbone_class
from gymnast.networks.build import NETWORKS
from gymnast.reports.report import ReportOptions
from gymnast.settings import agents, options
from gymnast.settings.dream_options import DreamOptions
from gymnast.settings.explain_options import ExplainOptions
from gymnast.settings.export_options import ExportOptions
from gymnast.settings.fit_options import FitOptions
from gymnast.settings.flags import Flag, flags_of
from gymnast.settings.hopfield_options import HopfieldOptions
from gymnast.settings.import_options import ImportOptions
from gymnast.settings.presets import PRESETS
from gymnast.settings.probe_options import ProbeOptions
from gymnast.settings.record_options import RecordOptions
from gymnast.settings.references import REFERENCES
from gymnast.settings.sample_options import SampleOptions
from gymnast.settings.serve_options import ServeOptions
from gymnast.settings.watch_options import WatchOptions
from gymnast.suites.options import AblateOptions, BenchmarkOptions
from gymnast.tuning.options import TuneOptions

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = {
    "README.md": "index.md",
    "RESULTS.md": "results.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
"""Pages at the root of the repository and their names on the site."""
COMMANDS: dict[str, tuple[type[Any], ...]] = {
    "train": (options.TrainOptions, options.PresetOptions),
    "populations": (options.PopulationOptions,),
    "sample": (SampleOptions,),
    "probe": (ProbeOptions,),
    "explain": (ExplainOptions,),
    "dream": (DreamOptions,),
    "hopfield": (HopfieldOptions,),
    "resume": (options.ResumeOptions,),
    "evaluate": (options.EvaluateOptions,),
    "record": (RecordOptions,),
    "export": (ExportOptions,),
    "import": (ImportOptions,),
    "watch": (WatchOptions,),
    "serve": (ServeOptions,),
    "fit": (FitOptions, FitConfig),
    "benchmark": (BenchmarkOptions,),
    "ablate": (AblateOptions,),
    "tune": (TuneOptions,),
    "report": (ReportOptions,),
    "list": (options.ListOptions,),
    "check-env": (options.CheckEnvOptions,),
}
PAGE = re.compile(r"^<!-- page (\w+\.md) -->$", re.MULTILINE)
MARKER = re.compile(
    r"^<!-- (agents|networks|backbones|options|command|presets|references|tasks|task|kinds)((?: [\w-]+)*) -->$",
    re.MULTILINE,
)
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def setup(app: Sphinx) -> dict[str, bool]:
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("source-read", fill_in)
    app.connect("autodoc-process-docstring", escape, priority=100)  # before napoleon reads the sections
    return {"parallel_read_safe": True}


def fill_in(_: Sphinx, docname: str, source: list[str]) -> None:
    """Fill in pages and tables, and turn links between files of the repository into links between pages of the site."""
    here = DOCS / f"{docname}.md"
    text = PAGE.sub(lambda found: _relinked((ROOT / found[1]).read_text(encoding="utf-8"), ROOT, here), source[0])
    text = MARKER.sub(lambda found: TABLES[found[1]](found[2].split()), text)
    source[0] = _relinked(text, here.parent, here)


def escape(_: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Keep the signs of formulas in docstrings, which are plain text with code in backticks, from being markup."""
    for index, line in enumerate(lines):
        parts = line.split("`")
        parts[::2] = [re.sub(r"([*|]|_\b)", r"\\\1", part) for part in parts[::2]]
        lines[index] = "`".join(parts)


def _relinked(text: str, folder: Path, here: Path) -> str:
    """The text of a page in `folder` with its links as seen from the page `here` of the site; code stays as it is."""

    def link(found: re.Match[str]) -> str:
        target = (folder / found[1]).resolve()
        if target.parent == ROOT and target.name in PAGES:
            target = DOCS / PAGES[target.name]
        return f"]({Path(os.path.relpath(target, here.parent)).as_posix()}{found[2] or ''})"

    parts, last = [], 0
    for code in CODE.finditer(text):
        parts += [LINK.sub(link, text[last : code.start()]), code[0]]
        last = code.end()
    return "".join([*parts, LINK.sub(link, text[last:])])


def _agents(_: Sequence[str]) -> str:
    rows = [f"| [`{name}`]({name}.md) | {entry.help} |" for name, entry in agents.AGENTS.items()]
    return "\n".join(["| agent | description |", "| --- | --- |", *rows])


def _networks(_: Sequence[str]) -> str:
    return "\n".join(
        ["| network | description |", "| --- | --- |", *(f"| `{name}` | {text} |" for name, text in NETWORKS.items())]
    )


def _backbones(_: Sequence[str]) -> str:
    """The options of every backbone that has some, under its name."""
    sections = []
    for name, entry in BACKBONES.items():
        cls = backbone_class(name).Options
        flags = flags_of(cls)
        rows = {
            f"network.{field}": dataclasses.replace(flag, field=f"network.{field}") for field, flag in flags.items()
        }
        docs = {f"network.{field}": text for field, text in field_docs(cls).items()}
        defaults = {f"network.{field}": flag.default for field, flag in flags.items()}
        table = _table(rows, docs, defaults) if flags else "It has no options."
        sections.append(f"### {name}\n\n{entry.help[0].upper()}{entry.help[1:]}.\n\n{table}")
    return "\n\n".join(sections)


def _tasks(_: Sequence[str]) -> str:
    rows = [f"| [`{name}`](#{name}) | {entry.help} |" for name, entry in TASKS.items() if not entry.model]
    return "\n".join(["| task | fits |", "| --- | --- |", *rows])


def _kinds(words: Sequence[str]) -> str:
    rows = [f"| [`{name}`](#{name}) | {entry.help} |" for name, entry in kinds_of(words[0]).items()]
    return "\n".join(["| kind | description |", "| --- | --- |", *rows])


def _task(words: Sequence[str]) -> str:
    """The options that a task has beside those of all, or whose defaults are its own."""
    cls = config_class(words[0])
    flags, docs, common = flags_of(cls), field_docs(cls), flags_of(FitConfig)
    own = {
        field: flag
        for field, flag in flags.items()
        if field == "loss" or field not in common or common[field].default != flag.default
    }
    return _table(own, docs, {field: flag.default for field, flag in own.items()})


def _options(words: Sequence[str]) -> str:
    """The options of an agent's config, by topic; one table without headings for the named ones."""
    name, *only = words
    cls = agents.config_class(agents.agent_class(name))
    flags, docs, default = flags_of(cls), field_docs(cls), agents.default_config(name)
    defaults = {field: getattr(default, field) for field in flags}
    if only:
        return _table({field: flags[field] for field in only}, docs, defaults)
    sections = (
        f"**{title.capitalize()}**\n\n{_table({field: flags[field] for field in names}, docs, defaults)}"
        for title, names in grouped(flags).items()
    )
    return "\n\n".join(sections)


def _command(words: Sequence[str]) -> str:
    classes = COMMANDS[words[0]]
    flags = flags_of(*classes)
    docs = {field: text for cls in classes for field, text in field_docs(cls).items()}
    return _table(flags, docs, {field: flag.default for field, flag in flags.items()})


def _table(flags: Mapping[str, Flag], docs: Mapping[str, str], defaults: Mapping[str, Any]) -> str:
    rows = ["| option | description |", "| --- | --- |"]
    for field, flag in flags.items():
        name = flag.positional or f"{flag.name} {kind(flag)}".strip()
        text = f"{docs.get(field, '')} {default_text(flag, docs.get(field, ''), defaults[field])}"
        rows.append(f"| `{name.replace('|', '&#124;')}` | {_escaped(text)} |".replace("`&#124;`", "|"))
    return "\n".join(rows)


def _presets(words: Sequence[str]) -> str:
    """The presets for an agent, or all of them, with the options that they set."""
    rows = ["| preset | sets |", "| --- | --- |"]
    base = ALGORITHMS[words[0]].base if words and words[0] in ALGORITHMS else (words or [None])[0]
    for name, preset in PRESETS.items():
        if name in ALGORITHMS:
            continue
        for agent, changes in preset.agent.items():
            if base is None or agent in (base, words[0]):
                who = f"`{name}` for {agent}" if base is None else f"`{name}`"
                rows.append(f"| {who} | {_escaped(preset.help)}: `{settings(preset.run | changes)}` |")
    return "\n".join(rows)


def _references(_: Sequence[str]) -> str:
    rows = ["| reference | environment | env steps | published | settings |", "| --- | --- | --- | --- | --- |"]
    for name, row in REFERENCES.items():
        named = f"--preset {' '.join(row.presets)} " if row.presets else ""
        changes = settings({"eval_episodes": row.episodes, **row.options})
        steps = "" if row.steps is None else f"{row.steps:,}"
        rows.append(
            f"| `{name}` | {row.env} | {steps} | {_escaped(row.goal)} | {_escaped(row.help)}: `{named}{changes}` |"
        )
    return "\n".join(rows)


def _escaped(text: str) -> str:
    return text.strip().replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")


TABLES: dict[str, Callable[[Sequence[str]], str]] = {
    "agents": _agents,
    "networks": _networks,
    "backbones": _backbones,
    "options": _options,
    "command": _command,
    "presets": _presets,
    "references": _references,
    "tasks": _tasks,
    "kinds": _kinds,
    "task": _task,
}
