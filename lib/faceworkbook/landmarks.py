"""Points, box and score of every face: computed once for each picture content, kept beside the face table.

Alignment, cleaning and head pose all read this table.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from faceworkbook import alignment, files, images, mesh_detector
from faceworkbook import faces as face_table

NAME = "landmarks.parquet"
KEY = ["image", *face_table.BOX]
STAMP = ["content_hash", "size", "mtime_ns", "ctime_ns"]
FACE_BOX = ["face_top", "face_left", "face_bottom", "face_right"]
POINTS = [f"{point.replace(' ', '_')}_{axis}" for point in alignment.POINTS for axis in ("x", "y")]
MEASURES = ["n_faces", "score", "face_height", "face_share", "blur", "brightness"]
MESH = "mesh"
LOOK = [*STAMP, *FACE_BOX, *POINTS, *MEASURES, "problem", MESH]
TEXTS = ["face_id", "image", "content_hash", "problem"]
COLUMNS = ["face_id", *KEY, *LOOK]

CUT = 0.4  # share of a given box that is added on each side before the search
BLUR_SIDE = 112
SECOND_FACE = 0.5  # of the main face's height: a smaller second face stands in the background
SECOND_SCORE = 0.6
PIECE = 2_000  # faces after which what is computed is kept
THREADS = max(2, os.cpu_count() or 2)
NO_FACE = ("whole", "leave_out")


class NoFaceError(ValueError):
    """No picture has a detected face, and faces without one are left out."""


@dataclass(frozen=True)
class AlignOptions:
    """What is done where the detector sees no face, or is not sure of it.

    Attributes
    ----------
    min_score : float
        Range 0..1; a face below it counts as none. The detector reports none below .3.
    no_face : {'whole', 'leave_out'}
        'whole': such a face is cut out unaligned. 'leave_out': it gets no descriptor and is listed.
    landmarks : {'mesh', 'yunet'}
        Where the five points come from: the face mesh, or the detector itself, whose int8 points are rough.
    """

    min_score: float = 0.6
    no_face: str = "whole"
    landmarks: str = mesh_detector.MESH

    def __post_init__(self):
        if not 0 <= self.min_score <= 1:
            raise ValueError(f"min_score={self.min_score}; allowed is 0..1")
        if self.no_face not in NO_FACE:
            raise ValueError(f"no_face={self.no_face!r}; allowed are {list(NO_FACE)}")
        if self.landmarks not in mesh_detector.SOURCES:
            raise ValueError(f"landmarks={self.landmarks!r}; allowed are {list(mesh_detector.SOURCES)}")

    @classmethod
    def from_parameters(cls, parameters: Mapping) -> AlignOptions:
        """Return what a notebook's parameters ask for; those of a time before there was a mesh mean YuNet's points."""
        points = parameters.get("landmarks", mesh_detector.YUNET)
        return cls(parameters["align_min_score"], parameters["no_face"], points)


@dataclass(frozen=True, eq=False)
class Landmarks:
    """What the detector sees of each face.

    Attributes
    ----------
    table : pandas.DataFrame
        `COLUMNS`, in the order of the faces asked for. Boxes and points in pixels of the whole picture, NaN where no
        face is detected; ``n_faces`` (at least half as high as the main one), ``score`` (0..1), ``face_height``
        (pixels), ``face_share`` (of the height of what was searched), ``blur`` (variance of the Laplacian at 112
        pixels), ``brightness`` (0..255), ``problem`` (why a picture cannot be read, else ''), ``mesh`` (packed, see
        `meshes`).
    settings : dict
        Of the detector, with the SHA-256 of its weights.
    """

    table: pd.DataFrame
    settings: dict

    def points(self, *, min_score: float = 0.0) -> np.ndarray:
        """Return the points, ndarray of shape (n, 5, 2), float64; NaN where no face scores `min_score`."""
        points = self.table[POINTS].to_numpy(float).reshape(-1, len(alignment.POINTS), 2)
        points[~(self.table["score"].to_numpy(float) >= min_score)] = np.nan
        return points

    def meshes(self) -> np.ndarray:
        """Return the meshes, ndarray of shape (n, 468, 3), float64, pixels of the picture; NaN where there is none."""
        return mesh_detector.unpack(self.table[MESH])

    def boxes(self) -> np.ndarray:
        """Return the boxes of the detected faces, ndarray of shape (n, 4), float64: top, left, bottom, right."""
        return self.table[FACE_BOX].to_numpy(float)

    def measures(self) -> pd.DataFrame:
        """Return what cleaning asks: face_id, image, `MEASURES` and ``problem``."""
        return self.table[["face_id", "image", *MEASURES, "problem"]].copy()

    def without_face(self, *, min_score: float = 0.0) -> pd.DataFrame:
        """Return the readable pictures without a face of `min_score`: face_id, image, reason, detail."""
        score, readable = self.table["score"].to_numpy(float), (self.table["problem"] == "").to_numpy()
        rows = readable & ~(score >= min_score)
        unsure = ~np.isnan(score[rows])
        reasons = np.where(unsure, "face scores too low", "no face detected")
        details = [f"score {s:.2f}" if known else "" for s, known in zip(score[rows], unsure, strict=True)]
        return self.table.loc[rows, ["face_id", "image"]].assign(reason=reasons, detail=details)

    def left_out(self, described: np.ndarray) -> pd.DataFrame:
        """Return the faces that are not `described`, bool (n,): face_id, image, reason, detail."""
        rows = self.table[~described]
        reasons = np.where(rows["problem"] != "", "unreadable", "no face detected")
        kept = rows[["face_id", "image"]].assign(reason=reasons, detail=rows["problem"])
        return kept.reset_index(drop=True)


@dataclass(frozen=True, eq=False)
class Aligned:
    """How the faces of a table are cut out.

    Attributes
    ----------
    keep : ndarray of shape (n,), bool
        Which faces are used; all but those that are left out.
    points : ndarray of shape (n, 5, 2), float64, or None
        In pixels of the pictures; NaN where a face is cut out unaligned, None where nothing is aligned.
    without_face : pandas.DataFrame
        face_id, image, reason, detail of the faces that are cut out unaligned, or left out.
    settings : dict
        What the points depend on, for a recipe; empty where nothing is aligned.
    """

    keep: np.ndarray
    points: np.ndarray | None
    without_face: pd.DataFrame
    settings: dict

    @property
    def kept_points(self) -> np.ndarray | None:
        """Points of the faces that are used, ndarray of shape (n kept, 5, 2); None where nothing is aligned."""
        return None if self.points is None else self.points[self.keep]

    def describe(self) -> str:
        """Return in a sentence how many faces have no points, and what is done about them."""
        if self.points is None:
            return "faces are cut out as they are, without alignment"
        done = "left out" if self.settings["no_face"] == "leave_out" else "cut out unaligned"
        return (
            f"{len(self.without_face):,} of {len(self.keep):,} faces have no detected face of score "
            f"{self.settings['min_score']:g} or more: {done}"
        )


def align_faces(
    faces: pd.DataFrame,
    root: str | Path,
    preprocessing: images.Preprocessing,
    *,
    options: AlignOptions | None = None,
    path: Path | None = None,
    progress: bool = True,
) -> Aligned:
    """Look up the points that `preprocessing` needs, and settle what happens to faces without them.

    Parameters
    ----------
    faces : pandas.DataFrame
    root : path
    preprocessing : images.Preprocessing
        Nothing is detected where its ``align`` is 'none'.
    options : AlignOptions, optional
    path : Path, optional
        The table of landmarks; see `detect`.

    Raises
    ------
    NoFaceError
        Every face is left out.
    """
    if preprocessing.align == "none":
        nobody = pd.DataFrame(columns=["face_id", "image", "reason", "detail"])
        return Aligned(np.ones(len(faces), bool), None, nobody, {})
    options = options or AlignOptions()
    detector = mesh_detector.make_detector(options.landmarks)
    marks = detect(faces, root, path=path, detector=detector, progress=progress)
    without = marks.without_face(min_score=options.min_score)
    keep = np.ones(len(faces), bool)
    if options.no_face == "leave_out":
        keep[without.index] = False
    settings = {**marks.settings, "min_score": options.min_score, "no_face": options.no_face}
    points = marks.points(min_score=options.min_score)
    aligned = Aligned(keep, points, without.reset_index(drop=True), settings)
    if len(faces) and not keep.any():
        raise NoFaceError(f"no face is left: {aligned.describe()}; lower align_min_score, or no_face='whole'")
    return aligned


def detect(
    faces: pd.DataFrame,
    root: str | Path,
    *,
    path: Path | None = None,
    detector: alignment.Detector | None = None,
    threads: int = THREADS,
    progress: bool = True,
) -> Landmarks:
    """Detect the main face of every row and its five points, or take them from the table that is kept.

    Parameters
    ----------
    faces : pandas.DataFrame
        The face table. Of a row with a box the main face is the one in that box, which is searched with a margin.
    root : path
        Folder of the pictures.
    path : Path, optional
        Where the table is kept. Rows in it of other faces stay. What a run that was cut off has computed is used.
        That of a `mesh_detector.MeshDetector` is kept beside it, under a name of its own.
    detector : alignment.Detector, optional
        Without meshes by default.
    threads : int
    progress : bool

    Returns
    -------
    Landmarks

    Notes
    -----
    A face is looked at anew when its file's content, its box, the detector's weights or settings changed.
    """
    detector = detector or alignment.Detector()
    settings = {**detector.settings, "cut": CUT}
    if path and isinstance(detector, mesh_detector.MeshDetector):
        path = path.with_name(f"{path.stem}-mesh{path.suffix}")
    asked = faces[["face_id", *KEY]].reset_index(drop=True)
    asked = asked.astype({"face_id": str, "image": str, **dict.fromkeys(face_table.BOX, float)})
    with contextlib.ExitStack() as stack:
        kept = _read_kept(path, settings)
        if path and not _are_current(asked, kept, Path(root)):
            # The second of two processes takes what the first has computed.
            stack.enter_context(
                files.hold(path.with_name(f".{path.name}.lock"), f"{path}: another process fills it")
            )
            kept = _read_kept(path, settings)
        work = _Work(Path(root), detector, _by_content(kept))
        looks: list[tuple] = []
        anything_new = False
        executor = stack.enter_context(ThreadPoolExecutor(threads))
        with tqdm(total=len(asked), desc="landmarks", unit=" faces", disable=not progress) as bar:
            for piece, known in _pieces(asked, kept):
                fresh = list(executor.map(work.look, piece.itertuples(index=False), known))
                looks += [look for look, _ in fresh]
                bar.update(len(piece))
                if any(is_new for _, is_new in fresh):
                    anything_new = True
                    _keep_piece(path, piece, _frame(look for look, _ in fresh), settings)
        table = pd.concat([asked, _frame(looks)], axis=1)
        if path and anything_new:
            others = kept[~kept["face_id"].isin(table["face_id"])]
            _write(path, pd.concat([table, others], ignore_index=True), settings)
            shutil.rmtree(_partial(path), ignore_errors=True)
    return Landmarks(table, settings)


def _are_current(asked: pd.DataFrame, kept: pd.DataFrame, root: Path) -> bool:
    """Whether every face is kept, with its file's size and times of now."""
    for piece, looks in _pieces(asked, kept):
        for image, known in zip(piece["image"], looks, strict=True):
            try:
                state = os.stat(os.path.join(root, image))  # noqa: PTH116, PTH118
            except OSError:
                return False
            if not known or known[1:4] != (state.st_size, state.st_mtime_ns, state.st_ctime_ns):
                return False
    return True


def _pieces(asked: pd.DataFrame, kept: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, list]]:
    """Yield the faces some at a time, each with the values of `LOOK` that are kept under its name, or None."""
    places = kept[KEY].drop_duplicates().rename_axis("place").reset_index()
    place = asked[KEY].merge(places, on=KEY, how="left")["place"].fillna(-1).to_numpy(np.int64)
    for first in range(0, len(asked), PIECE):
        rows = place[first : first + PIECE]
        there = kept[LOOK].iloc[rows[rows >= 0]].itertuples(index=False, name=None)
        yield asked.iloc[first : first + PIECE], [next(there) if row >= 0 else None for row in rows]


def _by_content(kept: pd.DataFrame) -> pd.DataFrame:
    known = kept[kept["content_hash"] != ""]
    return known.drop_duplicates(["content_hash", *face_table.BOX]).set_index("content_hash")


def _frame(looks) -> pd.DataFrame:
    frame = pd.DataFrame(list(looks), columns=LOOK)
    texts = [name for name in TEXTS if name in LOOK]
    numbers = {name: float for name in LOOK if name not in (*STAMP, *texts, MESH)}
    return frame.astype({**dict.fromkeys(texts, str), **dict.fromkeys(STAMP[1:], "int64"), **numbers})


# --------------------------------------------------------------------------- looking at one face


@dataclass(frozen=True)
class _Work:
    root: Path
    detector: alignment.Detector
    by_content: pd.DataFrame

    def look(self, face, known: tuple | None) -> tuple[tuple, bool]:
        """Return the values of `LOOK` of one face, and whether they differ from what is `known`."""
        name = os.path.join(self.root, face.image)  # noqa: PTH118  (text: a Path takes longer than the look)
        try:
            state = os.stat(name)  # noqa: PTH116
            if known and known[1:4] == (state.st_size, state.st_mtime_ns, state.st_ctime_ns):
                return known, False
            data, state = images.read_file(name)
        except OSError:
            nothing = [np.nan] * (len(LOOK) - len(STAMP) - 2)
            missing = "", 0, 0, 0, *nothing, f"{face.image}: missing or cannot be opened", b""
            return missing, known is None or known[0] != ""
        content = images.content_hash(data)
        stamp = content, state.st_size, state.st_mtime_ns, state.st_ctime_ns
        box = np.array([getattr(face, edge) for edge in face_table.BOX], float)
        same = self._same_content(content, box)
        return stamp + (same or _measure(data, box, self.detector, face.image)), True

    def _same_content(self, content: str, box: np.ndarray) -> tuple | None:
        if content not in self.by_content.index:
            return None
        rows = self.by_content.loc[[content]]
        equal = np.isclose(rows[list(face_table.BOX)].to_numpy(float), box, rtol=0, atol=0, equal_nan=True)
        rows = rows[equal.all(axis=1)]
        return tuple(rows[LOOK[len(STAMP) :]].iloc[0]) if len(rows) else None


def _measure(data: bytes, box: np.ndarray, detector: alignment.Detector, name: str) -> tuple:
    """Return `LOOK` without the file's stamp, for one picture content and box."""
    nothing = [np.nan] * (len(FACE_BOX) + len(POINTS))
    try:
        piece, reduce, corner, given = _open_piece(data, box, max(side for _, side in detector.looks), name)
    except images.UnreadableImage as error:
        return (*nothing, *[np.nan] * len(MEASURES), str(error), b"")
    detections = detector.detect(piece)
    main = (
        alignment.main_face(detections, piece.shape)
        if given is None
        else alignment.face_in_box(detections, given)
    )
    if main is None:
        return (*nothing, 0.0, *[np.nan] * (len(MEASURES) - 1), "", b"")
    near = [f for f in detections if f.height >= SECOND_FACE * main.height and f.score >= SECOND_SCORE]
    main = detector.refine(piece, main)
    edges = np.asarray(main.box) + np.tile(corner[::-1], 2)
    points = (main.points + corner + 0.5) * reduce - 0.5
    mesh = b""
    if isinstance(main, mesh_detector.MeshFace):
        mesh = mesh_detector.pack((main.mesh + np.append(corner + 0.5, 0)) * reduce - [0.5, 0.5, 0])
    share = main.height / piece.shape[0]
    measures = max(len(near), 1), main.score, main.height * reduce, share, *_quality(piece, main.box)
    return (*(edges * reduce), *points.ravel(), *map(float, measures), "", mesh)


def _open_piece(data: bytes, box: np.ndarray, side: int, name: str):
    """Return what is searched, by how much smaller it is, its corner (x, y) and the given box in it, or None."""
    boxed = not np.isnan(box).any()
    across = np.array([box[2] - box[0], box[3] - box[1]]) if boxed else None
    reduce = images.reduction(data, (side, side), across=across)
    picture = images.decode(data, name=name, reduce=reduce)
    if not boxed:
        return picture, reduce, np.zeros(2), None
    inside = tuple(box / reduce)
    top, left, *_ = images.widen(inside, margin=CUT)
    piece = images.crop(picture, inside, margin=CUT)
    return piece, reduce, np.array([left, top], float), box / reduce - [top, left, top, left]


def _quality(image: np.ndarray, box: tuple[float, float, float, float]) -> tuple[float, float]:
    inside = np.clip(box, 0, [image.shape[0], image.shape[1]] * 2)
    patch = images.crop(image, tuple(inside)) if inside[2] > inside[0] and inside[3] > inside[1] else image
    grey = cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY)
    scaled = images.resize(grey, (BLUR_SIDE, BLUR_SIDE))
    (_, deviation), (brightness, _) = (
        (low.item(), high.item())
        for low, high in (cv2.meanStdDev(cv2.Laplacian(scaled, cv2.CV_64F)), cv2.meanStdDev(grey))
    )
    return deviation**2, brightness


# --------------------------------------------------------------------------- what is kept


def _partial(path: Path) -> Path:
    return path.with_suffix(".partial")


def _keep_piece(path: Path | None, piece: pd.DataFrame, frame: pd.DataFrame, settings: dict) -> None:
    if path:
        table = pd.concat([piece, frame.set_index(piece.index)], axis=1)
        _write(_partial(path) / f"{piece.index[0]:09d}.parquet", table, settings)


def _read_kept(path: Path | None, settings: dict) -> pd.DataFrame:
    """Return the rows computed before with these settings; of a run that was cut off too."""
    paths = [] if path is None else [path, *sorted(_partial(path).glob("*.parquet"))]
    tables = [table for one in paths if (table := _read(one, settings)) is not None]
    nothing = pd.concat([pd.DataFrame(columns=["face_id", *KEY]), _frame([])], axis=1)
    nothing = nothing.astype({"face_id": str, "image": str, **dict.fromkeys(face_table.BOX, float)})
    # The newest first: it is what the others are looked up after.
    return pd.concat(tables[::-1], ignore_index=True) if tables else nothing


def _read(path: Path, settings: dict) -> pd.DataFrame | None:
    try:
        table = files.read_parquet(path)
    except (OSError, ValueError):
        return None  # missing or damaged: it is computed anew
    if MESH not in table:
        table[MESH] = b""  # written before there were meshes
    known = table.attrs.get("detector") == settings and set(COLUMNS) <= set(table)
    return table[COLUMNS] if known else None


def _write(path: Path, table: pd.DataFrame, settings: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = table.reset_index(drop=True)
    table.attrs = {"detector": settings}
    with files.open_beside(path) as beside:
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), beside, write_page_checksum=True)
