"""ExpW: photos from the web with face boxes and seven emotions (Zhang et al. 2018)."""

from __future__ import annotations

from pathlib import Path

from faceworkbook import faces
from faceworkbook.datasets import values, words
from faceworkbook.datasets.base import (
    Dataset,
    DatasetError,
    DatasetInfo,
    Reasons,
    exclude,
    keep_first,
    need_files,
    where,
)
from faceworkbook.datasets.boxes import check_boxes
from faceworkbook.datasets.paths import locate
from faceworkbook.datasets.text_tables import BLANKS, read_rows

INFO = DatasetInfo(
    name="expw",
    title="ExpW (Expression in-the-Wild)",
    labels=("emotion (seven)",),
    columns=("confidence",),
    identities="none",
    official_split="none",
    size="91,793 faces",
    terms="non-commercial research",
    source="Zhang, Luo, Loy and Tang 2018, From Facial Expression Recognition to Interpersonal Relation",
    layout="""  ROOT/
    label.lst                          (name face top left right bottom confidence emotion)
    image/origin/angry_actor_388.jpg   (whole photos)
    ...""",
    put="label.lst and the folder image/origin/ with the photos",
    sign=r"label\.lst",
)

_HEADER = ("name", "face", "top", "left", "right", "bottom", "confidence", "emotion")
_EMOTIONS = dict(
    zip("0123456", ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"), strict=True)
)
_FOLDER = "image/origin"


def read(root: Path, *, min_confidence: float = 0.0) -> Dataset:
    """Read ``label.lst``: one row a face, with its box in the photo.

    Parameters
    ----------
    root : Path
    min_confidence : float
        Boxes with a lower detector confidence are left out (the file has about 0 to 120).

    Returns
    -------
    Dataset
        ``face_id`` is ``expw:PHOTO#FACE``; the confidence is kept as ``confidence``.

    Raises
    ------
    DatasetError
        No ``label.lst``, or a negative `min_confidence`.
    """
    if not min_confidence >= 0:
        raise DatasetError(f"min_confidence={min_confidence}; allowed is 0 or more")
    need_files(root, ("label.lst", _FOLDER), INFO)
    left_out, notices = Reasons(), Reasons()
    rows = read_rows(root / "label.lst", left_out, notices, header=_HEADER, form=BLANKS)
    rows = rows.assign(image=f"{_FOLDER}/" + rows["name"])
    rows = values.read_codes(rows, "emotion", _EMOTIONS, notices)
    rows = values.read_numbers(rows, ("confidence",), notices)
    rows = rows.assign(**{name: words.numbers(rows[name]) for name in (*faces.BOX, "face")})
    boxless = rows[[*faces.BOX]].isna().any(axis=1)
    rows = exclude(rows, boxless, left_out, "bad box", lambda row: f"{where(row)}: four numbers are expected")
    nameless = rows["face"].isna()
    rows = exclude(rows, nameless, left_out, "face without a number", lambda row: where(row))
    rows = keep_first(rows, ["image", "face"], [*faces.BOX, "emotion", "confidence"], left_out)
    rows = keep_first(rows, ["image", *faces.BOX], ["emotion"], left_out)
    low = ~(rows["confidence"].fillna(0) >= min_confidence)
    rows = exclude(rows, low, left_out, "below confidence", lambda row: f"{row['confidence']:g}")
    rows = locate(rows, root, left_out, notices, folders=(_FOLDER,))
    rows = check_boxes(rows, root, left_out, table="label.lst")
    table = faces.build(
        {
            "face_id": "expw:" + rows["name"] + "#" + rows["face"].astype(int).astype(str),
            "image": rows["image"],
            **{side: rows[side] for side in faces.BOX},
            "emotion": rows["emotion"],
            "confidence": rows["confidence"],
        },
        dataset="expw",
    )
    return Dataset(table, left_out.table(), notices.table(), root, INFO)
