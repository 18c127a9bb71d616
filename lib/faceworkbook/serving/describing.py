"""The networks of a predictor: which ones, where their weights are, and pixels to descriptors.

Two kinds. A network of the registry is known by name, tap and the SHA-256 of its weights file, which lies
outside of the folder. A fine-tuned one lies in the folder as an ONNX graph. Several stand side by side: their
descriptors are joined column by column.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from faceworkbook import backbones, project
from faceworkbook.images import Preprocessing
from faceworkbook.serving.checks import PredictorError, check_kind, check_number, check_text
from faceworkbook.serving.framing import Framing

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
    mirror : {'', 'mean', 'only'}
        See `faceworkbook.backbones.Backbone`.
    is_graph : bool
        The network lies in the folder as `GRAPH`.
    framing : Framing, optional
        How its training pictures show a face, where the first network's show it otherwise.
    """

    name: str
    tap: str
    dim: int
    sha256: str
    weights: str
    preprocessing: Preprocessing
    source: str = ""
    mirror: str = ""
    is_graph: bool = False
    framing: Framing | None = None

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
        return cls(*made, source=backbone.source, mirror=backbone.mirror)

    def to_record(self) -> dict:
        """Return plain values."""
        record = {**self.__dict__, "preprocessing": self.preprocessing.to_dict()}
        own = record.pop("framing")
        return record if own is None else {**record, "framing": own.to_record()}

    @classmethod
    def from_record(cls, record: Mapping) -> Network:
        """Read what `to_record` wrote."""
        values = dict(check_kind(record, dict, "network"))
        values["preprocessing"] = read_preprocessing(values.get("preprocessing"))
        if "framing" in values:
            values["framing"] = Framing.from_record(check_kind(values["framing"], dict, "network.framing"))
        made = cls(**values)
        for name in ("name", "tap", "sha256", "weights", "source", "mirror"):
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
    for value in (*made.mean, *np.ravel(made.scale).tolist()):
        check_number(value, "network.preprocessing", low=-1e4, high=1e4)
    return made


@dataclass
class Describer:
    """Turns pixels into descriptors; the engines are made at first use.

    Attributes
    ----------
    networks : tuple of Network
    weights : tuple of pathlib.Path
        The weights file of each, or the graph.
    engine : str
        See `descriptors.engines.choose`.
    """

    networks: tuple[Network, ...]
    weights: tuple[Path, ...]
    engine: str = "auto"
    _engines: list[Engine] = field(default_factory=list, repr=False)

    @property
    def dim(self) -> int:
        """Width of the descriptors."""
        return sum(network.dim for network in self.networks)

    @property
    def name(self) -> str:
        """Networks and taps, in words."""
        return ", ".join(f"{network.name} at {network.tap}" for network in self.networks)

    @property
    def preprocessings(self) -> tuple[Preprocessing, ...]:
        """What the networks read: each way of cutting a face out once."""
        return tuple(dict.fromkeys(network.preprocessing for network in self.networks))

    def framings(self, first: Framing) -> tuple[Framing, ...]:
        """Return how each of `preprocessings` frames a face; `first` where a network has no framing of its own."""
        own = {
            network.preprocessing: network.framing for network in self.networks if network.framing is not None
        }
        return tuple(own.get(each, first) for each in self.preprocessings)

    def open(self) -> None:
        """Make the engines, ONNX Runtime where it is installed; `run` does it where it was not done."""
        if not self._engines:
            self._engines.extend(self._open(places) for places in self._passes)

    @property
    def _passes(self) -> list[list[int]]:
        """Places of the networks that one pass reads: taps of one network are read together."""
        passes: dict[object, list[int]] = {}
        for place, (network, path) in enumerate(zip(self.networks, self.weights, strict=True)):
            same = (network.name, network.sha256, path, network.preprocessing, network.mirror)
            passes.setdefault(place if network.is_graph else same, []).append(place)
        return list(passes.values())

    def _open(self, places: list[int]) -> Engine:
        path, networks = self.weights[places[0]], [self.networks[place] for place in places]
        if networks[0].is_graph:
            return _open_graph(path, networks[0])
        return _open_registered(path, networks, self.engine)

    def run(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
        """Describe n faces.

        Parameters
        ----------
        pixels : sequence of ndarray of shape (n, height, width, 3), uint8, RGB
            One for each of `preprocessings`.

        Returns
        -------
        ndarray of shape (n, dim), float32
        """
        if not len(pixels[0]):
            return np.zeros((0, self.dim), np.float32)
        self.open()
        of = dict(zip(self.preprocessings, pixels, strict=True))
        columns: dict[int, np.ndarray] = {}
        for engine, places in zip(self._engines, self._passes, strict=True):
            networks = [self.networks[place] for place in places]
            made = _run(engine, of[networks[0].preprocessing], networks)
            columns |= dict(zip(places, made, strict=True))
        return np.concatenate([columns[place] for place in range(len(self.networks))], axis=1)


def _run(engine: Engine, pixels: np.ndarray, networks: Sequence[Network]) -> list[np.ndarray]:
    """Return the descriptors of each network, (n, dim) float32, which the engine gives side by side."""
    made = np.concatenate([engine.run(pixels[s : s + _BATCH]) for s in range(0, len(pixels), _BATCH)])
    dims = [network.dim for network in networks]
    if made.shape != (len(pixels), sum(dims)):
        raise PredictorError(
            f"{' and '.join(f'{network.name} at {network.tap}' for network in networks)} gives descriptors of shape "
            f"{made.shape}, expected {(len(pixels), sum(dims))}; is it another version of the network?"
        )
    return np.split(made, np.cumsum(dims)[:-1], axis=1)


def open_describer(
    networks: Sequence[Network], folder: Path, *, weights: str | Path | None = None, engine: str = "auto"
) -> Describer:
    """Find the weights of a predictor's networks, known by their SHA-256.

    Parameters
    ----------
    networks : sequence of Network
    folder : pathlib.Path
        Of the predictor.
    weights : path, optional
        The weights file, or a folder with the weights files; looked for where None.
    engine : str
        See `descriptors.engines.choose`.

    Raises
    ------
    PredictorError
        They are nowhere; the text names them, their SHA-256 and the places.
    """
    if not networks:
        raise PredictorError(f"{folder} names no network")
    return Describer(tuple(networks), tuple(_find(network, folder, weights) for network in networks), engine)


def _find(network: Network, folder: Path, weights: str | Path | None) -> Path:
    if network.is_graph:
        return folder / GRAPH
    places = _places(network, folder) if weights is None else _given(Path(weights), network)
    for place in places:
        if place.is_file() and _is_of(place, network):
            return place
    looked = ", ".join(project.shorten(place) for place in places)
    raise PredictorError(
        f"{folder} reads faces by {network.name} at {network.tap} and needs its weights file with SHA-256 "
        f"{network.sha256}, which is not at {looked}; put it there, or give its path as weights"
    )


def _is_of(weights: Path, network: Network) -> bool:
    try:
        return _open_backbone(weights, network).fingerprint == network.sha256
    except ValueError:  # another network's file, or one whose side-car is missing
        return False


def _given(weights: Path, network: Network) -> list[Path]:
    return [weights / Path(network.weights).name] if weights.is_dir() else [weights]


def _open_backbone(weights: Path, network: Network):
    return backbones.load(network.name, weights=weights, tap=network.tap).mirrored(network.mirror)


def _places(network: Network, folder: Path) -> list[Path]:
    """Return where a network's weights may lie: in the folder, where they were in training, in weights/."""
    # A network of one's own that came along in the folder is known by its side-car there.
    if network.name not in backbones.list() and not (folder / Path(network.weights).name).is_file():
        raise PredictorError(
            f"{folder} reads faces by the network {network.name!r}, which is unknown here; known are "
            f"{', '.join(backbones.list())}. Add it by backbones.register"
        )
    was = Path(network.weights)
    if was.is_absolute():
        places = [folder / was.name, was, project.resolve("weights") / was.name]
    else:
        # A path of the record may not lead anywhere: it is looked up in the project alone.
        inside = Path(*(part for part in was.parts if part != ".."))
        places = [folder / was.name, project.resolve(inside), project.resolve("weights") / was.name]
    return list(dict.fromkeys(places))


def _open_registered(weights: Path, networks: Sequence[Network], engine: str):
    from faceworkbook.descriptors import engines

    network = networks[0]
    backbone = _open_backbone(weights, network)
    size = network.preprocessing.size
    if size != backbone.preprocessing.size and size[0] == size[1]:
        backbone = backbone.adjusted(resolution=size[0])
    # The size and means that the head was trained with count, not those of this version's registry.
    read = replace(backbone, preprocessing=network.preprocessing)
    return engines.choose(read.together([one.tap for one in networks]), engine=engine)


def _open_graph(path: Path, network: Network):
    if not has_onnxruntime():
        raise PredictorError(
            "this predictor's network is an ONNX graph, and onnxruntime is missing: pip install 'faceworkbook[fast]'"
        )
    from faceworkbook.descriptors.engines.onnx_engine import OnnxEngine

    content = path.read_bytes()
    # A graph may name files of its own for its weights, anywhere on the disk.
    if b"\x0a\x08location" in content or hashlib.sha256(content).hexdigest() != network.sha256:
        raise PredictorError(f"{path} is not the graph of this predictor, or names other files")
    return OnnxEngine(path, network.preprocessing)


def has_onnxruntime() -> bool:
    """Whether networks run without TensorFlow here."""
    return importlib.util.find_spec("onnxruntime") is not None
