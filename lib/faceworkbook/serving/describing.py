"""The network of a predictor: which one, where its weights are, and pixels to descriptors.

Two kinds. A network of the registry is known by name, tap and the SHA-256 of its weights file, which lies
outside of the folder. A fine-tuned one lies in the folder as an ONNX graph.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from faceworkbook import backbones, project
from faceworkbook.images import Preprocessing
from faceworkbook.serving.checks import PredictorError, check_kind, check_number, check_text

if TYPE_CHECKING:
    from faceworkbook.descriptors.engines import Engine

GRAPH = "network.onnx"
MAX_SIDE = 1024  # pixels of a network's input
SLOW = (
    "onnxruntime is missing, so that the network runs in TensorFlow, which takes some ten seconds to start: "
    "pip install 'faceworkbook[fast]'"
)
_BATCH = 32


@dataclass(frozen=True)
class Network:
    """What describes a face.

    Attributes
    ----------
    name, tap : str
        Of the registry; of a fine-tuned network what it was made from, and where it is read.
    dim : int
        Width of the descriptor.
    sha256 : str
        Of the weights file, or of the graph in the folder.
    weights : str
        Where the weights file was, relative to the project where it is in it.
    preprocessing : Preprocessing
    source : str
        Where the weights come from, in one line.
    is_graph : bool
        The network lies in the folder as `GRAPH`.
    """

    name: str
    tap: str
    dim: int
    sha256: str
    weights: str
    preprocessing: Preprocessing
    source: str = ""
    is_graph: bool = False

    @classmethod
    def of(cls, backbone: backbones.Backbone) -> Network:
        """Describe a backbone at its tap."""
        weights = project.shorten(backbone.weights) if backbone.weights.name else ""
        made = (
            backbone.name,
            backbone.tap,
            backbone.dim,
            backbone.fingerprint,
            weights,
            backbone.preprocessing,
        )
        return cls(*made, source=backbone.source)

    def to_record(self) -> dict:
        """Return plain values."""
        return {**self.__dict__, "preprocessing": self.preprocessing.to_dict()}

    @classmethod
    def from_record(cls, record: Mapping) -> Network:
        """Read what `to_record` wrote."""
        values = dict(check_kind(record, dict, "network"))
        values["preprocessing"] = read_preprocessing(values.get("preprocessing"))
        made = cls(**values)
        for name in ("name", "tap", "sha256", "weights", "source"):
            check_text(getattr(made, name), f"network.{name}")
        check_number(made.dim, "network.dim", low=1, high=2**20)
        check_kind(made.is_graph, bool, "network.is_graph")
        return made


def read_preprocessing(record) -> Preprocessing:
    """Read a `Preprocessing` from a file, its size within bounds."""
    made = Preprocessing.from_dict(check_kind(record, dict, "network.preprocessing"))
    if len(made.size) != 2 or len(made.mean) != (1 if made.channels == "GRAY" else 3):
        raise PredictorError(
            f"preprocessing of size {made.size} and mean {made.mean}; expected 2 and 3 numbers"
        )
    for side in made.size:
        check_number(side, "network.preprocessing.size", low=8, high=MAX_SIDE)
    for value in (*made.mean, made.scale):
        check_number(value, "network.preprocessing", low=-1e4, high=1e4)
    return made


@dataclass
class Describer:
    """Turns pixels into descriptors; the engine is made at first use.

    Attributes
    ----------
    network : Network
    weights : pathlib.Path
        The weights file, or the graph.
    """

    network: Network
    weights: Path
    engine_name: str = "auto"
    _engine: Engine | None = field(default=None, repr=False)

    @property
    def engine(self) -> Engine:
        """The engine; ONNX Runtime where it is installed."""
        if self._engine is None:
            self._engine = _open_graph(self) if self.network.is_graph else _open_registered(self)
        return self._engine

    def run(self, pixels: np.ndarray) -> np.ndarray:
        """Describe faces: (n, height, width, 3) uint8 RGB -> (n, dim) float32."""
        if not len(pixels):
            return np.zeros((0, self.network.dim), np.float32)
        starts = range(0, len(pixels), _BATCH)
        made = np.concatenate([self.engine.run(pixels[s : s + _BATCH]) for s in starts])
        if made.shape != (len(pixels), self.network.dim):
            raise PredictorError(
                f"{self.network.name} at {self.network.tap} gives descriptors of shape {made.shape}, expected "
                f"{(len(pixels), self.network.dim)}; is it another version of the network?"
            )
        return made


def open_describer(
    network: Network, folder: Path, *, weights: str | Path | None = None, engine: str = "auto"
) -> Describer:
    """Find the weights of a predictor's network, known by their SHA-256.

    Parameters
    ----------
    network : Network
    folder : pathlib.Path
        Of the predictor.
    weights : path, optional
        The weights file; looked for where None.
    engine : str
        See `descriptors.engines.choose`.

    Raises
    ------
    PredictorError
        They are nowhere; the text names them, their SHA-256 and the places.
    """
    if network.is_graph:
        return Describer(network, folder / GRAPH, engine)
    places = [Path(weights)] if weights is not None else _places(network, folder)
    for place in places:
        if (
            place.is_file()
            and backbones.load(network.name, weights=place, tap=network.tap).fingerprint == network.sha256
        ):
            return Describer(network, place, engine)
    looked = ", ".join(project.shorten(place) for place in places)
    raise PredictorError(
        f"{folder} reads faces by {network.name} at {network.tap} and needs its weights file with SHA-256 "
        f"{network.sha256}, which is not at {looked}; put it there, or give its path as weights"
    )


def _places(network: Network, folder: Path) -> list[Path]:
    """Return where a network's weights may lie: in the folder, where they were in training, in weights/."""
    if network.name not in backbones.list():
        raise PredictorError(
            f"{folder} reads faces by the network {network.name!r}, which is unknown here; known are "
            f"{', '.join(backbones.list())}. Add it by backbones.register"
        )
    was = Path(network.weights)
    places = [folder / was.name, project.resolve(was), backbones.base.WEIGHTS / was.name]
    if len(was.parts) > 1:
        places.append(backbones.base.WEIGHTS / was.parent.name / was.name)
    return list(dict.fromkeys(places))


def _open_registered(describer: Describer):
    from faceworkbook.descriptors import engines

    network = describer.network
    backbone = backbones.load(network.name, weights=describer.weights, tap=network.tap)
    # The size and means that the head was trained with count, not those of this version's registry.
    return engines.choose(
        replace(backbone, preprocessing=network.preprocessing), engine=describer.engine_name
    )


def _open_graph(describer: Describer):
    if not has_onnxruntime():
        raise PredictorError(
            "this predictor's network is an ONNX graph, and onnxruntime is missing: pip install 'faceworkbook[fast]'"
        )
    from faceworkbook.descriptors.engines.onnx_engine import OnnxEngine

    content = describer.weights.read_bytes()
    # A graph may name files of its own for its weights, anywhere on the disk.
    if b"\x0a\x08location" in content or hashlib.sha256(content).hexdigest() != describer.network.sha256:
        raise PredictorError(f"{describer.weights} is not the graph of this predictor, or names other files")
    return OnnxEngine(describer.weights, describer.network.preprocessing)


def has_onnxruntime() -> bool:
    """Whether networks run without TensorFlow here."""
    return importlib.util.find_spec("onnxruntime") is not None
