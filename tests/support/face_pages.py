"""Pages of faces one can look through, with predictions that are made up."""

from __future__ import annotations

from pathlib import Path

import nbformat
import numpy as np
import pandas as pd

from faceworkbook.evaluation import groups, predictions
from faceworkbook.reports import face_browser, face_rows, html
from faceworkbook.tasks import Task


def predict(faces: pd.DataFrame, *, label: str = "gender", wrong: float = 0.2, seed: int = 0) -> pd.DataFrame:
    """Return predictions of all `faces` as test rows, a share of them wrong; of a number, off by ten on average."""
    rng, n = np.random.default_rng(seed), len(faces)
    if pd.api.types.is_numeric_dtype(faces[label].dtype):
        truth = faces[label].to_numpy(float)
        guessed = truth + rng.normal(0, 10, n)
        return predictions.build(
            faces, Task(label, "number", unit="years"), truth=truth, output=guessed, split="test"
        )
    classes = tuple(str(name) for name in faces[label].cat.categories if (faces[label] == name).any())
    codes = pd.Index(classes).get_indexer(faces[label].astype(str))
    guessed = np.where(rng.random(n) < wrong, (codes + 1) % len(classes), codes)
    shares = np.full((n, len(classes)), 0.0)
    sure = rng.uniform(0.5, 1, n)
    shares[:] = ((1 - sure) / (len(classes) - 1))[:, None]
    shares[np.arange(n), guessed] = sure
    output = shares[:, 1] if len(classes) == 2 else shares
    return predictions.build(
        faces, Task(label, classes=classes), truth=faces[label].astype(str), output=output, split="test"
    )


def make_rows(
    faces: pd.DataFrame, predicted: pd.DataFrame, attributes=("race", "age"), **options
) -> face_rows.FaceRows:
    """Return rows with a map of places drawn at random and with the figures of groups."""
    rng = np.random.default_rng(1)
    points = pd.DataFrame(
        {
            "face_id": faces["face_id"].astype(str),
            "x": rng.normal(size=len(faces)),
            "y": rng.normal(size=len(faces)),
        }
    )
    measure = "mae" if predictions.task_of(predicted).is_number else "accuracy"
    attached = groups.attach(predicted, faces, list(attributes))
    figures = [groups.by_group(attached, name, names=[measure], n_boot=50) for name in attributes]
    return face_rows.make(
        predicted,
        faces,
        attributes=attributes,
        points=points,
        figures=pd.concat(figures),
        key="toy",
        **options,
    )


def write_page(folder: Path, body: str, *, title: str = "Faces") -> Path:
    """Write a report's page that holds a piece of HTML, as a notebook leaves it."""
    cells = [
        nbformat.v4.new_markdown_cell(f"# {title}\n\n## Look through the faces"),
        nbformat.v4.new_code_cell(
            "show()", outputs=[nbformat.v4.new_output("display_data", {"text/html": body})]
        ),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "notebook.ipynb")
    return html.export(folder / "notebook.ipynb", folder / "report.html")


def write_faces(folder: Path, rows: face_rows.FaceRows, root: Path, **options) -> Path:
    """Write the page of `rows`."""
    return write_page(folder, face_browser.to_html(rows, root, **options))
