"""Winograd's minimal filtering for 3 x 3 convolutions, F(4 x 4, 3 x 3), compiled with numba.

A tile of 4 x 4 outputs takes 36 multiplications for each pair of channels in place of 144: the input tile
(6 x 6) and the kernel are transformed, multiplied entry by entry, which over all channels is 36 matrix
products, and transformed back. Source: A. Lavin, S. Gray, Fast Algorithms for Convolutional Neural
Networks, CVPR 2016, section 4.

Activations lie as (n, rows, 4, columns, channels), flattened over the last two axes: pixel column ``x`` of
the zero-bordered picture is entry ``x // 4`` of plane ``x % 4``. So the columns that the tiles of a row have
in common places lie side by side, and every loop below runs over one long contiguous stretch.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

STRETCH = 1024  # floats that a transform works on at a time, or one tile where that has more
OPTIONS = {"nogil": True, "cache": True, "fastmath": {"contract"}}
PATCH = 36  # entries of a transformed tile
# Lavin and Gray's G
KERNEL = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24


def transformed_kernel(kernel: np.ndarray) -> np.ndarray:
    """(3, 3, inputs, outputs) float32 -> (36, inputs, outputs) float32, once for each network."""
    _, _, inputs, outputs = kernel.shape
    both = np.kron(KERNEL, KERNEL).astype(np.float32)
    return (both @ kernel.reshape(9, -1)).reshape(PATCH, inputs, outputs)


def tiles(length: int) -> int:
    """Tiles along an axis of this many pixels."""
    return math.ceil(length / 4)


def activations(faces: int, height: int, width: int, channels: int) -> np.ndarray:
    """Zeros for pictures of this size with their border, in the layout of this module."""
    return np.zeros((faces, 4 * tiles(height) + 2, 4, (tiles(width) + 1) * channels), np.float32)


def pictures(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Activations as plain (n, height, width, channels), without the border."""
    faces, rows, _, _ = x.shape
    columns = tiles(width) + 1
    plain = x.reshape(faces, rows, 4, columns, -1).transpose(0, 1, 3, 2, 4)
    return plain.reshape(faces, rows, 4 * columns, -1)[:, 1 : height + 1, 1 : width + 1]


@njit(**OPTIONS)
def _input_combinations(d0, d1, d2, d3, d4, d5, e0, e1, e2, e3, e4, e5):
    # Rows of B^T. One result a loop: a compiler vectorises it only while it can tell the stretches apart.
    four, five, two = np.float32(4), np.float32(5), np.float32(2)
    for i in range(e0.size):
        e0[i] = four * d0[i] - five * d2[i] + d4[i]
    for i in range(e0.size):
        e1[i] = d4[i] + d3[i] - four * (d1[i] + d2[i])
    for i in range(e0.size):
        e2[i] = d4[i] - d3[i] + four * (d1[i] - d2[i])
    for i in range(e0.size):
        e3[i] = d4[i] - d2[i] + two * (d3[i] - d1[i])
    for i in range(e0.size):
        e4[i] = d4[i] - d2[i] - two * (d3[i] - d1[i])
    for i in range(e0.size):
        e5[i] = four * d1[i] - five * d3[i] + d5[i]


@njit(**OPTIONS)
def _output_combinations(m0, m1, m2, m3, m4, m5, y0, y1, y2, y3):
    # Rows of A^T.
    two, four, eight = np.float32(2), np.float32(4), np.float32(8)
    for i in range(y0.size):
        y0[i] = m0[i] + m1[i] + m2[i] + m3[i] + m4[i]
    for i in range(y0.size):
        y1[i] = m1[i] - m2[i] + two * (m3[i] - m4[i])
    for i in range(y0.size):
        y2[i] = m1[i] + m2[i] + four * (m3[i] + m4[i])
    for i in range(y0.size):
        y3[i] = m1[i] - m2[i] + eight * (m3[i] - m4[i]) + m5[i]


@njit(**OPTIONS)
def _strip_from(tile, last, down, across, longest):
    """Tiles of one row that go together: their face, pixel row, tile column and number."""
    face, place = tile // (down * across), tile % (down * across)
    column = place % across
    return face, 4 * (place // across), column, min(longest, across - column, last - tile)


@njit(**OPTIONS)
def transform_input(x, first, last, down, across, channels, v, rows):
    """Transform the tiles `first` to `last`, counted over faces, rows and columns.

    Parameters
    ----------
    x : ndarray of shape (n, 4 * down + 2, 4, (across + 1) * channels), float32
    first, last : int
    down, across, channels : int
        Tiles of a picture, and channels.
    v : ndarray of shape (36, at least (last - first) * channels), float32
        Takes the result: a row for each entry of a transformed tile.
    rows : ndarray of shape (6, 4, (strip + 1) * channels), float32
        Scratch; its size says how many tiles of a row go together.
    """
    strip = rows.shape[2] // channels - 1
    t = first
    while t < last:
        face, y, column, count = _strip_from(t, last, down, across, strip)
        length = count * channels
        a, b = column * channels, (column + count + 1) * channels
        for p in range(4):
            _input_combinations(
                x[face, y, p, a:b],
                x[face, y + 1, p, a:b],
                x[face, y + 2, p, a:b],
                x[face, y + 3, p, a:b],
                x[face, y + 4, p, a:b],
                x[face, y + 5, p, a:b],
                rows[0, p, : b - a],
                rows[1, p, : b - a],
                rows[2, p, : b - a],
                rows[3, p, : b - a],
                rows[4, p, : b - a],
                rows[5, p, : b - a],
            )
        a, b = (t - first) * channels, (t - first) * channels + length
        for k in range(6):
            _input_combinations(
                rows[k, 0, :length],
                rows[k, 1, :length],
                rows[k, 2, :length],
                rows[k, 3, :length],
                rows[k, 0, channels : channels + length],
                rows[k, 1, channels : channels + length],
                v[6 * k, a:b],
                v[6 * k + 1, a:b],
                v[6 * k + 2, a:b],
                v[6 * k + 3, a:b],
                v[6 * k + 4, a:b],
                v[6 * k + 5, a:b],
            )
        t += count


@njit(**OPTIONS)
def _outputs_of_strip(m, start, length, folded, out):
    end = start + length
    for k in range(6):
        _output_combinations(
            m[k, start:end],
            m[6 + k, start:end],
            m[12 + k, start:end],
            m[18 + k, start:end],
            m[24 + k, start:end],
            m[30 + k, start:end],
            folded[0, k, :length],
            folded[1, k, :length],
            folded[2, k, :length],
            folded[3, k, :length],
        )
    for a in range(4):
        _output_combinations(
            folded[a, 0, :length],
            folded[a, 1, :length],
            folded[a, 2, :length],
            folded[a, 3, :length],
            folded[a, 4, :length],
            folded[a, 5, :length],
            out[a, 0, :length],
            out[a, 1, :length],
            out[a, 2, :length],
            out[a, 3, :length],
        )


@njit(**OPTIONS)
def transform_output(m, first, last, height, width, bias, y, folded, out):
    """Transform tiles back, add the bias, cut off below 0 and put them into the next layer's input.

    Parameters
    ----------
    m : ndarray of shape (36, at least (last - first) * channels), float32
    first, last : int
    height, width : int
        Of the picture in pixels; what a tile has beyond them is dropped.
    bias : ndarray of shape (strip, channels), float32
        The same row `strip` times.
    y : ndarray of shape (n, 4 * down + 2, 4, (across + 1) * channels), float32
        Takes the result.
    folded, out : ndarray of shape (4, 6, strip * channels) and (4, 4, strip * channels), float32
        Scratch.
    """
    strip, channels = bias.shape
    flat = bias.reshape(-1)
    down, across = (height + 3) // 4, (width + 3) // 4
    zero = np.float32(0)
    t = first
    while t < last:
        face, top, column, count = _strip_from(t, last, down, across, strip)
        _outputs_of_strip(m, (t - first) * channels, count * channels, folded, out)
        for a in range(min(4, height - top)):
            for b in range(4):
                inside = min(count, (width - b + 3) // 4 - column) * channels
                start = (column + (b + 1) // 4) * channels
                given, result = out[a, b], y[face, top + a + 1, (b + 1) % 4, start : start + max(inside, 0)]
                for i in range(result.size):
                    result[i] = max(given[i] + flat[i], zero)
        t += count


@njit(**OPTIONS)
def transform_output_and_pool(m, first, last, height, width, bias, y, folded, out):
    """`transform_output` with the largest of each 2 x 2 pixels; `y` is of half the size."""
    strip, channels = bias.shape
    down, across = (height + 3) // 4, (width + 3) // 4
    zero = np.float32(0)
    t = first
    while t < last:
        face, top, column, count = _strip_from(t, last, down, across, strip)
        _outputs_of_strip(m, (t - first) * channels, count * channels, folded, out)
        for a in range(0, min(4, height - top) - 1, 2):
            for i in range(count):
                for b in range(0, min(4, width - 4 * (column + i)) - 1, 2):
                    x = 2 * (column + i) + b // 2 + 1
                    start, end = x // 4 * channels, (x // 4 + 1) * channels
                    result = y[face, (top + a) // 2 + 1, x % 4, start:end]
                    p = out[a, b, i * channels : (i + 1) * channels]
                    q = out[a, b + 1, i * channels : (i + 1) * channels]
                    r = out[a + 1, b, i * channels : (i + 1) * channels]
                    s = out[a + 1, b + 1, i * channels : (i + 1) * channels]
                    for c in range(channels):
                        result[c] = max(max(max(p[c], q[c]), max(r[c], s[c])) + bias[0, c], zero)
        t += count


@njit(**OPTIONS)
def unfold(x, top, patches):
    """The 3 x 3 surroundings of pixels, for a first layer of few channels, which transforms do not pay for.

    Parameters
    ----------
    x : ndarray of shape (height + 2, width + 2, channels), float32
    top : int
        The first row to take.
    patches : ndarray of shape (rows, 4, columns, 9 * channels), float32
        Takes the result; places of the border keep what was in them.
    """
    width, channels = x.shape[1] - 2, x.shape[2]
    for r in range(patches.shape[0]):
        for p in range(4):
            for q in range(patches.shape[2]):
                column = 4 * q + p - 1
                if 0 <= column < width:
                    for a in range(3):
                        for b in range(3):
                            for c in range(channels):
                                value = x[top + r + a, column + b, c]
                                patches[r, p, q, (3 * a + b) * channels + c] = value


@njit(**OPTIONS)
def place_rows(given, top, width, bias, y):
    """Add the bias to rows of a picture, cut off below 0 and put them into the next layer's input.

    Parameters
    ----------
    given : ndarray of shape (rows, 4, columns, channels), float32
    top : int
        The first row's place in the picture.
    width : int
    bias : ndarray of shape (channels,), float32
    y : ndarray of shape (4 * down + 2, 4, columns * channels), float32
        One face's activations; takes the result.
    """
    channels, zero = bias.size, np.float32(0)
    for r in range(given.shape[0]):
        for p in range(4):
            for q in range(given.shape[2]):
                if 0 <= 4 * q + p - 1 < width:
                    source = given[r, p, q]
                    result = y[top + r + 1, p, q * channels : (q + 1) * channels]
                    for c in range(channels):
                        result[c] = max(source[c] + bias[c], zero)
