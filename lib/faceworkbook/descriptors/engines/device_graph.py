"""The ONNX graph of a network as a device takes it: uint8 pixels in, preprocessing on the device, 16-bit weights.

Pixels cross the bus as bytes, a quarter of what float32 takes. In float16 batch normalisation is folded into the
convolution before it, in double precision; where that cannot be, it stays in float32.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from faceworkbook.descriptors.engines.onnx_graph import INPUT, OUTPUT, WEIGHTS
from faceworkbook.files import write_beside
from faceworkbook.preprocessing import GREY_WEIGHTS, Preprocessing

PIXELS = "pixels"
HALF_WEIGHTS = "weights-float16.bin"
NORMALISATION = "BatchNormalization"
KEPT = 16  # numbers of a weight that stand in the graph itself


def read(path: Path, preprocessing: Preprocessing, *, half: bool = False):
    """Return a graph with its preprocessing in it.

    Parameters
    ----------
    path : pathlib.Path
        The graph that `onnx_graph.write` wrote, its weights beside it.
    preprocessing : Preprocessing
    half : bool
        Compute in float16; the weights are written once, beside the others.

    Returns
    -------
    onnx.ModelProto
        'pixels' (n, height, width, 3) uint8 RGB -> 'descriptor' (n, dim) float32; the weights lie in the graph's folder.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    if half:
        _halve(model.graph, path.parent)
    _put_preprocessing_first(model.graph, preprocessing, half=half)
    return model


def _put_preprocessing_first(graph, preprocessing: Preprocessing, *, half: bool) -> None:
    from onnx import TensorProto, helper

    nodes: list = []

    def add(op: str, *inputs: str, output: str = "", **attributes) -> str:
        output = output or f"prepared{len(nodes)}"
        nodes.append(helper.make_node(op, list(inputs), [output], **attributes))
        return output

    def constant(values, kind=np.float32) -> str:
        array = np.asarray(values, kind)
        name = f"preprocessing{len(graph.initializer)}"
        graph.initializer.append(_tensor(name, array))
        return name

    x = add("Cast", PIXELS, to=TensorProto.FLOAT)
    if preprocessing.channels == "GRAY":
        x = add("Mul", x, constant(GREY_WEIGHTS))
        x = add("ReduceSum", x, constant([3], np.int64), keepdims=1)
    elif preprocessing.channels == "BGR":
        x = add("Gather", x, constant([2, 1, 0], np.int64), axis=3)
    if preprocessing.prewhiten:
        x = add("Sub", x, add("ReduceMean", x, axes=[1, 2, 3], keepdims=1))
        variance = add("ReduceMean", add("Mul", x, x), axes=[1, 2, 3], keepdims=1)
        n = np.prod(preprocessing.size) * (1 if preprocessing.channels == "GRAY" else 3)
        x = add("Div", x, add("Max", add("Sqrt", variance), constant(n**-0.5)))
    else:
        x = add("Mul", add("Sub", x, constant(preprocessing.mean)), constant(preprocessing.scale))
    x = add("Transpose", x, perm=[0, 3, 1, 2])
    add("Cast", x, output=INPUT, to=TensorProto.FLOAT16 if half else TensorProto.FLOAT)
    height, width = preprocessing.size
    start = helper.make_tensor_value_info(PIXELS, TensorProto.UINT8, ["n", height, width, 3])
    own = list(graph.node)
    del graph.input[:], graph.node[:]
    graph.input.append(start)
    graph.node.extend([*nodes, *own])


def _tensor(name: str, array: np.ndarray):
    from onnx import numpy_helper

    return numpy_helper.from_array(np.asarray(array), name)


def _halve(graph, folder: Path) -> None:
    """Let a graph compute in float16 and give float32."""
    from onnx import TensorProto, helper

    arrays = {tensor.name: _array(tensor, folder) for tensor in graph.initializer}
    _fold_normalisation(graph, arrays)
    kept = {name for node in graph.node if node.op_type == NORMALISATION for name in node.input[1:]}
    used = {name for node in graph.node for name in node.input}
    nodes = []
    for node in graph.node:
        if node.op_type != NORMALISATION:
            nodes.append(node)
            continue
        single, result = f"{node.output[0]}_single", node.output[0]
        nodes.append(helper.make_node("Cast", [node.input[0]], [f"{single}_in"], to=TensorProto.FLOAT))
        node.input[0], node.output[0] = f"{single}_in", single
        nodes.append(node)
        nodes.append(helper.make_node("Cast", [single], [result], to=TensorProto.FLOAT16))
    last = next(node for node in nodes if node.output[0] == OUTPUT)
    last.output[0] = f"{OUTPUT}_half"
    nodes.append(helper.make_node("Cast", [f"{OUTPUT}_half"], [OUTPUT], to=TensorProto.FLOAT))
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    halves = {
        name: array if name in kept or array.dtype.kind != "f" else _half(array)
        for name, array in arrays.items()
        if name in used
    }
    graph.initializer.extend(_write(halves, folder / HALF_WEIGHTS))


def _half(array: np.ndarray) -> np.ndarray:
    # What is too large for float16 becomes infinite, which the check of the engine's descriptors sees.
    with np.errstate(over="ignore"):
        return array.astype(np.float16)


def _array(tensor, folder: Path) -> np.ndarray:
    """Return a weight of the graph, mapped where it lies in the file of weights."""
    from onnx import TensorProto, numpy_helper

    if tensor.data_location != TensorProto.EXTERNAL:
        return numpy_helper.to_array(tensor)
    place = {entry.key: entry.value for entry in tensor.external_data}
    kind = "<f4" if tensor.data_type == TensorProto.FLOAT else "<i8"
    shape = tuple(tensor.dims)
    return np.memmap(folder / WEIGHTS, kind, "r", offset=int(place["offset"]), shape=shape)


def _fold_normalisation(graph, arrays: dict[str, np.ndarray]) -> None:
    """Put batch normalisation into the convolution that it follows, where nothing else reads that."""
    readers: dict[str, int] = {}
    for name in (name for node in graph.node for name in node.input):
        readers[name] = readers.get(name, 0) + 1
    makers = {node.output[0]: node for node in graph.node}
    left = []
    for node in graph.node:
        before = makers.get(node.input[0]) if node.op_type == NORMALISATION else None
        if before is None or before.op_type != "Conv" or readers[node.input[0]] > 1:
            left.append(node)
            continue
        gamma, beta, mean, variance = (arrays[name].astype(float) for name in node.input[1:])
        epsilon = next(a.f for a in node.attribute if a.name == "epsilon")
        factor = gamma / np.sqrt(variance + epsilon)
        kernel, bias = arrays[before.input[1]], 0.0
        if len(before.input) > 2:
            bias = arrays[before.input[2]].astype(float)
        result = node.output[0]
        names = [f"{result}_kernel", f"{result}_bias"]
        arrays[names[0]] = (kernel * factor.reshape(-1, *[1] * (kernel.ndim - 1))).astype(np.float32)
        arrays[names[1]] = (beta + (bias - mean) * factor).astype(np.float32)
        del before.input[1:], before.output[:]
        before.input.extend(names)
        before.output.append(result)
    del graph.node[:]
    graph.node.extend(left)


def _write(arrays: dict[str, np.ndarray], path: Path) -> list:
    """Write weights into one file, if it is not there; return them as the graph names them."""
    from onnx import TensorProto, helper

    tensors, pieces, at = [], [], 0
    for name, array in arrays.items():
        if array.size <= KEPT:
            tensors.append(_tensor(name, array))
            continue
        tensor = TensorProto(
            name=name, data_type=helper.np_dtype_to_tensor_dtype(array.dtype), dims=array.shape
        )
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": path.name, "offset": at, "length": array.nbytes}.items():
            tensor.external_data.add(key=key, value=str(value))
        tensors.append(tensor)
        pieces.append(array)
        at += array.nbytes
    if not (path.exists() and path.stat().st_size == at):
        write_beside(path, b"".join(piece.tobytes() for piece in pieces))
    return tensors
