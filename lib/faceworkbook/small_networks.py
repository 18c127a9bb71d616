"""ONNX graphs of small networks: changed when they are read, run with one thread."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def rewrite(graph, change: Callable[[object, dict[str, np.ndarray]], list]) -> None:
    """Put nodes in the place of others; constants that no node takes any more go.

    Parameters
    ----------
    graph : onnx.GraphProto
    change : callable
        From a node and the constants by name, to the nodes in its place: ``[node]`` where it stays. It may add constants,
        such as what a node of constants alone would give.
    """
    from onnx import numpy_helper

    arrays = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    nodes = [new for node in graph.node for new in change(node, arrays)]
    used = {name for node in nodes for name in node.input}
    kept = [numpy_helper.from_array(array, name) for name, array in arrays.items() if name in used]
    for field, values in ((graph.node, nodes), (graph.initializer, kept)):
        del field[:]
        field.extend(values)


def open_session(model):
    """Return a session of one thread on the processor: faces are read by several threads at once."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
