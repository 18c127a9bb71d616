"""A predictor as one ONNX graph: pictures in, calibrated probabilities and numbers out.

Inputs are pictures at the networks' size, uint8 RGB (n, height, width, 3), n free. Inside are channel order, mean and scale,
the networks up to their taps, the head, and the temperature of each task. Probabilities are computed in float64 from the
head's float32 outputs, as `answers.Answering` does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from faceworkbook import backbones
from faceworkbook.backbones import onnx_file
from faceworkbook.descriptors.engines import onnx_graph
from faceworkbook.images import Preprocessing
from faceworkbook.preprocessing import GREY_WEIGHTS
from faceworkbook.serving.answers import SMALLEST, Answering
from faceworkbook.serving.checks import PredictorError
from faceworkbook.serving.describing import Network
from faceworkbook.serving.head import INPUT, Head
from faceworkbook.serving.predictor import Predictor

PICTURE = "picture"
NETWORK = "network"  # the names of the networks' own nodes begin with it
VALUE = "{} value"  # of classes that stand for numbers: the output with their mean
_LAST = 2**31 - 1


def build(predictor: Predictor):
    """Return the graph.

    Parameters
    ----------
    predictor : Predictor

    Returns
    -------
    onnx.ModelProto
        Inputs are named by `input_names`; an output is named after its task: probabilities (n, n_classes), or numbers (n,).
        Classes that stand for numbers have an output with their mean besides (`VALUE`).

    Raises
    ------
    PredictorError
        onnx is missing, or a network has no translation.
    """
    try:
        import onnx
    except ImportError as error:
        raise PredictorError("onnx is missing: pip install 'faceworkbook[fast]'") from error
    trunks = [
        _open_trunk(network, path)
        for network, path in zip(predictor.describer.networks, predictor.describer.weights, strict=True)
    ]
    graph = _Graph(_same_opset(trunks))
    preprocessings, names = predictor.describer.preprocessings, input_names(predictor)
    pictures = dict(zip(preprocessings, names, strict=True))
    columns = []
    for number, (network, trunk) in enumerate(zip(predictor.describer.networks, trunks, strict=True)):
        columns.append(_add_network(graph, network, trunk, pictures[network.preprocessing], number))
    descriptor = columns[0] if len(columns) == 1 else graph.add("Concat", columns, axis=1)
    answered = _add_head(graph, predictor.head, descriptor)
    # A class of two may have one output or two.
    sample = predictor.head.run(np.zeros((1, predictor.head.width), np.float32))
    for one in predictor.answering:
        name = one.task.name
        _add_answer(graph, one, answered[name], width=sample[name].shape[1])
    inputs = [
        _value(name, onnx.TensorProto.UINT8, ["n", *each.size, 3])
        for name, each in zip(names, preprocessings, strict=True)
    ]
    return graph.finish(inputs, predictor)


def input_names(predictor: Predictor) -> list[str]:
    """Return what the graph's inputs are called: one for each preprocessing, none like a task."""
    n = len(predictor.describer.preprocessings)
    names = [PICTURE] if n == 1 else [f"{PICTURE}_{i}" for i in range(n)]
    while set(names) & set(predictor.tasks):
        names = [f"{name}_" for name in names]
    return names


def _value(name: str, kind: int, shape: Sequence):
    from onnx import helper

    return helper.make_tensor_value_info(name, kind, shape)


class _Graph:
    """Nodes and constants that are added one by one; those of networks come along whole."""

    def __init__(self, opset: int):
        self.opset = opset
        self.nodes, self.constants, self.outputs, self.functions = [], [], [], []
        self.opsets, self.ir_version = {"": opset}, onnx_graph.IR_VERSION

    def add(self, op: str, inputs: Sequence[str], *, output: str = "", **attributes) -> str:
        """Add a node and return the name of what it gives."""
        from onnx import helper

        name = f"answer/{len(self.nodes)}"
        output = output or name
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=name, **attributes))
        return output

    def sort(self, x: str) -> str:
        """Add what puts the columns of each row in rising order."""
        from onnx import helper

        width = self.add("Slice", [self.add("Shape", [x]), *_slice(self, 1, 2, axis=0)])
        name = f"answer/{len(self.nodes)}"
        outputs = [name, f"{name}/places"]
        self.nodes.append(
            helper.make_node("TopK", [x, width], outputs, name=name, axis=1, largest=0, sorted=1)
        )
        return name

    def constant(self, values, dtype=np.float32) -> str:
        """Add a constant and return its name."""
        from onnx import numpy_helper

        name = f"answer/constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values, dtype), name))
        return name

    def cast(self, x: str, dtype) -> str:
        """Add a conversion to a numpy type."""
        from onnx import helper

        return self.add("Cast", [x], to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def include(self, model, prefix: str) -> None:
        """Add the nodes and weights of another graph, every name with `prefix`."""
        from onnx import compose

        renamed = compose.add_prefix(model, prefix)
        for number, node in enumerate(renamed.graph.node):
            node.name = f"{prefix}{number}"
        self.nodes.extend(renamed.graph.node)
        self.constants.extend(renamed.graph.initializer)
        self.functions.extend(renamed.functions)
        self.opsets |= {each.domain: each.version for each in renamed.opset_import if each.domain}
        self.ir_version = max(self.ir_version, renamed.ir_version)

    def finish(self, inputs: list, predictor: Predictor):
        from onnx import helper

        proto = helper.make_graph(self.nodes, "faceworkbook", inputs, self.outputs, self.constants)
        opsets = [helper.make_opsetid(domain, version) for domain, version in self.opsets.items()]
        model = helper.make_model(
            proto, opset_imports=opsets, ir_version=self.ir_version, functions=self.functions
        )
        model.producer_name = "faceworkbook"
        about = {"title": str(predictor.record["title"]), "predictor": predictor.fingerprint}
        helper.set_model_props(model, about)
        return model


# --------------------------------------------------------------------------- networks


class _Trunk:
    """A network's graph and how it is fed and read."""

    def __init__(
        self, model, *, start: str = "", end: str = "", layout: str = "NCHW", dtype="float32", pool: str = ""
    ):
        self.model, self.layout, self.dtype, self.pool = model, layout, dtype, pool
        weights = {each.name for each in model.graph.initializer}
        self.start = start or next(each.name for each in model.graph.input if each.name not in weights)
        self.end = end or model.graph.output[0].name
        self.has_unit_length = False


def _open_trunk(network: Network, path: Path) -> _Trunk:
    import onnx

    if network.is_graph:
        return _Trunk(onnx.load(str(path)))
    backbone = backbones.load(network.name, weights=path, tap=network.tap)
    if backbone.graph is not None:
        return _open_own(backbone)
    with tempfile.TemporaryDirectory() as scratch:
        try:
            return _Trunk(onnx.load(str(onnx_graph.write(backbone.model, Path(scratch)))))
        except onnx_graph.UnsupportedLayer as error:
            raise PredictorError(
                f"{network.name} cannot be written as ONNX: {error}; export it with --to keras"
            ) from error


def _open_own(backbone: backbones.Backbone) -> _Trunk:
    import onnx

    own, tap = backbone.graph, backbone.tap_table[backbone.tap]
    if own.batch is not None:
        raise PredictorError(
            f"{backbone.name} takes {own.batch} faces at a time and no other number; export the network anew with a free "
            "first axis, or this predictor with --to folder"
        )
    model = onnx_file.read_model(own.path)
    onnx.load_external_data_for_model(model, str(own.path.parent))
    trunk = _Trunk(
        model, start=own.input, end=tap.layer, layout=own.layout, dtype=own.dtype, pool=own.pool or "flatten"
    )
    trunk.has_unit_length = tap.scales_to_one
    return trunk


def _same_opset(trunks: Sequence[_Trunk]) -> int:
    """Bring all graphs to one version of the operators, that of the newest, and return it."""
    from onnx import version_converter

    versions = [next(e.version for e in t.model.opset_import if not e.domain) for t in trunks]
    newest = max(onnx_graph.OPSET, *versions)
    for trunk, version in zip(trunks, versions, strict=True):
        if version < newest:
            try:
                trunk.model = version_converter.convert_version(trunk.model, newest)
            except Exception as error:  # the converter raises its own types, and plain ones
                raise PredictorError(
                    f"a network's graph is of operator set {version} and cannot be brought to {newest} ({error}); export "
                    "the network anew with a newer one"
                ) from error
    return newest


def _add_network(graph: _Graph, network: Network, trunk: _Trunk, picture: str, number: int) -> str:
    prefix = f"{NETWORK}{number}/"
    if network.mirror:
        turned = graph.add("Slice", [picture, *_slice(graph, -1, -_LAST, axis=2, step=-1)])
        picture = turned if network.mirror == "only" else graph.add("Concat", [picture, turned], axis=0)
    pixels = _add_preprocessing(graph, picture, network.preprocessing)
    if trunk.layout == "NCHW":
        pixels = graph.add("Transpose", [pixels], perm=[0, 3, 1, 2])
    if trunk.dtype != "float32":
        pixels = graph.cast(pixels, trunk.dtype)
    graph.add("Identity", [pixels], output=prefix + trunk.start)
    graph.include(trunk.model, prefix)
    described = prefix + trunk.end
    if trunk.pool:
        described = _add_pool(graph, graph.cast(described, np.float32), trunk)
    if network.mirror == "mean":
        both = graph.constant([2, -1, network.dim], np.int64)
        described = graph.add("Reshape", [described, both])
        described = graph.add("ReduceSum", [described, graph.constant([0], np.int64)], keepdims=0)
        described = graph.add("Mul", [described, graph.constant(0.5)])
    return described


def _slice(graph: _Graph, first: int, last: int, *, axis: int, step: int = 1) -> list[str]:
    return [graph.constant([value], np.int64) for value in (first, last, axis, step)]


def _add_preprocessing(graph: _Graph, picture: str, preprocessing: Preprocessing) -> str:
    """Add what `preprocessing.network_input` does."""
    x = graph.cast(picture, np.float32)
    if preprocessing.channels == "GRAY":
        x = graph.add("MatMul", [x, graph.constant(np.array(GREY_WEIGHTS)[:, None])])
    elif preprocessing.channels == "BGR":
        x = graph.add("Gather", [x, graph.constant([2, 1, 0], np.int64)], axis=3)
    if preprocessing.prewhiten:
        return _add_prewhitening(graph, x, np.prod(preprocessing.size) * len(preprocessing.mean))
    x = graph.add("Sub", [x, graph.constant(preprocessing.mean)])
    if preprocessing.scale == 1.0:
        return x
    return graph.add("Mul", [x, graph.constant(preprocessing.scale)])


def _add_prewhitening(graph: _Graph, x: str, n: int) -> str:
    inside, share = graph.constant([1, 2, 3], np.int64), graph.constant(1 / n)

    def mean(values: str) -> str:
        return graph.add("Mul", [graph.add("ReduceSum", [values, inside], keepdims=1), share])

    centred = graph.add("Sub", [x, mean(x)])
    deviation = graph.add("Sqrt", [mean(graph.add("Mul", [centred, centred]))])
    return graph.add("Div", [centred, graph.add("Max", [deviation, graph.constant(n**-0.5)])])


def _add_pool(graph: _Graph, x: str, trunk: _Trunk) -> str:
    """Add what `onnx_file.OnnxGraph.run` makes of a map, of tokens, or of a matrix."""
    rank = _rank(trunk)
    if rank == 4 and trunk.pool != "flatten":
        x = x if trunk.layout == "NCHW" else graph.add("Transpose", [x], perm=[0, 3, 1, 2])
        x = graph.add("GlobalAveragePool", [x])
    elif rank == 3 and trunk.pool == "mean":
        x = graph.add("GlobalAveragePool", [graph.add("Transpose", [x], perm=[0, 2, 1])])
    elif rank == 3 and trunk.pool == "first":
        x = graph.add("Gather", [x, graph.constant(0, np.int64)], axis=1)
    x = graph.add("Flatten", [x], axis=1)
    return graph.add("LpNormalization", [x], axis=1, p=2) if trunk.has_unit_length else x


def _rank(trunk: _Trunk) -> int:
    from onnx import shape_inference

    graph = shape_inference.infer_shapes(trunk.model).graph
    for each in (*graph.output, *graph.value_info):
        if each.name == trunk.end and each.type.tensor_type.HasField("shape"):
            return len(each.type.tensor_type.shape.dim)
    raise PredictorError(
        f"the shape of {trunk.end} is not known from the network's graph; choose another tap"
    )


# --------------------------------------------------------------------------- head and answers


def _add_head(graph: _Graph, head: Head, descriptor: str) -> dict[str, str]:
    """Add the head's steps; returns the name of each task's output."""
    names = {INPUT: descriptor}
    for step in head.steps:
        inputs = [names[name] for name in step["inputs"]]
        arrays = [head.arrays[name] for name in step["arrays"]]
        names |= dict(
            zip(step["outputs"], STEPS[step["operation"]](graph, inputs, arrays, step), strict=True)
        )
    return {task: names[name] for task, name in head.outputs.items()}


def _scale(graph: _Graph, inputs, arrays, step) -> list[str]:
    return [
        graph.add(
            "Add", [graph.add("Mul", [inputs[0], graph.constant(arrays[0])]), graph.constant(arrays[1])]
        )
    ]


def _dense(graph: _Graph, inputs, arrays, step) -> list[str]:
    product = graph.add("MatMul", [inputs[0], graph.constant(arrays[0])])
    return [graph.add("Add", [product, graph.constant(arrays[1])])]


def _activation(graph: _Graph, inputs, arrays, step) -> list[str]:
    return [ACTIVATIONS[step["activation"]](graph, inputs[0])]


def _columns(graph: _Graph, inputs, arrays, step) -> list[str]:
    return [graph.add("Slice", [inputs[0], *_slice(graph, step["first"], step["last"], axis=1)])]


def _mix(graph: _Graph, inputs, arrays, step) -> list[str]:
    made = []
    for row in arrays[0]:
        shares = [graph.add("Mul", [x, graph.constant(a)]) for x, a in zip(inputs, row, strict=True)]
        made.append(graph.add("Sum", shares))
    return made


def _root(graph: _Graph, inputs, arrays, step) -> list[str]:
    size, tiny = graph.add("Abs", inputs), graph.constant(1e-12)
    total = graph.add("ReduceSum", [size, graph.constant([1], np.int64)], keepdims=1)
    share = graph.add("Div", [graph.add("Add", [size, tiny]), graph.add("Add", [total, tiny])])
    return [graph.add("Mul", [graph.add("Sign", inputs), graph.add("Sqrt", [share])])]


def _gaussian(graph: _Graph, inputs, arrays, step) -> list[str]:
    x, (landmarks, gamma) = inputs[0], arrays
    own = graph.add("ReduceSum", [graph.add("Mul", [x, x]), graph.constant([1], np.int64)], keepdims=1)
    lengths = np.square(landmarks).sum(axis=1)
    [other] = _dense(graph, [x], [-2 * landmarks.T, lengths], step)
    squared = graph.add("Relu", [graph.add("Add", [own, other])])
    return [graph.add("Exp", [graph.add("Mul", [squared, graph.constant(-gamma)])])]


def _clip(graph: _Graph, inputs, arrays, step) -> list[str]:
    return [graph.add("Clip", [inputs[0], *(graph.constant(float(bound[0])) for bound in arrays)])]


ACTIVATIONS: dict[str, Callable[[_Graph, str], str]] = {
    "linear": lambda graph, x: x,
    "relu": lambda graph, x: graph.add("Relu", [x]),
    "relu6": lambda graph, x: graph.add("Clip", [x, graph.constant(0), graph.constant(6)]),
    "sigmoid": lambda graph, x: graph.add("Sigmoid", [x]),
    "tanh": lambda graph, x: graph.add("Tanh", [x]),
    "softmax": lambda graph, x: graph.add("Softmax", [x], axis=1),
    "silu": lambda graph, x: graph.add("Mul", [x, graph.add("Sigmoid", [x])]),
}
STEPS: dict[str, Callable[[_Graph, list[str], list[np.ndarray], Mapping], list[str]]] = {
    "scale": _scale,
    "dense": _dense,
    "activation": _activation,
    "add": lambda graph, inputs, arrays, step: [graph.add("Sum", inputs)],
    "concatenate": lambda graph, inputs, arrays, step: [graph.add("Concat", inputs, axis=1)],
    "columns": _columns,
    "mix": _mix,
    "root": _root,
    "gaussian": _gaussian,
    "clip": _clip,
    "sort": lambda graph, inputs, arrays, step: [graph.sort(inputs[0])],
}


def _add_answer(graph: _Graph, one: Answering, output: str, *, width: int) -> None:
    """Add what `Task.decode` and `Answering.calibrate` make of a task's output, as the graph's output."""
    import onnx

    task = one.task
    if task.is_number:
        graph.add("Squeeze", [output, graph.constant([1], np.int64)], output=task.name)
        graph.outputs.append(_value(task.name, onnx.TensorProto.FLOAT, ["n"]))
        return
    shares = graph.cast(output, np.float64)
    if task.is_binary and width == 1:
        other = graph.add("Sub", [graph.constant(1, np.float64), shares])
        shares = graph.add("Concat", [other, shares], axis=1)
    limits = [graph.constant(value, np.float64) for value in (0, 1)]
    shares = graph.add("Clip", [shares, *limits])
    if task.is_exclusive:
        shares = _add_calibration(graph, shares, one.temperature)
    elif one.label_temperatures:
        shares = _add_label_calibration(graph, shares, one.temperatures)
    graph.outputs.append(_value(task.name, onnx.TensorProto.FLOAT, ["n", len(task.classes)]))
    kind = onnx.TensorProto.FLOAT
    graph.add("Cast", [shares], to=kind, output=task.name)
    if task.class_values:
        values = graph.constant(np.array(task.class_values)[:, None], np.float64)
        mean = graph.add("Squeeze", [graph.add("MatMul", [shares, values]), graph.constant([1], np.int64)])
        graph.add("Cast", [mean], to=kind, output=VALUE.format(task.name))
        graph.outputs.append(_value(VALUE.format(task.name), kind, ["n"]))


def _add_label_calibration(graph: _Graph, shares: str, temperatures: np.ndarray) -> str:
    other = graph.add("Sub", [graph.constant(1, np.float64), shares])
    least = graph.constant(SMALLEST, np.float64)
    logs = [graph.add("Log", [graph.add("Max", [each, least])]) for each in (shares, other)]
    odds = graph.add("Div", [graph.add("Sub", logs), graph.constant(temperatures, np.float64)])
    return graph.add("Sigmoid", [odds])


def _add_calibration(graph: _Graph, shares: str, temperature: float) -> str:
    if temperature != 1:
        logs = graph.add("Log", [graph.add("Max", [shares, graph.constant(SMALLEST, np.float64)])])
        return graph.add(
            "Softmax", [graph.add("Div", [logs, graph.constant(temperature, np.float64)])], axis=1
        )
    total = graph.add("ReduceSum", [shares, graph.constant([1], np.int64)], keepdims=1)
    return graph.add("Div", [shares, total])
