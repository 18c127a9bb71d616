"""Matrix products whose sums stay in vector registers, compiled with numba; see README.md.

In all kernels, addresses are in bytes and steps between them in floats.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from faceworkbook.descriptors.engines.compiled.vectors import (
    LANES,
    REGISTERS,
    Loop,
    Memory,
    constant,
    times,
    whole,
)

LINE = 16  # floats of a cache line
PANEL = 2 * LANES  # outputs of a matrix product that are computed at a time
ROWS = (REGISTERS - 4) // 2  # and rows of it: all the sums stay in registers, four are left for operands
AHEAD = 32  # rows of a panel that are prefetched


def _can_cache() -> bool:
    """Return whether numba finds a folder that it may write to, beside this file or in the user's."""

    def nothing():
        pass

    try:
        njit(cache=True)(nothing)
    except RuntimeError:
        return False
    return True


OPTIONS = {"nogil": True, "cache": _can_cache()}  # of `numba.njit`; compiled anew in each process where False


def padded(channels: int) -> int:
    """Return the number of channels as stored: rounded up to a multiple of `PANEL`."""
    return -(-channels // PANEL) * PANEL


def zeros(*shape: int) -> np.ndarray:
    """Return float32 zeros that start at a cache line, since a register may be as wide as one."""
    memory = np.empty(math.prod(shape) + LINE, np.float32)
    start = -memory.ctypes.data // memory.itemsize % LINE
    memory[...] = 0  # unlike numpy.zeros, takes large pages
    return memory[start : start + math.prod(shape)].reshape(shape)


def panels(matrix: np.ndarray) -> np.ndarray:
    """Lay out (..., inputs, outputs) float32 as (..., panels, inputs, `PANEL`), the order `multiply` reads."""
    *others, inputs, outputs = matrix.shape
    full = np.zeros((*others, inputs, padded(outputs)), np.float32)
    full[..., :outputs] = matrix
    blocks = np.moveaxis(full.reshape(*others, inputs, -1, PANEL), -2, -3)
    aligned = zeros(*blocks.shape)
    aligned[...] = blocks
    return aligned


def integers(count: int) -> types.UniTuple:
    """Return the type of a tuple of addresses and counts."""
    return types.UniTuple(types.intp, count)


def _sums(builder, left, panel) -> list:
    """Return the registers of `ROWS` rows times one panel, two a row; see `multiply`."""
    a, a_row, pieces, piece, depth = cgutils.unpack_tuple(builder, left)
    matrix, weights = Memory(builder, a), Memory(builder, panel)
    with Loop(builder, pieces, [constant(builder, 0)] * 2 * ROWS) as outer:
        first = builder.mul(outer.index, depth)
        with Loop(builder, depth, outer.carried) as inner:
            line = builder.mul(builder.add(first, inner.index), whole(PANEL))
            halves = [weights.load(line, half * LANES) for half in (0, 1)]
            for half in (0, 1):
                weights.prefetch(line, half * LANES + AHEAD * PANEL)
            start, sums = builder.add(builder.mul(outer.index, piece), inner.index), inner.carried
            inner.carried = []
            for row in range(ROWS):
                value = matrix.spread(times(builder, row, a_row), start)
                inner.carried += [sums[2 * row + half] + value * halves[half] for half in (0, 1)]
        outer.carried = inner.carried
    return outer.carried


@intrinsic
def multiply(_, left, panel, result):
    """Multiply `ROWS` rows of a matrix by one panel of (pieces * depth, `PANEL`) floats.

    Parameters
    ----------
    left : (address, row, pieces, piece, depth)
        The matrix: `row` floats from row to row; a row consists of `pieces` runs of `depth` floats, which begin
        `piece` floats apart. A picture's 3 x 3 neighbourhood is three such runs.
    panel : address
    result : (address, row)
        Takes `ROWS` rows of `PANEL` floats, `row` floats apart.
    """

    def generate(context, builder, _, arguments):
        c, c_row = cgutils.unpack_tuple(builder, arguments[2])
        target = Memory(builder, c)
        for i, total in enumerate(_sums(builder, *arguments[:2])):
            target.store(total, times(builder, i // 2, c_row), i % 2 * LANES)
        return context.get_dummy_value()

    return types.void(integers(5), types.intp, integers(2)), generate


@intrinsic
def multiply_within(_, left, panel, shift, limits, result):
    """Multiply as `multiply` does, add a bias and keep the result within limits.

    Parameters
    ----------
    left, panel, result
        See `multiply`.
    shift : address
        `PANEL` floats, the bias of each output.
    limits : address
        Two floats, the least and the largest result.
    """

    def generate(context, builder, _, arguments):
        c, c_row = cgutils.unpack_tuple(builder, arguments[4])
        target, bias, ends = (Memory(builder, address) for address in (c, *arguments[2:4]))
        sums = _sums(builder, *arguments[:2])
        least, largest = ends.spread(0), ends.spread(1)
        halves = [bias.load(half * LANES) for half in (0, 1)]
        for i, total in enumerate(sums):
            value = (total + halves[i % 2]).maximum(least).minimum(largest)
            target.store(value, times(builder, i // 2, c_row), i % 2 * LANES)
        return context.get_dummy_value()

    return types.void(integers(5), types.intp, types.intp, types.intp, integers(2)), generate
