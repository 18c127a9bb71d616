"""A small predictor: three tasks on descriptors that a fake engine makes of a picture's colours."""

from __future__ import annotations

import numpy as np

from faceworkbook import backbones
from faceworkbook.serving import folder
from faceworkbook.serving.answers import Answering, Cell
from faceworkbook.serving.describing import Network
from faceworkbook.serving.framing import Framing
from faceworkbook.serving.head import Head
from faceworkbook.serving.photos import Detection
from faceworkbook.serving.predictor import Predictor
from faceworkbook.serving.spread import Spread
from faceworkbook.tasks import CLASSES, MULTILABEL, NUMBER, Task

WIDTH = 256
COLOUR = Task("colour", CLASSES, ("red", "green", "blue"))
LIGHT = Task("light", NUMBER, unit="shades")
SIGNS = Task("sign+mark", MULTILABEL, ("sign", "mark"))


class ColourEngine:
    """Mean red, green and blue of each picture, padded to `WIDTH`."""

    name, batch_size, settings = "toy", 8, {}

    def run(self, pixels: np.ndarray) -> np.ndarray:
        made = np.zeros((len(pixels), WIDTH), np.float32)
        made[:, :3] = pixels.mean(axis=(1, 2)) / 255
        made[:, 3] = 1
        return made


def make_head() -> Head:
    kernel = np.zeros((WIDTH, 3), np.float32)
    kernel[:3] = np.eye(3) * 8
    light = np.zeros((WIDTH, 1), np.float32)
    light[:3] = 85
    signs = np.zeros((WIDTH, 2), np.float32)
    signs[0, 0], signs[1, 1] = 4, 4
    steps = (
        {"operation": "dense", "inputs": ["descriptor"], "outputs": ["a"], "arrays": ["k", "b"]},
        {"operation": "activation", "inputs": ["a"], "outputs": ["c"], "arrays": [], "activation": "softmax"},
        {"operation": "dense", "inputs": ["descriptor"], "outputs": ["l"], "arrays": ["lk", "lb"]},
        {"operation": "dense", "inputs": ["descriptor"], "outputs": ["s"], "arrays": ["sk", "sb"]},
        {"operation": "activation", "inputs": ["s"], "outputs": ["t"], "arrays": [], "activation": "sigmoid"},
    )
    arrays = {
        "k": kernel,
        "b": np.zeros(3),
        "lk": light,
        "lb": np.zeros(1),
        "sk": signs,
        "sb": np.full(2, -2.0),
    }
    outputs = {"colour": "c", "light": "l", "sign+mark": "t"}
    return Head(WIDTH, steps, outputs, {name: np.asarray(a, np.float32) for name, a in arrays.items()})


def make_answering() -> list[Answering]:
    cells = (
        Cell({}, 0.8, 0.7, 0.9, 100),
        Cell({"predicted": "red"}, 0.6, 0.5, 0.7, 40, 20),
        Cell({"predicted": "blue"}, 0.9, np.nan, np.nan, 30),
    )
    limits = {"red": 0.7, "green": 0.4, "blue": np.inf}
    return [
        Answering(COLOUR, 2.0, 0.9, limits, 0.5, {"race": {"A": 0.3}}, cells=cells),
        Answering(
            LIGHT, coverage=0.9, bands=((100.0, 5.0), (np.inf, 20.0)), cells=(Cell({}, 3.0, 2.0, 4.0, 50),)
        ),
        Answering(SIGNS, label_temperatures={"sign": 2.0}),
    ]


def make_record() -> tuple[dict, dict[str, np.ndarray]]:
    """Return what `folder.write` takes: the record and the arrays."""
    head, rng = make_head(), np.random.default_rng(0)
    pictures = rng.integers(0, 256, (200, 2, 2, 3), np.uint8)
    described = ColourEngine().run(pictures)
    spread = Spread.fit(described[:100], described[100:])
    network = Network.of(backbones.load("faceres_deep", tap="feats"))
    record = {
        "title": "Colours",
        "networks": [network.to_record()],
        "detection": Detection().to_record(),
        "framing": Framing(0.8).to_record(),
        "head": head.to_record(),
        "tasks": [one.to_record() for one in make_answering()],
        "unlike": {"flagged": spread.flagged},
        "made": {"data": ["toy"]},
    }
    return record, {**head.arrays, **spread.to_arrays()}


def write_toy(place, contents=None):
    """Write the toy's folder and return it."""
    record, arrays = make_record()
    return folder.write(
        place, record, arrays, {"card.md": "# toy\n", "head.keras": b"keras", **(contents or {})}
    )


def load_toy(place) -> Predictor:
    """Load a toy's folder with the fake engine."""
    predictor = Predictor.load(place)
    predictor.describer._engines.append(ColourEngine())
    return predictor


def plain_picture(colour, size=(64, 64)) -> np.ndarray:
    """Return a picture of one colour."""
    return np.full((*size, 3), colour, np.uint8)
