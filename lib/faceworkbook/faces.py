"""The face table: one row a face, named labels, NA where unknown.

Every data set is read into this table and every later step reads it. The only place
that knows the columns, the label vocabularies and the pose convention.

Pose convention (that of GENKI-4K's label file), in degrees, 0 frontal, seen by somebody who looks
at the picture: ``yaw`` > 0 turns the face towards the image's right (the nose moves right of the
eyes' middle), ``pitch`` > 0 looks up (the nose rises towards the eye line), ``roll`` > 0 leans the
head's top towards the image's right (clockwise; the eye at the image's right is the lower one).
Mirroring a picture negates yaw and roll and keeps pitch.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

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
CLASS_LABELS = ("gender", "race", "emotion", "age_group")
NUMBER_LABELS = ("age", *POSE)
VOTES_PREFIX = "votes_"  # counts of annotators' votes
TARGET_PREFIX = "target_"  # probabilities to train on, made of votes; they sum to 1
NOT_LABELS = ("content_hash",)  # further columns that the workbook itself adds
NO, YES = "no", "yes"
MAX_CLASSES = 100  # texts with more different values are no classes
EXTRA_PREFIX = "extra_"  # what a data set says beside the labels; kept as it is

# Vocabularies under which a file of names may be read, the project's own first.
KNOWN_VOCABULARIES = {
    "gender": (GENDERS,),
    "race": (RACES_UTKFACE, RACES_FAIRFACE),
    "emotion": (EMOTIONS,),
    "age_group": (AGE_GROUPS_ADIENCE, AGE_GROUPS_FAIRFACE),
}

_VOCABULARIES = {column: known[0] for column, known in KNOWN_VOCABULARIES.items()}
RANGES = {"age": (0, 130), "yaw": (-180, 180), "pitch": (-180, 180), "roll": (-180, 180)}


class FaceTableError(ValueError):
    """A face table that breaks its contract; the text names the column, the value and the remedy."""


def build(
    columns: dict, *, dataset: str, vocabularies: dict[str, tuple[str, ...]] | None = None
) -> pd.DataFrame:
    """Make a face table from the columns that a data set has.

    Parameters
    ----------
    columns : dict of str to array-like
        At least ``image``. ``face_id`` defaults to ``dataset:image``. Labels are names; None,
        NaN and NA mean unknown. Columns ``votes_*`` and ``target_*`` (floats) and ``extra_*``
        (anything) are kept as they are. Any further column is a label of one's own: yes/no values
        become the classes 'no' and 'yes', texts with few values classes, numbers numbers.
    dataset : str
        Name of the data set.
    vocabularies : dict, optional
        Category names by column, in order, where they differ from this module's.

    Returns
    -------
    pandas.DataFrame
        Columns in the order of `COLUMNS`, then all further ones; a fresh RangeIndex.

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
    more = {name: _more(name, values) for name, values in columns.items() if name not in COLUMNS}
    return validate(table.assign(**more))


def _more(name: str, values) -> np.ndarray | pd.api.extensions.ExtensionArray:
    if name.startswith((VOTES_PREFIX, TARGET_PREFIX)):
        return np.asarray(values, dtype=float)
    if name.startswith(EXTRA_PREFIX):
        return pd.Series(values).array
    if not str(name).isidentifier():
        raise FaceTableError(
            f"column name {name!r}; a label of one's own has letters, digits and underscores only"
        )
    return own_label(pd.Series(values).reset_index(drop=True)).array


def own_label(values: pd.Series) -> pd.Series:
    """Turn a column of one's own into what a label is: named classes, or numbers; other texts stay texts."""
    known = values.dropna()
    if isinstance(values.dtype, pd.CategoricalDtype):
        return values.cat.rename_categories([str(name) for name in values.cat.categories])
    if len(known) and known.map(lambda value: isinstance(value, bool | np.bool_)).all():
        words = values.astype(object).where(values.notna(), None).map({True: YES, False: NO})
        return pd.Series(pd.Categorical(words, categories=[NO, YES]))
    if pd.api.types.is_numeric_dtype(values.dtype):
        return values.astype("Float64")
    texts = values.astype("string")
    distinct = texts.nunique()
    if 0 < distinct <= MAX_CLASSES and distinct <= max(2, len(known) // 2):
        return pd.Series(pd.Categorical(texts.astype(object), categories=sorted(texts.dropna().unique())))
    return texts


def _column(values, column: str, kind: str, n: int, names: dict) -> pd.Series:
    series = pd.Series([None] * n if values is None else values, dtype=object).reset_index(drop=True)
    if len(series) != n:
        raise FaceTableError(f"column '{column}' has {len(series)} values for {n} pictures; give one each")
    series = series.where(series.notna(), None)
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
    for column in CLASS_LABELS:
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
        raise FaceTableError(f"face {faces.loc[partial, 'face_id'].iloc[0]!r} has a box with missing sides")
    if flat.any():
        raise FaceTableError(f"face {faces.loc[flat, 'face_id'].iloc[0]!r} has a box without area")


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
        raise FaceTableError(f"column 'image' is missing in {int(images.isna().sum())} rows")
    outside = images[
        images.str.match(r"^(/|[A-Za-z]:|\\)") | images.str.contains(r"(?:^|[\\/])\.\.(?:[\\/]|$)")
    ]
    if len(outside):
        raise FaceTableError(
            f"image path {outside.iloc[0]!r} leaves the data set's root; paths are relative to it"
        )


def label_columns(faces: pd.DataFrame) -> list[str]:
    """Return the label columns that hold at least one known value, classes first, then those of one's own."""
    own = [column for column in faces.columns if column not in COLUMNS and _is_own_label(faces[column])]
    return [c for c in (*CLASS_LABELS, *NUMBER_LABELS, *own) if faces[c].notna().any()]


def _is_own_label(values: pd.Series) -> bool:
    name = str(values.name)
    if name.startswith((VOTES_PREFIX, TARGET_PREFIX, EXTRA_PREFIX)) or name in NOT_LABELS:
        return False
    return is_class_label(values) or pd.api.types.is_numeric_dtype(values.dtype)


def is_class_label(values: pd.Series) -> bool:
    """Whether a label column holds named classes (a categorical), not numbers."""
    return isinstance(values.dtype, pd.CategoricalDtype)


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


def count_labels(faces: pd.DataFrame) -> pd.DataFrame:
    """One row a label: classes that occur, how many faces bear it, how many do not, and its range or counts."""
    rows = []
    for column in label_columns(faces):
        values = faces[column]
        if is_class_label(values):
            counts = values.value_counts(sort=False)
            held = ", ".join(f"{name} {n:,}" for name, n in counts[counts > 0].items())
        else:
            held = f"{values.min():.0f} to {values.max():.0f}, median {values.median():.0f}"
        rows.append((column, int(values.notna().sum()), int(values.isna().sum()), held))
    return pd.DataFrame(rows, columns=["label", "known", "unknown", "values"])
