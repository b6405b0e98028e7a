"""What a server counts, in Prometheus's format."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
LABELS = ("model", "version")


class Meters:
    """Counters of one server; requests for models that are not served have empty labels, so that labels stay few."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "gymnast_requests", "Requests for actions, by their status.", (*LABELS, "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "gymnast_request_seconds",
            "Seconds from a request for actions to its answer.",
            LABELS,
            buckets=SECONDS,
            registry=self.registry,
        )
        self._actions = Counter("gymnast_actions", "Actions in answers.", LABELS, registry=self.registry)
        self._batch = Histogram(
            "gymnast_batch_rows", "Observations of a forward pass.", LABELS, buckets=ROWS, registry=self.registry
        )
        self._waiting = Gauge(
            "gymnast_queue_rows", "Observations that wait for actions.", LABELS, registry=self.registry
        )
        self._sessions = Gauge("gymnast_sessions", "Sessions of recurrent models.", LABELS, registry=self.registry)
        self._dropped = Counter(
            "gymnast_sessions_dropped", "Sessions that made room for others.", LABELS, registry=self.registry
        )
        self._viewers = Gauge("gymnast_viewers", "Viewers of live games.", LABELS, registry=self.registry)
        self._answered = lru_cache(maxsize=1024)(self._requests.labels)  # which cost more than what they count
        self._took = lru_cache(maxsize=1024)(self._seconds.labels)

    def answered(self, model: str, version: str, *, status: int, seconds: float) -> None:
        """Count a request for actions."""
        self._answered(model, version, str(status)).inc()
        self._took(model, version).observe(seconds)

    def actions(self, model: str, version: str) -> Callable[[float], None]:
        return self._actions.labels(model, version).inc

    def batch(self, model: str, version: str) -> Callable[[int], None]:
        return self._batch.labels(model, version).observe

    def dropped(self, model: str, version: str) -> Callable[[], None]:
        return self._dropped.labels(model, version).inc

    def watch(
        self,
        model: str,
        version: str,
        *,
        waiting: Callable[[], int],
        sessions: Callable[[], int],
        viewers: Callable[[], int],
    ) -> None:
        """Read these numbers whenever the page is read."""
        for gauge, read in ((self._waiting, waiting), (self._sessions, sessions), (self._viewers, viewers)):
            gauge.labels(model, version).set_function(read)

    def page(self) -> bytes:
        return generate_latest(self.registry)
