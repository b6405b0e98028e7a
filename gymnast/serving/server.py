"""`gymnast serve`: load the models, listen, and stop cleanly."""

from __future__ import annotations

import os
import socket
import string
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import uvicorn
from starlette.types import ASGIApp

from gymnast.envs.rows import incoming
from gymnast.errors import RunError, UsageError, first_line
from gymnast.machine import limit_threads, pick_device
from gymnast.serving.app import build
from gymnast.serving.form import stacked
from gymnast.serving.served import Policy, read_policy
from gymnast.serving.service import Service, Version
from gymnast.serving.worker import Limits
from gymnast.settings.serve_options import MEGABYTE, ServeOptions, is_loopback, split_of, targets_of
from gymnast.training.interrupts import Interrupts

GRACE = 20
"""Seconds that requests have to be answered in when the server stops."""
BACKLOG = 2_048
TRIED = 64
"""Observations of a policy's first batch, at most."""
SHORTEST = 16
"""Characters of a token, at least."""
LOOK_EVERY = 0.2
"""Seconds between two looks at whether a signal has come."""


def serve(options: ServeOptions) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit code, 128 plus the signal's number. Raises UsageError."""
    token = None if options.token_file is None else read_token(Path(options.token_file))
    with listening(options.host, options.port) as sock:
        service = load(options)
        try:
            app = build(service, max_body=int(options.max_body * MEGABYTE), token=token, live=options.live)
            for line in _said(service, options):
                print(line, file=sys.stderr)
            return until_interrupted(app, sock, service.stop, said=f"serving on {url_of(sock)}")
        finally:
            service.close()


def until_interrupted(app: ASGIApp, sock: socket.socket, before: Callable[[], None], *, said: str) -> int:
    """Serve until SIGINT or SIGTERM, and say so once it listens; returns 128 plus the signal's number.

    At the end it calls `before` and stops. Raises RunError if the server ends by itself.
    """
    with Interrupts() as interrupts, running(app, sock, before) as server:
        print(said, flush=True)
        while interrupts.received is None and server.thread.is_alive():
            server.thread.join(LOOK_EVERY)
        if interrupts.received is None:
            raise RunError("the server has ended by itself")
    print("stopped", file=sys.stderr)
    return interrupts.exit_code


def read_token(path: Path) -> str:
    """The token in a file; UsageError if it cannot be read or is no good one."""
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"token_file {path}: {reason}") from None
    allowed = set(string.ascii_letters + string.digits + "-._~+/=")
    if len(token) < SHORTEST or not set(token) <= allowed:
        raise UsageError(f"token_file {path} must hold one token of at least {SHORTEST} letters, digits and -._~+/=")
    return token


def load(options: ServeOptions) -> Service:
    """All models, each tried with one observation; UsageError in one line."""
    try:
        device = pick_device(options.device)
    except ValueError as error:
        raise UsageError(str(error)) from None
    limit_threads(options.threads)
    targets = targets_of(options.runs)
    policies = {target: read_policy(target.path, device=device, trust=options.trust) for target in targets}
    service, weights = Service(seed=options.seed), split_of(options.split, targets)
    limits = Limits(options.max_batch, options.max_wait / 1000.0, options.max_queue)
    for name, shares in weights.items():
        chosen = {target.version: policies[target] for target in targets if target.name == name}
        for policy in chosen.values():
            try_out(policy, rows=(1, min(options.max_batch, TRIED)))
        versions = [
            Version(
                name,
                version,
                policy,
                service.meters,
                limits=limits,
                max_sessions=options.max_sessions,
                seed=options.seed,
                threads=options.threads,
            )
            for version, policy in chosen.items()
        ]
        service.add(name, versions, shares)
    return service


def try_out(policy: Policy, *, rows: tuple[int, ...]) -> None:
    """Act once on batches of these sizes, which also compiles what is compiled; UsageError if the policy cannot act."""
    space = policy.observation_space
    space.seed(0)
    try:
        for count in rows:
            obs = stacked([_row(space.sample()) for _ in range(count)])
            policy.stream(True, 0).predict(obs, start=True)
    except (ValueError, RuntimeError, TypeError) as error:
        raise UsageError(f"{policy.path}: the policy cannot act: {first_line(error)}") from error


def _row(values: object) -> object:
    """A sample as a batch of one."""
    if isinstance(values, dict):
        return {key: _row(value) for key, value in values.items()}
    if isinstance(values, tuple):
        return tuple(_row(value) for value in values)
    return np.asarray(incoming.as_array(values))[None]


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket bound to the address, which refuses connections until the server listens; UsageError if it is taken."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise UsageError(f"host {host}: {first_line(error)}") from None
    with socket.socket(family, kind, protocol) as sock:
        if os.name == "posix":  # elsewhere it would let two servers share a port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(address)
        except OSError as error:
            raise UsageError(f"port {port} of {host} cannot be opened: {error.strerror}") from None
        yield sock


class Running:
    """A uvicorn server in a thread: there it leaves signals, and so the exit code, to the main thread."""

    def __init__(self, app: ASGIApp, sock: socket.socket, before: Callable[[], None]) -> None:
        self.before = before
        config = uvicorn.Config(
            app,
            access_log=False,
            log_level="warning",
            lifespan="on",
            ws="none",
            proxy_headers=False,  # nothing asks for the client's address
            server_header=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=GRACE,
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, args=([sock],), name="gymnast-http", daemon=True)

    def stop(self) -> None:
        """Answer what is in flight, and end."""
        self.before()
        self.server.should_exit = True
        self.thread.join()


@contextmanager
def running(app: ASGIApp, sock: socket.socket, before: Callable[[], None]) -> Iterator[Running]:
    """A server of the application, listening; RunError if it does not start. At the end it calls `before` and stops."""
    server = Running(app, sock, before)
    try:
        sock.listen(BACKLOG)
    except OSError as error:
        raise UsageError(f"port {sock.getsockname()[1]} cannot be opened: {error.strerror}") from None
    server.thread.start()
    try:
        while not server.server.started:
            if not server.thread.is_alive():
                raise RunError("the server could not be started")
            server.thread.join(0.01)
        yield server
    finally:
        server.stop()


def url_of(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _said(service: Service, options: ServeOptions) -> Iterator[str]:
    for model in service.models.values():
        total = sum(model.weights.values())
        for name, version in model.versions.items():
            share = f"{model.weights[name] / total:.0%} of {model.name}:act"
            yield f"{model.name} version {name}: {version.policy.kind}, {version.policy.path} ({share})"
    if not is_loopback(options.host):
        yield f"{options.host} is reached by other machines, and the token is sent in clear: put TLS in front"
