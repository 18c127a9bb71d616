"""Runs on the same rows: read, brought into one order, or refused with what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from faceworkbook.evaluation import predictions as tables


class ComparisonError(ValueError):
    """Runs that must not be compared, and in what they differ."""


def read_runs(places: Sequence[str | Path]) -> dict[str, pd.DataFrame]:
    """Read the predictions of runs, by the shortest path that distinguishes them.

    Parameters
    ----------
    places : sequence of path
        Run folders with ``predictions.parquet``, or files of predictions.

    Raises
    ------
    FileNotFoundError
        A folder without predictions, or no such file.
    ComparisonError
        The same place is given twice.
    """
    files = [find_predictions(Path(place)) for place in places]
    if len({file.resolve() for file in files}) < len(files):
        raise ComparisonError(f"the same run is given twice: {[str(place) for place in places]}")
    paths = [_distinct_path(file) for file in files]
    length = 1
    while len({path[-length:] for path in paths}) < len(paths):
        length += 1
    return {"/".join(path[-length:]): tables.read(file) for path, file in zip(paths, files, strict=True)}


def find_predictions(place: Path) -> Path:
    """Return the file of predictions of a run folder, or the file itself."""
    file = place if place.suffix == ".parquet" else place / "predictions.parquet"
    if not file.is_file():
        raise FileNotFoundError(
            f"{place if place.is_file() else file} is {'no parquet file' if place.is_file() else 'missing'}; give the folder of a finished step, such as "
            "results/utkface_gender/03_classifier, or its predictions.parquet (other files are judged by workbook "
            "evaluate first, and its folder is given)"
        )
    return file


def _distinct_path(file: Path) -> tuple[str, ...]:
    """Folders that name a run, and the file where it is not the usual one."""
    folders = file.resolve().parent.parts
    return folders if file.name == "predictions.parquet" else (*folders, file.stem)


def require_same_rows(
    runs: Mapping[str, pd.DataFrame], *, subset: str | None = "test"
) -> dict[str, pd.DataFrame]:
    """Bring the runs' rows into one order, or refuse and name what differs.

    Returns
    -------
    dict of str to pandas.DataFrame
        The rows of `subset`, in the order of the first run.
    """
    if len(runs) < 2:
        raise ComparisonError(f"{len(runs)} run given ({list(runs)}); a comparison needs two or more")
    keys = ["face_id", "repeat", "fold"]
    chosen = {
        name: (table if subset is None else table[table["split"] == subset]).set_index(keys, drop=False)
        for name, table in runs.items()
    }
    (first, reference), *others = chosen.items()
    problems = [f"{name} has no rows of subset {subset!r}" for name, table in chosen.items() if table.empty]
    problems += [
        f"{name} has {int(table.index.duplicated().sum())} faces twice in one fold"
        for name, table in chosen.items()
        if table.index.has_duplicates
    ]
    for name, table in others if not problems else ():
        problems += _differences(first, reference, name, table)
    if problems:
        raise ComparisonError("these runs cannot be compared: " + "; ".join(problems))
    return {name: table.loc[reference.index].reset_index(drop=True) for name, table in chosen.items()}


def _differences(first: str, reference: pd.DataFrame, name: str, table: pd.DataFrame) -> list[str]:
    differences = []
    classes, others = tables.class_names(reference), tables.class_names(table)
    if classes != others:
        differences.append(f"classes of {first} are {classes or 'numbers'}, of {name} {others or 'numbers'}")
    for owner, mine, theirs in ((first, reference, table), (name, table, reference)):
        alone = mine.index.difference(theirs.index)
        if len(alone):
            differences.append(
                f"{len(alone)} of {len(mine)} test rows only in {owner} (first: {_format_row(alone[0])})"
            )
    shared = reference.index.intersection(table.index)
    for column in ("truth", "identity"):
        mine, theirs = reference.loc[shared, column], table.loc[shared, column]
        same = (mine == theirs).fillna(False).to_numpy(dtype=bool) | (mine.isna() & theirs.isna()).to_numpy()
        if not same.all():
            at = shared[~same][0]
            differences.append(
                f"{column} differs in {int((~same).sum())} rows (first: {_format_row(at)} is "
                f"{mine.loc[at]!r} in {first}, {theirs.loc[at]!r} in {name})"
            )
    return differences


def _format_row(key: tuple) -> str:
    face, repeat, fold = key
    return f"{face!r}" if (repeat, fold) == (0, 0) else f"{face!r} in repeat {repeat}, fold {fold}"
