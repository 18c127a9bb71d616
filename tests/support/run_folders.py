"""Folders of runs that never ran, as the history reads them."""

from __future__ import annotations

import json
from pathlib import Path


def write_runs(results: Path, n: int) -> None:
    """Write `n` runs of two steps, which differ by seed and data set; every fourth one failed."""
    for number in range(n):
        place = results / f"run{number:03}"
        moment = f"2026-01-{1 + number % 28:02}T{number // 28 % 24:02}:04:05+00:00"
        figure = {
            "model": "mlp",
            "metric": "accuracy",
            "value": 0.8 + number / 10 / n,
            "low": 0.7,
            "high": 0.95,
            "n": 600,
        }
        params = {f"setting_{k}": k for k in range(30)} | {"seed": number, "widths": [16, number % 3]}
        records = {
            "01_faces": {
                "params": {
                    "dataset": "utkface" if number % 2 else "synthetic",
                    "label": "gender",
                    "seed": number,
                },
                "environment": {"started": moment},
                "metrics": {"fingerprint": "abc" if number < 3 else str(number)},
                "done": {"seconds": 2},
            },
            "03_classifier": {
                "params": params,
                "environment": {"started": moment, "commit": "abcdef", "seed": number},
                "metrics": {"network": "faceres_deep", "figures": [figure]},
                "answer": {"answer": f"Run {number} reads it right."},
                "done": {"seconds": 10},
            },
        }
        for step, own in records.items():
            (place / step).mkdir(parents=True)
            for name, content in own.items():
                (place / step / f"{name}.json").write_text(json.dumps(content))
        (place / "report.html").write_text("<title>a report</title>")
        if number % 4 == 3:
            (place / "03_classifier" / "failed.html").write_text("failed")
    notes = {"notes": [{"when": "2026-01-01T00:00:00+00:00", "text": "labels looked at #final"}]}
    (results / "run000" / "notes.json").write_text(json.dumps(notes))
