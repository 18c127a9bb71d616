"""What int8 costs the trained classifier, as it was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

MEASURED = Path(__file__).parent / "int8_cost.json"
COLUMNS = ["label", "float32", "int8", "int8 minus float32", "low", "high", "fits", "faces"]


class Int8Warning(UserWarning):
    """Descriptors are computed in int8, which changes them; with what that cost a classifier."""


def int8_cost(backbone) -> pd.DataFrame:
    """Return the accuracy of the dense classifier on UTKFace with float32 and with int8 descriptors of `backbone`.

    Parameters
    ----------
    backbone : faceworkbook.backbones.Backbone

    Returns
    -------
    pandas.DataFrame
        Columns label, float32, int8 (accuracies, 0..1), int8 minus float32 with its 95 % interval low and
        high, fits, faces. Empty where these weights at this tap were not measured;
        ``python -m benchmarks.int8_cost`` shows how it is done.
    """
    rows = [row for one in json.loads(MEASURED.read_text()) if _is_of(one, backbone) for row in one["rows"]]
    return pd.DataFrame(rows, columns=COLUMNS)


def describe_int8_cost(backbone) -> str:
    """Return one or two sentences on `int8_cost`."""
    table = int8_cost(backbone)
    if table.empty:
        return (
            f"int8 changes descriptors; what that costs a classifier was not measured for {backbone.name} at "
            f"{backbone.tap}: compare with float32 on your own faces before you rely on it"
        )
    changes = [
        f"{row['label']} {row['int8']:.3f} instead of {row['float32']:.3f} "
        f"({row['int8 minus float32']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}])"
        for row in table.to_dict("records")
    ]
    faces = table["faces"].iloc[0]
    return f"int8 changes descriptors; accuracy on {faces:,} UTKFace faces: {', '.join(changes)}"


def _is_of(measured: dict, backbone) -> bool:
    key = (measured["weights_sha256"], measured["tap"], "")
    return key == (backbone.fingerprint, backbone.tap, backbone.mirror)
