"""The workbook's own folders, and how relative paths are read."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_HERE = Path(__file__).resolve()
CHECKOUT = _HERE.parents[2]
# What comes with the package: beside it in a checkout, inside of it where it was installed from a wheel.
SHIPPED = _HERE.parent / "shipped" if (_HERE.parent / "shipped").is_dir() else CHECKOUT
SHIPPED_FOLDERS = ("notebooks", "weights", "docs", "data/synthetic")


def root() -> Path:
    """Return the folder in which results/ is written and relative paths begin.

    ``FACEWORKBOOK_HOME`` where it is set, else the checkout that this package lies in, else the nearest folder
    above the working directory that has notebooks/index.ipynb, else (installed from a wheel) the working directory.
    """
    if os.environ.get("FACEWORKBOOK_HOME"):
        return Path(os.environ["FACEWORKBOOK_HOME"]).resolve()
    for folder in (CHECKOUT, Path.cwd(), *Path.cwd().parents):
        if (folder / "notebooks" / "index.ipynb").exists():
            return folder
    return Path.cwd()


def resolve(path: str | Path) -> Path:
    """Return an absolute path as it is, another one relative to `root`.

    What is not there and comes with the package (`SHIPPED_FOLDERS`) is taken from it. A notebook so reads the same
    files from any working directory, and an installed package its own weights.
    """
    path = Path(path).expanduser()
    if path.is_absolute():
        return path
    own, brought = root() / path, SHIPPED / path
    comes_along = any(path.is_relative_to(folder) for folder in SHIPPED_FOLDERS)
    return brought if comes_along and not own.exists() and brought.exists() else own


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
