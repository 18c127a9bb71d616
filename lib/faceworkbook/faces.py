"""The face table: one row a face, named labels, NA where unknown.

Every data set is read into this table and every later step reads it. The only place
that knows the columns, the label vocabularies and the pose convention. Any further column of
one's own is kept, and is a label where it can be learned.

Pose convention (that of GENKI-4K's label file), in degrees, 0 frontal, seen by somebody who looks
at the picture: ``yaw`` > 0 turns the face towards the image's right (the nose moves right of the
eyes' middle), ``pitch`` > 0 looks up (the nose rises towards the eye line), ``roll`` > 0 leans the
head's top towards the image's right (clockwise; the eye at the image's right is the lower one).
Mirroring a picture negates yaw and roll and keeps pitch.
"""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pandas as pd
from pandas.api import types

GENDERS = ("male", "female")
RACES_UTKFACE = ("White", "Black", "Asian", "Indian", "Others")
RACES_FAIRFACE = (
    "White",
    "Black",
    "Latino_Hispanic",
    "East Asian",
    "Southeast Asian",
    "Indian",
    "Middle Eastern",
)
EMOTIONS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
AGE_GROUPS_ADIENCE = ("0-2", "4-6", "8-12", "15-20", "25-32", "38-43", "48-53", "60-100")
AGE_GROUPS_FAIRFACE = ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "more than 70")
SPLITS = ("train", "validation", "test")
NO, YES = "no", "yes"
YES_NO = (NO, YES)

# Lower edges (years) of the bins that turn an exact age into one of eight groups; the
# edges lie half-way between Adience's classes, so that each class falls into its own bin.
AGE_EDGES_ADIENCE = (0.0, 3.0, 7.0, 13.5, 22.5, 35.0, 45.5, 56.5)

POSE_CONVENTION = (
    "degrees, as seen in the picture: yaw > 0 towards the image's right, pitch > 0 looks up, "
    "roll > 0 clockwise (the head's top leans to the image's right)"
)

TEXT = "string"
COLUMNS = {
    "face_id": TEXT,
    "dataset": TEXT,
    "image": TEXT,
    "top": "Float64",
    "left": "Float64",
    "bottom": "Float64",
    "right": "Float64",
    "identity": TEXT,
    "age": "Float64",
    "age_group": "category",
    "gender": "category",
    "race": "category",
    "emotion": "category",
    "yaw": "Float64",
    "pitch": "Float64",
    "roll": "Float64",
    "split": TEXT,
    "fold": "Int64",
}
BOX = ("top", "left", "bottom", "right")
POSE = ("yaw", "pitch", "roll")
POSE_EDGES = (-30, -10, 10, 30)  # degrees; bands of angles begin there, see `evaluation.groups.attach`
VOTES_PREFIX = "votes_"  # counts of annotators' votes
TARGET_PREFIX = "target_"  # probabilities to train on, made of votes; they sum to 1
COPY_GROUP = "copy_group"  # name of the group of copies of one picture, NA where a face has none
# Angles that the workbook reads off the face mesh: groups to compare, never labels to learn or to be judged by.
PREDICTED_POSE = ("predicted_yaw", "predicted_pitch", "predicted_roll")
NOT_LABELS = ("content_hash", COPY_GROUP, *PREDICTED_POSE)  # further columns that the workbook itself adds
MAX_CLASSES = 100  # a text column with more different values is no label

# Vocabularies under which a file of names may be read, the project's own first.
KNOWN_VOCABULARIES = {
    "gender": (GENDERS,),
    "race": (RACES_UTKFACE, RACES_FAIRFACE),
    "emotion": (EMOTIONS,),
    "age_group": (AGE_GROUPS_ADIENCE, AGE_GROUPS_FAIRFACE),
}

_VOCABULARIES = {column: known[0] for column, known in KNOWN_VOCABULARIES.items()}
_KNOWN_LABELS = (*_VOCABULARIES, "age", *POSE)
_NO_LABELS = {*COLUMNS, *NOT_LABELS}.difference(_KNOWN_LABELS)
_WORDS_OF_YES_NO = {"no": "no", "yes": "yes", "false": "no", "true": "yes"}
UNSEEN = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\x00"))  # characters
_WHOLE_NUMBER = re.compile(r"([+-]?\d+)\.0*", re.ASCII)
RANGES = {"age": (0, 130), "yaw": (-180, 180), "pitch": (-180, 180), "roll": (-180, 180)}


class FaceTableError(ValueError):
    """A face table that breaks its contract; the text names the column, the value and what to do."""


def build(
    columns: dict, *, dataset: str, vocabularies: dict[str, tuple[str, ...]] | None = None
) -> pd.DataFrame:
    """Make a face table from the columns that a data set has.

    Parameters
    ----------
    columns : dict of str to array-like
        At least ``image``. ``face_id`` defaults to ``dataset:image``. Labels are names; None,
        NaN and NA mean unknown. Columns ``votes_*`` and ``target_*`` hold floats. Any further column
        is one's own: yes/no values (bool, true and false, yes and no) become the classes "no" and
        "yes", numbers stay numbers, texts with few different values become classes.
    dataset : str
        Name of the data set.
    vocabularies : dict, optional
        Category names by column, in order, where they differ from this module's (alphabetical for a
        column of one's own).

    Returns
    -------
    pandas.DataFrame
        Columns in the order of `COLUMNS`, then all others as given; a fresh RangeIndex.

    Raises
    ------
    FaceTableError
        See `validate`.
    """
    image = pd.Series(columns["image"], dtype=TEXT).reset_index(drop=True)
    given = dict(columns, dataset=[dataset] * len(image), image=image)
    given.setdefault("face_id", dataset + ":" + image)
    names = {**_VOCABULARIES, **(vocabularies or {})}
    table = pd.DataFrame(
        {
            column: _column(given.get(column), column, kind, len(image), names)
            for column, kind in COLUMNS.items()
        }
    )
    own = {
        name: _own_column(values, name, len(image), names)
        for name, values in columns.items()
        if name not in COLUMNS
    }
    return validate(table.assign(**own))


def _own_column(values, name: str, n: int, names: dict) -> pd.Series:
    if not str(name).isidentifier():
        raise FaceTableError(
            f"column {name!r}: a name has letters, digits and underscores; rename the column"
        )
    series = pd.Series(values).reset_index(drop=True)
    _check_length(series, name, n)
    if name.startswith((VOTES_PREFIX, TARGET_PREFIX)):
        return series.astype(float)
    if isinstance(series.dtype, pd.CategoricalDtype):
        return series.cat.rename_categories([str(c) for c in series.cat.categories])
    if types.is_numeric_dtype(series.dtype) and not types.is_bool_dtype(series.dtype):
        return _finite(series.astype("Float64"), name)
    return _own_objects(series.where(series.notna(), None), name, names)


def _own_objects(series: pd.Series, name: str, names: dict) -> pd.Series:
    known = series.dropna()
    if name in names:
        return _categories(series.map(str, na_action="ignore"), name, tuple(names[name]))
    if len(known) and not known.map(_is_no_number).any():
        return _finite(series.astype("Float64"), name)
    texts = series.map(str, na_action="ignore")
    words = texts.str.strip().str.lower().map(_WORDS_OF_YES_NO)
    if len(known) and words[known.index].notna().all():
        return pd.Series(pd.Categorical(words, categories=list(YES_NO)))
    different = sorted(set(texts.dropna()))
    if len(different) > MAX_CLASSES or len(different) == len(known) > 2:
        return texts.astype(TEXT)
    return pd.Series(pd.Categorical(texts, categories=different))


def _is_no_number(value) -> bool:
    return isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number)


def _finite(series: pd.Series, name: str) -> pd.Series:
    values = series.to_numpy(dtype=float, na_value=np.nan)
    if np.isinf(values).any():
        raise FaceTableError(f"column '{name}' holds an infinite number; write NA where it is unknown")
    return series.mask(np.isnan(values), pd.NA)


def _check_length(series: pd.Series, name: str, n: int) -> None:
    if len(series) != n:
        raise FaceTableError(f"column '{name}' has {len(series)} values for {n} pictures; give one each")


def _column(values, column: str, kind: str, n: int, names: dict) -> pd.Series:
    series = pd.Series([None] * n if values is None else values, dtype=object).reset_index(drop=True)
    _check_length(series, column, n)
    series = series.where(series.notna(), None)
    if column == "identity":
        return name_people(series).astype(TEXT)
    if kind == "category":
        return _categories(series, column, tuple(names[column]))
    try:
        return series.astype(kind)
    except (TypeError, ValueError) as error:
        raise FaceTableError(f"column '{column}' must be {kind} or NA ({error})") from error


def _categories(series: pd.Series, column: str, allowed: tuple[str, ...]) -> pd.Series:
    wrong = sorted(set(series.dropna().astype(str)) - set(allowed))
    if wrong:
        raise FaceTableError(f"column '{column}' holds {wrong[:5]}; allowed are {list(allowed)} or NA")
    return pd.Series(pd.Categorical(series, categories=list(allowed), ordered=column == "age_group"))


def name_person(value) -> str | None:
    """Write a person's name or number in one spelling: 12, 12.0, "12.0" and " 12" are one person; None if empty."""
    text = " ".join(unicodedata.normalize("NFKC", str(value).translate(UNSEEN)).split())
    number = _WHOLE_NUMBER.fullmatch(text)
    return (number[1] if number else text) or None


def name_people(values: pd.Series) -> pd.Series:
    """Write every person in one spelling, the first that occurs; NA stays NA.

    Spellings as `name_person` joins them, in another case, or with zeros in front (012 and 12) are one person: a
    spreadsheet changes both, and one person under two names would stand on both sides of a split.
    """
    first: dict[str, str] = {}
    names = {value: name_person(value) for value in values.dropna().unique()}
    for name in filter(None, names.values()):
        first.setdefault(_fold_person(name), name)
    meant = {value: name and first[_fold_person(name)] for value, name in names.items()}
    return values.map(meant, na_action="ignore").astype(object)


def _fold_person(name: str) -> str:
    return (name.lstrip("0") or "0") if name.isdecimal() else name.casefold()


def validate(faces: pd.DataFrame) -> pd.DataFrame:
    """Return `faces` unchanged if it keeps the contract of the face table.

    Raises
    ------
    FaceTableError
        A missing column, a repeated or missing ``face_id``, a path that leaves the set's root,
        a number out of range, a box without area or with a missing side, labels that are not named
        categories, or a split that is none of `SPLITS`.
    """
    missing = [column for column in COLUMNS if column not in faces]
    if missing:
        raise FaceTableError(f"the face table lacks {missing}; make it with faces.build(...)")
    _check_ids(faces)
    _check_paths(faces["image"])
    for column in _VOCABULARIES:
        if not isinstance(faces[column].dtype, pd.CategoricalDtype):
            raise FaceTableError(
                f"column '{column}' is {faces[column].dtype}, must be a categorical of names"
            )
    for column, (low, high) in RANGES.items():
        out = faces[column].notna() & ~faces[column].between(low, high)
        if out.any():
            value = faces.loc[out, column].iloc[0]
            raise FaceTableError(f"column '{column}' holds {value}; allowed is {low}..{high} or NA")
    other = faces["split"].dropna()[lambda split: ~split.isin(SPLITS)]
    if len(other):
        raise FaceTableError(f"column 'split' holds {other.iloc[0]!r}; allowed are {list(SPLITS)} or NA")
    _check_boxes(faces)
    return faces


def _check_boxes(faces: pd.DataFrame) -> None:
    sides = faces[[*BOX]].notna().sum(axis=1)
    partial = ~sides.isin((0, len(BOX)))
    flat = ((faces["bottom"] <= faces["top"]) | (faces["right"] <= faces["left"])).fillna(False)
    if partial.any():
        raise FaceTableError(
            f"face {faces.loc[partial, 'face_id'].iloc[0]!r} has a box with missing sides; give all four, or none"
        )
    if flat.any():
        raise FaceTableError(
            f"face {faces.loc[flat, 'face_id'].iloc[0]!r} has a box without area; give top < bottom and left < right"
        )


def _check_ids(faces: pd.DataFrame) -> None:
    ids = faces["face_id"]
    if ids.isna().any():
        raise FaceTableError(
            f"column 'face_id' is missing in {int(ids.isna().sum())} rows; every face needs one"
        )
    twice = ids[ids.duplicated()]
    if len(twice):
        raise FaceTableError(
            f"face_id {twice.iloc[0]!r} stands {int((ids == twice.iloc[0]).sum())} times; it must be unique"
        )


def _check_paths(images: pd.Series) -> None:
    if images.isna().any():
        raise FaceTableError(
            f"column 'image' is missing in {int(images.isna().sum())} rows; each face needs a picture"
        )
    outside = images[
        images.str.match(r"^(/|[A-Za-z]:|\\)") | images.str.contains(r"(?:^|[\\/])\.\.(?:[\\/]|$)")
    ]
    if len(outside):
        raise FaceTableError(
            f"image path {outside.iloc[0]!r} leaves the data set's root; paths are relative to it"
        )


def label_columns(faces: pd.DataFrame) -> list[str]:
    """Return the names of all columns that can be learned and hold a known value.

    The table's own labels come first, then those of the user. Ids, paths, boxes, people, splits, votes and
    targets are no labels; nor are texts with more than `MAX_CLASSES` different values or with one a row.
    """
    return [column for column in known_labels(faces) if _is_label(faces[column])]


def known_labels(faces: pd.DataFrame) -> list[str]:
    """Return the names of all columns that may hold a label, whether or not a value is known."""
    own = [
        column
        for column in faces
        if column not in COLUMNS
        and column not in _NO_LABELS
        and not column.startswith((VOTES_PREFIX, TARGET_PREFIX))
    ]
    return [*(column for column in _KNOWN_LABELS if column in faces), *own]


def _is_label(values: pd.Series) -> bool:
    if not values.notna().any():
        return False
    if types.is_numeric_dtype(values.dtype) or isinstance(values.dtype, pd.CategoricalDtype):
        return True
    return values.nunique() <= MAX_CLASSES and values.nunique() < values.notna().sum()


def is_class_label(values: pd.Series) -> bool:
    """Whether a label column holds classes, not numbers."""
    return types.is_bool_dtype(values.dtype) or not types.is_numeric_dtype(values.dtype)


def label_kind(faces: pd.DataFrame, name: str) -> str:
    """Return what kind of label a column is: 'classes', 'ordered' (classes with an order) or 'number'.

    Raises
    ------
    FaceTableError
        No such column, or one that cannot be learned.
    """
    if name not in label_columns(faces):
        raise FaceTableError(f"{name!r} is no label; labels of this table: {label_columns(faces)}")
    if not is_class_label(faces[name]):
        return "number"
    return "ordered" if getattr(faces[name].dtype, "ordered", False) else "classes"


def known_classes(faces: pd.DataFrame, column: str) -> list[str]:
    """Class names of `column` that occur in `faces`, in vocabulary order."""
    present = set(faces[column].dropna())
    return [name for name in faces[column].cat.categories if name in present]


def age_to_group(age: pd.Series) -> pd.Series:
    """Map ages in years to Adience's eight groups by the bins of `AGE_EDGES_ADIENCE`; NA stays NA."""
    values = pd.to_numeric(age).astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    groups = pd.cut(
        values, [*AGE_EDGES_ADIENCE, np.inf], right=False, labels=list(AGE_GROUPS_ADIENCE), ordered=True
    )
    return pd.Series(groups, index=age.index)


def draw(faces: pd.DataFrame, *, limit: int, seed: int = 0) -> pd.DataFrame:
    """At most `limit` faces (0: all), drawn at random person by person; a fresh RangeIndex.

    Whole people are drawn, so that a small draw still has several faces of one person; faces
    without a known identity count as people of their own.
    """
    if not limit or limit >= len(faces):
        return faces.reset_index(drop=True)
    people = faces["identity"].fillna(faces["face_id"])
    order = np.random.default_rng(seed).permutation(people.unique())
    rank = people.map(pd.Series(np.arange(len(order)), index=order))
    chosen = np.argsort(rank.to_numpy(dtype=int), kind="stable")[:limit]
    return faces.iloc[np.sort(chosen)].reset_index(drop=True)


def pick(faces: pd.DataFrame, face_id: pd.Series) -> pd.DataFrame:
    """Return those of `faces` whose face_id is listed, in their own order; a fresh RangeIndex."""
    return faces[faces["face_id"].isin(face_id)].reset_index(drop=True)


def count_labels(faces: pd.DataFrame) -> pd.DataFrame:
    """One row a label: classes that occur, how many faces bear it, how many do not, and its range or counts."""
    rows = []
    for column in label_columns(faces):
        values = faces[column]
        if not is_class_label(values):
            held = f"{values.min():.4g} to {values.max():.4g}, median {values.median():.4g}"
        else:
            counts = values.value_counts(sort=False)
            held = ", ".join(f"{name} {n:,}" for name, n in counts[counts > 0].items())
        rows.append((column, int(values.notna().sum()), int(values.isna().sum()), held))
    return pd.DataFrame(rows, columns=["label", "known", "unknown", "values"])
