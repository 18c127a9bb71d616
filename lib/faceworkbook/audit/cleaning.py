"""A cleaning pass with a face detector: measure each face, and remove by thresholds, with reasons."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import landmarks

MEASURES = tuple(landmarks.MEASURES)
REASONS = (
    "unreadable",
    "no label",
    "no face",
    "several faces",
    "below score",
    "face too small",
    "blurred",
    "too dark",
    "too bright",
)


@dataclass(frozen=True)
class Thresholds:
    """What a face must have to stay; 0 (or 255 for `max_brightness`) turns a threshold off.

    Attributes
    ----------
    min_score : float, 0..1
        The detector's certainty of the main face.
    max_faces : int
        Faces at least half as high as the main one; 0 allows any number.
    min_height : float, pixels
        Height of the main face in the original picture.
    min_blur : float
        Variance of the Laplacian of the face brought to 112 pixels; below about 20 it is soft.
    min_brightness, max_brightness : float, 0..255
        Mean grey of the face.

    Raises
    ------
    ValueError
        A threshold below 0, a score above 1 or a brightness above 255, or none that is a finite number.
    """

    min_score: float = 0.6
    max_faces: int = 1
    min_height: float = 20.0
    min_blur: float = 0.0
    min_brightness: float = 10.0
    max_brightness: float = 245.0

    def __post_init__(self):
        for name, value in asdict(self).items():
            highest = {"min_score": 1, "min_brightness": 255, "max_brightness": 255}.get(name, np.inf)
            if not 0 <= value <= highest or not np.isfinite(value):
                allowed = "0 or more" if highest == np.inf else f"0..{highest}"
                raise ValueError(f"{name}={value}; allowed is {allowed}")

    @classmethod
    def of(
        cls, *, min_score: float = 0.0, one_face: bool = False, min_size: float = 0.0, min_blur: float = 0.0
    ) -> Thresholds:
        """Return thresholds of which only those that are given are on."""
        return cls(min_score, int(one_face), min_size, min_blur, min_brightness=0.0, max_brightness=255.0)

    @property
    def are_off(self) -> bool:
        """Whether every face stays, whatever a detector says."""
        return self == Thresholds.of()


@dataclass(frozen=True, eq=False)
class Cleaned:
    """What a cleaning pass kept and removed.

    Attributes
    ----------
    faces : pandas.DataFrame
        The face table of the rows that stay.
    keep : ndarray of shape (n,), bool
        Which rows of the table before stay.
    removed : pandas.DataFrame
        face_id, image, reason (the first that applies), all_reasons, and the measures.
    counts : pandas.DataFrame
        The removal table: reason, removed (first reason), concerned (any reason), share of all rows.
    thresholds : Thresholds
    """

    faces: pd.DataFrame
    keep: np.ndarray
    removed: pd.DataFrame
    counts: pd.DataFrame
    thresholds: Thresholds

    def left_out(self) -> pd.DataFrame:
        """The removed rows as a data set lists what it leaves out: image, reason, detail."""
        return self.removed[["image", "reason"]].assign(detail=self.removed["all_reasons"])

    def add_to(self, left_out: pd.DataFrame) -> pd.DataFrame:
        """Return the rows that a reader left out, and those removed here below them."""
        return pd.concat([left_out, self.left_out().astype(left_out.dtypes)], ignore_index=True)

    def removal_table(self) -> pd.DataFrame:
        """Return the reasons that apply to some face, their counts, and a last row 'SUM' of what was removed."""
        rows = self.counts[self.counts["concerned"] > 0]
        total = {"reason": "SUM", "removed": len(self.removed), "concerned": len(self.removed)}
        total["share"] = len(self.removed) / max(len(self.keep), 1)
        return pd.concat([rows, pd.DataFrame([total])], ignore_index=True)

    def record(self) -> dict:
        """Return the thresholds and counts by first reason, in plain types; empty where all thresholds were off."""
        if self.thresholds.are_off:
            return {}
        removed = self.removed["reason"].value_counts().to_dict()
        return {
            "thresholds": asdict(self.thresholds),
            "removed": {str(k): int(n) for k, n in removed.items()},
        }


def measure(
    faces: pd.DataFrame, root: str | Path, *, path: Path | None = None, detector=None
) -> pd.DataFrame:
    """Look at every face with a detector, or take what a table of landmarks has of it.

    Parameters
    ----------
    faces : pandas.DataFrame
        The face table; a face with a box is looked at within it, and a margin around.
    root : str or Path
    path : Path, optional
        The table that is kept, see `faceworkbook.landmarks.detect`.
    detector : faceworkbook.alignment.Detector, optional

    Returns
    -------
    pandas.DataFrame
        In the order of `faces`: face_id, image, ``n_faces`` (at least half as high as the main one),
        ``score`` (0..1), ``face_height`` (pixels), ``face_share`` (of the picture's height), ``blur``
        (variance of the Laplacian), ``brightness`` (0..255), ``problem`` (text, '' where readable).
        NaN where there is no face to measure.
    """
    measures = landmarks.detect(faces, root, path=path, detector=detector).measures()
    return measures.set_index(faces.index)


def clean(
    faces: pd.DataFrame,
    measures: pd.DataFrame,
    *,
    label: str | None = None,
    thresholds: Thresholds | None = None,
) -> Cleaned:
    """Apply thresholds to the measures of `measure`.

    Parameters
    ----------
    faces : pandas.DataFrame
    measures : pandas.DataFrame
        Of the same faces.
    label : str, optional
        Rows without this label are removed too ('no label').
    thresholds : Thresholds, optional

    Returns
    -------
    Cleaned
        Each removed row has its first reason in the order of `REASONS`, and all of them.

    Raises
    ------
    ValueError
        `measures` are of other faces.
    """
    thresholds = thresholds or Thresholds()
    if measures["face_id"].tolist() != faces["face_id"].tolist():
        raise ValueError(f"measures of {len(measures)} other faces; run cleaning.measure on this table again")
    applies = applying_reasons(measures, thresholds)
    missing = faces[label].isna().to_numpy() if label else np.zeros(len(faces), bool)
    applies = pd.DataFrame({reason: applies.get(reason, missing) for reason in REASONS})
    keep = ~applies.any(axis=1).to_numpy()
    gone = applies[~keep]
    removed = measures[~keep].reset_index(drop=True)
    removed.insert(2, "reason", gone.idxmax(axis=1).to_numpy())
    removed.insert(3, "all_reasons", [", ".join(gone.columns[row]) for row in gone.to_numpy()])
    first = removed["reason"].value_counts().reindex(REASONS, fill_value=0)
    counts = pd.DataFrame({"removed": first, "concerned": applies.sum().reindex(REASONS)})
    counts["share"] = counts["removed"] / max(len(faces), 1)
    counts = counts.rename_axis("reason").reset_index()
    return Cleaned(faces[keep].reset_index(drop=True), keep, removed, counts, thresholds)


def clean_faces(
    faces: pd.DataFrame, root: str | Path, thresholds: Thresholds, *, path: Path | None = None, detector=None
) -> Cleaned:
    """Measure faces and apply thresholds; where all are off no picture is looked at, and every face stays.

    Parameters
    ----------
    faces : pandas.DataFrame
    root : str or Path
    thresholds : Thresholds
    path, detector : optional
        See `measure`.
    """
    if thresholds.are_off:
        nothing = dict.fromkeys(MEASURES, np.nan) | {"problem": ""}
        return clean(faces, faces[["face_id", "image"]].assign(**nothing), thresholds=thresholds)
    measures = measure(faces, root, path=path, detector=detector)
    return clean(faces, measures, thresholds=thresholds)


def applying_reasons(measures: pd.DataFrame, limits: Thresholds) -> dict[str, np.ndarray]:
    """Return which faces each reason applies to, bool (n,) by reason."""
    values = {name: measures[name].to_numpy(dtype=float) for name in MEASURES}
    unreadable = (measures["problem"] != "").to_numpy()
    faceless = ~unreadable & (values["n_faces"] == 0)
    too_many = values["n_faces"] > limits.max_faces if limits.max_faces else np.zeros(len(measures), bool)
    return {
        "unreadable": unreadable,
        "no face": faceless,
        "several faces": too_many,
        "below score": values["score"] < limits.min_score,
        "face too small": values["face_height"] < limits.min_height,
        "blurred": values["blur"] < limits.min_blur,
        "too dark": values["brightness"] < limits.min_brightness,
        "too bright": values["brightness"] > limits.max_brightness,
    }
