"""`gymnast serve`: what requests get, from which version, and what is refused."""

from __future__ import annotations

import asyncio
import io
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
from gymnasium import spaces

from gymnast.agents import A2C, DQN, R2D2, Predictor, QLearning, QLearningConfig
from gymnast.serving.served import policy_of
from gymnast.serving.service import Service
from gymnast.serving.sessions import Ask, Sessions
from gymnast.serving.worker import Limits
from tests.serving import RAW, Fake, asked, npy, npz, post, service_of

CART = spaces.Box(np.array([-4.8, -np.inf], np.float32), np.array([4.8, np.inf], np.float32))
PARTS = spaces.Dict({"image": spaces.Box(0, 255, (6, 6), np.uint8), "speed": spaces.Box(-1.0, 1.0, (3,))})


@pytest.fixture(scope="module")
def agents() -> dict[str, Any]:
    return {
        "cart": A2C(CART, spaces.Discrete(3, start=5), seed=1),
        "other": DQN(CART, spaces.Discrete(3, start=5), seed=2),
        "parts": A2C(PARTS, spaces.Box(-2.0, 2.0, (2,)), seed=3),
        "table": QLearning(spaces.Discrete(4), spaces.Discrete(2), QLearningConfig()),
        "memory": R2D2(CART, spaces.Discrete(3), seed=4),
    }


@pytest.fixture(scope="module")
def service(agents: dict[str, Any]) -> Iterator[Service]:
    policies = {name: policy_of(agent, kind=name) for name, agent in agents.items()}
    models = {name: [policies[name]] for name in ("parts", "table", "memory")}
    made = service_of({"cart": [policies["other"], policies["cart"]], **models}, max_sessions=2)
    yield made
    made.close()


def cart(rows: int | None = None, seed: int = 0) -> np.ndarray:
    shape = (2,) if rows is None else (rows, 2)
    return np.random.default_rng(seed).uniform(-4, 4, shape).astype(np.float32)


@pytest.mark.parametrize("rows", [None, 1, 5, 200])
@pytest.mark.parametrize("raw", [False, True])
def test_actions_are_those_of_predict(service: Service, agents: dict[str, Any], rows: int | None, raw: bool) -> None:
    obs = cart(rows)
    sent: dict[str, Any] = {"content": npy(obs), "headers": RAW} if raw else {"json": {"obs": obs.tolist()}}
    answer = post(service, "cart", **sent)
    assert answer.status_code == 200, answer.text
    expected = agents["cart"].predict(obs, start=True)
    if raw:
        found = np.load(io.BytesIO(answer.content))
        assert (found.dtype, found.shape) == (np.int64, np.shape(expected))
        assert (answer.headers["gymnast-model"], answer.headers["gymnast-version"]) == ("cart", "2")
    else:
        assert {**answer.json(), "action": None} == {"action": None, "model": "cart", "version": "2"}
        found = answer.json()["action"]
    np.testing.assert_array_equal(found, expected)


def test_each_version_answers_under_its_name(service: Service, agents: dict[str, Any]) -> None:
    obs = cart(50)
    for version, name in (("1", "other"), ("2", "cart")):
        answer = post(service, f"cart/versions/{version}", json={"obs": obs.tolist()}).json()
        assert answer["action"] == agents[name].predict(obs, start=True).tolist()
        assert answer["version"] == version


@pytest.mark.parametrize("rows", [None, 3])
def test_parts_of_an_observation(service: Service, agents: dict[str, Any], rows: int | None) -> None:
    space = PARTS.seed(0) and PARTS
    samples = [space.sample() for _ in range(rows or 1)]
    obs = samples[0] if rows is None else {key: np.stack([one[key] for one in samples]) for key in PARTS.spaces}
    expected = agents["parts"].predict(obs, start=True)
    answer = post(service, "parts", json={"obs": {key: value.tolist() for key, value in obs.items()}})
    np.testing.assert_allclose(answer.json()["action"], expected, rtol=1e-6)
    answer = post(service, "parts", content=npz(**{f"obs/{key}": value for key, value in obs.items()}), headers=RAW)
    np.testing.assert_array_equal(np.load(io.BytesIO(answer.content)), expected)


def test_masks(service: Service) -> None:
    obs, allowed = cart(30), np.tile(np.array([0, 1, 0]), (30, 1))
    answer = post(service, "cart/versions/1", json={"obs": obs.tolist(), "action_mask": allowed.tolist()})
    plain = post(service, "cart/versions/1", content=npz(obs=obs, action_mask=allowed), headers=RAW)
    agent = DQN(CART, spaces.Discrete(3, start=5), seed=2)
    expected = agent.predict(obs, action_mask=allowed).tolist()
    assert answer.json()["action"] == np.load(io.BytesIO(plain.content)).tolist() == expected


def test_drawn_actions(service: Service) -> None:
    """An untrained policy is nearly uniform."""
    answers = [post(service, "cart", json={"obs": [[0, 0]] * 300, "deterministic": False}).json() for _ in range(2)]
    assert {action for answer in answers for action in answer["action"]} == {5, 6, 7}
    assert answers[0]["action"] != answers[1]["action"]  # the draws go on
    greedy = post(service, "cart", json={"obs": [[0, 0]] * 300}).json()["action"]
    assert len(set(greedy)) == 1


BAD: list[tuple[str, Any, int, str]] = [
    ("cart", {"obs": [0.0]}, 400, "obs has shape (1,), but needs (2,), or (N, 2) for a batch"),
    ("cart", {"obs": [[0.0, 0.0], [1.0]]}, 400, "obs is not an array of numbers"),
    ("cart", {"obs": ["a", "b"]}, 400, "obs is not an array of numbers"),
    ("cart", {"obs": None}, 400, "obs is not an array of numbers"),
    ("cart", {"obs": []}, 400, "obs has shape (0,)"),
    ("cart", {"obs": {"a": 1}}, 400, "obs is not an array of numbers"),
    ("cart", {"obs": [10**400, 0]}, 400, "obs is not an array of numbers"),
    ("cart", {"obs": [0.0, 1e300]}, 400, "obs: 1e+300 (or its negative) in an observation, which float32 cannot hold"),
    ("cart", {"obs": [[0.0, 0.0], [5.0, 0.0]]}, 400, "obs: 5 at [0] is outside -4.80005 to 4.80005"),
    ("cart", b'{"obs": [NaN, 0]}', 400, "whose numbers have to be finite"),
    ("cart", b'{"obs": [0, Infinity]}', 400, "whose numbers have to be finite"),
    ("cart", {}, 400, "obs is missing"),
    ("cart", [1, 2], 400, 'the body must be an object such as {"obs": [0.1, 0.2]}'),
    ("cart", b"{", 400, "the body is not JSON"),
    ("cart", b"\xff\xfe", 400, "the body is not JSON"),
    ("cart", b"[" * 50_000, 400, "the body is not JSON"),
    ("cart", {"obs": [0, 0], "masks": 1}, 400, "unknown key 'masks'"),
    ("cart", {"obs": [0, 0], "deterministic": 1}, 400, "deterministic must be true or false"),
    ("cart", {"obs": [0, 0], "session": 7}, 400, "session must be 1 to 128 printable characters"),
    ("cart", {"obs": [0, 0], "session": "\ud800"}, 400, "session must be 1 to 128 printable characters"),
    ("cart", {"obs": [0, 0], "start": "yes"}, 400, "start must be true or false, or a list of them"),
    ("cart", {"obs": [[0, 0]], "start": [True, False]}, 400, "start has 2 values for 1 observations"),
    ("cart", {"obs": [0, 0], "action_mask": [1, 0]}, 400, "action_mask must be an array of (3,)"),
    ("cart", {"obs": [0, 0], "action_mask": [1, 2, 0]}, 400, "action_mask must hold 1 for each allowed action"),
    ("cart", {"obs": [0, 0], "action_mask": [0, 0, 0]}, 400, "action_mask allows no action"),
    ("parts", {"obs": [1]}, 400, "obs must be an object with the keys image, speed"),
    ("parts", {"obs": {"image": [[0] * 6] * 6}}, 400, "obs must be an object with the keys image, speed"),
    (
        "parts",
        {"obs": {"image": [[300] * 6] * 6, "speed": [0, 0, 0]}},
        400,
        "obs.image: 300 in an observation of int64",
    ),
    ("parts", {"obs": {"image": [[0.5] * 6] * 6, "speed": [0, 0, 0]}}, 400, "obs.image: 0.5 in an observation of"),
    ("parts", {"obs": {"image": [[[0] * 6] * 6], "speed": [0, 0, 0]}}, 400, "parts with different numbers of"),
    ("parts", {"obs": {"image": [[0] * 6] * 6, "speed": [0, 0, 0]}, "action_mask": [1]}, 400, "has no meaning"),
    ("table", {"obs": 4}, 400, "obs: the observation 4 but the policy needs 0 to 3"),
    ("table", {"obs": 1.5}, 400, "obs: 1.5 in an observation of float64 but the policy needs int64"),
    ("memory", {"obs": [0, 0]}, 400, "memory has a memory of each episode, and needs a session in each request"),
    (
        "memory",
        {"obs": [[0, 0]] * 65, "session": "a", "start": True},
        413,
        "a session may have 64 observations, got 65",
    ),
    ("crat", {"obs": [0, 0]}, 404, "no model 'crat' is served; did you mean cart?"),
    ("cart/versions/3", {"obs": [0, 0]}, 404, "cart has no version '3'; choose from 1, 2"),
    ("cart", {"obs": [[0, 0]] * 1025}, 413, "a request may hold 1,024 observations, got 1,025"),
]


@pytest.mark.parametrize(("path", "body", "status", "said"), BAD, ids=lambda value: str(value)[:40])
def test_bad_requests(service: Service, path: str, body: Any, status: int, said: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = post(service, path, content=content, headers={"content-type": "application/json; charset=utf-8"})
    assert answer.status_code == status, answer.text
    assert said in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def header(text: str, data: bytes = b"", size: int | None = None) -> bytes:
    """An .npy file with a header of one's own."""
    return b"\x93NUMPY\x01\x00" + (len(text) if size is None else size).to_bytes(2, "little") + text.encode() + data


HUGE = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }\n"
RAW_BAD: list[tuple[Callable[[], bytes], int, str]] = [
    (lambda: b"", 400, "the body must be an .npy file"),
    (lambda: b"\x93NUMPY", 400, "the .npy file is damaged"),
    (lambda: npy(cart())[:-1], 400, "the .npy file holds 7 bytes of data, which is not float32 (2,)"),
    (lambda: npy(cart()) + b"0", 400, "the .npy file holds 9 bytes of data"),
    (lambda: header(HUGE, b"1234"), 400, "the .npy file holds 4 bytes of data"),
    (lambda: header("__import__('os')\n"), 400, "the header of the .npy file is damaged"),
    (lambda: header("(" * 900 + "\n"), 400, "the header of the .npy file is damaged"),
    (lambda: header("{}", size=60_000), 400, "the .npy file is damaged"),
    (lambda: header("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }\n"), 400, "does not hold numbers"),
    (
        lambda: header("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }\n", b"8" * 16),
        400,
        "does not hold numbers",
    ),
    (lambda: npy(np.array(["a", "b"])), 400, "does not hold numbers"),
    (lambda: npy(np.zeros(3, np.float32)), 400, "obs has shape (3,), but needs (2,)"),
    (lambda: npz(obs=cart(), more=cart()), 400, "the archive must hold obs"),
    (lambda: npz(**{"obs": cart(), "obs/a": cart()}), 400, "the archive has both an array and parts named obs"),
    (lambda: npz(obs=cart())[:-30], 400, "the .npz archive is damaged or encrypted"),
    (lambda: npz(obs=np.zeros(20_000_000, np.float32)), 413, "the archive unpacks to more than 64,000,000 bytes"),
]


@pytest.mark.parametrize(("body", "status", "said"), RAW_BAD, ids=[said[:40] for _, _, said in RAW_BAD])
def test_bad_arrays(service: Service, body: Callable[[], bytes], status: int, said: str) -> None:
    answer = post(service, "cart", content=body(), headers=RAW)
    assert (answer.status_code, said in answer.json()["error"]) == (status, True), answer.text


@pytest.mark.parametrize("query", ["deterministic=maybe", "batch=1", "session=", "start=2", "a=1&" * 20])
def test_bad_options_of_raw_requests(service: Service, query: str) -> None:
    answer = asked(
        service, lambda client: client.post(f"/v1/models/cart:act?{query}", content=npy(cart()), headers=RAW)
    )
    assert answer.status_code == 400, answer.text


def test_columns_first_and_other_byte_orders(service: Service) -> None:
    obs = cart(4)
    expected = np.load(io.BytesIO(post(service, "cart", content=npy(obs), headers=RAW).content)).tolist()
    for same in (np.asfortranarray(obs), obs.astype(">f4"), obs.astype(np.float64)):
        answer = post(service, "cart", content=npy(same), headers=RAW)
        assert np.load(io.BytesIO(answer.content)).tolist() == expected


def test_damaged_bodies_are_never_a_fault_of_the_server(service: Service) -> None:
    rng = np.random.default_rng(0)
    whole = [(b'{"obs": [[0.5, 1], [0, -1]]}', "application/json"), (npy(cart(2)), RAW["content-type"])]
    whole.append((npz(obs=cart(2), action_mask=np.ones((2, 3))), RAW["content-type"]))

    async def script(client: httpx.AsyncClient) -> list[int]:
        statuses = []
        for number in range(300):
            body, kind = whole[number % len(whole)]
            broken = bytearray(body)
            for _ in range(int(rng.integers(1, 4))):
                broken[rng.integers(len(broken))] = rng.integers(256)
            answer = await client.post("/v1/models/cart:act", content=bytes(broken), headers={"content-type": kind})
            statuses.append(answer.status_code)
        return statuses

    assert set(asked(service, script)) <= {200, 400, 413}


def test_other_content_and_methods(service: Service) -> None:
    async def script(client: httpx.AsyncClient) -> list[tuple[int, str]]:
        answers = [
            await client.post("/v1/models/cart:act", content=b"obs=1", headers={"content-type": "text/plain"}),
            await client.post("/v1/models/cart:act", content=b"{}"),
            await client.get("/v1/models/cart:act"),
            await client.get("/v1/models/cart"),
            await client.delete("/v1/models"),
            await client.get("/v1/models/cart/versions/9/live"),
            await client.get("/v1/models/cart/versions/1/live"),
        ]
        return [(answer.status_code, answer.json()["error"]) for answer in answers]

    found = asked(service, script)
    assert [status for status, _ in found] == [415, 415, 405, 404, 405, 404, 404]
    assert found[-1][1] == "this policy has no environment to play in"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_long_body_is_refused(service: Service, chunked: bool) -> None:
    async def parts() -> Any:
        for _ in range(20):
            yield b" " * 100

    async def script(client: httpx.AsyncClient) -> httpx.Response:
        body: Any = parts() if chunked else b" " * 2000
        return await client.post("/v1/models/cart:act", content=body, headers={"content-type": "application/json"})

    answer = asked(service, script, max_body=1000)
    assert (answer.status_code, answer.json()) == (413, {"error": "a request may have 1,000 bytes"})


def test_sessions_keep_the_memory_of_each_episode(service: Service, agents: dict[str, Any]) -> None:
    """Two interleaved sessions act as two predictors, through a new episode."""
    own = {name: Predictor(agents["memory"]) for name in ("a", "b")}
    for step in range(12):
        for seed, name in enumerate(own):
            obs, start = cart(seed=100 * seed + step), step in (0, 7)
            answer = post(service, "memory", json={"obs": obs.tolist(), "session": name, "start": start})
            assert answer.json()["action"] == own[name].predict(obs, start=start)


def test_a_dropped_session_is_said(service: Service) -> None:
    def ask(name: str, **more: Any) -> tuple[int, Any]:
        answer = post(service, "memory", json={"obs": [0, 0], "session": name, **more})
        return answer.status_code, answer.json().get("error")

    for name in ("x", "y", "z"):
        assert ask(name, start=True)[0] == 200
    assert ask("y") == ask("z") == (200, None)
    status, said = ask("x")
    assert (status, said[:48]) == (409, "session 'x' is not known: it was never started o")
    assert ask("y", deterministic=False) == (409, "session 'y' was started with another value of deterministic")
    answer = post(service, "memory", json={"obs": [[0, 0]], "session": "y"})
    assert answer.json()["error"] == "session 'y' was started with a single observation, not 1 observations"
    assert b'gymnast_sessions{model="memory",version="1"} 2.0' in service.meters.page()


def test_rows_of_a_session_begin_episodes_apart(service: Service, agents: dict[str, Any]) -> None:
    own = Predictor(agents["memory"])
    for step, start in enumerate(([True] * 3, [False] * 3, [False, True, False], [False] * 3)):
        obs = cart(3, seed=step)
        answer = post(service, "memory", json={"obs": obs.tolist(), "session": "rows", "start": start})
        assert answer.json()["action"] == own.predict(obs, start=start).tolist()


def test_sessions_that_wait_together_share_a_forward_pass(agents: dict[str, Any]) -> None:
    """Each with its own memory; one of them asks twice, so that its second request needs another pass."""
    service = service_of({"m": [policy_of(agents["memory"], kind="r2d2")]})
    worker, batches, free = service.find("m", None).worker, [], threading.Event()
    worker.on_batch = batches.append
    names = ["a", "b", "c", "d", "a"]
    own = {name: Predictor(agents["memory"]) for name in names}

    def body(place: int, step: int) -> dict[str, Any]:
        start = (step == 0 and place < 4) or (step == 3 and place == 1)
        return {"obs": cart(seed=10 * step + place).tolist(), "session": names[place], "start": start}

    async def script(client: httpx.AsyncClient) -> list[list[httpx.Response]]:
        rounds = []
        for step in range(5):
            held = asyncio.ensure_future(worker.call(free.wait))
            await asyncio.sleep(0)
            asks = [asyncio.ensure_future(client.post("/v1/models/m:act", json=body(at, step))) for at in range(5)]
            while worker.waiting < 6:
                await asyncio.sleep(0.001)
            free.set()
            rounds.append(await asyncio.gather(*asks))
            await held
            free.clear()
        return rounds

    for step, answers in enumerate(asked(service, script)):
        for place, answer in enumerate(answers):
            sent = body(place, step)
            wanted = own[names[place]].predict(np.array(sent["obs"], np.float32), start=sent["start"])
            assert answer.json()["action"] == wanted
    assert batches == [4, 1] * 5
    service.close()


def test_one_session_that_fails_does_not_stop_the_others(agents: dict[str, Any]) -> None:
    policy = policy_of(agents["memory"], kind="r2d2")
    assert policy.stepper is not None
    step = policy.stepper.step

    class Refusing:
        memory_size = policy.stepper.memory_size

        def step(self, obs: Any, *rest: Any) -> Any:
            if (obs == 4.0).any():
                raise ValueError("four is not for me")
            return step(obs, *rest)

    sessions = Sessions(replace(policy, stepper=Refusing()), most=10, seed=0)
    values = {"a": 1.0, "b": 4.0}
    asks = [Ask(name, np.full((1, 2), at, np.float32), None, True, None, True) for name, at in values.items()]
    batches: list[int] = []
    first, second = sessions.act_many(asks, batches)
    assert first.tolist() == [agents["memory"].predict(np.ones(2, np.float32), start=True)]
    assert (str(second), batches) == ("four is not for me", [1])


def test_the_split(agents: dict[str, Any]) -> None:
    fakes = [Fake(), Fake(), Fake()]
    service = service_of({"m": [one.policy() for one in fakes]}, weights=[3.0, 0.0, 1.0])
    drawn = [service.find("m", None).version for _ in range(4000)]
    assert (set(drawn), abs(drawn.count("1") / 4000 - 0.75) < 0.03) == ({"1", "3"}, True)
    kept = [service.find("m", None, session=f"s{number}").version for number in range(4000)]
    assert abs(kept.count("1") / 4000 - 0.75) < 0.03
    assert kept == [service.find("m", None, session=f"s{number}").version for number in range(4000)]
    service.close()


def test_facts_about_a_server(service: Service) -> None:
    async def script(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [await client.get(path) for path in ("/healthz", "/v1/models", "/openapi.json", "/")]

    health, models, api, page = asked(service, script)
    assert (health.status_code, health.json()) == (200, {"ready": True})
    (found,) = (model for model in models.json()["models"] if model["name"] == "cart")
    assert [(one["version"], one["share"], one["recurrent"]) for one in found["versions"]] == [
        ("1", 0.0, False),
        ("2", 1.0, False),
    ]
    assert "post" in api.json()["paths"]["/v1/models/{model}:act"]
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "//" not in page.text.replace("</", "")  # no address of another server
    service.ready = False
    assert asked(service, lambda client: client.get("/healthz")).status_code == 503
    service.ready = True
    assert asked(service, lambda client: client.get("/"), live=False).status_code == 404


def test_who_may_ask(service: Service) -> None:
    async def statuses(client: httpx.AsyncClient, *headers: dict[str, str]) -> list[int]:
        return [(await client.get("/v1/models", headers=one)).status_code for one in headers]

    token = "a-token-of-20-letter"
    given = [{}, {"authorization": token}, {"authorization": f"Bearer {token}x"}, {"authorization": f"Bearer {token}"}]
    assert asked(service, lambda client: statuses(client, *given), token=token) == [401, 401, 401, 200]
    assert asked(service, lambda client: client.get("/healthz"), token=token).status_code == 200
    assert asked(service, lambda client: client.post("/v1/models/cart:act"), token=token).status_code == 401
    assert asked(service, lambda client: client.get("/"), token=token).status_code == 401
    hosts = [
        {"host": host} for host in ("localhost:8000", "127.0.0.1", "[::1]:80", "evil.example", "127.0.0.1.nip.io", "")
    ]
    assert asked(service, lambda client: statuses(client, *hosts)) == [200, 200, 200, 403, 403, 403]
    sites = [{"sec-fetch-site": site} for site in ("same-origin", "none", "cross-site")]
    assert asked(service, lambda client: statuses(client, *sites)) == [200, 200, 403]


def test_what_is_counted() -> None:
    fake = Fake()
    fake.free.set()
    service = service_of({"m": [fake.policy()]})

    async def script(client: httpx.AsyncClient) -> None:
        await client.post("/v1/models/m:act", json={"obs": [[1, 2]] * 3})
        await client.post("/v1/models/m:act", json={"obs": [1]})
        for name in ("x", "y"):  # names that are not served make no labels
            await client.post(f"/v1/models/{name}:act", json={"obs": [1]})

    asked(service, script)
    lines = service.meters.page().decode().splitlines()
    for line in (
        'gymnast_requests_total{model="m",status="200",version="1"} 1.0',
        'gymnast_requests_total{model="m",status="400",version="1"} 1.0',
        'gymnast_requests_total{model="",status="404",version=""} 2.0',
        'gymnast_actions_total{model="m",version="1"} 3.0',
        'gymnast_batch_rows_sum{model="m",version="1"} 3.0',
        'gymnast_batch_rows_count{model="m",version="1"} 1.0',
        'gymnast_request_seconds_count{model="m",version="1"} 2.0',
        'gymnast_queue_rows{model="m",version="1"} 0.0',
    ):
        assert line in lines, line
    service.close()


def test_an_archive_that_lies_about_its_size_is_refused(service: Service) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("obs.npy", npy(np.zeros((1000, 2), np.float32)))
    body = stream.getvalue()
    claimed = (8128).to_bytes(4, "little")
    assert body.count(claimed) == 2
    answer = post(service, "cart", content=body.replace(claimed, (100).to_bytes(4, "little")), headers=RAW)
    assert answer.status_code == 400


def send_together(service: Service, fake: Fake, bodies: list[Any]) -> list[httpx.Response]:
    """The first request occupies the thread; the others arrive while it runs."""

    async def script(client: httpx.AsyncClient) -> list[httpx.Response]:
        tasks = [asyncio.ensure_future(client.post("/v1/models/m:act", json={"obs": bodies[0]}))]
        while not fake.began.is_set():
            await asyncio.sleep(0.001)
        tasks += [asyncio.ensure_future(client.post("/v1/models/m:act", json={"obs": body})) for body in bodies[1:]]
        await asyncio.sleep(0.05)
        fake.free.set()
        return list(await asyncio.gather(*tasks))

    found: list[httpx.Response] = asked(service, script)
    service.close()
    return found


def test_requests_that_arrive_during_a_forward_pass_share_the_next() -> None:
    fake = Fake()
    service = service_of({"m": [fake.policy()]}, limits=Limits(max_batch=8))
    bodies = [[0, 0], *([[number, 1]] * 2 for number in range(5)), [7, 7]]
    answers = send_together(service, fake, bodies)
    assert [answer.json()["action"] for answer in answers] == [0, [1, 1], [2, 2], [3, 3], [4, 4], [5, 5], 14]
    assert fake.batches == [1, 8, 3]


def test_a_request_larger_than_a_batch_is_cut() -> None:
    fake = Fake()
    fake.free.set()
    service = service_of({"m": [fake.policy()]}, limits=Limits(max_batch=4))
    answer = post(service, "m", json={"obs": [[number, 0] for number in range(10)]})
    assert answer.json()["action"] == list(range(10))
    assert fake.batches == [4, 4, 2]
    service.close()


def test_a_batch_waits_for_more_if_asked_to() -> None:
    """The pass begins once the batch is full, long before its time is over."""
    fake = Fake()
    fake.free.set()
    service = service_of({"m": [fake.policy()]}, limits=Limits(max_batch=3, max_wait=60.0))

    async def script(client: httpx.AsyncClient) -> None:
        await asyncio.gather(*(client.post("/v1/models/m:act", json={"obs": [1, 1]}) for _ in range(3)))

    asked(service, script)
    assert fake.batches == [3]
    service.close()


def test_a_full_queue_is_said() -> None:
    fake = Fake()
    service = service_of({"m": [fake.policy()]}, limits=Limits(max_queue=3))
    answers = send_together(service, fake, [[0, 0], [[1, 1]] * 2, [2, 2], [3, 3]])
    assert [answer.status_code for answer in answers] == [200, 200, 503, 503]
    assert answers[2].headers["retry-after"] == "1"
    assert service.find("m", None).worker.waiting == 0


def test_one_observation_does_not_spoil_the_others(capfd: pytest.CaptureFixture[str]) -> None:
    fake = Fake()
    service = service_of({"m": [fake.policy()]})
    answers = send_together(service, fake, [[0, 0], [1, 1], [13, 0], [14, 0], [2, 2]])
    assert [answer.status_code for answer in answers] == [200, 200, 400, 500, 200]
    assert answers[2].json() == {"error": "13 is not for me"}
    assert answers[3].json() == {"error": "the policy failed with RuntimeError"}
    assert "cannot do 14" in capfd.readouterr().err
    assert (
        post(service_of({"m": [fake.policy()]}), "m", json={"obs": [0, 0], "deterministic": False}).status_code == 400
    )
