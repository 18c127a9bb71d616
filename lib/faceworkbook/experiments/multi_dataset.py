"""Several data sets below each other: one table, one matrix, the labels that each has, one split."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from faceworkbook import audit, datasets, row_groups, splits
from faceworkbook import faces as face_table
from faceworkbook.experiments import overlap as overlaps
from faceworkbook.tasks import Labels, read_labels, source_columns
from faceworkbook.training import balancing
from faceworkbook.training.batches import Stage
from faceworkbook.training.pictures import Prepared


class MultiDatasetError(ValueError):
    """Data sets that cannot be learned together; the text names what is missing."""


@dataclass(frozen=True)
class Source:
    """The folder that a data set's ``image`` paths are relative to, and its title, source and terms."""

    root: Path
    info: datasets.DatasetInfo


@dataclass(frozen=True, eq=False)
class MultiDataset:
    """Faces of one or more data sets, with their descriptors and labels.

    Attributes
    ----------
    faces : pandas.DataFrame
        Face table of n rows; ``dataset`` says where a row is from. People of different sets who share a copy
        of a picture bear one name in ``identity``.
    matrix : ndarray of shape (n, d), float32
    labels : dict of str to Labels
        One a task, n labels each, missing where a data set has none.
    copies : ndarray of shape (n,), int
        Group of copies of a picture over all sets, -1 where a face is alone.
    twins : ndarray of shape (n,), int
        The same for near twins by descriptor.
    groups : ndarray of shape (n,), int
        Copies, near twins and people joined.
    excluded : pandas.DataFrame
        dataset, reason, faces: what was not used.
    shared : pandas.DataFrame
        dataset, other, same_picture, near_twin, same_person: faces that one set shares with another.
    alignment : dict of str to str
        By data set, how its faces were cut out and how many have no points, in a sentence; of a network's faces.
    corrections : pandas.DataFrame
        What became of every row of the sets' corrections files, with the ``dataset``; empty where there are none.
    warnings : tuple of str
        What the readers say must be known before anything is trained, see `faceworkbook.datasets.Dataset`.
    sources : dict of str to Source
        By data set, where its pictures lie and what is known of it.
    people : pandas.Series
        The identity of each face as its own set has it, before people of several sets bore one name.
    pixels : JoinedPictures, optional
        Of the same faces, where a network is trained on them; see `faceworkbook.experiments.multi_pictures`.
    """

    faces: pd.DataFrame
    matrix: np.ndarray
    labels: dict[str, Labels]
    copies: np.ndarray
    twins: np.ndarray
    groups: np.ndarray
    excluded: pd.DataFrame
    shared: pd.DataFrame
    alignment: dict[str, str] = field(default_factory=dict)
    corrections: pd.DataFrame = field(default_factory=pd.DataFrame)
    warnings: tuple[str, ...] = ()
    sources: dict[str, Source] = field(default_factory=dict)
    pixels: object | None = None
    people: pd.Series = field(default_factory=lambda: pd.Series(dtype="string"))

    @property
    def inputs(self):
        """Return what nets are fed with: pictures where there are some, else descriptors; ``inputs[rows]``."""
        return self.matrix if self.pixels is None else Prepared(self.pixels)

    @property
    def datasets(self) -> list[str]:
        """Names of the data sets, in order."""
        return list(self.faces["dataset"].unique())

    def grouped(self, balance_by: str) -> MultiDataset:
        """Return the data sets with the groups that balancing evens out; see `faceworkbook.training.balancing.group`."""
        labels = {name: balancing.group(own, self.faces, balance_by) for name, own in self.labels.items()}
        return replace(self, labels=labels)

    def rows_of(self, dataset: str) -> np.ndarray:
        """Return the rows of one data set."""
        return np.flatnonzero((self.faces["dataset"] == dataset).to_numpy())

    def facts(self) -> list[dict[str, str]]:
        """Return title, source, terms and further facts of each data set; see `faceworkbook.datasets.DatasetInfo.row`."""
        return [source.info.row() for source in self.sources.values()]

    def pictures(self) -> pd.Series:
        """Return the path of each face's picture, whole."""
        pairs = zip(self.faces["dataset"], self.faces["image"], strict=True)
        return pd.Series(
            [str(self.sources[name].root.resolve() / image) for name, image in pairs], self.faces.index
        )

    def counts(self) -> pd.DataFrame:
        """Count known labels by data set and task."""
        known = pd.DataFrame({name: labels.known for name, labels in self.labels.items()})
        return known.groupby(self.faces["dataset"].to_numpy()).sum().rename_axis("dataset").reset_index()


def parse(sets: Sequence[str]) -> dict[str, str]:
    """Read ``["utkface: data/UTKFace", ...]`` (or with an equals sign) as a dict of name to folder, or to file."""
    pairs = [re.fullmatch(r"(\w+)\s*[:=]\s*(\S.*)", text) for text in sets]
    if not pairs or not all(pairs):
        raise MultiDatasetError(
            f"data sets {list(sets)}; expected a list of NAME=FOLDER, such as utkface=data/UTKFace"
        )
    names = [pair[1] for pair in pairs]
    if len({*names}) < len(names):
        raise MultiDatasetError(f"data sets {list(sets)}: a name stands there twice; each set is read once")
    return dict(pair.groups() for pair in pairs)


def load_datasets(
    roots: Mapping[str, Path],
    tasks: Sequence[str],
    *,
    describe: Callable,
    limit: int = 0,
    seed: int = 0,
    settings: Mapping[str, Mapping] = MappingProxyType({}),
    thresholds: audit.Thresholds | None = None,
) -> MultiDataset:
    """Read data sets, describe their faces, search copies over all of them, and put them below each other.

    Parameters
    ----------
    roots : mapping of str to path
        Folder by data set.
    tasks : sequence of str
        Labels to learn; see `faceworkbook.tasks.read_labels`.
    describe : callable
        See `faceworkbook.experiments.describing.describe_with`.
    limit : int
        At most so many faces a data set, 0 for all.
    settings : mapping of str to mapping
        By data set, its ``corrections`` and the options of its reader, see `faceworkbook.datasets.load`.
    thresholds : faceworkbook.audit.Thresholds, optional
        Faces below them are removed; where None all stay.
    """
    unknown = sorted(set(settings) - set(roots))
    if unknown:
        raise MultiDatasetError(f"corrections or options of {unknown}; the data sets are {[*roots]}")
    limits = thresholds or audit.Thresholds.of()
    faces, matrices, excluded, became, warnings = {}, [], [], [], []
    sources, alignment = {}, {}
    for reader, root in roots.items():
        dataset = datasets.load(reader, root, **settings.get(reader, {})).need_faces()
        name = _name_once(dataset, reader, sources)
        became.append(datasets.corrections.listed(dataset).assign(dataset=name))
        warnings += [f"{name}: {warning}" for warning in dataset.warnings]
        labelled = with_label(dataset.faces, tasks)
        drawn = face_table.draw(labelled, limit=limit, seed=seed)
        cleaned = audit.clean_faces(drawn, dataset.root, limits)
        if cleaned.faces.empty:
            raise MultiDatasetError(f"no face of {name} passes {limits}; lower the thresholds")
        described = describe(cleaned.faces, reader, dataset.root)
        if not len(described.face_id):
            reasons = ", ".join(described.left_out["reason"].unique())
            raise MultiDatasetError(
                f"none of the {len(cleaned.faces):,} faces of {name} is described: {reasons}; look at its pictures, or "
                "describe faces by source=network, which cuts out whole pictures too"
            )
        kept = cleaned.faces.set_index("face_id", drop=False)
        faces[name] = kept.loc[described.face_id].reset_index(drop=True)
        sources[name] = Source(dataset.root, dataset.info or datasets.describe(reader))
        if (aligned := getattr(described, "aligned", None)) is not None:
            alignment[name] = aligned.describe()
        matrices.append(np.asarray(described.matrix))
        excluded += [
            (name, "excluded by the reader", len(dataset.left_out)),
            (name, "no label of any task", len(dataset.faces) - len(labelled)),
            (name, "not drawn", len(labelled) - len(drawn)),
            *(
                (name, f"removed: {reason}", n)
                for reason, n in cleaned.removed["reason"].value_counts().items()
            ),
            (name, "unreadable, or no face detected", len(described.left_out)),
        ]
    table = pd.DataFrame(excluded, columns=["dataset", "reason", "faces"])
    folders = {name: source.root for name, source in sources.items()}
    overlap = overlaps.find(faces, folders, matrices=dict(zip(faces, matrices, strict=True)))
    multi = build(faces, matrices, tasks, overlap=overlap, excluded=table)
    corrected = pd.concat(became, ignore_index=True)
    return replace(
        multi, alignment=alignment, corrections=corrected, warnings=tuple(warnings), sources=sources
    )


def _name_once(dataset: datasets.Dataset, reader: str, taken: Mapping) -> str:
    """Return what the faces' ``dataset`` says, which a reader's option may have renamed."""
    name = str(dataset.faces["dataset"].iloc[0])
    if name in taken:
        raise MultiDatasetError(
            f"two data sets bear the name {name!r} (option 'dataset' of {reader}); give each a name of its own"
        )
    return name


def build(
    faces: Mapping[str, pd.DataFrame],
    matrices: Sequence[np.ndarray],
    tasks: Sequence[str],
    *,
    overlap: overlaps.Overlap | None = None,
    excluded: pd.DataFrame | None = None,
) -> MultiDataset:
    """Put face tables and their descriptors below each other; see `MultiDataset`.

    Parameters
    ----------
    overlap : Overlap, optional
        Of the same tables; where None no picture counts as a copy of another.
    """
    widths = sorted({matrix.shape[1] for matrix in matrices})
    if len(widths) != 1:
        raise MultiDatasetError(
            f"the data sets' descriptors have widths {widths}; describe them with one network"
        )
    overlaps.require_own_ids(faces)
    if overlap is None:
        overlap = overlaps.join(faces, np.full(sum(map(len, faces.values())), row_groups.ALONE))
    table = below(list(faces.values()))
    copies, twins, groups = (
        np.concatenate([*of.values()]) for of in (overlap.copies, overlap.twins, overlap.groups)
    )
    people = table["identity"].astype("string").copy()
    table["identity"] = _join_identities(table, groups)
    table[face_table.COPY_GROUP] = row_groups.name_groups(table["face_id"], copies)
    if excluded is None:
        excluded = pd.DataFrame(columns=["dataset", "reason", "faces"])
    return MultiDataset(
        table,
        np.concatenate(matrices).astype(np.float32),
        {name: read_labels(table, name) for name in tasks},
        copies,
        twins,
        groups,
        excluded,
        overlap.table(),
        people=people,
    )


def with_label(faces: pd.DataFrame, tasks: Sequence[str]) -> pd.DataFrame:
    columns = {column for task in tasks for column in source_columns(faces, task)}
    known = faces[sorted(columns)].notna().any(axis=1)
    if not known.any():
        raise MultiDatasetError(
            f"no face of {faces['dataset'].iloc[0]} has a label of {list(tasks)}; it has "
            f"{face_table.label_columns(faces)}"
        )
    return faces[known].reset_index(drop=True)


def below(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    classes = {c: None for t in tables for c in t if isinstance(t[c].dtype, pd.CategoricalDtype)}
    faces = pd.concat([t.astype({c: object for c in classes if c in t}) for t in tables], ignore_index=True)
    for column in classes:
        having = [table[column].cat for table in tables if column in table]
        names = dict.fromkeys(name for values in having for name in values.categories)
        ordered = all(values.ordered for values in having)
        faces[column] = pd.Categorical(faces[column], categories=list(names), ordered=ordered)
    return faces


def _join_identities(faces: pd.DataFrame, groups: np.ndarray) -> pd.Series:
    """Give the people of one group that spans several sets the name that the group bears first."""
    tied = groups != row_groups.ALONE
    spans = faces["dataset"][tied].groupby(groups[tied]).transform("nunique") > 1
    rows = spans.index[spans]
    names = faces["identity"].loc[rows].fillna(faces["face_id"].loc[rows])
    identity = faces["identity"].astype("string").copy()
    identity.loc[rows] = names.groupby(groups[rows]).transform("first")
    return identity


def take(multi: MultiDataset, rows: np.ndarray) -> MultiDataset:
    """Return some rows; groups keep their numbers."""
    groups = {name: getattr(multi, name)[rows] for name in ("copies", "twins", "groups")}
    labels = {name: of.take(rows) for name, of in multi.labels.items()}
    faces = multi.faces.iloc[rows].reset_index(drop=True)
    people = multi.people.iloc[rows].reset_index(drop=True)
    return replace(multi, faces=faces, matrix=multi.matrix[rows], labels=labels, people=people, **groups)


def hide(multi: MultiDataset, task: str, *, share: float, rows: np.ndarray, seed: int) -> MultiDataset:
    """Hide the label `task` in a share of `rows` (training and validation rows)."""
    if not 0 <= share < 1:
        raise MultiDatasetError(
            f"share={share} of the labels of '{task}' to hide; allowed is 0 up to below 1"
        )
    labels = multi.labels[task]
    known = np.asarray(rows)[labels.known[rows]]
    hidden = np.random.default_rng(seed).permutation(known)[: round(share * len(known))]
    return replace(multi, labels={**multi.labels, task: labels.hide(hidden)})


@dataclass(frozen=True, eq=False)
class MultiSplit:
    """Training, validation and test rows of a `MultiDataset`; no row, person, copy or twin in two of them.

    Attributes
    ----------
    train, validation, test : ndarray of int, ascending
    leakage : dict
        Test rows, and how many of them show a person or picture of the other rows; see
        `faceworkbook.splits.Split`.
    excluded : pandas.DataFrame
        face_id, subset, reason: test faces whose copies bear another label, and training faces whose picture an
        earlier set has too, with the same labels.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    leakage: dict
    excluded: pd.DataFrame

    def counts(self) -> dict[str, int]:
        """Count the rows by subset, those that leak, and those that are excluded by reason."""
        rows = {name: len(getattr(self, name)) for name in splits.SUBSETS}
        reasons = {"contradicting": splits.CONTRADICTING, "repeated": splits.REPEATED}
        gone = {name: int((self.excluded["reason"] == why).sum()) for name, why in reasons.items()}
        return {**rows, "leaked": self.leakage["leaked"], **gone}


def split(multi: MultiDataset, *, seed: int, test: float = 0.25, validation: float = 0.15) -> MultiSplit:
    """Split each data set by identity, stratified by its own labels; who stands in several sets stays whole.

    Every set is split by itself, so that it has its share in each subset. A person or picture of several sets
    then goes where the first of these sets has it, and a picture of several sets trains once.
    """
    subset = np.full(len(multi.faces), "", dtype=object)
    settled: dict[int, str] = {}
    for name in multi.datasets:
        rows = multi.rows_of(name)
        own = with_joined_people(multi).iloc[rows].reset_index(drop=True)
        made = splits.make(
            own,
            label=_strata(own, multi.labels),
            seed=seed,
            test=test,
            validation=validation,
            keep_together=multi.copies[rows],
        )
        groups, placed = multi.groups[rows], made.subset_of(len(rows))
        known = np.array([settled.get(group, "") for group in groups], dtype=object)
        subset[rows] = np.where((known != "") & (placed != ""), known, placed)
        tied = (groups != row_groups.ALONE) & (subset[rows] != "")
        settled |= dict(zip(groups[tied].tolist(), subset[rows][tied], strict=True))
    labelled = np.column_stack([labels.known for labels in multi.labels.values()]).any(axis=1)
    contradicting = (_contradicting(multi) & (subset == "test")) | (labelled & (subset == ""))
    repeated = _repeated(multi) & np.isin(subset, ["train", "validation"])
    excluded = pd.concat(
        [
            _list(multi, contradicting, "test", splits.CONTRADICTING),
            _list(multi, repeated, "train", splits.REPEATED),
        ],
        ignore_index=True,
    )
    subset[contradicting | repeated] = ""
    fitted = (subset == "train") | (subset == "validation")
    pictures = row_groups.join(multi.copies, multi.twins)
    leakage = row_groups.measure_leakage(
        multi.faces["identity"], pictures, fitted=fitted, test=subset == "test"
    )
    rows = {name: np.flatnonzero(subset == name) for name in splits.SUBSETS}
    return MultiSplit(**rows, leakage=leakage, excluded=excluded)


def leave_one_out(
    multi: MultiDataset, label: str | list[str], *, seed: int = 0, validation: float = 0.15
) -> list[splits.Split]:
    """One split a data set: tested on it, trained on the others; see `splits.leave_one_dataset_out`.

    Training faces that are a copy or a near twin of a tested picture, or show a tested person, are left out and
    listed in ``left_out``, and so are pictures that an earlier training set has too.
    """
    return splits.leave_one_dataset_out(
        with_joined_people(multi), label=label, seed=seed, validation=validation, keep_together=multi.copies
    )


def with_joined_people(multi: MultiDataset) -> pd.DataFrame:
    """Return the face table with the joined group in place of the person, so that copies and twins stay together."""
    names = multi.faces["identity"].fillna(multi.faces["face_id"])
    joined = names.groupby(multi.groups).transform("first").where(multi.groups != row_groups.ALONE)
    return multi.faces.assign(identity=joined.astype("string"))


def _repeated(multi: MultiDataset) -> np.ndarray:
    known = np.column_stack([labels.known for labels in multi.labels.values()])
    return row_groups.repeated_rows(multi.copies, multi.faces["dataset"], known)


def _list(multi: MultiDataset, rows: np.ndarray, subset: str, reason: str) -> pd.DataFrame:
    ids = multi.faces["face_id"].to_numpy()[rows]
    return pd.DataFrame({"face_id": ids, "subset": subset, "reason": reason}, dtype="string")


def _contradicting(multi: MultiDataset) -> np.ndarray:
    columns = _strata(multi.faces, multi.labels)
    differing = [row_groups.contradictions(multi.faces[column], multi.copies) for column in columns]
    return np.logical_or.reduce(differing)


def _strata(faces: pd.DataFrame, tasks: Sequence[str]) -> list[str]:
    columns = [column for task in tasks for column in source_columns(faces, task)]
    return list(dict.fromkeys(column for column in columns if faces[column].notna().any()))


def make_stages(multi: MultiDataset, rows: np.ndarray, tasks: Sequence[str]) -> tuple[Stage, ...]:
    """Return what takes turns: the data sets, each with the tasks it has labels for; in one set, the tasks."""
    stages = []
    for name in multi.datasets:
        own = rows[(multi.faces["dataset"].iloc[rows] == name).to_numpy()]
        known = tuple(task for task in tasks if multi.labels[task].known[own].any())
        if known:
            stages.append(Stage(name, own, known))
    if len(stages) > 1 or len(tasks) == 1:
        return tuple(stages)
    return tuple(Stage(task, stages[0].rows, (task,)) for task in stages[0].tasks)
