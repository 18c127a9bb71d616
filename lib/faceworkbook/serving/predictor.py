"""A predictor: pictures in, a table of answers out, which know how sure they are and for whom they were measured.

>>> from faceworkbook.serving import Predictor
>>> Predictor.load("results/demo/03_classifier/predictor").predict(["photo.jpg"])  # doctest: +SKIP

The table of `Predictor.predict`, one row a face (one for a photo without an answer):

``image``
    Path, or ``image 0``, ``image 1`` ... for arrays and bytes.
``face``
    Number of the face in its photo, from 0, the largest first; NA where there is none.
``status``, ``detail``
    'ok', 'several faces' (the main one is answered), 'no face', 'too small', 'unreadable'. The last three have
    no answers: NA.
``faces``
    Faces that were detected in the photo.
``top, left, bottom, right``, ``detector_score``
    Box in pixels of the photo (may reach beyond it), score 0..1; NA for ``faces='whole'``.
``TASK``, ``TASK_probability``, ``TASK_set``
    For classes: the predicted one, its calibrated probability, and the classes of the conformal set, joined by
    ' | ' (empty: no class is likely enough, or there are no limits). Of yes/no labels joined by '+': those that are yes.
``TASK``, ``TASK_low``, ``TASK_high``
    For numbers, and classes that stand for numbers: the number in its unit, and the interval with the same coverage.
``p:TASK=CLASS``
    Calibrated probability of each class.
``TASK_accuracy_here``, ``_low``, ``_high``, ``_n``, ``_like``
    Accuracy measured on test faces like this one, its 95 % interval, how many they were and what they share (predicted
    class, pose, size). ``TASK_error_here`` for numbers: mean absolute error.
``unlike_training``, ``unlike_training_score``
    Whether the face lies further from the training faces than all but 5 % of held-out faces, and the share of held-out faces
    that lie nearer.

No column says who somebody is; classes are annotators' words for what they saw.
"""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from faceworkbook.serving import folder as folders
from faceworkbook.serving.answers import Answering, make_columns
from faceworkbook.serving.checks import PredictorError, check_kind, check_number
from faceworkbook.serving.describing import Describer, Network, open_describer
from faceworkbook.serving.framing import Framing
from faceworkbook.serving.head import Head
from faceworkbook.serving.photos import FACES, LARGEST, Cut, Cutter, Detection
from faceworkbook.serving.spread import Spread

FOLDER = "predictor"  # in the folder of a run
BATCH = 128  # photos; a table costs as much time as some thirty faces
READERS = max(2, os.cpu_count() or 2)
_BOX = ("top", "left", "bottom", "right")


class Photo(NamedTuple):
    """A photo to be answered: what rows call it, and a path, bytes or array."""

    name: str
    image: object


@dataclass(frozen=True, eq=False)
class Predictor:
    """See the module.

    Attributes
    ----------
    folder : pathlib.Path
    record : dict
        ``predictor.json``; ``record['made']`` is for people: title, terms, data, figures.
    describer : Describer
        Pixels to descriptors.
    cutter : Cutter
        Photos to faces.
    head : Head
        Descriptors to outputs.
    answering : tuple of Answering
        One a task.
    spread : Spread
    """

    folder: Path
    record: dict
    describer: Describer
    cutter: Cutter
    head: Head
    answering: tuple[Answering, ...]
    spread: Spread

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        weights: str | Path | None = None,
        engine: str = "auto",
        min_height: int | None = None,
    ) -> Predictor:
        """Read a predictor's folder; nothing in it is run, and TensorFlow is not imported.

        Parameters
        ----------
        folder : path
            The folder ``predictor``, or that of a run which holds one.
        weights : path, optional
            The network's weights file (of several networks the folder with their files), where it is at none of the
            usual places.
        engine : str
            See `faceworkbook.descriptors.engines.choose`.
        min_height : int, optional
            Faces of a lower box, in pixels, are too small.

        Raises
        ------
        PredictorError
            A folder that is missing, damaged, changed or of another version, or weights that are nowhere; one sentence
            says which and what to do.
        """
        place = locate(folder)
        record, arrays = folders.read(place)
        try:
            made = _read(place, record, arrays, engine=engine, weights=weights, min_height=min_height)
        except PredictorError as error:
            raise PredictorError(f"{place}: {error}") from error
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise PredictorError(f"{place / folders.RECORD} describes no predictor ({error})") from error
        return made

    @functools.cached_property
    def _readers(self) -> ThreadPoolExecutor:
        # One pool for all calls: the allocator keeps what each thread has freed, so that new threads at every request
        # of a server would let its memory grow.
        return ThreadPoolExecutor(READERS, "reader")

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, in order."""
        return tuple(one.task.name for one in self.answering)

    @property
    def fingerprint(self) -> str:
        """What this predictor is known by: the checksum of ``predictor.json``, which names every file's."""
        return self.record["checksum"]

    @property
    def card(self) -> str:
        """The card in Markdown; empty where the folder has none."""
        path = self.folder / "card.md"
        return path.read_text(encoding="utf-8") if "card.md" in self.record["files"] else ""

    def predict(self, images, *, faces: str = LARGEST) -> pd.DataFrame:
        """Answer pictures.

        Parameters
        ----------
        images : path, bytes, ndarray of shape (height, width, 3), uint8, RGB; or a sequence of them
        faces : {'largest', 'all', 'whole'}
            The main face of each photo, every one, or the picture itself, which is a face that was cut out
            already, as those of the training set.

        Returns
        -------
        pandas.DataFrame
            See the module; at least one row a picture, in their order.
        """
        tables = list(self.stream(_as_photos(images), faces=faces))
        return pd.concat(tables, ignore_index=True) if tables else self._table([], [])

    def stream(
        self, photos: Iterable[Photo], *, faces: str = LARGEST, batch_size: int = BATCH
    ) -> Iterator[pd.DataFrame]:
        """Answer photos batch by batch, one table a batch; memory does not grow with their number.

        Parameters
        ----------
        photos : iterable of Photo
            Or of (name, image).
        faces : str
        batch_size : int
            Photos a table.
        """
        if faces not in FACES:
            raise PredictorError(f"faces={faces!r}; allowed are {', '.join(FACES)}")
        waiting: deque = deque()
        try:
            for batch in _batches(photos, batch_size):
                names = [name for name, _ in batch]
                jobs = [self._readers.submit(self.cutter.cut, image, faces=faces) for _, image in batch]
                waiting.append((names, jobs))
                if len(waiting) > 2:
                    yield self._answer(*waiting.popleft())
            while waiting:
                yield self._answer(*waiting.popleft())
        finally:
            for _, jobs in waiting:
                for job in jobs:
                    job.cancel()

    def answer(self, descriptors: np.ndarray, *, bands: Sequence[dict] | None = None) -> pd.DataFrame:
        """Answer faces by their descriptors, of this predictor's network and tap.

        Parameters
        ----------
        descriptors : ndarray of shape (n, d)
        bands : sequence of n dicts, optional
            ``pose`` and ``size`` of each face, where they are known.

        Returns
        -------
        pandas.DataFrame of n rows
            The columns of the answers alone.

        Raises
        ------
        PredictorError
            Another shape, or values that are not finite.
        """
        matrix = np.asarray(descriptors)
        if matrix.ndim != 2 or matrix.shape[1] != self.head.width or matrix.dtype.kind not in "fiu":
            raise PredictorError(
                f"descriptors are {matrix.dtype} of shape {matrix.shape}; expected numbers (n, {self.head.width}), of "
                f"{self.describer.name}"
            )
        with np.errstate(over="ignore", invalid="ignore"):  # looked for below
            matrix = matrix.astype(np.float32)
            if not np.isfinite(matrix).all():
                raise PredictorError(
                    "descriptors hold NaN or infinity; give those of a network, finite in float32"
                )
            outputs, score = self.head.run(matrix), self.spread.score(matrix)
        if not all(np.isfinite(values).all() for values in (score, *outputs.values())):
            raise PredictorError(
                f"descriptors reach {np.abs(matrix).max():.3g}, from which no answer follows; expected those of "
                f"{self.describer.name}"
            )
        table = make_columns(self.answering, outputs, [{}] * len(matrix) if bands is None else bands)
        return table.assign(unlike_training=self.spread.is_unlike(score), unlike_training_score=score)

    def _answer(self, names: Sequence[str], jobs: Sequence) -> pd.DataFrame:
        rows = [
            (name, number, cut)
            for name, job in zip(names, jobs, strict=True)
            for number, cut in enumerate(job.result())
        ]
        return self._table([(name, number) for name, number, _ in rows], [cut for _, _, cut in rows])

    def _table(self, keys: Sequence[tuple[str, int]], cuts: Sequence[Cut]) -> pd.DataFrame:
        have = np.flatnonzero([cut.pixels is not None for cut in cuts])
        pixels = [
            np.stack([cuts[i].pixels[k] for i in have])
            if len(have)
            else np.zeros((0, *each.size, 3), np.uint8)
            for k, each in enumerate(self.describer.preprocessings)
        ]
        answers = self.answer(self.describer.run(pixels), bands=[cuts[i].bands for i in have])
        answers.index = have
        return pd.concat([_describe_rows(keys, cuts), _nullable(answers).reindex(range(len(cuts)))], axis=1)


def locate(folder: str | Path) -> Path:
    """Return the folder of the predictor: the one given, or ``predictor`` in the folder of a run."""
    folder = Path(folder)
    inside = folder / FOLDER
    return inside if not (folder / folders.RECORD).is_file() and inside.is_dir() else folder


def _read(
    place: Path, record: dict, arrays: dict, *, engine: str, weights, min_height: int | None
) -> Predictor:
    networks = [Network.from_record(each) for each in check_kind(record["networks"], list, "networks")[:20]]
    head, width = Head.from_record(record["head"], arrays), sum(network.dim for network in networks)
    answering = tuple(map(Answering.from_record, check_kind(record["tasks"], list, "tasks")))
    if sorted(head.outputs) != sorted(one.task.name for one in answering) or head.width != width:
        raise PredictorError(
            f"the head answers {sorted(head.outputs)} from {head.width} numbers, the record describes "
            f"{sorted(one.task.name for one in answering)} from {width}"
        )
    for one in answering:
        one.task.decode(head.run(np.zeros((1, head.width), np.float32))[one.task.name])
    flagged = check_number(record["unlike"]["flagged"], "unlike.flagged", low=0, high=1)
    spread = Spread.from_arrays(arrays, width=width, flagged=flagged)
    options = {} if min_height is None else {"min_height": min_height}
    detection, framing = Detection.from_record(record["detection"]), Framing.from_record(record["framing"])
    describer = open_describer(networks, place, weights=weights, engine=engine)
    framings = describer.framings(framing)
    cutter = Cutter(detection, framing, describer.preprocessings, framings=framings, **options)
    cutter.check()
    return Predictor(place, record, describer, cutter, head, answering, spread)


def _as_photos(images) -> Iterator[Photo]:
    one = isinstance(images, str | Path | bytes) or (isinstance(images, np.ndarray) and images.ndim == 3)
    for number, image in enumerate([images] if one else images):
        yield Photo(name_photo(image) if isinstance(image, str | Path) else f"image {number}", image)


def name_photo(path: str | Path) -> str:
    """Return a path as text; bytes of a file name that are none are written as ``\\udcff``."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def _batches(photos: Iterable, size: int) -> Iterator[list]:
    batch = []
    for photo in photos:
        batch.append(photo)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _describe_rows(keys: Sequence[tuple[str, int]], cuts: Sequence[Cut]) -> pd.DataFrame:
    boxes = np.array([cut.face.box if cut.face else [np.nan] * 4 for cut in cuts], dtype=float).reshape(-1, 4)
    columns = {
        "image": [name_photo(name) for name, _ in keys],
        "face": pd.array(
            [n if c.face or c.pixels is not None else None for (_, n), c in zip(keys, cuts, strict=True)],
            "Int64",
        ),
        "status": [cut.status for cut in cuts],
        "detail": [name_photo(cut.detail) for cut in cuts],
        "faces": [cut.n_faces for cut in cuts],
        **{name: boxes[:, i] for i, name in enumerate(_BOX)},
        "detector_score": [cut.face.score if cut.face else np.nan for cut in cuts],
    }
    return pd.DataFrame(columns, index=range(len(cuts)))


def _nullable(answers: pd.DataFrame) -> pd.DataFrame:
    """Return the answers in types that know NA, so that a row without an answer changes no column's type."""
    counts = {name: "Int64" for name in answers if name.endswith("_here_n")}
    return answers.astype({**counts, "unlike_training": "boolean"})
