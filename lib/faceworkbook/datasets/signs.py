"""Which data set lies in a folder: its signs are the names of its files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from faceworkbook.datasets.base import JUNK, PICTURES

_DEEPEST = 4  # folders below the root
_LARGEST = 200  # entries looked at in a folder below the root
_MOST = 20_000  # paths in all
_MOSTLY = 0.5  # share of the pictures that must have the names of the set


def recognise(root: Path, signs: Mapping[str, str]) -> dict[str, Path]:
    """Return the data sets whose signs lie in a folder, or in one of the folders in it.

    Parameters
    ----------
    root : Path
    signs : mapping of str to str
        By name of the data set, a regular expression for the path of its table, or for the paths of its pictures
        (more than half of those that are looked at must match), relative to its own folder; in any case.

    Returns
    -------
    dict of str to Path
        By name, the folder to give as root: `root` itself, else the first in it that has the signs.
    """
    paths = [*_sample(root)]
    folders = ["", *sorted({f"{path.split('/')[0]}/" for path in paths if "/" in path})]
    there: dict[str, Path] = {}
    for folder in folders:
        below = [path.removeprefix(folder) for path in paths if path.startswith(folder)]
        pictures = [path for path in below if path.lower().endswith(PICTURES)]
        tables = [path for path in below if not path.lower().endswith(PICTURES)]
        for name, sign in signs.items():
            fits = re.compile(sign, re.IGNORECASE).fullmatch
            named = sum(map(bool, map(fits, pictures)))
            if name not in there and sign and (any(map(fits, tables)) or named > _MOSTLY * len(pictures)):
                there[name] = root / folder
    return there


def _sample(root: Path) -> Iterator[str]:
    """Yield paths of files relative to `root`: all of its own, and some of each folder below."""
    queue, n = [(root, "", 0)], 0
    while queue and n < _MOST:
        folder, prefix, depth = queue.pop(0)
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            continue
        entries = [entry for entry in entries if not entry.name.startswith(".") and entry.name not in JUNK]
        for entry in entries if not depth else entries[:_LARGEST]:
            n += 1
            if not entry.is_dir(follow_symlinks=False):
                yield prefix + entry.name
            elif depth < _DEEPEST:
                queue.append((Path(entry.path), f"{prefix}{entry.name}/", depth + 1))
