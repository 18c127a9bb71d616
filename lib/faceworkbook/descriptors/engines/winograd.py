"""Winograd's minimal filtering for 3 x 3 convolutions, F(4 x 4, 3 x 3), compiled with numba.

A tile of 4 x 4 outputs takes 36 multiplications for each pair of channels in place of 144: the input tile
(6 x 6) and the kernel are transformed, multiplied entry by entry, which over all channels is 36 matrix
products, and transformed back. Source: A. Lavin, S. Gray, Fast Algorithms for Convolutional Neural
Networks, CVPR 2016, section 4.

Activations lie as (n, rows, columns, channels) with a border of zeros, the number of channels a multiple of
`PANEL`. A few tiles at a time are taken through all three steps, so that what lies between them stays in the
cache. Addresses are in bytes, steps between them in floats.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

from faceworkbook.descriptors.engines.vectors import LANES, REGISTERS, Loop, Memory, constant, times, whole

OPTIONS = {"nogil": True, "cache": True}
LINE = 16  # floats of a cache line
PATCH = 36  # entries of a transformed tile
PANEL = 2 * LANES  # outputs of a matrix product that are computed at a time
ROWS = (REGISTERS - 4) // 2  # and rows of it: all the sums stay in registers
AHEAD = 32  # rows of a panel by which its reading is ahead
# Lavin and Gray's G
KERNEL = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24


def padded(channels: int) -> int:
    """The number of channels in memory."""
    return -(-channels // PANEL) * PANEL


def tiles(length: int) -> int:
    """Tiles along an axis of this many pixels."""
    return math.ceil(length / 4)


def zeros(*shape: int) -> np.ndarray:
    """Zeros, float32, from the start of a cache line on: registers are as wide as one."""
    memory = np.empty(math.prod(shape) + LINE, np.float32)
    start = -memory.ctypes.data // memory.itemsize % LINE
    memory[...] = 0  # unlike numpy.zeros, takes large pages
    return memory[start : start + math.prod(shape)].reshape(shape)


def activations(faces: int, height: int, width: int, channels: int) -> np.ndarray:
    """Zeros for pictures of this size with their border and whole tiles.

    A tile more each way takes what a pooled picture's last tile has beyond it.
    """
    return zeros(faces, 4 * tiles(height) + 3, 4 * tiles(width) + 3, padded(channels))


def panels(matrix: np.ndarray) -> np.ndarray:
    """(..., inputs, outputs) float32 -> (..., panels, inputs, `PANEL`), as `multiply` reads it."""
    *others, inputs, outputs = matrix.shape
    full = np.zeros((*others, inputs, padded(outputs)), np.float32)
    full[..., :outputs] = matrix
    parted = np.moveaxis(full.reshape(*others, inputs, -1, PANEL), -2, -3)
    found = zeros(*parted.shape)
    found[...] = parted
    return found


def transformed_kernel(kernel: np.ndarray) -> np.ndarray:
    """(3, 3, inputs, outputs) float32 -> (36, panels, padded inputs, `PANEL`), once for each network."""
    _, _, inputs, outputs = kernel.shape
    both = np.kron(KERNEL, KERNEL).astype(np.float32)
    full = np.zeros((PATCH, padded(inputs), outputs), np.float32)
    full[:, :inputs] = (both @ kernel.reshape(9, -1)).reshape(PATCH, inputs, outputs)
    return panels(full)


# --------------------------------------------------------------------------- kernels in registers


def input_combinations(d: list) -> list:
    """B^T d of Lavin and Gray."""
    even, odd = d[4] - 4 * d[2], d[3] - 4 * d[1]
    near, far = d[4] - d[2], 2 * (d[3] - d[1])
    first, last = 4 * d[0] - 5 * d[2] + d[4], 4 * d[1] - 5 * d[3] + d[5]
    return [first, even + odd, even - odd, near + far, near - far, last]


def output_combinations(m: list) -> list:
    """A^T m of Lavin and Gray."""
    sum_1, difference_1, sum_2, difference_2 = m[1] + m[2], m[1] - m[2], m[3] + m[4], m[3] - m[4]
    return [
        m[0] + sum_1 + sum_2,
        difference_1 + 2 * difference_2,
        sum_1 + 4 * sum_2,
        difference_1 + 8 * difference_2 + m[5],
    ]


@intrinsic
def multiply(_, a, a_row, pieces, piece, depth, b, c, c_row):
    """`ROWS` rows of `a` with one panel `b` (pieces * depth, `PANEL`), to `c`.

    A row of `a` is made of some `pieces` of `depth` floats each, `piece` apart.
    """

    def generate(context, builder, _, arguments):
        a, a_row, pieces, piece, depth, b, c, c_row = arguments
        left, panel, result = (Memory(builder, address) for address in (a, b, c))
        with Loop(builder, pieces, [constant(builder, 0)] * 2 * ROWS) as outer:
            first = builder.mul(outer.index, depth)
            with Loop(builder, depth, outer.carried) as inner:
                line = builder.mul(builder.add(first, inner.index), whole(PANEL))
                halves = [panel.load(line, half * LANES) for half in (0, 1)]
                for half in (0, 1):
                    panel.fetch(line, half * LANES + AHEAD * PANEL)
                start, sums = builder.add(builder.mul(outer.index, piece), inner.index), inner.carried
                inner.carried = []
                for row in range(ROWS):
                    value = left.spread(times(builder, row, a_row), start)
                    inner.carried += [sums[2 * row + half] + value * halves[half] for half in (0, 1)]
            outer.carried = inner.carried
        for i, total in enumerate(outer.carried):
            result.store(total, times(builder, i // 2, c_row), i % 2 * LANES)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 8), generate


@intrinsic
def _transform_tile(_, x, row, column, v, plane):
    """6 x 6 pixels of some channels to their places in the 36 planes."""

    def generate(context, builder, _, arguments):
        x, row, column, v, plane = arguments
        picture, planes = Memory(builder, x), Memory(builder, v)
        columns = [
            input_combinations(
                [picture.load(times(builder, i, row), times(builder, j, column)) for i in range(6)]
            )
            for j in range(6)
        ]
        for i in range(6):
            for j, value in enumerate(input_combinations([columns[k][i] for k in range(6)])):
                planes.store(value, times(builder, 6 * i + j, plane))
        return context.get_dummy_value()

    return types.void(*[types.intp] * 5), generate


def _outputs(builder, m, plane, bias) -> list[list]:
    """4 x 4 pixels of some channels out of the 36 planes, with the bias, cut off below 0."""
    planes, shift, zero = Memory(builder, m), Memory(builder, bias).load(), constant(builder, 0)
    columns = [
        output_combinations([planes.load(times(builder, 6 * i + j, plane)) for i in range(6)])
        for j in range(6)
    ]
    rows = [output_combinations([columns[k][i] for k in range(6)]) for i in range(4)]
    return [[(value + shift).larger(zero) for value in row] for row in rows]


@intrinsic
def _place_tile(_, m, plane, bias, y, row, column):
    """4 x 4 pixels of some channels to their places in a picture."""

    def generate(context, builder, _, arguments):
        m, plane, bias, y, row, column = arguments
        picture = Memory(builder, y)
        for i, values in enumerate(_outputs(builder, m, plane, bias)):
            for j, value in enumerate(values):
                picture.store(value, times(builder, i, row), times(builder, j, column))
        return context.get_dummy_value()

    return types.void(*[types.intp] * 6), generate


@intrinsic
def _place_pooled_tile(_, m, plane, bias, y, row, column):
    """The largest of each 2 x 2 of them."""

    def generate(context, builder, _, arguments):
        m, plane, bias, y, row, column = arguments
        picture, values = Memory(builder, y), _outputs(builder, m, plane, bias)
        for i in (0, 1):
            for j in (0, 1):
                upper, lower = values[2 * i][2 * j : 2 * j + 2], values[2 * i + 1][2 * j : 2 * j + 2]
                largest = upper[0].larger(upper[1]).larger(lower[0].larger(lower[1]))
                picture.store(largest, times(builder, i, row), times(builder, j, column))
        return context.get_dummy_value()

    return types.void(*[types.intp] * 6), generate


# --------------------------------------------------------------------------- layers


@njit(**OPTIONS)
def _tile(number, down, across):
    """Face, row and column of a tile, counted over faces, rows and columns."""
    place = number % (down * across)
    return number // (down * across), place // across, place % across


@njit(**OPTIONS)
def _transform(x, first, count, down, across, given):
    steps, channels = x.strides, x.shape[3]
    for t in range(count):
        face, i, j = _tile(first + t, down, across)
        source = x.ctypes.data + face * steps[0] + 4 * (i * steps[1] + j * steps[2])
        target = given.ctypes.data + t * given.strides[1]
        for c in range(0, channels, LANES):
            _transform_tile(source + 4 * c, steps[1] // 4, channels, target + 4 * c, given.strides[0] // 4)


@njit(**OPTIONS)
def _multiply(given, kernel, products, count):
    depth, row, products_row = given.shape[2], given.strides[1], products.strides[1]
    for entry in range(PATCH):
        source = given.ctypes.data + entry * given.strides[0]
        weights = kernel.ctypes.data + entry * kernel.strides[0]
        target = products.ctypes.data + entry * products.strides[0]
        for r in range(0, count, ROWS):
            for p in range(kernel.shape[1]):
                panel, result = weights + p * kernel.strides[1], target + r * products_row + 4 * p * PANEL
                multiply(source + r * row, row // 4, 1, 0, depth, panel, result, products_row // 4)


@njit(**OPTIONS)
def _place(products, first, count, down, across, bias, pools, y):
    steps, channels, side = y.strides, y.shape[3], 2 if pools else 4
    plane, start = products.strides[0] // 4, y.ctypes.data + steps[1] + steps[2]
    for t in range(count):
        face, i, j = _tile(first + t, down, across)
        source = products.ctypes.data + t * products.strides[1]
        target = start + face * steps[0] + side * (i * steps[1] + j * steps[2])
        for c in range(0, 4 * channels, 4 * LANES):
            shift = bias.ctypes.data + c
            if pools:
                _place_pooled_tile(source + c, plane, shift, target + c, steps[1] // 4, channels)
            else:
                _place_tile(source + c, plane, shift, target + c, steps[1] // 4, channels)


@njit(**OPTIONS)
def convolve(x, height, width, kernel, bias, pools, y, given, products):
    """A 3 x 3 convolution with bias and ReLU, and perhaps 2 x 2 max-pooling.

    Parameters
    ----------
    x, y : ndarray of shape (n, rows, columns, channels), float32
        See `activations`; `y` takes the result, of half the size where `pools`.
    height, width : int
        Of the pictures in `x`, without their border.
    kernel : ndarray, float32
        See `transformed_kernel`.
    bias : ndarray of shape (channels of y,), float32
    pools : bool
    given, products : ndarray of shape (36, tiles at a time, channels of x and of y), float32
        Scratch; the number of tiles is a multiple of `ROWS`.
    """
    down, across = (height + 3) // 4, (width + 3) // 4
    every = x.shape[0] * down * across
    for first in range(0, every, given.shape[1]):
        count = min(given.shape[1], every - first)
        _transform(x, first, count, down, across, given)
        _multiply(given, kernel, products, count)
        _place(products, first, count, down, across, bias, pools, y)
    below, beside = (height // 2, width // 2) if pools else (height, width)
    y[:, below + 1 :] = 0  # what the last tiles had beyond the picture
    y[:, :, beside + 1 :] = 0


@njit(**OPTIONS)
def convolve_first(x, height, width, kernel, bias, y, products):
    """A 3 x 3 convolution of few channels, which transforms do not pay for, with bias and ReLU.

    Parameters
    ----------
    x : ndarray of shape (height + 2, at least width + `ROWS` + 1, channels), float32
        One picture with its border.
    height, width : int
    kernel : ndarray of shape (panels, 9 * channels, `PANEL`), float32
        See `panels`.
    bias : ndarray of shape (channels of y,), float32
    y : ndarray of shape (rows, columns, channels), float32
        See `activations`; takes the result.
    products : ndarray of shape (at least width + `ROWS` - 1, channels of y), float32
        Scratch.
    """
    channels, row, zero = x.shape[2], products.strides[0], np.float32(0)
    for i in range(height):
        for j in range(0, width, ROWS):
            source = x.ctypes.data + i * x.strides[0] + j * x.strides[1]
            for p in range(kernel.shape[0]):
                panel = kernel.ctypes.data + p * kernel.strides[0]
                result = products.ctypes.data + j * row + 4 * p * PANEL
                multiply(source, channels, 3, x.strides[0] // 4, 3 * channels, panel, result, row // 4)
        for j in range(width):
            for c in range(bias.size):
                y[i + 1, j + 1, c] = max(products[j, c] + bias[c], zero)
