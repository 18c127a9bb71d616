"""The workbook's own folders, and how relative paths are read."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def root() -> Path:
    """Return the folder with notebooks/, weights/, data/ and results/.

    ``FACEWORKBOOK_HOME`` where it is set, else the checkout that this package lies in, else the
    nearest folder above the working directory that has notebooks/index.ipynb.
    """
    if os.environ.get("FACEWORKBOOK_HOME"):
        return Path(os.environ["FACEWORKBOOK_HOME"]).resolve()
    for folder in (Path(__file__).resolve().parents[2], Path.cwd(), *Path.cwd().parents):
        if (folder / "notebooks" / "index.ipynb").exists():
            return folder
    raise FileNotFoundError(
        f"no folder with notebooks/index.ipynb is above {Path.cwd()}; start inside the project or set "
        "FACEWORKBOOK_HOME to it"
    )


def resolve(path: str | Path) -> Path:
    """Return an absolute path as it is, another one relative to the project's root.

    A notebook so reads the same files from any working directory.
    """
    path = Path(path).expanduser()
    return path if path.is_absolute() else root() / path


def shorten(path: str | Path) -> str:
    """Return `path` relative to the project's root where it is near it, else whole, with forward slashes."""
    whole = Path(path).resolve()
    try:
        relative = os.path.relpath(whole, root())
    except ValueError:  # another drive
        return whole.as_posix()
    return Path(relative).as_posix() if relative.count("..") <= 2 else whole.as_posix()


def commit() -> str:
    """Return the commit of the checkout, with ``-dirty`` where files differ from it; '' outside of git."""
    command = ["git", "-C", str(root()), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
