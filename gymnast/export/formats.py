"""Writing a policy's module: ONNX, torch.export, or its weights alone."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch

from gymnast.errors import UsageError, first_line
from gymnast.export.contract import BATCH
from gymnast.export.module import PolicyModule

if TYPE_CHECKING:
    from torch.export import ExportedProgram

Format: TypeAlias = Literal["onnx", "torch-export", "safetensors"]
Run: TypeAlias = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
"""From inputs [N, ...] to outputs, by their names."""
FILES: dict[str, str] = {"onnx": "policy.onnx", "torch-export": "policy.pt2", "safetensors": "policy.safetensors"}
ROWS = 3
"""Rows of the example: more than one, so that the batch is not taken for a constant."""


def program_of(module: PolicyModule) -> ExportedProgram:
    """The module as a graph with a dynamic batch; UsageError if it cannot be traced."""
    examples = tuple(port.example(ROWS) for port in module.inputs)
    batch = (tuple({0: torch.export.Dim.DYNAMIC} for _ in examples),)
    try:
        with quiet(), torch.no_grad():
            try:
                program = torch.export.export(module, examples, dynamic_shapes=batch, strict=False)
            except Exception:  # a user's own network may take len() of a batch, which only the slower way understands
                program = torch.export.export(module, examples, dynamic_shapes=batch, strict=True)
    except Exception as error:  # what tracing a user's own network raises has no common class
        raise UsageError(f"the policy's network cannot be exported: {first_line(error)}") from error
    for graph in (part for part in program.graph_module.modules() if isinstance(part, torch.fx.GraphModule)):
        for node in graph.graph.nodes:
            node.meta.pop("stack_trace", None)  # it names the files of this machine
    return program


def write_onnx(program: ExportedProgram, module: PolicyModule, file: Path) -> int:
    """Write an ONNX model, with its weights inside; returns its opset."""
    import onnx

    inputs, outputs = ([port.name for port in ports] for ports in (module.inputs, module.outputs))
    try:
        with quiet():
            made = torch.onnx.export(program, (), input_names=inputs, output_names=outputs, dynamo=True, verbose=False)
    except Exception as error:  # every operator fails in its own way
        raise UsageError(f"the policy's network cannot be written as ONNX: {first_line(error)}") from error
    assert made is not None
    model = made.model_proto
    _tidy(model)
    onnx.checker.check_model(model)
    file.write_bytes(model.SerializeToString())
    return next(int(item.version) for item in model.opset_import if item.domain == "")


def _tidy(model: Any) -> None:
    """Call the batch's axis N, and drop what describes the code and the machine that the model was made by."""
    graph = model.graph
    first = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == first:
                dim.dim_param = BATCH
    del graph.value_info[:], graph.metadata_props[:], model.metadata_props[:]
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        del item.metadata_props[:]
        item.doc_string = ""
    for function in model.functions:
        for item in function.node:
            del item.metadata_props[:]
            item.doc_string = ""


def write_program(program: ExportedProgram, file: Path) -> None:
    """Write what `torch.export.load(file).module()` reads."""
    with quiet():
        torch.export.save(program, file)


def write_weights(module: PolicyModule, file: Path) -> None:
    """Write the weights by name, contiguous, each in memory of its own."""
    from safetensors.torch import save_file

    state = {name: value.detach().clone().contiguous() for name, value in module.greedy.state_dict().items()}
    save_file(state, file)


def runner(kind: Format, folder: Path, module: PolicyModule) -> Run:
    """The policy as it stands in the folder."""
    file, names = folder / FILES[kind], [port.name for port in module.outputs]
    if kind == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
        return lambda arrays: dict(zip(names, session.run(names, arrays), strict=True))
    if kind == "torch-export":
        read: Any = torch.export.load(file).module()
    else:
        from safetensors.torch import load_file

        state, read = load_file(file), module
        if any(not torch.equal(value, state[name]) for name, value in module.greedy.state_dict().items()):
            raise UsageError(f"{file} does not hold the weights that were written")

    def run(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        with torch.no_grad():
            made = read(*(torch.from_numpy(arrays[port.name]) for port in module.inputs))
        return {name: value.numpy() for name, value in zip(names, made, strict=True)}

    return run


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters' remarks on their own insides from the screen; their errors are raised."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
