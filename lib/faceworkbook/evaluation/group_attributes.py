"""Attributes of faces as groups: which to compare, ages as bands, rows by group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

import numpy as np
import pandas as pd

from faceworkbook import faces as face_table
from faceworkbook.evaluation import metrics
from faceworkbook.evaluation.metrics import Metric, Rows

SMALL = 30
EVERYONE = "everyone"  # the attribute of a set without any: one group
AGE_EDGES = (0, 10, 20, 30, 40, 50, 60, 70)
Attribute = str | tuple[str, str]


class GroupsError(ValueError):
    """Attributes that cannot be cut into groups; the text says which would do."""


@dataclass(frozen=True)
class Cut:
    """Rows of a subset and the group of each.

    Attributes
    ----------
    rows : Rows
    names : list of str or of tuple
        Groups; those of a pair include the empty ones.
    codes : ndarray of shape (n,), int
        Index into `names`.
    unknown : int
        Rows of the subset that bear no label and are left out.
    """

    rows: Rows
    names: list
    codes: np.ndarray
    unknown: int

    def of(self, group: int) -> Rows:
        return self.rows.take(self.codes == group)

    def sizes(self) -> np.ndarray:
        return np.bincount(self.codes, minlength=len(self.names))

    def n_pictures(self) -> np.ndarray:
        """Number of different pictures of each group: copies count once."""
        different = np.unique(np.column_stack([self.codes, self.rows.pictures]), axis=0)
        return np.bincount(different[:, 0], minlength=len(self.names))


def choose_attributes(faces: pd.DataFrame, wanted: Sequence[str]) -> list[str]:
    """Return those of `wanted` whose values differ in the face table.

    Where there are none: the other columns of classes that the set has, or else the one group `EVERYONE`.
    """
    known = [name for name in wanted if name in faces and faces[name].nunique() > 1]
    if known:
        return known
    others = [name for name in face_table.label_columns(faces) if face_table.is_class_label(faces[name])]
    return [name for name in others if faces[name].nunique() > 1] or [EVERYONE]


def attach(
    predictions: pd.DataFrame,
    faces: pd.DataFrame,
    attributes: Sequence[str],
    *,
    age_edges: Sequence[float] = AGE_EDGES,
) -> pd.DataFrame:
    """Add attributes of the face table to a table of predictions, ages as bands.

    Parameters
    ----------
    attributes : sequence of str
        Columns of the face table; 'age' (years) becomes bands named '20-29', an angle of the head (degrees, labelled or
        predicted) bands named '-10 to 10', any other number fifths.
    age_edges : sequence of number
        Lower edges of the bands, in years; the last band is open.

    Raises
    ------
    GroupsError
        An attribute that the face table lacks, or faces that it does not know.
    """
    if EVERYONE in attributes and EVERYONE not in faces:
        faces = faces.assign(**{EVERYONE: "all faces"})
    usable = [c for c in faces.columns if faces[c].notna().any()]
    missing = [name for name in attributes if name not in usable]
    if missing:
        raise GroupsError(f"attributes {missing} have no known value in the face table; it has {usable}")
    by_face = faces.set_index("face_id")[list(attributes)]
    strange = ~predictions["face_id"].isin(by_face.index)
    if strange.any():
        raise GroupsError(
            f"{int(strange.sum())} predicted faces are not in the face table "
            f"(first: {predictions.loc[strange, 'face_id'].iloc[0]!r}); give the table of the same experiment"
        )
    values = by_face.loc[predictions["face_id"]]
    values.index = predictions.index
    for name in attributes:
        if pd.api.types.is_numeric_dtype(values[name]):
            values[name] = _bands(values[name], age_edges)
    joined = predictions.drop(columns=list(attributes), errors="ignore").join(values)
    joined.attrs = dict(predictions.attrs)  # a join forgets them, and with them the task
    return joined


def age_bands(ages: pd.Series, *, edges: Sequence[float] = AGE_EDGES) -> pd.Series:
    """Cut ages (years) into bands by lower edges: '0-9', ..., '70+'; NA stays NA."""
    edges = list(edges)
    names = [f"{low:g}-{high - 1:g}" for low, high in pairwise(edges)]
    values = pd.to_numeric(ages).astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    bands = pd.cut(values, [*edges, np.inf], right=False, labels=[*names, f"{edges[-1]:g}+"], ordered=True)
    return pd.Series(bands, index=ages.index)


def pose_bands(angles: pd.Series, *, edges: Sequence[float] = face_table.POSE_EDGES) -> pd.Series:
    """Cut angles (degrees) into bands by lower edges: 'below -30', '-30 to -10', ..., '30 and more'; NA stays NA."""
    names = [
        f"below {edges[0]:g}",
        *(f"{low:g} to {high:g}" for low, high in pairwise(edges)),
        f"{edges[-1]:g} and more",
    ]
    values = pd.to_numeric(angles).astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    bands = pd.cut(values, [-np.inf, *edges, np.inf], right=False, labels=names, ordered=True)
    return pd.Series(bands, index=angles.index)


def _bands(numbers: pd.Series, age_edges: Sequence[float]) -> pd.Series:
    if numbers.name == "age":
        return age_bands(numbers, edges=age_edges)
    is_pose = numbers.name in (*face_table.POSE, *face_table.PREDICTED_POSE)
    return pose_bands(numbers) if is_pose else _fifths(numbers)


def _fifths(numbers: pd.Series) -> pd.Series:
    values = numbers.astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    return pd.Series(pd.qcut(values, 5, duplicates="drop"), index=numbers.index).cat.rename_categories(str)


def pairs_of(attributes: Sequence[str]) -> list[Attribute]:
    """Each attribute, then each pair of them."""
    return [*attributes, *combinations(attributes, 2)]


def cut(table: pd.DataFrame, attribute: Attribute, *, subset: str = "test") -> Cut:
    """Cut the rows of `subset` by an attribute or a pair; see `attach`."""
    columns = [attribute] if isinstance(attribute, str) else list(attribute)
    missing = [name for name in columns if name not in table]
    if missing:
        raise GroupsError(f"columns {missing} are not in the table; add them with groups.attach(...)")
    chosen = table[table["split"] == subset]
    known = chosen[columns].notna().all(axis=1).to_numpy()
    rows = metrics.rows_of(chosen[known], subset=None) if known.any() else None
    if rows is None:
        raise GroupsError(f"no row of subset {subset!r} has {columns}; choose another attribute or subset")
    labels = chosen.loc[known, columns]
    values = [levels(labels[name]) for name in columns]
    codes = [
        pd.Index(level).get_indexer(labels[c].astype(str)) for c, level in zip(columns, values, strict=True)
    ]
    if len(columns) == 1:
        return Cut(rows, values[0], codes[0], int((~known).sum()))
    names = [(a, b) for a in values[0] for b in values[1]]
    return Cut(rows, names, codes[0] * len(values[1]) + codes[1], int((~known).sum()))


def describe_attribute(name: Attribute) -> str:
    """A group or attribute in words: 'female x Black'."""
    return name if isinstance(name, str) else " x ".join(name)


def levels(labels: pd.Series) -> list[str]:
    """Names that occur, in the order of the categories (else of the alphabet)."""
    present = set(labels.astype(str))
    if isinstance(labels.dtype, pd.CategoricalDtype):
        return [str(name) for name in labels.cat.categories if str(name) in present]
    return sorted(present)


def make_metric_frame(pieces: Cut, chosen: Sequence[Metric]) -> pd.DataFrame:
    """Return values by group from fairlearn's MetricFrame, which is handed row numbers."""
    from fairlearn.metrics import MetricFrame

    positions = np.arange(len(pieces.codes))
    labels = [describe_attribute(name) for name in pieces.names]
    frame = MetricFrame(
        metrics={m.name: statistic_on_positions(m, pieces.rows) for m in chosen},
        y_true=positions,
        y_pred=positions,
        sensitive_features=pd.Series(np.array(labels, dtype=object)[pieces.codes], name="group"),
    )
    return frame.by_group.reindex(labels).astype(float)


def statistic_on_positions(metric: Metric, rows: Rows):
    return lambda positions, _: metric.value(rows.take(np.asarray(positions, dtype=int)))


def keep_groups(pieces: Cut, used: np.ndarray) -> Cut:
    """The rows of the used groups, groups and units numbered anew."""
    inside = np.isin(pieces.codes, used)
    rows = pieces.rows.take(inside)
    rows = replace(rows, units=np.unique(rows.units, return_inverse=True)[1])
    codes = np.searchsorted(used, pieces.codes[inside])
    return Cut(rows, [pieces.names[g] for g in used], codes, pieces.unknown)
