"""A project of three small notebooks, whose last one has predictions; each counts how often it ran."""

from __future__ import annotations

from pathlib import Path

import nbformat

SHARED = 'out = ""  # folder\nexperiment = ""  # name\nsmoke = False  # quick\n'
COUNT = """
import json, os, pathlib, time
from faceworkbook import project
folder = project.resolve(out) / "{step}"
folder.mkdir(parents=True, exist_ok=True)
with open(project.resolve("ran.txt"), "a") as file:
    file.write("{step} {values}\\n")
"""
FACES = "seed = 0  # of the split\nseconds = 0.0  # of work\n"
DESCRIPTORS = 'seed = -1  # of the draw\nnet = "a"  # network\nseconds = 0.0  # of work\n'
CLASSIFIER = (
    'seed = -1  # of training\nnet = "a"  # network\ndropout = 0.4  # share\nseconds = 0.0  # of work\n'
)
WORKS = "end = time.process_time() + seconds\nwhile time.process_time() < end:\n    pass\n"
PREDICTS = """
trouble = project.resolve("trouble.txt")
if trouble.exists() and str(seed) in trouble.read_text().split():
    raise ValueError("the picture is upside down")
import numpy as np, pandas as pd
from faceworkbook.evaluation import predictions
from faceworkbook.tasks import Task
split = json.loads((folder.parent / "01_faces" / "split.json").read_text())["seed"]
n, rng = 240, np.random.default_rng(100 + split)
truth, ease = rng.integers(0, 2, n), rng.normal(0.9 if net == "a" else 2.5, 1, n)
draw = np.random.default_rng([seed + 1, net == "a"])
share = 1 / (1 + np.exp(-(ease + draw.normal(0, 0.7, n) + draw.normal(0, 0.1))))
right = np.where(truth[:, None] == [0, 1], share[:, None], 1 - share[:, None])
table = predictions.build(
    pd.DataFrame({"face_id": [f"s{split}f{i}" for i in range(n)], "identity": pd.array([pd.NA] * n, dtype="string")}),
    Task("gender", "classes", ("female", "male")),
    truth=np.array(["female", "male"], dtype=object)[truth],
    output=right,
    split=np.repeat(["validation", "test"], [60, n - 60]),
)
predictions.write(table, folder / "predictions.parquet")
(folder / "metrics.json").write_text(json.dumps({"n_train": 500, "figures": []}))
(folder / "answer.json").write_text(json.dumps({"answer": f"seed {seed} of {net}."}))
"""


def make(home: Path) -> Path:
    """Write the project into `home`: notebooks 01_faces, 02_descriptors, 03_classifier and the experiment 'toy'."""
    (home / "notebooks" / "experiments").mkdir(parents=True)
    nbformat.write(nbformat.v4.new_notebook(), home / "notebooks" / "index.ipynb")
    faces = '(folder / "split.json").write_text(json.dumps({"seed": seed}))'
    for step, parameters, values, rest in (
        ("01_faces", FACES, "{seed}", f"{WORKS}{faces}"),
        ("02_descriptors", DESCRIPTORS, "{net}", WORKS),
        ("03_classifier", CLASSIFIER, "{seed} {net} {dropout}", f"{WORKS}{PREDICTS}"),
    ):
        count = COUNT.replace("{step}", step).replace('"' + step + " {values}", 'f"' + step + " " + values)
        _write(home / "notebooks" / f"{step}.ipynb", parameters + SHARED, f"{count.strip()}\n{rest}")
    text = "name: toy\ntitle: Toy\nquestion: Which net?\nparameters: {seed: 0}\nsteps: [01_faces, 02_descriptors, 03_classifier]\n"
    (home / "notebooks" / "experiments" / "toy.yaml").write_text(text)
    return home


def _write(path: Path, parameters: str, source: str) -> None:
    cells = [
        nbformat.v4.new_markdown_cell(f"# {path.stem}"),
        nbformat.v4.new_code_cell(parameters.strip(), metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(source),
    ]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)


def ran(home: Path) -> list[str]:
    """Return which steps ran, with their values, in order."""
    path = home / "ran.txt"
    return path.read_text().splitlines() if path.exists() else []
