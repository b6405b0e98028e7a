"""`gymnast serve` as a server: its command, its port, its end, and the games that it shows."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import httpx
import numpy as np
import pytest
from gymnasium import spaces

import gymnast
from gymnast import errors
from gymnast.agents import A2C
from gymnast.cli.main import main
from gymnast.envs.errors import EnvError
from gymnast.evaluation.environment import make_env
from gymnast.serving import live, server
from gymnast.serving.app import build
from gymnast.serving.served import policy_of
from gymnast.serving.service import Service
from gymnast.settings.serve_options import split_of, targets_of
from tests.serving import Fake, service_of


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that acts in CartPole-v1."""
    env = gym.make("CartPole-v1")
    file = tmp_path_factory.mktemp("serve") / "cart.pt"
    gymnast.save(A2C(env.observation_space, env.action_space), file, env="CartPole-v1")
    return file


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "serve needs RUN"),
        ("nowhere", "no run or checkpoint nowhere"),
        ("{path} --port 99999", "--port must be between 0 and 65535, got 99999"),
        ("{path} --max-batch 0", "--max-batch must be >= 1, got 0"),
        ("{path} --max-wait -1", "--max-wait must be between 0 and 10,000 ms, got -1"),
        ("{path} --max-body 0", "--max-body must be between 0.001 and 10,000 MB, got 0"),
        ("{path} --host 0.0.0.0", "--host 0.0.0.0 is reachable from other machines, and so needs --token-file FILE"),
        ("{path} --host 203.0.113.7 --token-file {token}", "--port 0 of 203.0.113.7 cannot be opened: "),
        ("{path} --token-file missing", "--token-file missing: No such file or directory"),
        ("{path} --token-file {short}", "must hold one token of at least 16 letters, digits and -._~+/="),
        ("{path} --split cart", "--split must be NAME:VERSION=WEIGHT,..., got cart"),
        ("{path} --split crat:1=2", "--split crat:1=2: no model crat is served; did you mean cart?"),
        ("{path} --split cart:2=1", "--split cart:2=1: no version '2' is served; choose from 1"),
        ("{path} --split cart:1=-1", "--split cart:1=-1: the weight of 1 must be a number from 0, got '-1'"),
        ("{path} --split cart:1=nan", "the weight of 1 must be a number from 0, got 'nan'"),
        ("{path} --split cart:1=0", "--split cart:1=0: one weight must be above 0"),
        ("{path} --split cart:1=1 --split cart:1=2", "--split of cart is given twice"),
        ("a@1={path} a@1={path}", "a@1 is given twice"),
        ("a={path} a={other}", "a version 2 has observation"),
        ("{path} --device cuda:77", "device cuda"),
        ("{fitted}", "does not hold"),
    ],
)
def test_bad_commands(words: str, said: str, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {name: tmp_path / name for name in ("token", "short", "other", "fitted")}
    names["token"].write_text("0123456789abcdef\n", encoding="utf-8", newline="\n")
    names["short"].write_text("secret", encoding="utf-8", newline="\n")
    names["fitted"].write_bytes(b"PK")
    gymnast.save(A2C(spaces.Box(-1, 1, (2,)), spaces.Discrete(2)), names["other"])
    given = [word.format(path=path, **names) for word in words.split()]
    assert main(["serve", *given, "--port", "0"] if "--port" not in given else ["serve", *given]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    if said != "does not hold":  # torch's words for a file that is none
        assert said in err


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(errors, "find_spec", lambda name: None if name == "prometheus_client" else name)
    assert main(["serve", "run"]) == 2
    said = 'gymnast: gymnast serve needs prometheus-client: pip install "gymnast[serve]"\n'
    assert capsys.readouterr().err == said


def test_a_taken_port_is_refused(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["serve", str(path), "--port", str(taken.getsockname()[1])]) == 2
    assert re.fullmatch(r"gymnast: --port \d+ of 127.0.0.1 cannot be opened: .+\n", capsys.readouterr().err)


def test_names_and_versions(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "a=b").mkdir()
    words = [str(tmp_path / "run"), "m=x", "m@best=y", "m=z", f"eq={tmp_path / 'a=b'}", "w=C:\\runs\\a=b"]
    assert [(one.name, one.version) for one in targets_of(words)] == [
        ("run", "1"),
        ("m", "1"),
        ("m", "best"),
        ("m", "2"),
        ("eq", "1"),
        ("w", "1"),
    ]
    with pytest.raises(ValueError, match="has no name that a URL takes; write NAME="):
        targets_of([str(tmp_path / "a=b")])
    targets = targets_of(["m=x", "m=y", "n=z"])
    assert split_of((), targets) == {"m": {"1": 0.0, "2": 1.0}, "n": {"1": 1.0}}
    assert split_of(("m:1=90,2=10",), targets)["m"] == {"1": 90.0, "2": 10.0}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_answers_until_a_signal(path: Path, number: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    """The whole command, whose server says its port on standard output."""
    answers: list[Any] = []

    def client() -> None:
        address, until = None, time.monotonic() + 60
        said = ""
        while address is None and time.monotonic() < until:
            said += capfd.readouterr().out
            address = re.search(r"serving on (\S+)\n", said)
            time.sleep(0.02)
        try:
            assert address is not None
            with httpx.Client(base_url=address[1]) as http:
                answers.append(http.post("/v1/models/cart:act", json={"obs": [0, 0, 0, 0]}).json())
                answers.append(http.get("/healthz").json())
        finally:
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=client)
    thread.start()
    code = main(["serve", str(path), "--port", "0"])
    thread.join()
    action = gymnast.load(path).predict([0.0, 0.0, 0.0, 0.0])
    assert answers == [{"action": action, "model": "cart", "version": "1"}, {"ready": True}]
    assert code == 128 + number


@pytest.fixture
def address() -> Iterator[Any]:
    """Serves a service on loopback: gives a function of it to the address and the server."""
    stack: list[Any] = []  # the contexts are left in their order

    def start(service: Service) -> tuple[str, server.Running]:
        sock = server.listening("127.0.0.1", 0)
        port = sock.__enter__()
        run = server.running(build(service), port, service.stop)
        stack.append((service, sock, run))
        return f"http://127.0.0.1:{port.getsockname()[1]}", run.__enter__()

    yield start
    for service, sock, run in stack:
        run.__exit__(None, None, None)
        sock.__exit__(None, None, None)
        service.close()


def test_what_is_in_flight_is_answered(address: Any) -> None:
    fake = Fake()
    service = service_of({"m": [fake.policy()]})
    url, running = address(service)
    answers: list[httpx.Response] = []
    asking = threading.Thread(
        target=lambda: answers.append(httpx.post(f"{url}/v1/models/m:act", json={"obs": [1, 2]}, timeout=30))
    )
    asking.start()
    assert fake.began.wait(20)
    stopping = threading.Thread(
        target=running.stop,
    )
    stopping.start()
    while running.server.servers and any(one.is_serving() for one in running.server.servers):
        time.sleep(0.01)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/healthz")
    fake.free.set()
    asking.join()
    stopping.join()
    assert (answers[0].status_code, answers[0].json()["action"]) == (200, 3)


class Watched:
    """An environment of CartPole-v1, and how often it was made and closed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made, self.closed = 0, 0
        self.broken: type[Exception] | None = None
        monkeypatch.setattr(live, "PAUSE", 0.01)

    def make(self) -> Any:
        env = make_env("CartPole-v1", 1, render=True)
        self.made += 1
        close = env.close

        def closed() -> None:
            self.closed += 1
            close()

        def step(action: Any) -> Any:
            raise self.broken("the environment broke\nat step 1")

        env.close = closed  # type: ignore[method-assign]
        env.render_fps = 1000.0
        if self.broken is not None:
            env.step = step  # type: ignore[method-assign]
        return env


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


def game_of(watched: Watched) -> Service:
    env = gym.make("CartPole-v1")
    agent = A2C(env.observation_space, env.action_space)
    return service_of({"m": [policy_of(agent, kind="a2c", env="CartPole-v1", make_env=watched.make)]})


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line:
            assert line.startswith("data: ")
            yield json.loads(line.removeprefix("data: "))


def until(condition: Any) -> None:
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


LIVE = "/v1/models/m/versions/1/live"


def test_viewers_watch_one_game(address: Any, watched: Watched) -> None:
    from PIL import Image

    service = game_of(watched)
    url, _ = address(service)
    game = service.find("m", "1").game
    with httpx.stream("GET", url + LIVE, timeout=30) as first, httpx.stream("GET", url + LIVE, timeout=30) as second:
        assert first.headers["content-type"].startswith("text/event-stream")
        mine, others = events(first.iter_lines()), events(second.iter_lines())  # who lets go of them leaves
        seen = [next(mine) for _ in range(3)]
        while not seen[-1]["ended"]:
            seen.append(next(mine))
        other = next(others)
        assert len(game.viewers) == 2
    assert watched.made == 1
    assert other["frame"]
    picture = Image.open(io.BytesIO(base64.b64decode(seen[0]["frame"])))
    assert (picture.format, picture.size) == ("JPEG", (600, 400))
    assert {event["action"] for event in seen} <= {0, 1}
    assert all(np.isfinite(event["value"]) for event in seen)
    assert all(event["return"] == event["step"] for event in seen)  # CartPole pays 1 a step
    until(lambda: watched.closed == 1)  # once nobody watches
    assert not game.viewers
    with httpx.stream("GET", url + LIVE, timeout=30) as again:
        assert next(events(again.iter_lines()))["step"] >= 1
    until(lambda: watched.closed == 2)


@pytest.mark.parametrize("error", [EnvError, RuntimeError])
def test_a_game_that_breaks_says_why(
    address: Any, watched: Watched, error: type[Exception], capfd: pytest.CaptureFixture[str]
) -> None:
    watched.broken = error
    url, _ = address(game_of(watched))
    with httpx.stream("GET", url + LIVE, timeout=30) as answer:
        assert list(events(answer.iter_lines())) == [{"error": "the environment broke"}]
    assert watched.closed == 1
    assert ("Traceback" in capfd.readouterr().err) == (error is RuntimeError)
    assert httpx.get(f"{url}/healthz").status_code == 200


def test_a_stopping_server_ends_its_games(address: Any, watched: Watched) -> None:
    service = game_of(watched)
    url, running = address(service)
    with httpx.stream("GET", url + LIVE, timeout=30) as answer:
        lines = events(answer.iter_lines())
        next(lines)
        running.stop()
        assert len(list(lines)) < 1000
    assert watched.closed == 1


def test_games_have_room_for_some_viewers(address: Any, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_VIEWERS", 1)
    url, _ = address(game_of(watched))
    with httpx.stream("GET", url + LIVE, timeout=30) as answer:
        mine = events(answer.iter_lines())
        next(mine)
        refused = httpx.get(url + LIVE)
        next(mine)
    assert (refused.status_code, refused.json()) == (503, {"error": "too many watch this game"})


def test_an_environment_that_is_not_trusted_is_said(address: Any, tmp_path: Path) -> None:
    agent = A2C(spaces.Box(-1, 1, (2,)), spaces.Discrete(2))
    gymnast.save(agent, tmp_path / "own.pt", env="./own.py:Own")
    policy = server.read_policy(str(tmp_path / "own.pt"), device="cpu", trust=False)
    url, _ = address(service_of({"m": [policy]}))
    with httpx.stream("GET", url + LIVE, timeout=30) as answer:
        (event,) = events(answer.iter_lines())
    assert "--trust" in event["error"]
