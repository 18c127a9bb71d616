"""A notebook through papermill, against its own cells as a plain Python program: what running notebooks costs.

    python -m benchmarks papermill_overhead [--quick]

The same code, parameters and data in both, each step in a process of its own. Papermill's time includes the
kernel, the executed notebook and its HTML page.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import pandas as pd

HERE = Path(__file__).parent
NOTEBOOKS = HERE.parent / "notebooks"
STEPS = ("01_faces", "02_descriptors", "03_classifier")
DISPLAY = "from IPython.display import display\n"


def main(quick: bool = False) -> dict[str, pd.DataFrame]:
    """Run the first three steps on the embedded faces, with and without papermill; quick: 300 faces."""
    with tempfile.TemporaryDirectory() as folder:
        seconds = {
            name: [run(step, Path(folder) / name, smoke=quick) for step in STEPS]
            for name, run in (("plain", run_plainly), ("papermill", run_through_papermill))
        }
    table = pd.DataFrame({f"{name}, s": values for name, values in seconds.items()}, index=list(STEPS))
    table.loc["all three"] = table.sum()
    table["papermill minus plain, s"] = table["papermill, s"] - table["plain, s"]
    table["times plain"] = table["papermill, s"] / table["plain, s"]
    table.attrs["plot"] = "papermill minus plain, s"
    return {f"three steps on {'300' if quick else '2,400'} embedded faces": table.rename_axis("step")}


def parameters(folder: Path, *, smoke: bool) -> dict:
    """What all steps are given: a folder and a store of their own."""
    return {"out": str(folder / "out"), "store": str(folder / "store"), "smoke": smoke}


def run_through_papermill(step: str, folder: Path, *, smoke: bool) -> float:
    """Seconds that the workbook's runner takes for one step, page included."""
    from faceworkbook.reports import runner
    from faceworkbook.reports.experiments import Step

    notebook = NOTEBOOKS / f"{step}.ipynb"
    given = {
        name: value
        for name, value in parameters(folder, smoke=smoke).items()
        if name in parameter_names(notebook)
    }
    start = time.perf_counter()
    runner.run_step(Step(step, notebook, given), folder / "out" / step, "", step)
    return time.perf_counter() - start


def run_plainly(step: str, folder: Path, *, smoke: bool) -> float:
    """Seconds that the notebook's cells take as a program."""
    folder.mkdir(exist_ok=True)
    program = folder / f"{step}.py"
    program.write_text(as_program(NOTEBOOKS / f"{step}.ipynb", parameters(folder, smoke=smoke)))
    environment = {**os.environ, "MPLBACKEND": "agg", "TF_CPP_MIN_LOG_LEVEL": "3"}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(program)],
        cwd=NOTEBOOKS,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{step} as a program failed: {done.stderr[-1500:]}")
    return time.perf_counter() - start


def as_program(notebook: Path, given: dict) -> str:
    """The code cells below each other, the parameters' own values replaced by `given`."""
    cells = [DISPLAY]
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type == "code":
            # A plain program has no IPython whose variables could be read.
            cells.append(re.sub(r'(runs\.start\(out, "\w+")\)', r"\1, globals())", cell.source))
            if "parameters" in cell.metadata.get("tags", []):
                cells += [f"{name} = {value!r}" for name, value in given.items()]
    return "\n".join(cells)


def parameter_names(notebook: Path) -> set[str]:
    """Names that the notebook's parameters cell sets."""
    import papermill

    return set(papermill.inspect_notebook(str(notebook)))
