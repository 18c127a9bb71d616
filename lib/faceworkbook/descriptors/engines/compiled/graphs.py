"""What is read from an ONNX graph that own kernels begin and ONNX Runtime ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from faceworkbook.descriptors.engines.onnx_graph import INPUT, OUTPUT


class UnsuitedGraph(ValueError):
    """A network that does not begin with what an engine is made for; the text says what it begins with."""


def is_chain(nodes: list, end: int) -> bool:
    """Return whether the nodes from `end` on read nothing of those before it but the last one's output."""
    before = {name for node in nodes[: end - 1] for name in node.output} | {INPUT}
    return not any(name in before for node in nodes[end:] for name in node.input)


def attributes(node) -> dict:
    """Return the attributes of a node by name."""
    import onnx

    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def read_array(proto, folder: Path) -> np.ndarray:
    """Return a weight; one that lies in the weights file is memory-mapped."""
    from onnx import numpy_helper

    if not proto.external_data:
        return numpy_helper.to_array(proto)
    entry = {e.key: e.value for e in proto.external_data}
    file, start = folder / entry["location"], int(entry["offset"])
    return np.memmap(file, np.float32, "r", offset=start, shape=tuple(proto.dims))


def make_rest(model, nodes: list, last: str, shape: tuple[int, int, int]):
    """Make a model of `nodes`; the tensor `last`, of `shape` for each face, becomes its input."""
    from onnx import TensorProto, helper

    for node in nodes:
        node.input[:] = [INPUT if name == last else name for name in node.input]
    used = {name for node in nodes for name in node.input}
    weights = [proto for proto in model.graph.initializer if proto.name in used]
    start = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", *shape])
    graph = helper.make_graph(nodes, OUTPUT, [start], model.graph.output, weights)
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def open_rest(model, folder: Path, threads: int):
    """Open a model made by `make_rest`, whose weights lie in `folder`, in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # our threads want the cores
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
