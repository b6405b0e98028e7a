"""explain.html: everything on one page that needs no other file and no network."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from gymnast.explain.context import Section, Shown

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #888; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0.2rem; }
h2 { font-size: 1.25rem; margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.1rem 1.2rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
nav a { margin-right: 1rem; }
figure { margin: 1rem 0; }
figure img, figure video { max-width: 100%; background: white; border: 1px solid var(--line); border-radius: 4px; }
figcaption { color: var(--soft); font-size: 0.9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.8rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
"""
KINDS = {".png": "image/png", ".mp4": "video/mp4"}


def page(
    title: str, about: Sequence[tuple[str, str]], sections: Mapping[str, Section], left_out: Mapping[str, str]
) -> str:
    """The page as HTML, with every picture and video inside it."""
    links = " ".join(f'<a href="#{name}">{html.escape(one.title)}</a>' for name, one in sections.items())
    body = "\n".join(_section(name, one) for name, one in sections.items())
    missing = "".join(f"<li>{html.escape(name)}: {html.escape(reason)}</li>" for name, reason in left_out.items())
    tail = f"<h2>Left out</h2>\n<ul>{missing}</ul>" if missing else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
<dl>{"".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in about)}</dl>
<nav>{links}</nav>
{body}
{tail}
</body>
</html>
"""


def _section(name: str, section: Section) -> str:
    pictures = "\n".join(_figure(one) for one in section.shown)
    table = _table(section.table[1:], section.table[0]) if section.table else ""
    return f"""<section id="{name}">
<h2>{html.escape(section.title)}</h2>
<p>{html.escape(section.text)}</p>
{pictures}
{table}
</section>"""


def _figure(shown: Shown) -> str:
    kind, caption = KINDS[shown.file.suffix], html.escape(shown.caption)
    data = f"data:{kind};base64,{base64.b64encode(Path(shown.file).read_bytes()).decode('ascii')}"
    if kind.startswith("video"):
        element = f'<video controls loop muted playsinline src="{data}"></video>'
    else:
        element = f'<img alt="{html.escape(shown.caption, quote=True)}" src="{data}">'
    return f"<figure>{element}<figcaption>{caption}</figcaption></figure>"


def _table(rows: Sequence[Sequence[str]], heading: Sequence[str] = ()) -> str:
    def line(cells: Sequence[str], kind: str) -> str:
        return "<tr>" + "".join(f"<{kind}>{html.escape(cell)}</{kind}>" for cell in cells) + "</tr>"

    head = f"<thead>{line(heading, 'th')}</thead>" if heading else ""
    body = "".join(line(row, "td") for row in rows)
    return f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>'
