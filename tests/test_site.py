"""The site of the documentation is built without a warning: no link, anchor, picture or docstring is broken."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gymnast.agents.table import ALGORITHMS
from gymnast.settings.agents import AGENTS, agent_class, config_class
from gymnast.settings.flags import flags_of
from gymnast.settings.options import TrainOptions

pytest.importorskip("sphinx")

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-E", "-W", "--keep-going", "-d", str(out / "cache")]
    done = subprocess.run(
        [*command, "docs", str(out / "html")], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return out / "html"


class Links(HTMLParser):
    """Collects a page's links, pictures and anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            if (tag, name) in (("a", "href"), ("img", "src")) and value:
                self.targets.append(value)


def test_every_link_leads_somewhere(site: Path) -> None:
    pages = {path.relative_to(site).as_posix(): Links(path.read_text()) for path in site.rglob("*.html")}
    assert len(pages) > 60
    for name, page in pages.items():
        for target in page.targets:
            if re.match(r"\w+:", target):
                continue
            file, _, anchor = target.partition("#")
            path = (site / name).parent / file if file else site / name
            assert path.exists(), f"{name}: {target}"
            if anchor and path.suffix == ".html":
                assert anchor in pages[path.resolve().relative_to(site.resolve()).as_posix()].anchors, (
                    f"{name}: {target}"
                )


def test_every_agent_has_a_page_with_its_options(site: Path) -> None:
    for name in AGENTS:
        text = (site / "agents" / f"{name}.html").read_text()
        shown = set(re.findall(r'<code[^>]*><span class="pre">(--[\w-]+)', text))
        flags = flags_of(config_class(agent_class(name)))
        if name in ALGORITHMS and (changes := ALGORITHMS[name].changes):  # settings of another agent: its own options
            assert {flags[field].name for field in changes} & shown, name
        else:
            assert {flag.name for flag in flags.values()} <= shown, name


def test_tables_are_made(site: Path) -> None:
    for path in site.rglob("*.html"):
        assert not re.search(r"&lt;!-- (agents|options|command|presets|references|page)", path.read_text()), path
    text = (site / "reference" / "options.html").read_text()
    assert all(flag.name in text for flag in flags_of(TrainOptions).values())
