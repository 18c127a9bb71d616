"""Splits as files, known by content: what was changed since is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook import files, row_groups
from faceworkbook.row_groups import ALONE
from faceworkbook.splits.split import CONTRADICTING, SUBSETS, Split, SplitError

_SAVED = ("name", "seed", "repeat", "fold", "fingerprint", "leakage")
_ADVICE = "run 01_faces again, or make the split with splits.make(...)"


def fingerprint(faces: pd.DataFrame, label: str | tuple[str, ...]) -> str:
    """Return a hash of the table's face_id, identity and label columns, whatever the order of its rows."""
    return files.hash_rows(
        faces, ["identity", *([label] if isinstance(label, str) else label)], key="face_id"
    )


def hash_subsets(split: Split, faces: pd.DataFrame) -> str:
    """Return a hash of which faces stand in which subset."""
    ids = faces["face_id"].to_numpy()
    return files.hash_values(*(np.sort(ids[getattr(split, subset)].astype(str)) for subset in SUBSETS))


def save(split: Split, path: str | Path, faces: pd.DataFrame) -> Path:
    """Write `split` as JSON (face ids by subset, copies, report, fingerprint), beside and renamed."""
    _check_fingerprint(split.fingerprint, faces, split.label, "this split")
    ids = faces["face_id"].to_numpy()
    copied = np.flatnonzero(split.copies != ALONE)
    record = {key: getattr(split, key) for key in _SAVED}
    record |= {"label": [*split.label], "notices": [*split.notices]}
    record["report"] = split.report.reset_index().to_dict("records")
    record["left_out"] = split.left_out.to_dict("records")
    record["copies"] = dict(zip(ids[copied].tolist(), split.copies[copied].tolist(), strict=True))
    record |= {subset: ids[getattr(split, subset)].tolist() for subset in SUBSETS}
    return files.write_json(path, record | {"checksum": _checksum(record)})


def _checksum(record: dict) -> str:
    return files.hash_values({key: value for key, value in record.items() if key != "checksum"})


def load(path: str | Path, faces: pd.DataFrame) -> Split:
    """Read what `save` wrote, and count anew what leaks.

    Raises
    ------
    SplitError
        The face table changed since, the file is damaged, a face stands in two subsets or twice, or the
        leakage in the file is not that of its rows.
    """
    path = Path(path)
    record = files.read_json(path, SplitError, advice=_ADVICE)
    try:
        label, copies = tuple(record["label"]), dict(record["copies"])
        ids = {subset: list(map(str, record[subset])) for subset in SUBSETS}
        report = pd.DataFrame(record["report"]).set_index("subset")
        left_out = pd.DataFrame(record["left_out"], columns=["face_id", "subset", "reason"], dtype="string")
        saved = {key: record[key] for key in _SAVED} | {"notices": tuple(map(str, record["notices"]))}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SplitError(f"{path} is no saved split ({error!r}); {_ADVICE}") from error
    _check_fingerprint(saved["fingerprint"], faces, label, str(path))
    rows = _positions(path, ids, faces)
    tied = _load_copies(path, copies, faces)
    leakage = _count_leakage(faces, tied, rows)
    if leakage != saved["leakage"]:
        raise SplitError(
            f"{path} says that {saved['leakage']} of its rows leak; counted anew they are {leakage}. It was "
            f"changed after it was made: {_ADVICE}"
        )
    if record.get("checksum") != _checksum(record):
        raise SplitError(f"{path} was changed after it was made (its checksum does not fit); {_ADVICE}")
    dropped = left_out.loc[(left_out["reason"] == CONTRADICTING).fillna(False), "face_id"]
    contradicting = np.flatnonzero(faces["face_id"].isin(dropped).to_numpy())
    return Split(
        **saved,
        **rows,
        label=label,
        report=report,
        left_out=left_out,
        copies=tied,
        contradicting=contradicting,
    )


def _positions(path: Path, ids: dict[str, list[str]], faces: pd.DataFrame) -> dict[str, np.ndarray]:
    every = pd.Series([face for subset in SUBSETS for face in ids[subset]], dtype="string")
    twice = every[every.duplicated()]
    if len(twice):
        raise SplitError(
            f"{path}: face {twice.iloc[0]!r} stands twice, or in two subsets ({len(twice)} such); {_ADVICE}"
        )
    index = pd.Index(faces["face_id"].astype(str))
    rows = {subset: np.sort(index.get_indexer(ids[subset])).astype(np.int64) for subset in SUBSETS}
    unknown = sum(int((at < 0).sum()) for at in rows.values())
    if unknown:
        raise SplitError(f"{path} names {unknown} faces that the face table does not have; {_ADVICE}")
    return rows


def _load_copies(path: Path, copies: dict, faces: pd.DataFrame) -> np.ndarray:
    groups = faces["face_id"].astype(str).map(copies)
    numbers = pd.to_numeric(groups, errors="coerce").fillna(ALONE).to_numpy(dtype=np.int64)
    if len(copies) != int((numbers >= 0).sum()):
        raise SplitError(f"{path}: 'copies' names faces or groups that are not there; {_ADVICE}")
    return numbers


def _count_leakage(faces: pd.DataFrame, copies: np.ndarray, rows: dict[str, np.ndarray]) -> dict:
    fitted, test = np.zeros(len(faces), bool), np.zeros(len(faces), bool)
    fitted[rows["train"]] = fitted[rows["validation"]] = True
    test[rows["test"]] = True
    return row_groups.measure_leakage(faces["identity"], copies, fitted=fitted, test=test)


def _check_fingerprint(expected: str, faces: pd.DataFrame, label: tuple[str, ...], what: str) -> None:
    missing = [column for column in label if column not in faces]
    if missing or fingerprint(faces, label) != expected:
        raise SplitError(
            f"{what} was made for another face table: faces, people or their {', '.join(label)} changed since "
            f"({len(faces)} rows now); make the split anew, or restore the table"
        )
