"""ONNX networks of one's own: what a graph has, whether a side-car fits it, and the session that runs it.

Nothing in a file is executed but the operators that ONNX Runtime has itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from faceworkbook.backbones.base import Tap, WeightsError
from faceworkbook.backbones.sidecar import SideCar

INPUT_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
}
NO_RUNTIME = "an ONNX network needs onnxruntime and onnx: pip install 'faceworkbook[fast]'"


@dataclass(frozen=True)
class OnnxGraph:
    """How a graph is fed and read.

    Attributes
    ----------
    path : pathlib.Path
    input : str
        Name of the input.
    layout : {'NCHW', 'NHWC'}
    dtype : str
        Of the input.
    batch : int or None
        Faces that it takes at a time; None for any number.
    pool : {'mean', 'first', 'flatten'}
        What becomes of an output that is no matrix.
    """

    path: Path
    input: str
    layout: str = "NCHW"
    dtype: str = "float32"
    batch: int | None = None
    pool: str = "mean"

    def run(self, session, taps: Sequence[Tap], pictures: np.ndarray) -> np.ndarray:
        """Return descriptors of preprocessed pictures, those of several taps side by side.

        Parameters
        ----------
        session : onnxruntime.InferenceSession
            See `open_session`.
        taps : sequence of Tap
            Their layers are the outputs that are read.
        pictures : ndarray of shape (n, height, width, channels), float32
            At most `batch` of them.

        Returns
        -------
        ndarray of shape (n, dim), float32
        """
        n = len(pictures)
        if self.batch is not None and n < self.batch:
            pictures = np.concatenate([pictures, np.repeat(pictures[-1:], self.batch - n, axis=0)])
        if self.layout == "NCHW":
            pictures = pictures.transpose(0, 3, 1, 2)
        given = np.ascontiguousarray(pictures, self.dtype)
        results = session.run([tap.layer for tap in taps], {self.input: given})
        columns = [self._read(tap, result)[:n] for tap, result in zip(taps, results, strict=True)]
        return np.concatenate(columns, axis=1)

    def _read(self, tap: Tap, result) -> np.ndarray:
        descriptors = self._flattened(np.asarray(result, np.float32))
        if not tap.scales_to_one:
            return descriptors
        return descriptors / np.maximum(np.linalg.norm(descriptors, axis=1, keepdims=True), 1e-12)

    def _flattened(self, result: np.ndarray) -> np.ndarray:
        if result.ndim == 4 and self.pool != "flatten":
            result = result.mean(axis=(2, 3) if self.layout == "NCHW" else (1, 2))
        elif result.ndim == 3 and self.pool != "flatten":
            result = result.mean(axis=1) if self.pool == "mean" else result[:, 0]
        return result.reshape(len(result), -1)


def import_runtime():
    """Return the modules onnx and onnxruntime; a `WeightsError` says how to install them."""
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise WeightsError(NO_RUNTIME) from error
    return onnx, onnxruntime


def open_session(path: Path, *outputs: str, threads: int = 0):
    """Return an ONNX Runtime session on the CPU that gives `outputs`, which may be any tensors of the graph."""
    onnx, onnxruntime = import_runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    # Without a second try, which ONNX Runtime announces on stdout.
    given = {"providers": ["CPUExecutionProvider"], "enable_fallback": 0}
    model = read_model(path)
    try:
        further = set(outputs) - {value.name for value in model.graph.output}
        if not further:
            return onnxruntime.InferenceSession(str(path), options, **given)
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(further))
        folder = str(path.parent)
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
        return onnxruntime.InferenceSession(model.SerializeToString(), options, **given)
    except Exception as error:  # ONNX Runtime raises a dozen types
        raise WeightsError(f"{path}: ONNX Runtime cannot run it ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def read_model(path: Path):
    """Read a graph without its external data, and check that those lie in its folder.

    Raises
    ------
    WeightsError
        No ONNX file, or external data that are missing or outside of the folder.
    """
    onnx, _ = import_runtime()
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # the parser raises its own type, which depends on its version
        raise WeightsError(
            f"{path} is no ONNX file, or damaged ({_first_line(error)}); export it again"
        ) from error
    if not model.graph.node or not model.graph.output:
        raise WeightsError(f"{path} is no ONNX file, or damaged: it holds no graph; export it again")
    if not _is_text(model):
        raise WeightsError(f"{path} is damaged: it has names that are no text; export it again")
    for file in external_files(model):
        _check_inside(path, file)
    return model


def external_files(model) -> list[str]:
    """Return the files that hold weights of a graph, as the graph names them."""
    from onnx import TensorProto

    names = set()
    for tensor in _tensors(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            names |= {entry.value for entry in tensor.external_data if entry.key == "location"}
    return sorted(names)


def _tensors(message) -> Iterator:
    """Yield every tensor in a message, those of branches, loops, constants and functions too."""
    for field, value in message.ListFields():
        if field.type != field.TYPE_MESSAGE:
            continue
        for inner in [value] if hasattr(value, "ListFields") else value:
            if inner.DESCRIPTOR.name == "TensorProto":
                yield inner
            else:
                yield from _tensors(inner)


def _is_text(model) -> bool:
    """Whether the names that are read are text: protobuf gives bytes where they are no UTF-8, ONNX Runtime an error."""
    graph = model.graph
    values = [*graph.input, *graph.output]
    names = [one.name for one in (*values, *graph.initializer)]
    names += [name for node in graph.node for name in (*node.input, *node.output)]
    names += [d.dim_param for value in values for d in value.type.tensor_type.shape.dim]
    return all(isinstance(name, str) for name in names)


def _check_inside(path: Path, file: str) -> None:
    folder = path.resolve().parent
    plain = file.replace("\\", "/")
    whole = (folder / plain).resolve()
    if (
        PurePosixPath(plain).is_absolute()
        or ".." in PurePosixPath(plain).parts
        or folder not in whole.parents
    ):
        raise WeightsError(
            f"{path} wants weights from {file!r}, outside of its folder; such files are refused: save it anew with its "
            "data beside it"
        )
    if not whole.is_file():
        raise WeightsError(
            f"{path} wants its weights from {file!r}, which is not there; put it into {folder}"
        )


def fingerprint(path: Path, files: list[str]) -> str:
    """Return the SHA-256 of a graph and its external data, in hexadecimal; of one file its plain SHA-256."""
    digest = hashlib.sha256()
    for one in (path, *(path.resolve().parent / file for file in files)):
        with one.open("rb") as file:
            while block := file.read(2**22):
                digest.update(block)
    return digest.hexdigest()


def measure(path: Path, sidecar: SideCar) -> dict:
    """Return how a graph is fed and read according to its side-car, in plain types.

    Returns
    -------
    dict
        sha256, external (files), input, dtype, layout, batch, outputs (name to shape), tap, pool.

    Raises
    ------
    WeightsError
        The side-car does not fit; the text has the graph's inputs, outputs and shapes.
    """
    model = read_model(path)
    names = [value.name for value in model.graph.output]
    tap = sidecar.tap or (names[0] if len(names) == 1 else None)
    has = describe(model)
    if tap is None:
        raise WeightsError(f"{sidecar.file}: tap is not there, and {path.name} has several outputs; {has}")
    if tap not in names and tap not in {name for node in model.graph.node for name in node.output}:
        raise WeightsError(f"{sidecar.file}: tap: {tap!r} is no output and no tensor of {path.name}; {has}")
    session = open_session(path, tap)
    given = _check_input(path, sidecar, session, has)
    shapes = _shapes(path, sidecar, session, given, has)
    files = external_files(model)
    return {
        "sha256": fingerprint(path, files),
        "external": _states(path, files),
        "outputs": shapes,
        "tap": tap,
        **given,
    }


def describe(model) -> str:
    """Return the inputs and outputs of a graph with their shapes, in words."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [_describe_value(value) for value in model.graph.input if value.name not in weights]
    outputs = [_describe_value(value) for value in model.graph.output]
    return f"the graph has inputs: {', '.join(inputs)}; outputs: {', '.join(outputs)}"


def _describe_value(value) -> str:
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return f"{value.name} (shape not stated)"
    sizes = [d.dim_param or (str(d.dim_value) if d.HasField("dim_value") else "?") for d in kind.shape.dim]
    from onnx import TensorProto

    known = {number: name.lower() for name, number in TensorProto.DataType.items() if number}
    name = known.get(kind.elem_type, "?")
    return f"{value.name} ({', '.join(sizes)}) {name}"


def guess_input(path: Path) -> dict:
    """Return size, channels and layout of a graph's first input as far as it states them, for `ready_made`."""
    model = read_model(path)
    weights = {tensor.name for tensor in model.graph.initializer}
    shapes = [v.type.tensor_type.shape for v in model.graph.input if v.name not in weights]
    sizes = [d.dim_value for d in shapes[0].dim] if shapes else []
    if len(sizes) != 4:
        return {}
    last = sizes[3] in (1, 3) and sizes[1] not in (1, 3)
    height, width, channels = (sizes[1], sizes[2], sizes[3]) if last else (sizes[2], sizes[3], sizes[1])
    size = (height, width) if height and width else None
    return {"size": size, "channels": channels or 3, "layout": "NHWC" if last else "NCHW"}


def _states(path: Path, files: list[str]) -> list[list]:
    stats = [(file, (path.resolve().parent / file).stat()) for file in files]
    return [[file, stat.st_size, stat.st_mtime_ns] for file, stat in stats]


def is_current(path: Path, facts: dict) -> bool:
    """Return whether the external data of a graph are those that `measure` saw."""
    try:
        return _states(path, [file for file, *_ in facts["external"]]) == facts["external"]
    except OSError:
        return False


def _check_input(path: Path, sidecar: SideCar, session, has: str) -> dict:
    inputs = session.get_inputs()
    preprocessing = sidecar.preprocessing()
    layout = sidecar.layout or "NCHW"
    n_channels = 1 if preprocessing.channels == "GRAY" else 3
    size = preprocessing.size
    expected = (n_channels, *size) if layout == "NCHW" else (*size, n_channels)
    shape = inputs[0].shape if len(inputs) == 1 else []
    fits = len(shape) == 4 and all(
        not isinstance(n, int) or n == m for n, m in zip(shape[1:], expected, strict=True)
    )
    if not fits or inputs[0].type not in INPUT_TYPES:
        raise WeightsError(
            f"{sidecar.file} does not fit {path.name}: its size, channels and layout ({layout}) make one input of shape "
            f"(n, {', '.join(map(str, expected))}); {has}"
        )
    dtype = INPUT_TYPES[inputs[0].type]
    if dtype == "uint8" and (any(preprocessing.mean) or preprocessing.scale != 1 or preprocessing.prewhiten):
        raise WeightsError(
            f"{sidecar.file}: {path.name} takes whole numbers 0..255, so mean is 0 and scale 1; {has}"
        )
    batch = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else None
    if sidecar.batch is not None and batch not in (None, sidecar.batch):
        raise WeightsError(
            f"{sidecar.file}: batch: {sidecar.batch}; {path.name} takes {batch} at a time; {has}"
        )
    return {"input": inputs[0].name, "dtype": dtype, "layout": layout, "batch": batch or sidecar.batch}


def _shapes(path: Path, sidecar: SideCar, session, given: dict, has: str) -> dict[str, list[int]]:
    """Run the graph once, and return the shape of each output for one picture."""
    n_channels = 1 if sidecar.channels == "GRAY" else 3
    height, width = sidecar.preprocessing().size
    n = given["batch"] or 1
    shape = (n, n_channels, height, width) if given["layout"] == "NCHW" else (n, height, width, n_channels)
    names = [value.name for value in session.get_outputs()]
    try:
        results = session.run(names, {given["input"]: np.ones(shape, given["dtype"])})
    except Exception as error:  # ONNX Runtime raises a dozen types
        raise WeightsError(f"{path}: ONNX Runtime cannot run it ({_first_line(error)}); {has}") from error
    shapes = {}
    for name, result in zip(names, results, strict=True):
        if isinstance(result, np.ndarray) and result.dtype.kind == "f" and result.ndim and len(result) == n:
            shapes[name] = list(result.shape[1:])
    return shapes


def width(shape: list[int], pool: str | None, *, layout: str) -> int | None:
    """Return the width of a descriptor, from an output's shape without the batch.

    None where the side-car has to say how one is made: of tokens, or of more than four axes.
    """
    if len(shape) == 1 or (len(shape) in (2, 3) and pool == "flatten"):
        return int(np.prod(shape))
    if len(shape) == 3:
        return shape[0 if layout == "NCHW" else 2]
    return shape[1] if len(shape) == 2 and pool else None
