"""What `workbook predict` takes: its first answer, photos a second beside the extraction of descriptors, and memory.

    python -m benchmarks predicting [--quick]

The predictor that ships, on its embedded network. The first answer is timed as a whole process, imports included. Rates
are of the same pictures in the same process, by turns: read, decoded, described and answered, against read, decoded,
described and stored; once as faces that were cut out already, once searched for a face. Memory is that of a process
of its own, which answers the same pictures again and again.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from benchmarks import fresh_process
from benchmarks.from_files import face_files, timed
from faceworkbook import project

FACES, ROUNDS, STARTS, MANY, READINGS = 1000, 3, 5, 20_000, 10
NETWORK = "faceres_deep"


def main(quick: bool = False) -> dict[str, pd.DataFrame]:
    """Measure."""
    n, rounds, many = (100, 1, 1000) if quick else (FACES, ROUNDS, MANY)
    starts = pd.DataFrame({"seconds": sorted(_first_answer() for _ in range(STARTS))})
    rates = pd.DataFrame(fresh_process.call(__name__, "measure_rates", n, rounds)["rows"]).set_index(
        "pictures"
    )
    rates.attrs["note"] = f"{n:,} pictures, medians of {rounds} rounds"
    memory = pd.DataFrame(fresh_process.call(__name__, "measure_memory", many)["rows"]).set_index("photos")
    return {
        "workbook predict, one photo, from the start of the process to the answer": starts.rename_axis("run"),
        "answers beside the extraction of descriptors": rates,
        "memory of a process that answers photo after photo": memory,
    }


def _first_answer() -> float:
    """Return the seconds of one ``workbook predict PHOTO``."""
    root, names = face_files(1)
    command = [sys.executable, "-m", "faceworkbook.cli", "predict", str(root / names[0])]
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begun


def measure_rates(n: int, rounds: int) -> dict:
    """Return photos a second of both, without and with a search for the face."""
    from faceworkbook import backbones, descriptors, faces, landmarks
    from faceworkbook.descriptors import engines
    from faceworkbook.serving import Predictor, command

    root, names = face_files(n)
    predictor = Predictor.load(project.resolve(command.DEFAULT))
    table = faces.build({"image": names}, dataset="files")
    backbone = backbones.load(NETWORK).mirrored()  # as the predictor describes faces
    engine = engines.choose(backbone)
    photos = [root / name for name in names]

    def extract(*, search: bool) -> None:
        with tempfile.TemporaryDirectory() as place:
            options = {"root": root, "store": f"{place}/store", "engine": engine, "progress": False}
            if search:
                landmarks.detect(table, root, path=Path(place) / "points", progress=False)
            descriptors.extract(table, backbone, **options)

    rows = []
    for pictures, mode in (("cut out already", "whole"), ("searched for a face", "largest")):
        predictor.predict(photos[:64], faces=mode)
        pairs = [
            (
                timed(lambda mode=mode: predictor.predict(photos, faces=mode)),
                timed(lambda mode=mode: extract(search=mode == "largest")),
            )
            for _ in range(rounds)
        ]
        (own, own_cpu), (other, other_cpu) = np.median(pairs, axis=0)
        rows.append(
            {
                "pictures": pictures,
                "answered, photos/s": n / own,
                "extracted, photos/s": n / other,
                "share of its rate": other / own,
                "answered, CPU ms a photo": own_cpu / n * 1e3,
                "extracted, CPU ms a photo": other_cpu / n * 1e3,
            }
        )
    return {"rows": rows}


def measure_memory(many: int) -> dict:
    """Return the memory of this process after every tenth of `many` photos."""
    from faceworkbook.serving import Predictor, command
    from faceworkbook.serving.predictor import Photo

    root, names = face_files(FACES)
    process = psutil.Process()
    predictor = Predictor.load(project.resolve(command.DEFAULT))
    stream = predictor.stream(
        Photo(names[at % len(names)], root / names[at % len(names)]) for at in range(many)
    )
    rows, answered = [], 0
    for table in stream:
        answered += table["image"].size
        if answered >= (len(rows) + 1) * many // READINGS:
            rows.append({"photos": answered, "RSS, MB": process.memory_info().rss / 1e6})
    return {"rows": rows}
