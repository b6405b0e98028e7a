"""The console's functions with 32-bit integers, as a GPU wants them: made from the same sources, function by function.

Numba computes with 64-bit integers, which a GPU has none of. Here the result of each operation on signed integers is
narrowed at once, and constants are int32; what is unsigned or a float stays as it is.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from gymnast.envs.atari2600 import frame

PACKAGE = __package__ or ""
LIMIT = 2**31
CONSTANT = "_{}"
"""The name of an integer in a narrowed function."""


class Narrowing:
    """Narrowed functions of one target; each is made once, with those that it calls.

    `compile` takes a plain function that compiled ones call. `own` are the target's own functions by name: `_narrow`,
    which integers go through, `stay_apart`, and others that replace the console's.
    """

    def __init__(self, compile: Callable[[Any], Any], own: dict[str, Any]) -> None:
        self._compile, self._own, self._made = compile, own, dict[Any, Any]()

    def __call__(self, function: Any) -> Any:
        """The narrowed form of a function of the console."""
        plain = getattr(function, "py_func", function)
        if plain not in self._made:
            self._made[plain] = self._compile(self.plain(plain))
        return self._made[plain]

    def plain(self, plain: FunctionType) -> FunctionType:
        """A function that calls narrowed ones, not yet compiled itself."""
        tree = ast.parse(textwrap.dedent(inspect.getsource(plain)))
        definition = tree.body[0]
        assert isinstance(definition, ast.FunctionDef)
        definition.decorator_list, definition.returns = [], None
        for argument in definition.args.args:
            argument.annotation = None
        rewriting = _Rewriting(plain.__globals__)
        names: dict[str, Any] = {}
        code = compile(ast.fix_missing_locations(rewriting.visit(tree)), f"<int32 {plain.__name__}>", "exec")
        for name, value in rewriting.used.items():
            names[name] = self._value(value)
        found: dict[str, FunctionType] = {}
        exec(code, names | self._own, found)
        return found[definition.name]

    def _value(self, value: Any) -> Any:
        """What a global name means in a narrowed function."""
        value = getattr(value, "py_func", value)
        if isinstance(value, FunctionType) and value.__module__.startswith(PACKAGE):
            return self(value)
        if isinstance(value, int | np.signedinteger) and not isinstance(value, bool) and -LIMIT <= value < LIMIT:
            return np.int32(value)
        return value


class _Rewriting(ast.NodeTransformer):
    """Put `_narrow` around operations; note the global names that a function uses."""

    def __init__(self, known: dict[str, Any]) -> None:
        self._known, self.used = known, dict[str, Any]()

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if isinstance(node.ctx, ast.Load) and node.id in self._known:
            self.used[node.id] = self._known[node.id]
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        module = self._known.get(node.value.id) if isinstance(node.value, ast.Name) else None
        if not isinstance(module, ModuleType) or module is np:
            return self.generic_visit(node)
        name = f"{module.__name__.rpartition('.')[2]}_{node.attr}"
        self.used[name] = getattr(module, node.attr)
        return ast.Name(name, ast.Load())

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if type(node.value) is not int or not -LIMIT <= node.value < LIMIT:
            return node
        self.used[CONSTANT.format(node.value)] = node.value
        return ast.Name(CONSTANT.format(node.value), ast.Load())

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        if isinstance(node.value, ast.Attribute) and node.value.attr == "shape":
            return node  # a tuple's index has to be a constant
        return self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        return _narrowed(self.generic_visit(node))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        found = self.generic_visit(node)
        return found if isinstance(node.op, ast.Not) else _narrowed(found)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        read = ast.parse(ast.unparse(node.target), mode="eval").body
        assigned: ast.AST = self.visit(ast.Assign([node.target], ast.BinOp(read, node.op, node.value)))
        return assigned

    def visit_Call(self, node: ast.Call) -> ast.AST:
        called = ast.unparse(node.func)
        if called == "call_at":  # by its address, which only a CPU has
            self.used["run_frame"] = frame.run_frame
            return self.generic_visit(ast.Call(ast.Name("run_frame", ast.Load()), node.args[1:], []))
        if called == "np.int64":
            node.func = ast.Attribute(ast.Name("np", ast.Load()), "int32", ast.Load())
        return self.generic_visit(node)


def _narrowed(node: Any) -> ast.AST:
    return ast.Call(ast.Name("_narrow", ast.Load()), [node], [])
