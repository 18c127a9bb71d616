"""3 x 3 convolutions by Winograd's minimal filtering, F(4 x 4, 3 x 3), compiled with numba; see README.md.

Source: A. Lavin, S. Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016, section 4.

Activations are stored as (n, rows, columns, channels) with a border of zeros, the number of channels padded to a
multiple of `PANEL`. In all kernels, addresses are in bytes and steps between them in floats.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

from faceworkbook.descriptors.engines.compiled.products import (
    OPTIONS,
    PANEL,
    ROWS,
    multiply,
    padded,
    panels,
    zeros,
)
from faceworkbook.descriptors.engines.compiled.vectors import LANES, Memory, constant, times

PATCH = 36  # entries of a transformed tile
# Lavin and Gray's G, the transform of a kernel
G = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24


def tiles(length: int) -> int:
    """Return the number of tiles along an axis of `length` pixels."""
    return math.ceil(length / 4)


def activations(faces: int, height: int, width: int, channels: int) -> np.ndarray:
    """Return zeros for pictures of this size, with their border and whole tiles.

    The three extra rows and columns take what the last tile computes beyond the picture.
    """
    return zeros(faces, 4 * tiles(height) + 3, 4 * tiles(width) + 3, padded(channels))


def transformed_kernel(kernel: np.ndarray) -> np.ndarray:
    """Transform (3, 3, inputs, outputs) float32 to (36, panels, padded inputs, `PANEL`); once for each network."""
    _, _, inputs, outputs = kernel.shape
    both = np.kron(G, G).astype(np.float32)
    full = np.zeros((PATCH, padded(inputs), outputs), np.float32)
    full[:, :inputs] = (both @ kernel.reshape(9, -1)).reshape(PATCH, inputs, outputs)
    return panels(full)


def input_combinations(d: list) -> list:
    """Return B^T d of Lavin and Gray, for the six entries of `d`."""
    even, odd = d[4] - 4 * d[2], d[3] - 4 * d[1]
    near, far = d[4] - d[2], 2 * (d[3] - d[1])
    first, last = 4 * d[0] - 5 * d[2] + d[4], 4 * d[1] - 5 * d[3] + d[5]
    return [first, even + odd, even - odd, near + far, near - far, last]


def output_combinations(m: list) -> list:
    """Return A^T m of Lavin and Gray, for the six entries of `m`."""
    sum_1, difference_1, sum_2, difference_2 = m[1] + m[2], m[1] - m[2], m[3] + m[4], m[3] - m[4]
    return [
        m[0] + sum_1 + sum_2,
        difference_1 + 2 * difference_2,
        sum_1 + 4 * sum_2,
        difference_1 + 8 * difference_2 + m[5],
    ]


@intrinsic
def _transform_tile(_, x, row, column, v, plane):
    """Compute B^T d B of 6 x 6 pixels, `LANES` channels at a time, and write it to the 36 planes."""

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
    """Return A^T m A of the 36 planes: 4 x 4 pixels of `LANES` channels, with bias and ReLU."""
    planes, shift, zero = Memory(builder, m), Memory(builder, bias).load(), constant(builder, 0)
    columns = [
        output_combinations([planes.load(times(builder, 6 * i + j, plane)) for i in range(6)])
        for j in range(6)
    ]
    rows = [output_combinations([columns[k][i] for k in range(6)]) for i in range(4)]
    return [[(value + shift).maximum(zero) for value in row] for row in rows]


@intrinsic
def _place_tile(_, m, plane, bias, y, row, column):
    """Write 4 x 4 output pixels of `LANES` channels to their places in a picture."""

    def generate(context, builder, _, arguments):
        m, plane, bias, y, row, column = arguments
        picture = Memory(builder, y)
        for i, values in enumerate(_outputs(builder, m, plane, bias)):
            for j, value in enumerate(values):
                picture.store(value, times(builder, i, row), times(builder, j, column))
        return context.get_dummy_value()

    return types.void(*[types.intp] * 6), generate


@intrinsic
def _place_max_tile(_, m, plane, bias, y, row, column):
    """Write the maximum of each 2 x 2 of the output pixels."""

    def generate(context, builder, _, arguments):
        m, plane, bias, y, row, column = arguments
        picture, values = Memory(builder, y), _outputs(builder, m, plane, bias)
        for i in (0, 1):
            for j in (0, 1):
                upper, lower = values[2 * i][2 * j : 2 * j + 2], values[2 * i + 1][2 * j : 2 * j + 2]
                largest = upper[0].maximum(upper[1]).maximum(lower[0].maximum(lower[1]))
                picture.store(largest, times(builder, i, row), times(builder, j, column))
        return context.get_dummy_value()

    return types.void(*[types.intp] * 6), generate


@njit(**OPTIONS)
def _tile(number, grid):
    """Return face, row and column of a tile, counted over faces, rows and columns."""
    place = number % (grid[0] * grid[1])
    return number // (grid[0] * grid[1]), place // grid[1], place % grid[1]


@njit(**OPTIONS)
def _transform(x, span, grid, transformed):
    steps, channels = x.strides, x.shape[3]
    first, count = span
    for t in range(count):
        face, i, j = _tile(first + t, grid)
        source = x.ctypes.data + face * steps[0] + 4 * (i * steps[1] + j * steps[2])
        target = transformed.ctypes.data + t * transformed.strides[1]
        for c in range(0, channels, LANES):
            plane = transformed.strides[0] // 4
            _transform_tile(source + 4 * c, steps[1] // 4, channels, target + 4 * c, plane)


@njit(**OPTIONS)
def _multiply(transformed, kernel, products, count):
    depth, row, products_row = transformed.shape[2], transformed.strides[1], products.strides[1]
    for entry in range(PATCH):
        source = transformed.ctypes.data + entry * transformed.strides[0]
        weights = kernel.ctypes.data + entry * kernel.strides[0]
        target = products.ctypes.data + entry * products.strides[0]
        for r in range(0, count, ROWS):
            for p in range(kernel.shape[1]):
                panel, result = weights + p * kernel.strides[1], target + r * products_row + 4 * p * PANEL
                multiply((source + r * row, row // 4, 1, 0, depth), panel, (result, products_row // 4))


@njit(**OPTIONS)
def _place(products, span, grid, bias, pools, y):
    steps, channels, side = y.strides, y.shape[3], 2 if pools else 4
    plane, start = products.strides[0] // 4, y.ctypes.data + steps[1] + steps[2]
    first, count = span
    for t in range(count):
        face, i, j = _tile(first + t, grid)
        source = products.ctypes.data + t * products.strides[1]
        target = start + face * steps[0] + side * (i * steps[1] + j * steps[2])
        for c in range(0, 4 * channels, 4 * LANES):
            shift = bias.ctypes.data + c
            if pools:
                _place_max_tile(source + c, plane, shift, target + c, steps[1] // 4, channels)
            else:
                _place_tile(source + c, plane, shift, target + c, steps[1] // 4, channels)


@njit(**OPTIONS)
def convolve(x, size, kernel, bias, pools, y, scratch):
    """Convolve by 3 x 3, add the bias, apply ReLU, and where `pools` 2 x 2 max-pooling.

    Parameters
    ----------
    x, y : ndarray of shape (n, rows, columns, channels), float32
        See `activations`; `y` takes the result, of half the size where `pools`.
    size : (height, width)
        Of the pictures in `x`, without their border.
    kernel : ndarray, float32
        See `transformed_kernel`.
    bias : ndarray of shape (channels of y,), float32
    pools : bool
    scratch : pair of ndarray of shape (36, tiles at a time, channels of x and of y), float32
        Transformed tiles and their products; the number of tiles is a multiple of `ROWS`.
    """
    height, width = size
    transformed, products = scratch
    grid = (height + 3) // 4, (width + 3) // 4
    n_tiles = x.shape[0] * grid[0] * grid[1]
    for first in range(0, n_tiles, transformed.shape[1]):
        span = first, min(transformed.shape[1], n_tiles - first)
        _transform(x, span, grid, transformed)
        _multiply(transformed, kernel, products, span[1])
        _place(products, span, grid, bias, pools, y)
    below, beside = (height // 2, width // 2) if pools else (height, width)
    y[:, below + 1 :] = 0  # the last tiles reach beyond the picture, and the next layer reads zeros there
    y[:, :, beside + 1 :] = 0


@njit(**OPTIONS)
def convolve_first(x, size, kernel, bias, y, products):
    """Convolve few channels by 3 x 3 directly, add the bias and apply ReLU.

    With three input channels the transforms cost more than they save.

    Parameters
    ----------
    x : ndarray of shape (height + 2, at least width + `ROWS` + 1, channels), float32
        One picture with its border.
    size : (height, width)
    kernel : ndarray of shape (panels, 9 * channels, `PANEL`), float32
        See `panels`.
    bias : ndarray of shape (channels of y,), float32
    y : ndarray of shape (rows, columns, channels), float32
        See `activations`; takes the result.
    products : ndarray of shape (at least width + `ROWS` - 1, channels of y), float32
        Scratch.
    """
    height, width = size
    channels, row, zero = x.shape[2], products.strides[0], np.float32(0)
    for i in range(height):
        for j in range(0, width, ROWS):
            source = x.ctypes.data + i * x.strides[0] + j * x.strides[1]
            left = source, channels, 3, x.strides[0] // 4, 3 * channels
            for p in range(kernel.shape[0]):
                panel = kernel.ctypes.data + p * kernel.strides[0]
                result = products.ctypes.data + j * row + 4 * p * PANEL
                multiply(left, panel, (result, row // 4))
        for j in range(width):
            for c in range(bias.size):
                y[i + 1, j + 1, c] = max(products[j, c] + bias[c], zero)
