"""The one page on top of an audit: what is wrong, how much, how bad, what the workbook does about it."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from faceworkbook import faces as face_table
from faceworkbook.audit import balance
from faceworkbook.audit.cleaning import Cleaned
from faceworkbook.audit.duplicates import Duplicates
from faceworkbook.audit.label_errors import LabelErrors

CHAIN = 20  # different faces in one chain that are more than copies of a picture
SEVERITIES = ("fine", "minor", "serious", "critical")
COLUMNS = ("finding", "count", "of", "share", "severity", "detail", "what the workbook does")


@dataclass
class Findings:
    """The findings of an audit; what was not run stays None.

    Attributes
    ----------
    faces : pandas.DataFrame
    left_out : pandas.DataFrame
        Columns image, reason, detail, of the reader.
    label : str
        The label that the experiment is about.
    exact, near, alike : Duplicates, optional
        By content, by looks, by descriptor.
    official, careless : dict, optional
        ``Split.leakage`` of the official split, and of a random one.
    worth : pandas.DataFrame, optional
        Of `audit.leakage_worth`.
    errors : LabelErrors, optional
    cleaned : Cleaned, optional
    """

    faces: pd.DataFrame
    left_out: pd.DataFrame
    label: str
    exact: Duplicates | None = None
    near: Duplicates | None = None
    alike: Duplicates | None = None
    official: dict | None = None
    careless: dict | None = None
    worth: pd.DataFrame | None = None
    errors: LabelErrors | None = None
    cleaned: Cleaned | None = None


def verdict(findings: Findings) -> pd.DataFrame:
    """The findings as one table, the worst first.

    Returns
    -------
    pandas.DataFrame
        ``finding, count, of, share`` (0..1), ``severity`` (fine, minor, serious, critical), ``detail``,
        ``what the workbook does``.
    """
    rows = [
        *_reading(findings),
        *_people(findings),
        *_copies(findings),
        *_leaks(findings),
        *_labels(findings),
        *_pictures(findings),
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    worst = table["severity"].map(SEVERITIES.index)
    return table.iloc[worst.sort_values(ascending=False, kind="stable").index].reset_index(drop=True)


def _row(finding: str, count: int, of: int, severity: str, detail: str, action: str) -> tuple:
    return finding, int(count), int(of), count / of if of else float("nan"), severity, detail, action


def grade(share: float, *, minor: float, serious: float, critical: float = 2.0) -> str:
    """Severity of a share (0..1) by its lower limits; 0 is fine."""
    if share >= critical:
        return "critical"
    if share >= serious:
        return "serious"
    return "minor" if share >= minor and share > 0 else "fine"


def _reading(f: Findings):
    gone, n = len(f.left_out), len(f.faces) + len(f.left_out)
    reasons = ", ".join(f"{why} {k:,}" for why, k in f.left_out["reason"].value_counts().head(4).items())
    yield _row(
        "files or rows not read",
        gone,
        n,
        grade(gone / max(n, 1), minor=0, serious=0.05),
        reasons or "none",
        "left out, each listed with its reason",
    )
    missing = int(f.faces[f.label].isna().sum())
    yield _row(
        f"faces without {f.label}",
        missing,
        len(f.faces),
        grade(missing / max(len(f.faces), 1), minor=0, serious=0.2),
        "the set has no value",
        "kept as unknown, never made a class",
    )


def _people(f: Findings):
    unknown = int(f.faces["identity"].isna().sum())
    share = unknown / max(len(f.faces), 1)
    yield _row(
        "faces whose person is unknown",
        unknown,
        len(f.faces),
        grade(share, minor=0, serious=0.5),
        f"{f.faces['identity'].nunique():,} people are known",
        "copies are kept on one side of a split; other pictures of a person cannot be, so scores may be too good",
    )


def _copies(f: Findings):
    action = "all copies on one side of the split; contradicting ones never test"
    texts = {
        "exact": ("faces with an identical copy", "identical copies"),
        "near": ("faces with a copy that looks alike", "copies that look alike"),
        "alike": ("faces with a near twin by descriptor (same photo or burst)", "near twins by descriptor"),
    }
    for name, (text, copies) in texts.items():
        duplicates = getattr(f, name)
        if duplicates is None:
            continue
        n = len(duplicates.members)
        share = n / max(len(f.faces), 1)
        detail = f"{duplicates.n_groups:,} groups ({_contradictions(duplicates)}); {duplicates.how}"
        yield _row(text, n, len(f.faces), grade(share, minor=0, serious=0.05), detail, action)
        yield from _chains(duplicates, copies)
        wrong = duplicates.conflicts(f.label)
        yield _row(
            f"{copies} that contradict in {f.label}",
            len(wrong),
            n,
            grade(len(wrong) / max(n, 1), minor=0, serious=0.02),
            f"{wrong['group'].nunique():,} groups: at least one label of each is wrong",
            "left out of the test rows and listed",
        )


def _chains(duplicates: Duplicates, copies: str):
    chains = duplicates.chains()
    if len(chains):
        yield _row(
            f"groups of {copies} that hold together by a chain alone",
            len(chains),
            duplicates.n_groups,
            grade(chains["faces"].max() / CHAIN, minor=0, serious=1),
            f"the largest has {chains['faces'].max():,} different faces: its ends are no copies of each other",
            "kept on one side of the split as one group; look at the largest",
        )


def _contradictions(duplicates: Duplicates) -> str:
    table = duplicates.summary()
    table = table[table["contradicting groups"] > 0]
    texts = [f"{label} {n:,}" for label, n in zip(table["label"], table["contradicting groups"], strict=True)]
    return "contradicting in " + ", ".join(texts) if texts else "none contradicts itself"


def _leaks(f: Findings):
    action = "splits by person and copy are the default; an official split is scored with its leak beside it"
    for name, text in (("official", "official"), ("careless", "row-by-row random")):
        leak = getattr(f, name)
        if leak is None:
            continue
        share = leak["leaked"] / max(leak["test_rows"], 1)
        detail = f"{leak['same_person']:,} by person, {leak['same_picture']:,} by a copy of the picture"
        severity = grade(share, minor=0, serious=0.01, critical=0.1) if name == "official" else "minor"
        severity = "fine" if not leak["leaked"] else severity
        finding = f"test rows of the {text} split that leak"
        yield _row(finding, leak["leaked"], leak["test_rows"], severity, detail, action)
    if f.worth is not None:
        yield _worth(f, action)


def _worth(f: Findings, action: str) -> tuple:
    row = f.worth.set_index(["rows", "trained"]).loc[("leaked", "with less without")]
    points = row["value"] * (100 if row["measure"] == "accuracy" else 1)
    better = row["low"] > 0 if row["measure"] == "accuracy" else row["high"] < 0
    unit = "points of accuracy" if row["measure"] == "accuracy" else "in mean absolute error"
    scale = 100 if row["measure"] == "accuracy" else 1
    detail = f"{points:+.1f} {unit} on leaked rows ({scale * row['low']:+.1f} to {scale * row['high']:+.1f})"
    finding = f"what the leak is worth for {f.label}"
    return _row(finding, row["n"], row["n"], "serious" if better else "fine", detail, action)


def _labels(f: Findings):
    if f.errors is not None:
        n = len(f.errors.table)
        yield _row(
            f"likely wrong labels of {f.errors.column}",
            n,
            f.errors.n,
            grade(n / max(f.errors.n, 1), minor=0, serious=0.03, critical=0.1),
            f"out-of-fold accuracy {f.errors.accuracy:.3f}; a list to look at, not a fact",
            "written as a corrections file that a person edits and the reader applies",
        )
    if face_table.is_class_label(f.faces[f.label]):
        counts = f.faces[f.label].value_counts()
        counts = counts[counts > 0]
        few = int((counts < balance.FEW).sum())
        ratio = counts.max() / max(counts.min(), 1)
        yield _row(
            f"classes of {f.label} with fewer than {balance.FEW} faces",
            few,
            len(counts),
            "serious" if few else grade(ratio / 100, minor=0.03, serious=0.1),
            f"largest {counts.idxmax()} {counts.max():,}, smallest {counts.idxmin()} {counts.min():,}",
            "rates per class with n and interval; balancing of training rows is an option",
        )
    yield from _pairs(f)


def _pairs(f: Findings):
    table = balance.pairs(f.faces)
    table = table[(table["one"] == f.label) | (table["other"] == f.label)]
    for row in table.itertuples():
        other = row.other if row.one == f.label else row.one
        yield _row(
            f"combinations of {f.label} and {other} with fewer than {balance.FEW} faces",
            row.few,
            row.combinations,
            grade(row.association, minor=0.1, serious=0.3) if not row.few else "minor",
            f"association {row.association:.2f} (Cramer's V); smallest {row.smallest}",
            "results by group show n; a model may learn one label from the other",
        )


def _pictures(f: Findings):
    if f.cleaned is None:
        return
    n, gone = len(f.cleaned.keep), len(f.cleaned.removed)
    reasons = f.cleaned.counts[f.cleaned.counts["removed"] > 0]
    detail = ", ".join(f"{row.reason} {row.removed:,}" for row in reasons.itertuples())
    yield _row(
        "faces that a cleaning pass would remove",
        gone,
        n,
        grade(gone / max(n, 1), minor=0, serious=0.05, critical=0.3),
        detail or "none",
        "kept unless cleaning is asked for; thresholds are parameters",
    )
