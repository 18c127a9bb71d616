"""Write a Keras functional model as an ONNX graph, layer by layer, the weights in a file of their own.

The usual exporters trace the model and hold it in memory several times, which does not work for a network
the size of VGG-Face. Here each layer's arrays go straight to the file.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

OPSET, IR_VERSION = 13, 8  # old enough for every converter
WEIGHTS = "weights.bin"
INPUT, OUTPUT = "input", "descriptor"


class UnsupportedLayer(ValueError):
    """A layer that has no ONNX translation; the network runs with Keras instead."""


def write(model, folder: Path) -> Path:
    """Write ``model.onnx`` and its weights into `folder`.

    Parameters
    ----------
    model : keras.Model
        One input (n, height, width, channels), one output (n, dim).
    folder : pathlib.Path
        Exists; what is in it is overwritten.

    Returns
    -------
    pathlib.Path
        The graph: 'input' (n, channels, height, width) float32 -> 'descriptor' (n, dim) float32.

    Raises
    ------
    UnsupportedLayer
        A layer has no translation; the text names it.
    """
    import onnx

    with (folder / WEIGHTS).open("wb") as file:
        graph = _Graph(file)
        graph.names[id(model.inputs[0])] = INPUT
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                if not node.is_input:
                    _translate(graph, node)
        graph.add("Identity", [graph.names[id(model.outputs[0])]], output=OUTPUT)
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    _, height, width, channels = model.inputs[0].shape
    start = helper.make_tensor_value_info(INPUT, kind, ["n", channels, height, width])
    result = helper.make_tensor_value_info(OUTPUT, kind, ["n", model.outputs[0].shape[-1]])
    proto = helper.make_graph(graph.nodes, "faceworkbook", [start], [result], graph.weights)
    opsets = [helper.make_opsetid("", OPSET)]
    onnx.save(helper.make_model(proto, opset_imports=opsets, ir_version=IR_VERSION), folder / "model.onnx")
    return folder / "model.onnx"


class _Graph:
    def __init__(self, file):
        self.file, self.nodes, self.weights = file, [], []
        self.names: dict[int, str] = {}

    def add(self, op: str, inputs: list[str], *, output: str | None = None, **attributes) -> str:
        from onnx import helper

        output = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def weight(self, array) -> str:
        """Append an array to the weights file and return its name in the graph."""
        import onnx

        array = np.asarray(array)
        kind = {"f": (onnx.TensorProto.FLOAT, "<f4"), "i": (onnx.TensorProto.INT64, "<i8")}[array.dtype.kind]
        array = np.ascontiguousarray(array, kind[1])
        proto = onnx.TensorProto(name=f"w{len(self.weights)}", data_type=kind[0], dims=array.shape)
        if array.size <= 16:  # shapes and limits, which converters read from the graph itself
            proto.raw_data = array.tobytes()
        else:
            entries = {"location": WEIGHTS, "offset": self.file.tell(), "length": array.nbytes}
            proto.data_location = onnx.TensorProto.EXTERNAL
            for key, value in entries.items():
                proto.external_data.add(key=key, value=str(value))
            self.file.write(array.data)
        self.weights.append(proto)
        return proto.name


def _translate(graph: _Graph, node) -> None:
    layer = node.operation
    kind = type(layer).__name__
    if kind not in _TRANSLATIONS:
        raise UnsupportedLayer(f"layer {layer.name} is a {kind}, which has no ONNX translation here")
    inputs = [graph.names[id(tensor)] for tensor in node.input_tensors]
    shape = tuple(node.input_tensors[0].shape)
    output = _TRANSLATIONS[kind](graph, layer, inputs, shape)
    if kind != "Activation" and hasattr(layer, "activation"):
        output = _activate(graph, layer.activation.__name__, output)
    graph.names[id(node.outputs[0])] = output


def _activate(graph: _Graph, name: str, x: str) -> str:
    if name == "linear":
        return x
    if name == "softmax":
        return graph.add("Softmax", [x], axis=1)
    if name == "relu6":
        return _clip(graph, x, 6.0)
    if name in ("silu", "swish"):
        return graph.add("Mul", [x, graph.add("Sigmoid", [x])])
    if name in ("relu", "sigmoid", "tanh"):
        return graph.add(name.capitalize(), [x])
    raise UnsupportedLayer(f"activation {name} has no ONNX translation here")


def _clip(graph: _Graph, x: str, limit: float) -> str:
    limits = [graph.weight(np.float32(0)), graph.weight(np.float32(limit))]
    return graph.add("Clip", [x, *limits])


def _channels_last_only(layer) -> None:
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise UnsupportedLayer(f"layer {layer.name} keeps channels first")


def _pads(layer, size, strides, shape, dilation=(1, 1)) -> list[int]:
    """Return ONNX padding (top, left, bottom, right); TensorFlow's SAME puts the odd pixel below and right."""
    _channels_last_only(layer)
    if layer.padding != "same":
        return [0, 0, 0, 0]
    totals = [
        max((-(-n // step) - 1) * step + (k - 1) * d + 1 - n, 0)
        for n, k, step, d in zip(shape[1:3], size, strides, dilation, strict=True)
    ]
    return [*(t // 2 for t in totals), *(t - t // 2 for t in totals)]


def _bias(graph: _Graph, layer) -> list[str]:
    return [graph.weight(layer.bias.numpy())] if layer.use_bias else []


def _convolution(graph: _Graph, layer, inputs, shape) -> str:
    size, strides, dilation = layer.kernel_size, layer.strides, layer.dilation_rate
    kernel = layer.kernel.numpy().transpose(3, 2, 0, 1)
    if tuple(shape[1:3]) == tuple(size) and layer.padding == "valid" and layer.groups == 1:
        return _whole_picture(graph, layer, inputs, kernel)
    kernel = graph.weight(kernel)
    return graph.add(
        "Conv",
        [*inputs, kernel, *_bias(graph, layer)],
        kernel_shape=size,
        strides=strides,
        dilations=dilation,
        group=layer.groups,
        pads=_pads(layer, size, strides, shape, dilation),
    )


def _whole_picture(graph: _Graph, layer, inputs, kernel: np.ndarray) -> str:
    """Write a convolution with one output pixel as a matrix product, which reads its weights once a batch."""
    _channels_last_only(layer)
    flat = graph.add("Flatten", inputs, axis=1)
    matrix = graph.weight(kernel.reshape(len(kernel), -1))
    result = graph.add("Gemm", [flat, matrix, *_bias(graph, layer)], transB=1)
    return graph.add("Unsqueeze", [result, graph.weight(np.array([2, 3]))])


def _depthwise_node(graph: _Graph, layer, inputs, shape, kernel: np.ndarray, bias: list[str]) -> str:
    height, width, channels, multiplier = kernel.shape
    kernel = kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
    strides, dilation = layer.strides, layer.dilation_rate
    return graph.add(
        "Conv",
        [*inputs, graph.weight(kernel), *bias],
        kernel_shape=(height, width),
        strides=strides,
        dilations=dilation,
        group=channels,
        pads=_pads(layer, (height, width), strides, shape, dilation),
    )


def _depthwise(graph: _Graph, layer, inputs, shape) -> str:
    return _depthwise_node(graph, layer, inputs, shape, layer.kernel.numpy(), _bias(graph, layer))


def _separable(graph: _Graph, layer, inputs, shape) -> str:
    between = _depthwise_node(graph, layer, inputs, shape, layer.depthwise_kernel.numpy(), [])
    kernel = graph.weight(layer.pointwise_kernel.numpy().transpose(3, 2, 0, 1))
    return graph.add("Conv", [between, kernel, *_bias(graph, layer)], kernel_shape=(1, 1))


def _dense(graph: _Graph, layer, inputs, shape) -> str:
    if len(shape) != 2:
        raise UnsupportedLayer(f"layer {layer.name} is a Dense on {len(shape)} axes")
    return graph.add("Gemm", [*inputs, graph.weight(layer.kernel.numpy()), *_bias(graph, layer)])


def _batch_normalization(graph: _Graph, layer, inputs, shape) -> str:
    if layer.axis not in (-1, len(shape) - 1):
        raise UnsupportedLayer(f"layer {layer.name} normalises axis {layer.axis}")
    mean, variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
    gamma = layer.gamma.numpy() if layer.scale else np.ones_like(mean)
    beta = layer.beta.numpy() if layer.center else np.zeros_like(mean)
    weights = [graph.weight(array) for array in (gamma, beta, mean, variance)]
    return graph.add("BatchNormalization", [*inputs, *weights], epsilon=float(layer.epsilon))


def _unit_normalization(graph: _Graph, layer, inputs, shape) -> str:
    if len(shape) != 2 or layer.axis not in (-1, [-1], (-1,), [1], 1):
        raise UnsupportedLayer(f"layer {layer.name} normalises axis {layer.axis}")
    return graph.add("LpNormalization", inputs, axis=1, p=2)


def _relu(graph: _Graph, layer, inputs, shape) -> str:
    if layer.threshold or layer.negative_slope:
        raise UnsupportedLayer(f"layer {layer.name} is a ReLU with threshold or slope")
    if layer.max_value is not None:
        return _clip(graph, inputs[0], float(layer.max_value))
    return graph.add("Relu", inputs)


def _pool(op: str, **attributes) -> Callable:
    def translate(graph: _Graph, layer, inputs, shape) -> str:
        pads = _pads(layer, layer.pool_size, layer.strides, shape)
        return graph.add(
            op, inputs, kernel_shape=layer.pool_size, strides=layer.strides, pads=pads, **attributes
        )

    return translate


def _global_pool(op: str) -> Callable:
    def translate(graph: _Graph, layer, inputs, shape) -> str:
        _channels_last_only(layer)
        shrunk = graph.add(op, inputs)
        return shrunk if layer.keepdims else graph.add("Flatten", [shrunk], axis=1)

    return translate


def _flatten(graph: _Graph, layer, inputs, shape) -> str:
    if len(shape) == 4 and shape[1:3] != (1, 1):
        inputs = [graph.add("Transpose", inputs, perm=[0, 2, 3, 1])]
    return graph.add("Flatten", inputs, axis=1)


def _zero_padding(graph: _Graph, layer, inputs, shape) -> str:
    _channels_last_only(layer)
    (top, bottom), (left, right) = layer.padding
    pads = graph.weight(np.array([0, 0, top, left, 0, 0, bottom, right]))
    return graph.add("Pad", [*inputs, pads])


def _concatenate(graph: _Graph, layer, inputs, shape) -> str:
    if layer.axis not in (-1, len(shape) - 1):
        raise UnsupportedLayer(f"layer {layer.name} joins along axis {layer.axis}")
    return graph.add("Concat", inputs, axis=1)


def _pairwise(op: str) -> Callable:
    def translate(graph: _Graph, layer, inputs, shape) -> str:
        output = inputs[0]
        for other in inputs[1:]:
            output = graph.add(op, [output, other])
        return output

    return translate


_TRANSLATIONS: dict[str, Callable] = {
    "Conv2D": _convolution,
    "DepthwiseConv2D": _depthwise,
    "SeparableConv2D": _separable,
    "Dense": _dense,
    "BatchNormalization": _batch_normalization,
    "ReLU": _relu,
    "Activation": lambda graph, layer, inputs, shape: _activate(graph, layer.activation.__name__, inputs[0]),
    "Softmax": lambda graph, layer, inputs, shape: _activate(graph, "softmax", inputs[0]),
    "MaxPooling2D": _pool("MaxPool"),
    "AveragePooling2D": _pool("AveragePool", count_include_pad=0),
    "GlobalAveragePooling2D": _global_pool("GlobalAveragePool"),
    "GlobalMaxPooling2D": _global_pool("GlobalMaxPool"),
    "ZeroPadding2D": _zero_padding,
    "Flatten": _flatten,
    "UnitNormalization": _unit_normalization,
    "Dropout": lambda graph, layer, inputs, shape: inputs[0],
    "Add": _pairwise("Add"),
    "Multiply": _pairwise("Mul"),
    "Concatenate": _concatenate,
}
