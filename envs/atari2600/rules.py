"""The rules of a game, its score, end and lives as its RAM shows them: text, and programs that compiled code runs.

Rules are assignments separated by semicolons, evaluated in order after each frame, as in
`score = bcd(r14) - bcd(r13); reward = score - before; before = score; terminal = r13 == 21; lives = 0`. `r14` is byte
14 of RAM; variables keep their values between frames. Integers, the operators of Python and its conditional expression
mean what they mean there, but both sides of `and`, `or` and `if` are evaluated.
"""

from __future__ import annotations

import ast
from typing import Any

import numpy as np

from gymnast.envs.atari2600.alu import digits
from gymnast.envs.atari2600.compiling import rule, stay_apart

NAMES = ("score", "before", "reward", "terminal", "lives", "a", "b", "c", "mode")
"""Variables: `before` is the score before the frame, `a`, `b` and `c` are the game's own, `mode` the one to play."""
SCORE, BEFORE, REWARD, TERMINAL, LIVES, A, B, C, MODE = range(9)
LONGEST = 512
"""Numbers of a program: an operation and its operand in turn."""

END, NUMBER, VARIABLE, BYTE, SET, CHOOSE, BCD, LOW, HIGH, LOW_SHOWN, HIGH_SHOWN, COUNT = range(12)
MIN, MAX, ADD, SUB, MUL, FLOOR, AND, OR, SHIFT, EQ, NE, LT, LE, GT, GE, BOTH, EITHER, NEGATE = range(12, 30)
_ONE = {"bcd": BCD, "lo": LOW, "hi": HIGH, "lo0": LOW_SHOWN, "hi0": HIGH_SHOWN, "popcount": COUNT}
"""Functions of a byte: two decimal digits, a nibble, a nibble whose 10 is a blank for 0, bits that are set."""
_TWO = {"min": MIN, "max": MAX}
_OPERATORS: dict[type, int] = {
    ast.Add: ADD, ast.Sub: SUB, ast.Mult: MUL, ast.FloorDiv: FLOOR, ast.BitAnd: AND, ast.BitOr: OR, ast.RShift: SHIFT,
    ast.Eq: EQ, ast.NotEq: NE, ast.Lt: LT, ast.LtE: LE, ast.Gt: GT, ast.GtE: GE, ast.And: BOTH, ast.Or: EITHER,
}  # fmt: skip


def compile_rules(text: str) -> np.ndarray:
    """The program of assignments, int32 [LONGEST]. Raises ValueError for what rules cannot say."""
    program: list[int] = []
    for statement in ast.parse(text.replace("; ", "\n")).body:
        if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
            raise ValueError(f"rules are assignments, got {ast.unparse(statement)}")
        _compile(statement.value, program)
        program += [SET, NAMES.index(statement.targets[0].id)]
    if len(program) >= LONGEST:
        raise ValueError(f"rules of {len(program)} numbers are longer than {LONGEST}")
    return np.array(program + [END] * (LONGEST - len(program)), np.int32)


def compile_condition(text: str) -> np.ndarray:
    """The program that sets `c` to whether a condition holds."""
    return compile_rules(f"c = {text}")


def _compile(node: ast.AST, program: list[int]) -> None:
    """Append what leaves an expression's value on the stack."""
    match node:
        case ast.Constant(value=int(value)):
            program += [NUMBER, int(value)]
        case ast.Name(id=name) if name in NAMES:
            program += [VARIABLE, NAMES.index(name)]
        case ast.Name(id=name) if name[0] == "r" and name[1:].isdecimal():
            program += [BYTE, int(name[1:])]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            _apply(NEGATE, [operand], program)
        case ast.BinOp(left=left, op=operator, right=right):
            _apply(_OPERATORS[type(operator)], [left, right], program)
        case ast.Compare(left=left, ops=[operator], comparators=[right]):
            _apply(_OPERATORS[type(operator)], [left, right], program)
        case ast.BoolOp(op=operator, values=[first, *others]):
            _compile(first, program)
            for other in others:
                _apply(_OPERATORS[type(operator)], [other], program)
        case ast.IfExp(test=test, body=body, orelse=other):
            _apply(CHOOSE, [test, body, other], program)
        case ast.Call(func=ast.Name(id=name), args=arguments) if name in _ONE or name in _TWO:
            _apply({**_ONE, **_TWO}[name], arguments, program)
        case _:
            raise ValueError(f"rules cannot say {ast.unparse(node)}")


def _apply(operation: int, operands: list[Any], program: list[int]) -> None:
    for operand in operands:
        _compile(operand, program)
    program += [operation, 0]


@rule
def judge(m: Any, program: Any) -> None:
    """Run a program over a machine's RAM and variables."""
    stay_apart()
    at = top = np.int64(0)  # `stack[top - 1]` is the last value
    while program[at] != END:
        operation, operand = np.int64(program[at]), np.int64(program[at + 1])
        at += 2
        if operation <= BYTE:
            top += 1
            if operation == NUMBER:
                m.stack[top - 1] = operand
            else:
                m.stack[top - 1] = m.variables[operand] if operation == VARIABLE else m.RAM[operand]
        elif operation == SET:
            top -= 1
            m.variables[operand] = m.stack[top]
        elif operation == CHOOSE:
            top -= 2
            m.stack[top - 1] = m.stack[top] if m.stack[top - 1] else m.stack[top + 1]
        elif operation <= COUNT or operation == NEGATE:
            m.stack[top - 1] = of_one(operation, np.int64(m.stack[top - 1]))
        else:
            top -= 1
            m.stack[top - 1] = of_two(operation, np.int64(m.stack[top - 1]), np.int64(m.stack[top]))
    m.terminal, m.lives, m.reward = m.variables[TERMINAL], m.variables[LIVES], m.variables[REWARD]


@rule
def of_one(operation: int, value: int) -> int:
    if operation == NEGATE:
        return -value
    if operation == BCD:
        return digits(value)
    if operation == COUNT:
        count = np.int64(0)
        while value:
            count += value & 1
            value >>= 1
        return count  # type: ignore[no-any-return]
    nibble = value & 15 if operation in (LOW, LOW_SHOWN) else value >> 4
    return 0 if nibble == 10 and operation >= LOW_SHOWN else nibble


@rule
def of_two(operation: int, x: int, y: int) -> int:
    if operation <= SHIFT:
        if operation == ADD:
            return x + y
        if operation == SUB:
            return x - y
        if operation == MUL:
            return x * y
        if operation == FLOOR:
            return x // y
        if operation == AND:
            return x & y
        if operation == OR:
            return x | y
        if operation == SHIFT:
            return x >> y
        return min(x, y) if operation == MIN else max(x, y)
    if operation == EQ:
        return np.int64(x == y)  # type: ignore[no-any-return]
    if operation == NE:
        return np.int64(x != y)  # type: ignore[no-any-return]
    if operation in (LT, GT):
        return np.int64(x < y if operation == LT else x > y)  # type: ignore[no-any-return]
    if operation in (LE, GE):
        return np.int64(x <= y if operation == LE else x >= y)  # type: ignore[no-any-return]
    if operation == BOTH:
        return np.int64(x != 0 and y != 0)  # type: ignore[no-any-return]
    return np.int64(x != 0 or y != 0)  # type: ignore[no-any-return]
