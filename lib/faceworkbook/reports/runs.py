"""The run folder ``results/EXPERIMENT/STEP/``: what a notebook writes and the next one reads."""

from __future__ import annotations

import base64
import importlib.metadata
import json
import platform
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from faceworkbook import project

SAVED_DPI, CSS_DPI = 150, 96
PACKAGES = (
    "faceworkbook",
    "tensorflow",
    "keras",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "opencv-python-headless",
)


class RunError(ValueError):
    """A step that lacks what an earlier one should have written; the text says which to run first."""


@dataclass(frozen=True)
class Run:
    """One step of an experiment and its folder."""

    folder: Path
    step: str

    def path(self, name: str) -> Path:
        """Path of the file `name` in this run's folder."""
        return self.folder / name

    def other(self, step: str, name: str) -> Path:
        """Path of the file `name` of another step of the same experiment.

        Raises
        ------
        RunError
            That step has not written it yet.
        """
        path = self.folder.parent / step / name
        if not path.exists():
            raise RunError(
                f"{project.shorten(path)} is missing: run the notebook {step} with the same `out` first"
            )
        return path

    def table(self, step: str, name: str) -> pd.DataFrame:
        """A parquet table that another step wrote."""
        return pd.read_parquet(self.other(step, f"{name}.parquet"))

    def values(self, step: str, name: str = "metrics") -> dict:
        """A JSON record that another step wrote."""
        return json.loads(self.other(step, f"{name}.json").read_text())

    def save_table(self, table: pd.DataFrame, name: str) -> Path:
        """Write `table` as parquet, beside and renamed."""
        path = self.path(f"{name}.parquet")
        beside = path.with_name(path.name + ".part")
        table.to_parquet(beside, index=False)
        return beside.replace(path)

    def save_values(self, values: dict, name: str = "metrics") -> Path:
        """Write a JSON record, beside and renamed."""
        path = self.path(f"{name}.json")
        beside = path.with_name(path.name + ".part")
        beside.write_text(json.dumps(values, indent=1, default=_plain, allow_nan=True) + "\n")
        return beside.replace(path)

    def show(self, figure, name: str, alt: str) -> None:
        """Save a figure to ``figures/NAME.png`` and show it with its alt text.

        Parameters
        ----------
        figure : matplotlib Figure, Display (has ``figure_``), or uint8 RGB array (h, w, 3)
        name : str
        alt : str
            What the picture shows, and what to see in it, for somebody who cannot see it.
        """
        data = png_bytes(figure, alt)
        folder = self.path("figures")
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.png").write_bytes(data)
        show_png(data, alt)

    def show_saved(self, step: str, name: str) -> None:
        """Show ``figures/NAME.png`` of another step, with the alt text that it carries."""
        data = self.other(step, f"figures/{name}.png").read_bytes()
        show_png(data, alt_text(data))

    def figures(self, step: str) -> list[str]:
        """Names of the figures that `step` has saved, sorted."""
        return sorted(path.stem for path in (self.folder.parent / step / "figures").glob("*.png"))

    def has(self, step: str, name: str) -> bool:
        """Whether `step` has written the file `name`."""
        return (self.folder.parent / step / name).exists()


def start(out: str | Path, step: str, namespace: dict) -> Run:
    """Make the folder of `step` under the experiment's folder `out` and note what runs there.

    Figures that an earlier run left go: they belong to its parameters. Its page stays.

    Parameters
    ----------
    out : str or Path
        results/EXPERIMENT, relative to the project's root.
    step : str
        Name of the notebook.
    namespace : dict
        The notebook's ``globals()``; its parameters are written to ``params.json``.
    """
    from faceworkbook.plots import style
    from faceworkbook.reports import parameters as params

    parameters = params.current(step, namespace)

    style.use()
    folder = project.resolve(out) / step
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(folder, step)
    _forget_figures(run)
    run.save_values(parameters, "params")
    run.save_values(environment(parameters), "environment")
    return run


def _forget_figures(run: Run) -> None:
    for path in (run.path("metrics.json"), *run.path("figures").glob("*.png")):
        path.unlink(missing_ok=True)


def environment(parameters: dict) -> dict:
    """Versions, commit, machine and seed, as a record."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "versions": versions,
        "commit": project.commit(),
        "seed": parameters.get("seed"),
    }


def png_bytes(figure, alt: str = "") -> bytes:
    """A matplotlib figure, a Display or an RGB array as PNG that carries its alt text."""
    figure = getattr(figure, "figure_", figure)
    drawn = not isinstance(figure, np.ndarray)
    picture = _drawn(figure) if drawn else figure
    note, buffer = PngInfo(), BytesIO()
    note.add_itxt("Description", alt)
    dpi = {"dpi": (SAVED_DPI, SAVED_DPI)} if drawn else {}
    Image.fromarray(picture).save(buffer, format="png", pnginfo=note, **dpi)
    return buffer.getvalue()


def _drawn(figure) -> np.ndarray:
    from matplotlib import pyplot as plt

    buffer = BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight", dpi=SAVED_DPI)
    plt.close(figure)
    return np.asarray(Image.open(buffer).convert("RGB"))


def alt_text(data: bytes) -> str:
    """The alt text that a PNG of `png_bytes` carries."""
    return Image.open(BytesIO(data)).info.get("Description", "figure")


def show_png(data: bytes, alt: str) -> None:
    """Show PNG bytes in a notebook, with alt text that reaches the HTML report."""
    from IPython.display import publish_display_data

    with Image.open(BytesIO(data)) as picture:
        scale = CSS_DPI / picture.info["dpi"][0] if "dpi" in picture.info else 1.0
        size = {"width": round(picture.width * scale), "height": round(picture.height * scale)}
    content = {"image/png": base64.b64encode(data).decode(), "text/plain": alt}
    publish_display_data(content, metadata={"image/png": {"alt": alt, **size}})


def _plain(value):
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return project.shorten(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
