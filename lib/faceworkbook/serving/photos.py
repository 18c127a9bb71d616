"""From a photo to its faces: decoded, detected, cut out as the training pictures show one.

What goes wrong with a photo is a value, not an exception: ``status`` is one of `STATUSES`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from faceworkbook import images
from faceworkbook.alignment import LOOKS, MIN_SCORE, Detector, Face, face_in_box, main_face
from faceworkbook.landmarks import AlignOptions
from faceworkbook.mesh_detector import FOLDER, MESH, YUNET, make_detector
from faceworkbook.preprocessing import Preprocessing
from faceworkbook.serving.checks import PredictorError, check_kind, check_number, shorten
from faceworkbook.serving.framing import Framing, cut, pose_band, size_band

OK, SEVERAL, NO_FACE, TOO_SMALL, UNREADABLE = "ok", "several faces", "no face", "too small", "unreadable"
STATUSES = (OK, SEVERAL, NO_FACE, TOO_SMALL, UNREADABLE)
LARGEST, ALL, WHOLE = "largest", "all", "whole"
FACES = (LARGEST, ALL, WHOLE)
MIN_HEIGHT = 24  # pixels of a face's box; smaller ones are too small to be read
MAX_FACES = 200  # a photo
FAR = ((0.1, 640),)  # the look at a large photo, which sees its small faces too
_LARGE = 480  # pixels of a picture's longer side from which the detector looks closer
_REFINED = 1 / 3  # of the picture's longer side: smaller faces are looked at again, close up
_AROUND = 0.75


@dataclass(frozen=True)
class Detection:
    """How faces are detected, and when they are aligned; see `faceworkbook.alignment.Detector`.

    Attributes
    ----------
    min_score : float in 0..1
        Faces of a photo below it are not reported.
    looks : tuple of (pad, side)
        Of pictures that are about as small as a chip; a large photo is looked at once, at `FAR`.
    sha256 : str
        Of the detector's weights, as the framing was measured with.
    align_score : float in 0..1
        A face below it was not aligned in training; see `faceworkbook.landmarks.AlignOptions`.
    no_face : {'whole', 'leave_out'}
        What training did with such faces: cut them out unaligned, or left them out.
    search : float
        Side of what training searched for a face's points, over that of what it cut out around an unaligned one.
    landmarks : {'mesh', 'yunet'}
        Where the points that training aligned by came from.
    mesh_sha256 : str
        Of the face mesh's files; empty where training aligned nothing by them.
    bands : {'mesh', 'yunet'}
        Whose points the bands of pose are read from: the mesh's where faces are aligned by them, so that they cost nothing.
    """

    min_score: float = MIN_SCORE
    looks: tuple[tuple[float, int], ...] = LOOKS
    sha256: str = ""
    align_score: float = AlignOptions.min_score
    no_face: str = AlignOptions.no_face
    search: float = 1.0
    landmarks: str = YUNET  # of predictors that were written before there was a choice
    mesh_sha256: str = ""
    bands: str = YUNET

    @classmethod
    def of(cls, detector: Detector, align: AlignOptions, *, search: float, aligns: bool) -> Detection:
        """Describe a detector, and what training aligned where it did."""
        settings = detector.min_score, detector.looks, detector.settings["sha256"]
        bands = MESH if aligns and align.landmarks == MESH else YUNET
        mesh = make_detector(MESH).settings["mesh"]["sha256"] if bands == MESH else ""
        return cls(*settings, align.min_score, align.no_face, search, align.landmarks, mesh, bands)

    def to_record(self) -> dict:
        """Return plain values."""
        return {**asdict(self), "looks": [list(look) for look in self.looks]}

    @classmethod
    def from_record(cls, record: Mapping) -> Detection:
        """Read what `to_record` wrote."""
        values = dict(check_kind(record, dict, "detection"))
        looks = check_kind(values.get("looks"), list, "detection.looks")[:10]
        values["looks"] = tuple(
            (check_number(pad, "a pad", low=0, high=2), int(check_number(side, "a side", low=32, high=4096)))
            for pad, side in looks
        )
        made = cls(**values)
        check_number(made.min_score, "detection.min_score", low=0, high=1)
        check_number(made.align_score, "detection.align_score", low=0, high=1)
        check_number(made.search, "detection.search", low=0.1, high=10)
        try:
            AlignOptions(made.align_score, made.no_face, made.landmarks)
            AlignOptions(landmarks=made.bands)
        except ValueError as error:
            raise PredictorError(f"detection: {shorten(str(error))}") from error
        return made


@dataclass(frozen=True, eq=False)
class Cut:
    """One row of an answer before the network: a face that was cut out, or why there is none.

    Attributes
    ----------
    status, detail : str
        One of `STATUSES`, and what there is to say about it.
    n_faces : int
        Faces that were detected in the photo.
    face : Face or None
        In pixels of the photo; None for a whole picture and where there is none.
    pixels : tuple of ndarray of shape (height, width, 3), uint8, RGB, or None
        What the networks read, one for each preprocessing; None where the row has no answer.
    shape : tuple of int
        Height and width of the photo; empty where it was not read.
    points : ndarray of shape (5, 2), optional
        What the band of pose is read from where it is not the face's own points, pixels of the photo.
    """

    status: str
    detail: str = ""
    n_faces: int = 0
    face: Face | None = None
    pixels: tuple[np.ndarray, ...] | None = field(default=None, repr=False)
    shape: tuple[int, ...] = ()
    points: np.ndarray | None = None

    @property
    def bands(self) -> dict[str, str]:
        """Pose and size of the face, where they are known."""
        if not self.face:
            return {}
        points = self.face.points if self.points is None else self.points
        return {"pose": pose_band(points), "size": size_band(self.face)}


class Cutter:
    """Cuts the faces out of photos; may be used by several threads at once.

    Parameters
    ----------
    detection : Detection
    framing : Framing
        Of the first network, in whose pictures points are looked for.
    preprocessings : sequence of Preprocessing
        A face is cut out once for each.
    framings : sequence of Framing, optional
        Of each of `preprocessings`; `framing` for all where there is none.
    min_height : int
        Faces of a lower box are too small, pixels.
    """

    def __init__(
        self,
        detection: Detection,
        framing: Framing,
        preprocessings: Sequence[Preprocessing],
        *,
        framings: Sequence[Framing] = (),
        min_height: int = MIN_HEIGHT,
    ):
        looks = {"min_score": detection.min_score, "looks": detection.looks}
        self._near = make_detector(detection.landmarks, **looks)
        self._far = Detector(min_score=detection.min_score, looks=FAR)
        self._detection, self._framing = detection, framing
        self._preprocessings, self._min_height = tuple(preprocessings), min_height
        self._framings = tuple(framings) or (framing,) * len(self._preprocessings)

    def check(self) -> None:
        """Compare the files that say where a face and its points are with those of training.

        Raises
        ------
        PredictorError
            Others are there: faces would be cut out otherwise than in training.
        AlignmentError
            There are none.
        """
        known = (self._near if self._aligns else self._far).settings
        checked = [("the detector", self._far.weights, self._detection.sha256, known["sha256"])]
        if self._aligns:
            mesh = known.get("mesh", {}).get("sha256", "")
            checked.append(("the face mesh", FOLDER, self._detection.mesh_sha256, mesh))
        for what, place, own, here in checked:
            if own and own != here:
                raise PredictorError(
                    f"it cuts faces out by {what} with SHA-256 {shorten(own)}, and {place} has {here or 'none'}; put "
                    "that file there, or write the predictor anew"
                )

    def cut(self, image, *, faces: str = LARGEST) -> list[Cut]:
        """Return the rows of one photo, at least one.

        Parameters
        ----------
        image : path, bytes, or ndarray of shape (height, width, 3), uint8, RGB
        faces : {'largest', 'all', 'whole'}
            'whole': the picture is a face that was cut out already; no face is looked for.
        """
        try:
            if faces == WHOLE:
                return [self._whole(image)]
            picture = read(image)
        except images.UnreadableImage as error:
            return [Cut(UNREADABLE, str(error))]
        shape = picture.shape[:2]
        detected = self.detect(picture)
        if not detected:
            return [Cut(NO_FACE, "no face was detected", shape=shape)]
        if faces == ALL:
            return [self._cut(picture, face, OK, len(detected)) for face in detected]
        status = SEVERAL if len(detected) > 1 else OK
        return [self._cut(picture, main_face(detected, shape), status, len(detected))]

    def detect(self, picture: np.ndarray) -> list[Face]:
        """Detect the faces of a photo, the largest first; small ones are looked at a second time, close up."""
        longer = max(picture.shape[:2])
        detector = self._far if longer > _LARGE else self._near
        detected = detector.detect(picture)[:MAX_FACES]
        near = [self._look_closer(picture, f) if f.height < _REFINED * longer else f for f in detected]
        return sorted(near, key=lambda face: -face.height)

    def _look_closer(self, picture: np.ndarray, face: Face) -> Face:
        top, left, bottom, right = face.box
        if bottom <= 0 or right <= 0 or top >= picture.shape[0] or left >= picture.shape[1]:
            return face
        y0, x0, y1, x1 = images.widen(face.box, margin=_AROUND)
        corner = np.array([max(y0, 0), max(x0, 0)])
        patch = picture[corner[0] : max(y1, 1), corner[1] : max(x1, 1)]
        near = main_face(self._near.detect(patch), patch.shape)
        if near is None:
            return face
        box = tuple(np.array(near.box) + np.tile(corner, 2))
        # The close-up may hold a neighbour's face; the one that was looked for covers the middle.
        if not (box[0] < (top + bottom) / 2 < box[2] and box[1] < (left + right) / 2 < box[3]):
            return face
        return Face(tuple(map(float, box)), near.points + corner[::-1], max(near.score, face.score))

    def _cut(self, picture: np.ndarray, face: Face, status: str, n_faces: int) -> Cut:
        shape = picture.shape[:2]
        if face.height < self._min_height:
            detail = f"the face is {face.height:.0f} pixels high; at least {self._min_height} are read"
            return Cut(TOO_SMALL, detail, n_faces, face, shape=shape)
        try:
            points = self._points(picture, face) if self._aligns else None
            if self._is_left_out(points):
                return Cut(NO_FACE, self._unsure, n_faces, face, shape=shape)
            pixels = tuple(
                cut(picture, face, framing, each, points=points)
                for framing, each in zip(self._framings, self._preprocessings, strict=True)
            )
        except images.UnreadableImage as error:
            return Cut(NO_FACE, str(error), n_faces, face, shape=shape)
        detail = f"{n_faces} faces; this is the main one" if status == SEVERAL else ""
        return Cut(
            status, detail, n_faces, face, pixels, shape, points if self._detection.bands == MESH else None
        )

    @property
    def _aligns(self) -> bool:
        return any(each.align != "none" for each in self._preprocessings)

    @property
    def _unsure(self) -> str:
        return f"no face of score {self._detection.align_score:g} or more; training left such faces out"

    def _is_left_out(self, points: np.ndarray | None) -> bool:
        return self._aligns and points is None and self._detection.no_face == "leave_out"

    def _points(self, picture: np.ndarray, face: Face) -> np.ndarray | None:
        """Return the five points of a face as training saw them: in a look at what it searched; None where unsure."""
        region, margin = self._framing.region(face), (self._detection.search - 1) / 2
        piece = images.crop(picture, region, margin=margin)
        top, left, *_ = images.widen(region, margin=margin)
        here = tuple(np.subtract(face.box, [top, left, top, left]))
        points = self._sure_points(piece, face_in_box(self._near.detect(piece), here))
        return None if points is None else points + np.array([left, top])

    def _sure_points(self, picture: np.ndarray, face: Face | None) -> np.ndarray | None:
        if face is None or face.score < self._detection.align_score:
            return None
        return self._near.refine(picture, face).points

    def _whole(self, image) -> Cut:
        if self._aligns:
            picture = read(image)
            points = self._sure_points(picture, main_face(self._near.detect(picture), picture.shape))
            if self._is_left_out(points):
                return Cut(NO_FACE, self._unsure, shape=picture.shape[:2])
            pixels = tuple(images.cut_face(picture, each, points=points) for each in self._preprocessings)
        elif isinstance(image, np.ndarray):
            picture = read(image)
            pixels = tuple(images.cut_face(picture, each) for each in self._preprocessings)
        else:
            data = image if isinstance(image, bytes) else images.read_bytes(image)
            name = _name(image)
            pixels = tuple(images.face_pixels(data, each, name=name) for each in self._preprocessings)
        return Cut(OK, pixels=pixels, n_faces=1)


def read(image) -> np.ndarray:
    """Return the pixels of a photo: a path, bytes of a file, or an array (height, width, 3) uint8 RGB as it is.

    Raises
    ------
    images.UnreadableImage
    PredictorError
        Something else.
    """
    if isinstance(image, bytes):
        return images.decode(image)
    if isinstance(image, str | Path):
        return images.read(image)
    if not isinstance(image, np.ndarray):
        raise PredictorError(
            f"an image is a {type(image).__name__}; allowed are paths, bytes of a file, and arrays (h, w, 3) uint8 RGB"
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise images.UnreadableImage(
            f"array of shape {image.shape}, {image.dtype}; expected (h, w, 3) uint8 RGB"
        )
    return image


def _name(image) -> str:
    return "picture" if isinstance(image, bytes) else str(image)
