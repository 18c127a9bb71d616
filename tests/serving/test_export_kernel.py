"""The steps of a kernel head in the exported forms: an ONNX graph and a Keras model."""

import numpy as np
import pytest

from faceworkbook.serving import export_graph, export_keras
from faceworkbook.serving.head import OPERATIONS, Head

rng = np.random.default_rng(0)
X = np.concatenate([rng.normal(size=(20, 8)), np.zeros((1, 8))]).astype(np.float32)
ARRAYS = {
    "landmarks": rng.normal(size=(5, 8)).astype(np.float32),
    "gamma": np.array([0.3], np.float32),
    "low": np.array([0.2], np.float32),
    "high": np.array([0.6], np.float32),
}


def step(operation, start, end, *arrays):
    return {"operation": operation, "inputs": [start], "outputs": [end], "arrays": list(arrays)}


HEAD = Head(
    8,
    (
        step("root", "descriptor", "r"),
        step("gaussian", "r", "k", "landmarks", "gamma"),
        step("clip", "k", "c", "low", "high"),
    ),
    {"age": "c"},
    ARRAYS,
)


def test_every_step_can_be_exported():
    assert set(export_graph.STEPS) == set(export_keras.STEPS) == set(OPERATIONS)


def test_the_onnx_graph_gives_what_the_head_gives():
    import onnx
    import onnxruntime as ort
    from onnx import TensorProto, helper

    graph = export_graph._Graph(17)
    name = export_graph._add_head(graph, HEAD, "x")["age"]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", w]) for n, w in (("x", 8), (name, 5))]
    made = helper.make_graph(graph.nodes, "head", ends[:1], ends[1:], graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run([name], {"x": X})[0], HEAD.run(X)["age"], atol=1e-5)


@pytest.mark.tensorflow
def test_the_keras_model_gives_what_the_head_gives():
    import keras

    inputs = keras.Input((8,))
    model = keras.Model(inputs, export_keras._add_head(HEAD, inputs)["age"])
    np.testing.assert_allclose(model(X), HEAD.run(X)["age"], atol=1e-5)
