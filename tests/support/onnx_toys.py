"""Write ONNX networks in the shape of the usual ones, small enough to be computed by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

GRID = 4  # a toy sees the means of GRID x GRID fields


def write(
    path: Path,
    *,
    size: int = 112,
    dim: int = 512,
    layout: str = "NCHW",
    batch: int | str = "batch",
    names: tuple[str, str] = ("input.1", "683"),
    extra: tuple[str, ...] = (),
) -> np.ndarray:
    """Write a network that gives ``field means @ matrix``, and return the matrix (3 * GRID**2, dim).

    Parameters
    ----------
    names : of the input and the output
    extra : {'tokens', 'second input', 'second output', 'external'}
        'tokens': the output is (n, 2, dim), the second token being the first one plus 1.
    """
    import onnx
    from onnx import TensorProto, helper

    rng = np.random.default_rng(5)
    matrix = rng.normal(0, 0.1, (3 * GRID**2, dim)).astype(np.float32)
    shape = [batch, 3, size, size] if layout == "NCHW" else [batch, size, size, 3]
    source, result = names
    kernel = [size // GRID] * 2
    nodes = [
        helper.make_node("AveragePool", ["planes"], ["fields"], kernel_shape=kernel, strides=kernel),
        helper.make_node("Flatten", ["fields"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["vectors"]),
    ]
    perm = [0, 3, 1, 2] if layout == "NHWC" else [0, 1, 2, 3]
    nodes.insert(0, helper.make_node("Transpose", [source], ["planes"], perm=perm))
    tensors = [helper.make_tensor("matrix", TensorProto.FLOAT, matrix.shape, matrix.tobytes(), raw=True)]
    outputs = [helper.make_tensor_value_info(result, TensorProto.FLOAT, [batch, dim])]
    if "tokens" in extra:
        tensors.append(helper.make_tensor("axes", TensorProto.INT64, [1], [1]))
        tensors.append(helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]))
        nodes.append(helper.make_node("Unsqueeze", ["vectors", "axes"], ["first"]))
        nodes.append(helper.make_node("Add", ["first", "one"], ["other"]))
        nodes.append(helper.make_node("Concat", ["first", "other"], [result], axis=1))
        outputs = [helper.make_tensor_value_info(result, TensorProto.FLOAT, [batch, 2, dim])]
    else:
        nodes.append(helper.make_node("Identity", ["vectors"], [result]))
    inputs = [helper.make_tensor_value_info(source, TensorProto.FLOAT, shape)]
    if "second input" in extra:
        inputs.append(helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", 77]))
        nodes.append(helper.make_node("Identity", ["input_ids"], ["ids"]))
    if "second output" in extra:
        outputs.append(helper.make_tensor_value_info("flat", TensorProto.FLOAT, [batch, 3 * GRID**2]))
    graph = helper.make_graph(nodes, "toy", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    external = {"save_as_external_data": True, "location": f"{path.stem}.data", "size_threshold": 0}
    onnx.save(model, path, **(external if "external" in extra else {}))
    return matrix


def by_hand(pictures: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return descriptors of preprocessed pictures (n, size, size, 3), computed without ONNX."""
    n, size = pictures.shape[:2]
    step = size // GRID
    fields = pictures.reshape(n, GRID, step, GRID, step, 3).mean(axis=(2, 4))
    return fields.transpose(0, 3, 1, 2).reshape(n, -1) @ matrix
