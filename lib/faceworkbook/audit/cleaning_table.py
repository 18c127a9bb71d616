"""The cleaning table of arXiv 2108.08186: how many faces of a set cannot be used, each for its first reason."""

from __future__ import annotations

import numpy as np
import pandas as pd

from faceworkbook.audit.cleaning import Thresholds, applying_reasons

FAILED, NO_AGE, NO_GENDER = "failed to load", "no age", "no gender"
NO_FACE, SEVERAL, LOW_SCORE = "no face", "several faces", "low score"
REASONS = (FAILED, NO_AGE, NO_GENDER, NO_FACE, SEVERAL, LOW_SCORE)
SUM, SUM_SHARE, KEPT = "SUM", "SUM %", "kept"
NO_ROW = "no row"  # a picture that the set's files do not name is no row of the set
OWN_SCORE = "face_score"  # column of a set that brings the scores of a detector; its reader applied them
_OF_READERS = {
    FAILED: ("no picture", "unreadable", "path malformed", "link leads nowhere"),
    NO_AGE: ("age out of range", "dates contradict the name", "bad value in age"),
    NO_GENDER: ("gender unknown", "bad value in gender"),
    NO_FACE: ("no face detected",),
    SEVERAL: ("several faces",),
    LOW_SCORE: ("below score",),
}
_OF_DETECTOR = {FAILED: "unreadable", NO_FACE: "no face", SEVERAL: "several faces", LOW_SCORE: "below score"}


def cleaning_table(
    dataset, measures: pd.DataFrame | None = None, *, thresholds: Thresholds | None = None
) -> pd.DataFrame:
    """Count what a set loses if only faces with age, gender and one certain face are used.

    Parameters
    ----------
    dataset : faceworkbook.datasets.Dataset
    measures : pandas.DataFrame, optional
        Of `cleaning.measure`, of all its faces or of some drawn at random, whose counts are then scaled up. A set
        that brings scores of its own (IMDB-WIKI's ``face_score`` and ``second_face_score``) was judged by them
        when it was read, and is not judged again.
    thresholds : Thresholds, optional

    Returns
    -------
    pandas.DataFrame
        Columns reason, faces, share (of all rows, 0..1) and counted ('all', or 'estimated from N faces'). Rows: the six
        reasons of the paper in its order, other reasons of the reader by their own names, ``SUM`` (with its share,
        the paper's SUM %), and ``kept``.
    """
    left_out = dataset.left_out.loc[dataset.left_out["reason"] != NO_ROW, "reason"]
    total = len(dataset.faces) + len(left_out)
    named = {reader: reason for reason, own in _OF_READERS.items() for reader in own}
    count = left_out.map(lambda reason: named.get(reason, reason)).value_counts().to_dict()
    by_detector, looked_at = _of_faces(dataset.faces, measures, thresholds or Thresholds())
    for reason, n in by_detector.items():
        count[reason] = count.get(reason, 0) + n
    order = [*REASONS, *sorted(set(count) - set(REASONS))]
    rows = [(reason, int(count.get(reason, 0))) for reason in order]
    gone = sum(n for _, n in rows)
    table = pd.DataFrame([*rows, (SUM, gone), (KEPT, total - gone)], columns=["reason", "faces"])
    how = "all" if looked_at is None else f"estimated from {looked_at:,} faces"
    estimated = table["reason"].isin([*_OF_DETECTOR, SUM, KEPT])
    return table.assign(share=table["faces"] / max(total, 1), counted=np.where(estimated, how, "all"))


def _of_faces(
    faces: pd.DataFrame, measures: pd.DataFrame | None, limits: Thresholds
) -> tuple[dict[str, int], int | None]:
    """Return counts by first reason of the faces that were read, and of how many faces they were scaled up."""
    ageless = (faces["age"].isna() & faces["age_group"].isna()).to_numpy()
    genderless = ~ageless & faces["gender"].isna().to_numpy()
    count = {NO_AGE: int(ageless.sum()), NO_GENDER: int(genderless.sum())}
    if measures is None or OWN_SCORE in faces:
        return count, None
    labelled = ~(ageless | genderless)
    measures = measures[measures["face_id"].isin(faces["face_id"][labelled])]
    applies = applying_reasons(measures, limits)
    first = np.select([applies[name] for name in _OF_DETECTOR.values()], list(_OF_DETECTOR), default="")
    scale = labelled.sum() / max(len(measures), 1)
    count |= {reason: round((first == reason).sum() * scale) for reason in _OF_DETECTOR}
    return count, None if len(measures) == labelled.sum() else len(measures)
