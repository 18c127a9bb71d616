"""Separable convolutions whose middle stays in the cache, compiled with numba; see README.md.

Activations are stored as (pixels, channels), picture after picture and row after row, the number of channels padded to
a multiple of `PANEL`, with `ROWS` further pixels at the end: the last product of a picture writes beyond it.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from faceworkbook.descriptors.engines.compiled.products import (
    OPTIONS,
    PANEL,
    ROWS,
    integers,
    multiply_within,
    padded,
    zeros,
)
from faceworkbook.descriptors.engines.compiled.vectors import LANES, Loop, Memory, times

TAPS = 9  # of a 3 x 3 kernel
ENTRY = (TAPS + 1) * LANES  # floats of `LANES` channels: their taps, and their bias


def activations(pixels: int, channels: int) -> np.ndarray:
    """Return zeros for so many pixels, see above."""
    return zeros(pixels + ROWS, padded(channels))


def depthwise_kernel(kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Lay out (3, 3, channels) and (channels,) float32 as (padded channels / `LANES`, 10, `LANES`)."""
    channels = len(bias)
    full = zeros(TAPS + 1, padded(channels))
    full[:TAPS, :channels] = kernel.reshape(TAPS, channels)
    full[TAPS, :channels] = bias
    laid = zeros(padded(channels) // LANES, TAPS + 1, LANES)
    laid[...] = full.reshape(TAPS + 1, -1, LANES).transpose(1, 0, 2)
    return laid


@intrinsic
def _filter_pixel(_, taps, kernel, limits, target, blocks):
    """Filter one pixel of ``blocks * LANES`` channels: its taps are nine addresses, of zeros beyond the picture."""

    def generate(context, builder, _, arguments):
        pixels = [Memory(builder, address) for address in cgutils.unpack_tuple(builder, arguments[0])]
        weights, ends, result = (Memory(builder, address) for address in arguments[1:4])
        least, largest = ends.spread(0), ends.spread(1)
        with Loop(builder, arguments[4], []) as loop:
            lane, entry = times(builder, LANES, loop.index), times(builder, ENTRY, loop.index)
            total = weights.load(entry, TAPS * LANES)
            for tap, pixel in enumerate(pixels):
                total = total + pixel.load(lane) * weights.load(entry, tap * LANES)
            result.store(total.maximum(least).minimum(largest), lane)
        return context.get_dummy_value()

    return types.void(integers(TAPS), types.intp, types.intp, types.intp, types.intp), generate


@intrinsic
def _filter_span(_, rows, kernel, limits, result, count):
    """Filter `LANES` channels of `count` pixels in a row, whose taps all lie between the left and the right edge.

    Parameters
    ----------
    rows : (address, address, address, step, step, step, pixel)
        Of the first pixel's three taps on the left; the floats from one pixel's to the next one's (0 where a row lies
        beyond the picture, and is zeros) and from tap to tap.
    kernel, limits : address
        See `depthwise_kernel`; two floats.
    result : (address, step)
    """

    def generate(context, builder, _, arguments):
        given = cgutils.unpack_tuple(builder, arguments[0])
        sources, steps, pixel = [Memory(builder, a) for a in given[:3]], given[3:6], given[6]
        weights, ends = Memory(builder, arguments[1]), Memory(builder, arguments[2])
        address, step = cgutils.unpack_tuple(builder, arguments[3])
        target, least, largest = Memory(builder, address), ends.spread(0), ends.spread(1)
        taps = [weights.load(tap * LANES) for tap in range(TAPS + 1)]
        with Loop(builder, arguments[4], []) as loop:
            total = taps[TAPS]
            for tap in range(TAPS):
                row, column = divmod(tap, 3)
                place = builder.mul(steps[row], loop.index)
                beside = times(builder, column, pixel)
                total = total + sources[row].load(place, beside) * taps[tap]
            target.store(total.maximum(least).minimum(largest), builder.mul(step, loop.index))
        return context.get_dummy_value()

    return types.void(integers(7), types.intp, types.intp, integers(2), types.intp), generate


@njit(**OPTIONS)
def load_picture(pixels, mean, scale, place, x):
    """Write ``(pixels - mean) * scale`` into a bordered picture.

    Parameters
    ----------
    pixels : ndarray of shape (height, width * channels), uint8
    mean, scale : ndarray of shape (width * channels,), float32
    place : (row, column)
        Of `x`, where the first number goes.
    x : ndarray of shape (rows, columns * channels), float32
    """
    above, left = place
    for i in range(pixels.shape[0]):
        for k in range(pixels.shape[1]):
            x[above + i, left + k] = (np.float32(pixels[i, k]) - mean[k]) * scale[k]


@njit(**OPTIONS)
def convolve_first(x, size, stride, kernel, bias, limits, y):
    """Convolve few channels by 3 x 3.

    Parameters
    ----------
    x : ndarray of shape (rows, columns, channels), float32
        A picture with its border, and so much more that a row's last product reads within it.
    size : (height, width)
        Of the result.
    stride : int
    kernel : ndarray of shape (panels, 9 * channels, `PANEL`), float32
        See `panels`.
    bias : ndarray of shape (padded outputs,), float32
    limits : ndarray of shape (2,), float32
    y : ndarray of shape (pixels, padded outputs), float32
    """
    height, width = size
    channels, row, pixel = x.shape[2], x.strides[0], y.strides[0]
    for i in range(height):
        for j in range(0, width, ROWS):
            source = x.ctypes.data + stride * (i * row + j * x.strides[1])
            left = source, stride * channels, 3, row // 4, 3 * channels
            target = y.ctypes.data + (i * width + j) * pixel
            for p in range(kernel.shape[0]):
                panel, shift = kernel.ctypes.data + p * kernel.strides[0], bias.ctypes.data + 4 * p * PANEL
                result = target + 4 * p * PANEL, pixel // 4
                multiply_within(left, panel, shift, limits.ctypes.data, result)


@njit(**OPTIONS)
def _filter_edge(x, window, place, depthwise, nothing, target):
    """Filter the pixel at `place` (address of its picture, row, column), some of whose taps lie beyond the picture."""
    height, width, stride, above, left = window
    (picture, i, j), (kernel, limits) = place, depthwise
    pixel, first = x.strides[0], (i * stride - above, j * stride - left)
    start = picture + (first[0] * width + first[1]) * pixel
    upper, lower = first[0] >= 0, first[0] + 2 < height
    before, after = first[1] >= 0, first[1] + 2 < width
    middle, last = start + width * pixel, start + 2 * width * pixel
    taps = (
        start if upper and before else nothing,
        start + pixel if upper else nothing,
        start + 2 * pixel if upper and after else nothing,
        middle if before else nothing,
        middle + pixel,
        middle + 2 * pixel if after else nothing,
        last if lower and before else nothing,
        last + pixel if lower else nothing,
        last + 2 * pixel if lower and after else nothing,
    )
    _filter_pixel(taps, kernel.ctypes.data, limits.ctypes.data, target, kernel.shape[0])


@njit(**OPTIONS)
def _filter_inside(x, window, place, count, depthwise, nothing, target):
    """Filter `count` pixels from `place` on, none of them at the left or right edge."""
    height, width, stride, above, left = window
    (picture, i, j), (kernel, limits) = place, depthwise
    pixel, row = x.strides[0], i * stride - above
    start = picture + (row * width + j * stride - left) * pixel
    step, channels = stride * pixel // 4, pixel // 4
    upper, lower = row >= 0, row + 2 < height
    for b in range(kernel.shape[0]):
        lane = 4 * b * LANES
        rows = (
            start + lane if upper else nothing,
            start + width * pixel + lane,
            start + 2 * width * pixel + lane if lower else nothing,
            step if upper else 0,
            step,
            step if lower else 0,
            channels,
        )
        weights = kernel.ctypes.data + b * kernel.strides[0]
        _filter_span(rows, weights, limits.ctypes.data, (target + lane, channels), count)


@njit(**OPTIONS)
def _filter(x, window, size, span, depthwise, nothing, scratch):
    """Compute the depthwise results of a span of pixels, counted over pictures, rows and columns."""
    height, width, stride, _, left = window
    first, count = span
    done = 0
    while done < count:
        number = first + done
        face, place = number // (size[0] * size[1]), number % (size[0] * size[1])
        i, j = place // size[1], place % size[1]
        picture = x.ctypes.data + face * height * width * x.strides[0]
        target = scratch.ctypes.data + done * scratch.strides[0]
        # Columns from `left` (0 or 1) on have all taps on the left, those before `inner` on the right.
        inner = min(size[1], (width - 3 + left) // stride + 1)
        if j * stride >= left and j < inner:
            run = min(count - done, inner - j)
            _filter_inside(x, window, (picture, i, j), run, depthwise, nothing.ctypes.data, target)
            done += run
        else:
            _filter_edge(x, window, (picture, i, j), depthwise, nothing.ctypes.data, target)
            done += 1


@njit(**OPTIONS)
def convolve(x, place, faces, depthwise, pointwise, scratch, y):
    """Convolve depthwise by 3 x 3 and pointwise, a span of pixels at a time.

    Parameters
    ----------
    x, y : ndarray of shape (pixels, padded channels), float32
        See `activations`; `y` takes the result.
    place : (window, size)
        Height, width, stride and zeros above and on the left of a picture in `x`, see `leading.Window`; height and width
        of one in `y`.
    faces : int
    depthwise : (kernel, limits)
        See `depthwise_kernel`; two floats, as in `convolve_first`.
    pointwise : (kernel, bias, limits)
        (panels, padded inputs, `PANEL`), (padded outputs,) and two floats.
    scratch : (results, nothing), ndarrays of float32
        (pixels at a time, padded channels of x) for depthwise results, the pixels a multiple of `ROWS`; and zeros, three
        times as many as channels of `x`.
    """
    (window, size), (results, nothing) = place, scratch
    kernel, bias, limits = pointwise
    total, row, pixel = faces * size[0] * size[1], results.strides[0], y.strides[0]
    for first in range(0, total, results.shape[0]):
        count = min(results.shape[0], total - first)
        _filter(x, window, size, (first, count), depthwise, nothing, results)
        target = y.ctypes.data + first * pixel
        for p in range(kernel.shape[0]):
            panel, shift = kernel.ctypes.data + p * kernel.strides[0], bias.ctypes.data + 4 * p * PANEL
            for r in range(0, count, ROWS):
                left = results.ctypes.data + r * row, row // 4, 1, 0, kernel.shape[1]
                result = target + r * pixel + 4 * p * PANEL, pixel // 4
                multiply_within(left, panel, shift, limits.ctypes.data, result)
