"""Separable convolutions against the formula of a convolution, and whole networks against Keras."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from tests.support.networks import compute

pytest.importorskip("numba", reason="the extra [fast] is not installed")

from faceworkbook import images
from faceworkbook.descriptors import engines
from faceworkbook.descriptors.engines import onnx_graph, own_kernels, prepare
from faceworkbook.descriptors.engines.compiled.graphs import UnsuitedGraph
from faceworkbook.descriptors.engines.compiled.products import padded, panels, zeros
from faceworkbook.descriptors.engines.separable import kernels, leading

WINDOWS = [
    (5, 9, 1, 1, 1, 1, 1),
    (8, 17, 2, 0, 0, 1, 1),
    (13, 6, 2, 1, 1, 1, 1),
    (31, 22, 1, 0, 1, 0, 1),
    (3, 40, 1, 0, 0, 0, 0),
    (1, 1, 1, 1, 1, 1, 1),
    (2, 3, 2, 1, 1, 0, 0),
]


def filtered(x, window, kernel, bias, limits):
    """A depthwise convolution as it is defined, in double precision."""
    bordered = np.pad(
        x.astype(float), ((0, 0), (window.above, window.below), (window.left, window.right), (0, 0))
    )
    (height, width), s = window.output_size, window.stride
    taps = sum(
        bordered[:, a : a + s * height : s, b : b + s * width : s][:, :height, :width] * kernel[a, b]
        for a in range(3)
        for b in range(3)
    )
    return np.clip(taps + bias, *limits)


def drawn(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def filled(values, *shape):
    array = zeros(*shape)
    array[tuple(slice(n) for n in values.shape)] = values
    return array


@pytest.mark.parametrize("window", [leading.Window(*each) for each in WINDOWS], ids=str)
@pytest.mark.parametrize("inputs, outputs", [(5, 40), (70, 3)])
@pytest.mark.parametrize("limits", [(0.0, 1.5), (0.0, math.inf)])
def test_equals_the_formula(window, inputs, outputs, limits):
    rng, faces, size = np.random.default_rng(0), 3, window.output_size
    pictures, kernel, bias = (
        drawn(rng, faces, window.height, window.width, inputs),
        drawn(rng, 3, 3, inputs),
        drawn(rng, inputs),
    )
    weights, shift = drawn(rng, inputs, outputs), drawn(rng, outputs)
    x = kernels.activations(faces * window.height * window.width, inputs)
    x[: -kernels.ROWS, :inputs] = pictures.reshape(-1, inputs)
    x[-kernels.ROWS :] = np.nan  # nothing reads what lies behind the last picture
    y = kernels.activations(faces * math.prod(size), outputs)
    y[...] = np.nan  # of earlier pictures
    ends = np.array(limits, np.float32)
    kernels.convolve(
        x, ((window.height, window.width, window.stride, window.above, window.left), size), faces,
        (kernels.depthwise_kernel(kernel, bias), ends),
        (panels(filled(weights, padded(inputs), outputs)), filled(shift, padded(outputs)), ends),
        (zeros(2 * kernels.ROWS, padded(inputs)), zeros(3 * padded(inputs))), y,
    )  # fmt: skip
    middle = filtered(pictures, window, kernel, bias, limits)
    expected = np.clip(middle @ weights + shift, *limits).reshape(-1, outputs)
    opening = y[: len(expected)]
    np.testing.assert_allclose(opening[:, :outputs], expected, atol=1e-5 * np.abs(expected).max(initial=1))
    assert not opening[:, outputs:].any()  # channels that only fill up


def mobile_network(height, width, *, end="relu6", stride=2):
    """A convolution, three separable ones of widths that fill no register, and a dense layer."""
    import keras

    layers = keras.layers
    x = inputs = keras.Input((height, width, 3))
    x = layers.ReLU(6.0)(layers.Conv2D(7, 3, strides=stride, padding="same")(x))
    for filters, step in ((12, 1), (40, 2), (9, 1)):
        x = layers.ReLU(6.0)(layers.DepthwiseConv2D(3, strides=step, padding="same")(x))
        x = layers.Activation(end)(layers.Conv2D(filters, 1)(x))
    return keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x)))


def drawn_weights(model, rng):
    for variable in model.weights:
        variable.assign(rng.uniform(-0.3, 0.4, variable.shape))
    return model


WITHOUT_A_CACHE = """
from numba.core.caching import CacheImpl
CacheImpl._locator_classes = []  # as where no folder may be written to
import numpy as np
from faceworkbook.descriptors.engines.separable import kernels
x = np.zeros((2, 3), np.float32)
kernels.load_picture(np.full((1, 3), 7, np.uint8), np.ones(3, np.float32), np.full(3, 2, np.float32), (1, 0), x)
print(x.tolist())
"""


def test_kernels_are_compiled_where_nothing_can_be_kept():
    """In a container, or by another user than the one who installed."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_A_CACHE], capture_output=True, text=True, check=False
    )
    assert done.stdout.split("\n")[0] == "[[0.0, 0.0, 0.0], [12.0, 12.0, 12.0]]", done.stderr


RECORDS = {
    "BGR": {"channels": "BGR", "mean": (120.0, 110.0, 100.0), "scale": 1 / 64},
    "RGB, a scale each": {
        "channels": "RGB",
        "mean": (120.0, 110.0, 100.0),
        "scale": (1 / 64, 1 / 50, 1 / 70),
    },
    "BGR, a scale each": {
        "channels": "BGR",
        "mean": (120.0, 110.0, 100.0),
        "scale": (1 / 64, 1 / 50, 1 / 70),
    },
    "prewhitened": {"channels": "RGB", "mean": (0.0, 0.0, 0.0), "scale": 1.0, "prewhiten": True},
}


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    "height, width, stride, end, record",
    [(24, 24, 2, "relu6", "BGR"), (21, 34, 2, "relu", "RGB, a scale each"), (9, 5, 1, "relu6", "BGR, a scale each"),
     (61, 70, 1, "relu", "prewhitened")],
)  # fmt: skip
def test_a_network_gives_the_descriptors_of_keras(tmp_path, height, width, stride, end, record):
    """Odd sizes, large pictures that go alone, and more faces than go together."""
    rng = np.random.default_rng(5)
    model = drawn_weights(mobile_network(height, width, stride=stride, end=end), rng)
    onnx_graph.write(model, tmp_path)
    preprocessing = images.Preprocessing((height, width), **RECORDS[record])
    pixels = rng.integers(0, 256, (11, height, width, 3), np.uint8)
    expected = compute(model, images.network_input(pixels, preprocessing))
    runner = prepare.make("separable", tmp_path, preprocessing, threads=2)
    assert engines.compare(runner.run(pixels), expected)["relative_error"] < 1e-5
    # Again, with what the first faces left, and as a picture turned by its strides alone.
    turned = pixels[:3, :, ::-1]
    again = compute(model, images.network_input(turned, preprocessing))
    assert engines.compare(runner.run(turned), again)["relative_error"] < 1e-5


@pytest.mark.tensorflow
def test_networks_that_it_is_not_made_for_are_refused(tmp_path):
    import keras

    inputs = keras.Input((12, 12, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    x = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
    x = keras.layers.Conv2D(4, 1)(x)  # without ReLU, as in the bottlenecks of MobileNetV2
    onnx_graph.write(keras.Model(inputs, keras.layers.Flatten()(x)), tmp_path)
    with pytest.raises(UnsuitedGraph, match="begins with 0 depthwise-separable convolutions"):
        own_kernels.check_graph("separable", tmp_path / "model.onnx")


@pytest.mark.tensorflow
def test_a_convolution_of_one_filter_is_no_depthwise_one(tmp_path):
    """Its kernel has as many groups as a depthwise one of a single channel, and more inputs."""
    import keras

    layers = keras.layers
    x = inputs = keras.Input((20, 20, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    for _ in range(2):
        x = layers.Conv2D(1, 3, padding="same", activation="relu")(x)
        x = layers.Conv2D(4, 1, activation="relu")(x)
    onnx_graph.write(keras.Model(inputs, layers.Flatten()(x)), tmp_path)
    with pytest.raises(UnsuitedGraph, match="begins with 0 depthwise-separable"):
        own_kernels.check_graph("separable", tmp_path / "model.onnx")


@pytest.mark.parametrize("spoil", ["limits that are computed", "automatic pads"])
@pytest.mark.tensorflow
def test_what_is_not_understood_is_refused(tmp_path, spoil):
    import onnx

    onnx_graph.write(mobile_network(20, 20), tmp_path)
    model = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    first, clip = model.graph.node[:2]
    assert (first.op_type, clip.op_type) == ("Conv", "Clip")
    if spoil == "automatic pads":
        first.attribute.append(onnx.helper.make_attribute("auto_pad", "SAME_LOWER"))
    else:
        clip.input[2] = "computed"
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(UnsuitedGraph, match="begins with 0 depthwise-separable"):
        own_kernels.check_graph("separable", tmp_path / "model.onnx")


@pytest.mark.tensorflow
def test_a_branch_ends_what_it_takes(tmp_path):
    """A layer that is read twice belongs to the rest, though a separable convolution follows it."""
    import keras

    layers = keras.layers
    full = mobile_network(20, 20)
    second = [layer for layer in full.layers if isinstance(layer, layers.Activation)][1].output
    third = [layer for layer in full.layers if isinstance(layer, layers.Activation)][2].output
    both = [layers.Flatten()(each) for each in (second, third)]
    model = drawn_weights(keras.Model(full.inputs, layers.Concatenate()(both)), np.random.default_rng(1))
    onnx_graph.write(model, tmp_path)
    opening, _ = leading.split_graph(tmp_path / "model.onnx")
    assert len(opening.blocks) == 2
    pixels = np.random.default_rng(0).integers(0, 256, (3, 20, 20, 3), np.uint8)
    record = images.Preprocessing((20, 20), "RGB", (0.0, 0.0, 0.0), 1 / 255)
    result = prepare.make("separable", tmp_path, record, threads=1).run(pixels)
    expected = compute(model, images.network_input(pixels, record))
    np.testing.assert_allclose(result, expected, atol=1e-5)
