"""Winograd's convolutions against the formula of a convolution, at every edge and for narrower registers."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba", reason="the extra [fast] is not installed")

from faceworkbook.descriptors.engines.compiled import vectors
from faceworkbook.descriptors.engines.compiled.products import ROWS, padded, panels, zeros
from faceworkbook.descriptors.engines.winograd import kernels

SIZES = [(1, 1), (4, 4), (5, 9), (8, 17), (13, 6), (31, 22)]


def convolved(x, kernel, bias, *, pools=False):
    """A 3 x 3 convolution that keeps the size, with ReLU, as it is defined; in double precision."""
    n, height, width, _ = x.shape
    bordered = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))).astype(float)
    whole = bias + sum(
        bordered[:, a : a + height, b : b + width] @ kernel[a, b].astype(float)
        for a in range(3)
        for b in range(3)
    )
    whole = np.maximum(whole, 0)
    if not pools:
        return whole
    even = whole[:, : height // 2 * 2, : width // 2 * 2]
    return even.reshape(n, height // 2, 2, width // 2, 2, len(bias)).max((2, 4))


def drawn(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def biases(values):
    full = zeros(padded(len(values)))
    full[: len(values)] = values
    return full


def inner(y, height, width, channels):
    return y[:, 1 : height + 1, 1 : width + 1, :channels]


@pytest.mark.parametrize("height, width", SIZES)
@pytest.mark.parametrize("pools", [False, True])
@pytest.mark.parametrize("channels", [(3, 5), (64, 40)])
def test_equals_the_formula(height, width, pools, channels):
    rng = np.random.default_rng(0)
    inputs, outputs = channels
    pictures, kernel, bias = (
        drawn(rng, 3, height, width, inputs),
        drawn(rng, 3, 3, *channels),
        drawn(rng, outputs),
    )
    x = kernels.activations(3, height, width, inputs)
    inner(x, height, width, inputs)[...] = pictures
    size = (height // 2, width // 2) if pools else (height, width)
    y = kernels.activations(3, *size, outputs)
    y[:, 1:, 1:] = np.nan  # of an earlier picture
    tiles = 2 * ROWS
    scratch = [zeros(kernels.PATCH, tiles, padded(c)) for c in channels]
    weights = kernels.transformed_kernel(kernel)
    kernels.convolve(x, (height, width), weights, biases(bias), pools, y, tuple(scratch))
    expected = convolved(pictures, kernel, bias, pools=pools)
    np.testing.assert_allclose(
        inner(y, *size, outputs), expected, atol=2e-5 * np.abs(expected).max(initial=1)
    )
    inner(y, *size, outputs)[...] = 0
    assert not y.any()  # the border and the channels that only fill up stay zeros


@pytest.mark.parametrize("height, width", SIZES)
def test_the_first_layer_equals_the_formula(height, width):
    rng = np.random.default_rng(1)
    picture, kernel, bias = drawn(rng, 1, height, width, 3), drawn(rng, 3, 3, 3, 40), drawn(rng, 40)
    x = zeros(height + 2, width + ROWS + 1, 3)
    x[1 : height + 1, 1 : width + 1] = picture[0]
    y = kernels.activations(1, height, width, 40)
    rows = zeros(width + ROWS, padded(40))
    kernels.convolve_first(x, (height, width), panels(kernel.reshape(27, 40)), biases(bias), y[0], rows)
    expected = convolved(picture, kernel, bias)
    np.testing.assert_allclose(inner(y, height, width, 40), expected, rtol=1e-5, atol=1e-5)


def test_the_combinations_filter_four_places_by_six_products():
    """The identity that the method rests on, in one dimension."""
    rng = np.random.default_rng(2)
    d, g = rng.standard_normal(6), rng.standard_normal(3)
    products = (kernels.G @ g) * kernels.input_combinations(list(d))
    filtered = kernels.output_combinations(list(products))
    np.testing.assert_allclose(filtered, np.correlate(d, g), atol=1e-12)


def test_memory_begins_with_a_cache_line():
    """Registers are as wide as a line: what begins elsewhere costs two lines a register."""
    made = [zeros(n, 5) for n in range(1, 40)]  # so many that not all are aligned without care
    made += [panels(np.ones((3, n, 40), np.float32)) for n in range(1, 20)]
    assert {array.ctypes.data % 64 for array in made} == {0}
    assert not made[6].any() and made[6].shape == (7, 5)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="registers of x86 processors")
@pytest.mark.parametrize("features, lanes, registers", [("+sse2", 4, 16), ("+sse4.2,+avx,+avx2,+fma", 8, 16)])
def test_processors_with_narrower_registers(tmp_path, features, lanes, registers):
    if lanes > vectors.LANES:
        pytest.skip(f"this processor's registers hold {vectors.LANES} floats")
    environment = os.environ | {"NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [
        sys.executable,
        "-c",
        "from faceworkbook.descriptors.engines.compiled import vectors as v; print(v.LANES, v.REGISTERS)",
    ]
    assert subprocess.check_output(command, env=environment, text=True).split() == [
        str(lanes),
        str(registers),
    ]
    tests = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n0",
        "-k",
        "formula",
        __file__,
        str(Path(__file__).with_name("test_separable.py")),
    ]
    subprocess.run(tests, env=environment, check=True)
