"""The pages of `gymnast serve` and `gymnast watch` in a headless Chromium, where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from gymnast.agents import A2C
from gymnast.evaluation.environment import make_env
from gymnast.serving import app, live, server, watch
from gymnast.serving.served import policy_of
from gymnast.serving.watched_runs import WatchedRuns
from tests import browser
from tests.runs import write_run
from tests.serving import service_of

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(browser.FOUND is None, reason="needs chromium or google-chrome"),
]
FRAME = "[...document.images].find((one) => one.src.startsWith('data:image/jpeg'))"
BUTTON = "document.querySelectorAll('article button')[1]"
CELLS = "[...document.querySelectorAll('article')[1].querySelectorAll('dd')].map((one) => one.textContent)"


@contextmanager
def served(application: Any, before: Any = lambda: None) -> Iterator[str]:
    """The address of an application on a free port."""
    with server.listening("127.0.0.1", 0) as sock, server.running(application, sock, before):
        yield server.url_of(sock)


@pytest.fixture
def page(tmp_path: Path) -> Iterator[browser.Page]:
    with browser.page(tmp_path / "browser") as opened:
        yield opened
        assert opened.complaints == []


def test_an_agent_plays_before_the_viewers_eyes(page: browser.Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames of the game that the address names arrive, its score rises and begins anew with each episode, it stops."""
    monkeypatch.setattr(live, "PAUSE", 0.1)
    env = gym.make("CartPole-v1")
    agent = A2C(env.observation_space, env.action_space)
    playing = policy_of(agent, kind="a2c", env="CartPole-v1", make_env=lambda: make_env("CartPole-v1", 1, render=True))
    service = service_of({"cart pole": [policy_of(agent, kind="a2c"), playing]})
    try:
        with served(app.build(service), service.stop) as address:
            page.open(f"{address}/?watch=cart%20pole&watch=nobody")
            assert page.until(f"{FRAME} && {FRAME}.naturalWidth") == 600
            assert page.value("document.querySelector('#said').textContent") == "No model nobody is served. "
            seen: dict[tuple[float, float], str] = {}
            while len({episode for episode, _ in seen}) < 2 or len(seen) < 10:
                _, _, score, step, episode = page.value(CELLS)
                assert score == step  # CartPole pays 1 a step
                seen[float(episode), float(score)] = page.value(f"{FRAME}.src")
            assert len(set(seen.values())) > 5
            assert page.value(f"{BUTTON}.textContent") == "Stop"
            page.value(f"{BUTTON}.click()")
            assert page.value(f"[{BUTTON}.textContent, location.search]") == ["Watch", ""]
            page.until("true")
            while service.find("cart pole", "2").game.viewers:
                page.value("1")
            page.value(f"{BUTTON}.click()")
            assert page.value("location.search") == "?watch=cart%20pole%402"  # the address is of what is watched
            assert page.value("[...document.querySelectorAll('article button')].map((one) => one.hidden)") == [
                True,
                False,
            ]
    finally:
        service.close()


def test_the_page_of_runs_shows_them_as_they_go_on(page: browser.Page, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    for seed in (0, 1):
        write_run(folder / "Env" / "dqn" / f"seed{seed}", env="Env-v0", seed=seed, score=None if seed else 3.0)
    with served(watch.build(WatchedRuns(folder))) as address:
        page.open(address)
        page.until("document.querySelectorAll('#runs li').length === 2")
        page.until("document.querySelectorAll('#chart path').length === 2")
        assert page.value("document.querySelector('#status').textContent") == "2 runs, 1 running"
        before = page.value("document.querySelectorAll('#chart path')[1].getAttribute('d')")
        with open(folder / "Env" / "dqn" / "seed1" / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(
                '{"kind":"eval","env_step":150,"mean_return":7.0}\n{"kind":"final","env_step":150,"mean_return":6.5}\n'
            )
        assert "final 6.5" in page.until("(text => text.includes('final 6.5') && text)(document.body.innerText)")
        page.until(f"document.querySelectorAll('#chart path')[1].getAttribute('d') !== '{before}'")
        page.value("document.querySelectorAll('#runs button')[1].click()")
        assert "mean_return" in page.until("document.querySelector('#detail').innerText")
