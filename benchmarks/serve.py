"""`gymnast serve` beside a naive FastAPI handler and Ray Serve: actions per second and latency, over HTTP, here.

    python benchmarks/serve.py [--policies mlp cnn] [--connections 64] [--seconds 5] [--rounds 3]

Policies are untrained: `mlp` is PPO's default network on four numbers, sent as JSON, `cnn` DQN's Nature CNN on uint8
stacks of four 84x84 frames, sent as raw bytes. Each server is a process of its own, and this process sends: so many
connections, each with one observation at a time, the next as soon as it has its action. The naive handler predicts once
for each request; it runs on the same uvicorn, with the same thread of torch. Ray Serve (`pip install "ray[serve]"`, or
its row is left out) stacks requests by `serve.batch`, in one replica of one CPU, behind its own proxy; its CPU time is
that of all processes of its cluster. All servers stay up, and take turns in each round.
The CPU time of a server's process for each action says less about latency, but little depends on what else runs.
`--here` serves from a thread of this process, for a first look.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

CONTENDERS = ("gymnast", "naive", "ray")
MAX_BATCH = 64
"""Observations that Ray Serve stacks, as many as ours."""
TARGETS = {"mlp": 5_000.0, "cnn": 300.0}
"""Actions per second that ours is to reach on two cores."""
RATIO, TAIL = 3.0, 50.0
"""How many times as fast as the naive one ours is to be, and milliseconds of the slowest hundredth."""
WARM_UP = 1.0
READY = "serving on "
KINDS = {"mlp": "application/json", "cnn": "application/octet-stream"}


def save(policy: str, path: Path) -> None:
    """An untrained agent as a checkpoint."""
    from gymnasium import spaces

    import gymnast
    from gymnast.agents import DQN, PPO, DQNConfig

    if policy == "mlp":
        gymnast.save(PPO(spaces.Box(-1.0, 1.0, (4,), np.float32), spaces.Discrete(2)), path)
    else:
        frames = spaces.Box(0, 255, (4, 84, 84), np.uint8)
        gymnast.save(DQN(frames, spaces.Discrete(6), DQNConfig(network="nature-cnn")), path)


def body(policy: str) -> bytes:
    """One observation, as it is sent."""
    rng = np.random.default_rng(0)
    if policy == "mlp":
        return json.dumps({"obs": rng.uniform(-1.0, 1.0, 4).round(4).tolist()}).encode()
    stream = io.BytesIO()
    np.save(stream, rng.integers(0, 256, (4, 84, 84), dtype=np.uint8))
    return stream.getvalue()


@contextmanager
def ours(path: str, threads: int) -> Iterator[tuple[int, int]]:
    """Serve from a thread as `gymnast serve` does; the port and the process."""
    from gymnast.serving import app, server
    from gymnast.settings.serve_options import ServeOptions

    service = server.load(ServeOptions(runs=(f"model={path}",), threads=threads))
    with server.listening("127.0.0.1", 0) as sock, server.running(app.build(service), sock, service.stop):
        yield sock.getsockname()[1], os.getpid()


def naive(policy: str, path: str, threads: int) -> Any:
    """One prediction for each request, in the event loop: threads of their own would be slower still."""
    from fastapi import FastAPI, Request
    from pydantic import BaseModel

    import gymnast
    from gymnast.machine import limit_threads

    limit_threads(threads)
    app, agent = FastAPI(), gymnast.load(path)

    class Asked(BaseModel):
        obs: list[float]

    if policy == "mlp":

        async def act(asked: Asked) -> dict[str, int]:
            return {"action": agent.predict(np.array(asked.obs, np.float32), start=True)}

        act.__annotations__["asked"] = Asked  # FastAPI does not see the names of this function
    else:

        async def act(request: Request) -> dict[str, int]:  # type: ignore[misc]
            obs = np.load(io.BytesIO(await request.body()), allow_pickle=False)
            return {"action": agent.predict(obs, start=True)}

        act.__annotations__["request"] = Request
    app.post("/v1/models/model:act")(act)
    return app


def ray_is_missing() -> bool:
    """Whether Ray Serve cannot be imported."""
    try:
        import ray.serve  # noqa: F401
    except ImportError:
        return True
    return False


def serve_by_ray(policy: str, path: str, threads: int) -> None:
    """Ray Serve on a free port, until the standard input is closed."""
    import ray
    from ray import serve
    from starlette.requests import Request
    from starlette.responses import JSONResponse

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    serve.start(http_options={"host": "127.0.0.1", "port": port}, proxy_location="HeadOnly")

    @serve.deployment(ray_actor_options={"num_cpus": 1}, max_ongoing_requests=1_024)
    class Served:
        def __init__(self) -> None:
            import gymnast
            from gymnast.machine import limit_threads

            limit_threads(threads)
            self.agent = gymnast.load(path)

        @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=0.0)  # type: ignore[untyped-decorator]
        async def act(self, observations: list[np.ndarray]) -> list[int]:
            found: list[int] = self.agent.predict(np.stack(observations), start=True).tolist()
            return found

        async def __call__(self, request: Request) -> JSONResponse:
            sent = await request.body()
            if policy == "mlp":
                obs = np.array(json.loads(sent)["obs"], np.float32)
            else:
                obs = np.load(io.BytesIO(sent), allow_pickle=False)
            return JSONResponse({"action": await self.act(obs)})

    Served.__call__.__annotations__["request"] = Request
    serve.run(Served.bind(), route_prefix="/v1/models/model:act")
    print(f"{READY}{port}", flush=True)
    sys.stdin.read()
    serve.shutdown()
    ray.shutdown()


@contextmanager
def threaded(app: Any) -> Iterator[tuple[int, int]]:
    """Serve from a thread; the port and the process."""
    import uvicorn

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, args=([sock],))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield sock.getsockname()[1], os.getpid()
        server.should_exit = True
        thread.join()


@contextmanager
def process(contender: str, policy: str, path: str, threads: int) -> Iterator[tuple[int, int]]:
    """Serve from another process, which ends with its standard input; the port and the process."""
    command = [sys.executable, __file__, "--serve", contender, policy, path, "--threads", str(threads)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        line = server.stdout.readline()
        if not line.startswith(READY):
            raise SystemExit(f"{contender} has not started")
        yield int(line.removeprefix(READY)), server.pid
        server.stdin.close()


@dataclass
class Measured:
    """Seconds of each request, in order of their end, and of all of them together."""

    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    cpu: float = 0.0
    """Seconds of the server's process, in all of its threads."""

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    @property
    def each(self) -> float:
        """Seconds of CPU for each action."""
        return self.cpu / len(self.latencies)

    def tail(self, share: float) -> float:
        """Milliseconds that this share of the requests stays below."""
        return float(np.quantile(self.latencies, share)) * 1000.0


class Connection(asyncio.Protocol):
    """Sends the same request again and again; as little of HTTP as it takes."""

    def __init__(self, request: bytes, measured: Measured, until: float) -> None:
        self.request, self.measured, self.until = request, measured, until
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.sent = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, rest = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(rest) < length:
            return
        self.buffer, now = b"", time.perf_counter()
        if not head.startswith(b"HTTP/1.1 200"):
            self.ended.set_exception(SystemExit(f"the server answered {head.decode()} {rest.decode()}"))
        elif now >= self.until:
            self.ended.set_result(None)
        else:
            self.measured.latencies.append(now - self.sent)
            self.send()
            return
        self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(SystemExit("the server closed a connection"))


async def load(port: int, request: bytes, connections: int, seconds: float) -> Measured:
    """Keep that many connections busy."""
    measured, began, loop = Measured(), time.perf_counter(), asyncio.get_running_loop()
    until = began + seconds
    made = [
        await loop.create_connection(lambda: Connection(request, measured, until), "127.0.0.1", port)
        for _ in range(connections)
    ]
    await asyncio.gather(*(connection.ended for _, connection in made))
    measured.seconds = time.perf_counter() - began
    return measured


def measure(server: tuple[int, int], policy: str, options: argparse.Namespace) -> Measured:
    """Send to a server of this port and process."""
    sent = body(policy)
    head = f"POST /v1/models/model:act HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: {KINDS[policy]}\r\n"
    request = f"{head}content-length: {len(sent)}\r\n\r\n".encode() + sent
    port, pid = server
    asyncio.run(load(port, request, options.connections, min(WARM_UP, options.seconds)))
    before = cpu_of(pid)
    measured = asyncio.run(load(port, request, options.connections, options.seconds))
    measured.cpu = cpu_of(pid) - before
    return measured


def started(contender: str, policy: str, path: str, options: argparse.Namespace) -> Any:
    """A context of the port and the process of a server."""
    if not options.here:
        return process(contender, policy, path, options.threads)
    return in_thread(contender, policy, path, options.threads)


def in_thread(contender: str, policy: str, path: str, threads: int) -> Any:
    """`started` in this process."""
    return ours(path, threads) if contender == "gymnast" else threaded(naive(policy, path, threads))


def cpu_of(pid: int) -> float:
    """Seconds of a process and of those that it has started."""
    found = 0.0
    for one in (parent := psutil.Process(pid), *parent.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = one.cpu_times()
            found += times.user + times.system
    return found


def compare(policy: str, path: str, options: argparse.Namespace) -> None:
    contenders = CONTENDERS
    if options.here or ray_is_missing():
        contenders = CONTENDERS[:-1]
        print("without Ray Serve: " + ("it is not a thread" if options.here else 'pip install "ray[serve]"'))
    found: dict[str, list[Measured]] = {contender: [] for contender in contenders}
    with ExitStack() as stack:
        servers = {one: stack.enter_context(started(one, policy, path, options)) for one in contenders}
        for number in range(options.rounds):
            for contender in contenders[:: 1 if number % 2 == 0 else -1]:
                found[contender].append(measure(servers[contender], policy, options))
    print(f"{policy}, {options.connections} connections, {options.rounds} rounds; medians (lowest, highest round)")
    for contender, rounds in found.items():
        rates = [one.rate for one in rounds]
        spread = f"{statistics.median(rates):>9,.1f} ({min(rates):,.1f}, {max(rates):,.1f}) actions/s"
        half, tail = (statistics.median(one.tail(share) for one in rounds) for share in (0.5, 0.99))
        cpu = 1e6 * statistics.median(one.each for one in rounds)
        print(
            f"  {contender:<8} {spread}   p50 {half:.1f} ms   p99 {tail:.1f} ms   {cpu:,.0f} us of CPU for each action"
        )
    for other in contenders[1:]:
        ratios = [ours.rate / theirs.rate for ours, theirs in zip(found["gymnast"], found[other], strict=True)]
        target = f" (target {RATIO:g})" if other == "naive" else ""
        work = [theirs.each / ours.each for ours, theirs in zip(found["gymnast"], found[other], strict=True)]
        print(
            f"  gymnast / {other}: x{statistics.median(ratios):.2f}{target}; CPU time of an action, {other} / gymnast: "
            f"x{statistics.median(work):.2f} ({min(work):.2f}, {max(work):.2f})"
        )
    print(f"  targets {TARGETS[policy]:,.0f} actions/s, p99 {TAIL:g} ms")


def serve(contender: str, policy: str, path: str, threads: int) -> None:
    """The server's process: until its standard input is closed."""
    if contender == "ray":
        return serve_by_ray(policy, path, threads)
    with in_thread(contender, policy, path, threads) as (port, _):
        print(f"{READY}{port}", flush=True)
        sys.stdin.read()
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policies", nargs="+", choices=tuple(TARGETS), default=list(TARGETS))
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of torch, in each server")
    parser.add_argument("--here", action="store_true", help="serve from threads of this process")
    parser.add_argument("--serve", nargs=3, metavar=("CONTENDER", "POLICY", "PATH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        return serve(*options.serve, options.threads)
    with tempfile.TemporaryDirectory() as folder:
        for policy in options.policies:
            path = str(Path(folder) / f"{policy}.pt")
            save(policy, Path(path))
            compare(policy, path, options)
    return None


if __name__ == "__main__":
    main()
