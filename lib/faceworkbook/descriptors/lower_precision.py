"""What another precision than float32 costs the trained classifier, as it was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

MEASURED = Path(__file__).parent / "lower_precision.json"
DIFFERENCE = "minus float32"
COLUMNS = ["label", "float32", "precision", "accuracy", DIFFERENCE, "low", "high", "fits", "faces"]


class PrecisionWarning(UserWarning):
    """Descriptors are computed in less than float32, which changes them; with what that cost a classifier."""


def precision_cost(backbone, precision: str) -> pd.DataFrame:
    """Return the accuracy of the dense classifier on UTKFace with descriptors of `backbone` in float32 and in `precision`.

    Parameters
    ----------
    backbone : faceworkbook.backbones.Backbone
    precision : {'tf32', 'float16', 'bfloat16', 'int8'}

    Returns
    -------
    pandas.DataFrame
        Columns label, float32 (accuracy, 0..1), precision, accuracy (with it), "minus float32" with its 95 % interval
        low and high, fits, faces. Empty where these weights at this tap were not measured;
        ``python -m benchmarks.precision_cost`` shows how it is done.
    """
    measured = json.loads(MEASURED.read_text())
    rows = [row for one in measured if _is_of(one, backbone, precision) for row in one["rows"]]
    return pd.DataFrame(rows, columns=COLUMNS)


def describe_precision_cost(backbone, precision: str) -> str:
    """Return one or two sentences on `precision_cost`."""
    table = precision_cost(backbone, precision)
    if table.empty:
        return (
            f"{precision} changes descriptors; what that costs a classifier was not measured for {backbone.name} at "
            f"{backbone.tap}: compare with float32 on your own faces before you rely on it"
        )
    changes = [
        f"{row['label']} {row['accuracy']:.3f} instead of {row['float32']:.3f} "
        f"({row[DIFFERENCE]:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}])"
        for row in table.to_dict("records")
    ]
    faces = table["faces"].iloc[0]
    return f"{precision} changes descriptors; accuracy on {faces:,} UTKFace faces: {', '.join(changes)}"


def _is_of(measured: dict, backbone, precision: str) -> bool:
    key = (measured["weights_sha256"], measured["tap"], "", measured["precision"])
    return key == (backbone.fingerprint, backbone.tap, backbone.mirror, precision)
