"""Small products of matrices in vector registers, for compiled code: what LLVM does not find in plain loops.

Matrices hold a batch in columns, one unit in each row, so that a vector is sixteen samples of one unit. A tile is as
much of a product as registers hold: its sums stay in them from the first term to the last. LLVM splits the vectors
into those of the processor.

`python benchmarks/fast.py --only matrix` compares a layer of them with torch's (RESULTS.md).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

LANES = 16
"""Samples in a vector."""
_LARGE = binding.get_host_cpu_features().get("avx512f")
ROWS = 8 if _LARGE else 4
"""Rows of a product's tile of one vector, whose sums fill the registers."""
WIDE_ROWS, WIDE_VECTORS = (4, 4) if _LARGE else (4, 1)
"""Rows and vectors of a wide tile, which loads less for each sum."""

VECTOR = ir.VectorType(ir.FloatType(), LANES)
INDICES = ir.VectorType(ir.IntType(32), LANES)


def _number(value: int) -> ir.Constant:
    return ir.Constant(ir.IntType(64), value)


def _start(context: Any, builder: Any, kind: Any, array: Any, offset: Any) -> Any:
    """Where an array's entry `offset` lies in memory."""
    return builder.gep(context.make_array(kind)(context, builder, array).data, [offset])


def _vector_at(builder: Any, start: Any, offset: Any) -> Any:
    return builder.bitcast(builder.gep(start, [offset]), VECTOR.as_pointer())


def _load(builder: Any, start: Any, offset: Any) -> Any:
    return builder.load(_vector_at(builder, start, offset), align=4)


def _repeated(builder: Any, number: Any) -> Any:
    """A vector of one number."""
    undefined = ir.Constant(VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(INDICES, [0] * LANES))


def _multiply_add(builder: Any, x: Any, y: Any, z: Any) -> Any:
    """x y + z, in one instruction where the processor has it."""
    return builder.fadd(builder.fmul(x, y, flags=("contract",)), z, flags=("contract",))


def _accumulate(builder: Any, sums: list[Any], stop: Any, step: int, terms: Any) -> list[Any]:
    """Add `terms(index, sums)` to vectors for index 0, `step`, ... below `stop`, of which there is at least one."""
    before, loop, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
    builder.branch(loop)
    builder.position_at_end(loop)
    index = builder.phi(ir.IntType(64))
    running = [builder.phi(VECTOR) for _ in sums]
    added = terms(index, running)
    following = builder.add(index, _number(step))
    for phi, first, next_one in zip([index, *running], [_number(0), *sums], [following, *added], strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(next_one, loop)
    builder.cbranch(builder.icmp_signed("<", following, stop), loop, after)
    builder.position_at_end(after)
    return list(added)


def _sums_across(builder: Any, vectors: list[Any]) -> Any:
    """One vector of the sums of sixteen vectors' entries."""
    even, odd = (ir.Constant(INDICES, list(range(start, 2 * LANES, 2))) for start in (0, 1))
    while len(vectors) > 1:  # neighbours are added, so that each sum needs half as many entries
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        halves = [[builder.shuffle_vector(one, other, kept) for kept in (even, odd)] for one, other in pairs]
        vectors = [builder.fadd(*half) for half in halves]
    return vectors[0]


def product_tile(rows: int, vectors: int) -> Any:
    """For compiled code: y = bias + w x for `rows` rows of y and `vectors` * `LANES` columns.

    Every matrix is a flat array with the offset of its first entry. Weights have a stride between rows and one between
    columns, so that they may be transposed; x and y have one stride between rows. `depth` is at least 1.
    """

    @intrinsic
    def tile(context, w, w_start, row_stride, column_stride, x, x_start, y, y_start, stride, bias, first, depth):  # type: ignore[no-untyped-def]
        at = types.intp
        return types.void(w, at, at, at, x, at, y, at, at, bias, at, at), partial(_product, rows, vectors)

    return tile


def _product(rows: int, vectors: int, context: Any, builder: Any, signature: Any, values: Any) -> Any:
    w, w_start, row_stride, column_stride, x, x_start, y, y_start, stride, bias, first, depth = values
    kinds = signature.args
    w, x = _start(context, builder, kinds[0], w, w_start), _start(context, builder, kinds[4], x, x_start)
    y, bias = _start(context, builder, kinds[6], y, y_start), _start(context, builder, kinds[9], bias, first)
    biases = [builder.load(builder.gep(bias, [_number(row)])) for row in range(rows)]
    lines = [builder.gep(w, [builder.mul(_number(row), row_stride)]) for row in range(rows)]

    def terms(index: Any, sums: list[Any]) -> list[Any]:
        start, offset = builder.mul(index, stride), builder.mul(index, column_stride)
        given = [_load(builder, x, builder.add(start, _number(LANES * vector))) for vector in range(vectors)]
        factors = [_repeated(builder, builder.load(builder.gep(line, [offset]))) for line in lines]
        pairs = [(factor, one) for factor in factors for one in given]
        return [_multiply_add(builder, *pair, total) for pair, total in zip(pairs, sums, strict=True)]

    start = [_repeated(builder, bias) for bias in biases for _ in range(vectors)]
    for number, total in enumerate(_accumulate(builder, start, depth, 1, terms)):
        row, vector = divmod(number, vectors)
        place = builder.add(builder.mul(_number(row), stride), _number(LANES * vector))
        builder.store(total, _vector_at(builder, y, place), align=4)
    return context.get_dummy_value()


def outer_tile(rows: int) -> Any:
    """For compiled code: g = d x^T, the sum over samples, for `rows` rows and as many columns of g, at most 4.

    Every matrix is a flat array with the offset of its first entry; d and x share a stride between rows, g has its own.
    `length` is the number of samples, a multiple of `LANES`.
    """

    @intrinsic
    def tile(context, d, d_start, x, x_start, stride, g, g_start, g_stride, length):  # type: ignore[no-untyped-def]
        at = types.intp
        return types.void(d, at, x, at, at, g, at, at, at), partial(_outer, rows)

    return tile


def _outer(rows: int, context: Any, builder: Any, signature: Any, values: Any) -> Any:
    d, d_start, x, x_start, stride, g, g_start, g_stride, length = values
    kinds = signature.args
    d, x = _start(context, builder, kinds[0], d, d_start), _start(context, builder, kinds[2], x, x_start)
    g = _start(context, builder, kinds[5], g, g_start)
    places = [(row, column) for row in range(rows) for column in range(rows)]

    def terms(index: Any, sums: list[Any]) -> list[Any]:
        offsets = [builder.add(index, builder.mul(_number(row), stride)) for row in range(rows)]
        slopes, inputs = ([_load(builder, start, offset) for offset in offsets] for start in (d, x))
        pairs = zip(places, sums, strict=True)
        return [_multiply_add(builder, slopes[row], inputs[column], total) for (row, column), total in pairs]

    zero = ir.Constant(VECTOR, [0.0] * LANES)
    sums = _accumulate(builder, [zero] * len(places), length, LANES, terms)
    across = _sums_across(builder, sums + [zero] * (LANES - len(sums)))
    for number, (row, column) in enumerate(places):
        entry = builder.extract_element(across, ir.Constant(ir.IntType(32), number))
        offset = builder.add(builder.mul(_number(row), g_stride), _number(column))
        builder.store(entry, builder.gep(g, [offset]))
    return context.get_dummy_value()
