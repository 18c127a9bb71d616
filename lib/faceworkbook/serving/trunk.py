"""A fine-tuned network in two: the trunk as an ONNX graph in one file, the heads as steps that numpy evaluates."""

from __future__ import annotations

import importlib.util
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faceworkbook.descriptors.engines.base import agrees, compare
from faceworkbook.serving.checks import PredictorError
from faceworkbook.serving.describing import GRAPH, Describer, Network
from faceworkbook.serving.folder import hash_bytes
from faceworkbook.serving.head import Head
from faceworkbook.serving.keras_head import translate

POOL = "shared__pool"  # the layer by which `models.multitask` makes a vector of a trunk's maps
_BLOCK = 128


@dataclass(frozen=True, eq=False)
class Trunk:
    """What a predictor needs of a fine-tuned network.

    Attributes
    ----------
    network : Network
    graph : bytes
        The ONNX graph, weights inside.
    head : Head
    layer : str or None
        Where trunk and heads meet; None where the network's own output is the answer.
    folder : tempfile.TemporaryDirectory
        Where the graph lies for `describe`.
    """

    network: Network
    graph: bytes
    head: Head
    layer: str | None
    folder: tempfile.TemporaryDirectory

    def describe(self, source, rows: np.ndarray) -> np.ndarray:
        """Return the descriptors of some rows of pictures, (n, dim) float32."""
        describer = Describer((self.network,), (Path(self.folder.name) / GRAPH,))
        blocks = [source.take(rows[s : s + _BLOCK]) for s in range(0, len(rows), _BLOCK)]
        made = [describer.run([block]) for block in blocks]
        return np.concatenate(made) if made else np.zeros((0, self.network.dim), np.float32)


def write_trunk(network, model, pixels: np.ndarray) -> Trunk:
    """Divide a network where its heads begin, and check the graph on a few pictures.

    Parameters
    ----------
    network : training.cutting.Network
    model : keras.Model
        Its `models.multitask.serving_model`.
    pixels : ndarray of shape (n, height, width, 3), uint8, RGB

    Raises
    ------
    PredictorError
        onnx or onnxruntime is missing, or the graph gives other numbers than Keras.
    UnsupportedLayer
        A layer has no translation to ONNX.
    """
    missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise PredictorError(
            f"a fine-tuned network is written as an ONNX graph, which needs {' and '.join(missing)}: "
            "pip install 'faceworkbook[fast]'"
        )
    from faceworkbook.images import network_input
    from faceworkbook.training import cutting

    names = [layer.name for layer in model.layers]
    layer = POOL if POOL in names else network.trunk[-1]
    upto = cutting.upto(model, layer)
    folder = tempfile.TemporaryDirectory()
    graph = _write_graph(upto, Path(folder.name))
    digest, dim = hash_bytes(graph), int(upto.output.shape[-1])
    made = Network(
        f"{network.backbone}, fine-tuned",
        layer,
        dim,
        digest,
        "",
        network.preprocessing,
        "in this folder",
        is_graph=True,
    )
    trunk = Trunk(
        made, graph, translate(model, start=upto.output), None if _is_last(model, upto) else layer, folder
    )
    expected = np.asarray(upto(network_input(pixels, network.preprocessing), training=False))
    described = Describer((made,), (Path(folder.name) / GRAPH,)).run([pixels])
    difference = compare(described, expected)
    if not agrees(difference):
        raise PredictorError(
            f"the ONNX graph gives other descriptors than Keras: cosine {difference['cosine']:.6f}, relative error "
            f"{difference['relative_error']:.1e}"
        )
    return trunk


def _is_last(model, upto) -> bool:
    """Whether nothing with weights of its own lies after the layer."""
    names = {layer.name for layer in upto.layers}
    return not any(layer.weights for layer in model.layers if layer.name not in names)


def _write_graph(model, folder: Path) -> bytes:
    import onnx

    from faceworkbook.descriptors.engines import onnx_graph

    # Loading reads the weights in: one file, which names no other.
    graph = onnx.load(onnx_graph.write(model, folder)).SerializeToString()
    (folder / GRAPH).write_bytes(graph)
    return graph
