"""Two ways to run the same function of tensors in less time: compiled, and recorded as a CUDA graph."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Generic, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")
AGENTS = 256
"""Agents of a process whose updates may be compiled."""
WARM_UP = 3
"""Calls before a graph is recorded: the first ones allocate memory and compile code for later ones."""


class Compiled(Generic[P, R]):
    """A function compiled by `torch.compile`, as one graph for the shapes that it is called with.

    If it cannot be compiled, `otherwise` (by default the function itself) runs in its place, with a warning.
    """

    def __init__(self, function: Callable[P, R], *, otherwise: Callable[P, R] | None = None) -> None:
        dynamo: Any = torch._dynamo.config
        # Dynamo counts the compiled forms of one function over all agents of a process, and stops at eight.
        name = "recompile_limit" if hasattr(dynamo, "recompile_limit") else "cache_size_limit"
        setattr(dynamo, name, max(getattr(dynamo, name), AGENTS))
        self._run: Callable[P, R] = torch.compile(function, fullgraph=True, dynamic=False)
        self._otherwise = otherwise or function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return self._run(*args, **kwargs)
        except torch._dynamo.exc.TorchDynamoException as error:  # raised before anything has run
            cause = str(error).strip().split("\n", maxsplit=1)[0]
            warnings.warn(f"compile: running uncompiled, because compiling failed ({cause})", stacklevel=2)
            self._run = self._otherwise
            return self._run(*args, **kwargs)


class Captured(Generic[R]):
    """A function that reads and writes tensors that stay in place, recorded once as a CUDA graph and replayed.

    It must not read on the host, and draws only from the given generators. The first calls run it eagerly. Each
    call overwrites the previous result.
    """

    def __init__(self, function: Callable[[], R]) -> None:
        self.function = function
        self._key: object = None
        self.forget()

    def forget(self) -> None:
        """Record again, because tensors were replaced."""
        self._graph: torch.cuda.CUDAGraph | None = None
        self._calls = 0

    def __call__(self, generators: Sequence[torch.Generator], *, key: object = None) -> R:
        """Run it; a `key` that differs from the last one means that tensors were replaced."""
        if key != self._key:
            self._key = key
            self.forget()
        if self._calls < WARM_UP:
            self._calls += 1
            return self._aside()
        if self._graph is None:
            graph = torch.cuda.CUDAGraph()
            for generator in generators:
                graph.register_generator_state(generator)
            # Other threads may copy observations meanwhile.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._result = self.function()
            self._graph = graph
        self._graph.replay()
        return self._result

    def _aside(self) -> R:
        """Run it eagerly, on a stream on which a graph may be recorded later."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        main = torch.cuda.current_stream()
        stream.wait_stream(main)
        with torch.cuda.stream(stream):
            result = self.function()
        main.wait_stream(stream)
        return result
