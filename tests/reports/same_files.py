"""What two runs of an experiment have written, without what no two runs have in common."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

HEX = "[0-9a-f]"
# What differs in texts, and what stands for it.
VARIES = {
    r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d[\d:.]*(\+00:00|Z)?": "TIME",
    rf"\b{HEX}{{8}}(-{HEX}{{4}}){{3}}-{HEX}{{12}}\b": "WIDGET",
    rf'("model_id": "){HEX}{{32}}\b': r"\1WIDGET",
    rf'("id": "|\bid="cell-id=){HEX}{{8}}"': r'\1CELL"',
    r'("(duration|seconds)": )[\d.e-]+': r"\1SECONDS",
    rf'("(model|head)\.keras": "){HEX}+': r"\1HASH",
    rf'("card\.html": "{HEX}+"\s+}},\s+"checksum": "){HEX}+': r"\1HASH",  # of a predictor
    r"(\d descriptors of [\d,]+ numbers( from \w+ at \w+)? in )[\d.]+ s\b": r"\1SECONDS",
    r"(>descriptors</td><td class=\\?\"text\\?\">[\d,]+ in )\d+ s<": r"\1SECONDS<",
}
# Records of how a run went, and files in which Keras and TensorBoard write times and addresses of objects.
OWN = re.compile(r"done\.json|run\.log|.*\.lock|.*\.keras|events\.out\..*")
TEXTS = {".html", ".ipynb", ".md", ".json", ".csv"}


def read(folder: Path, *, results: Path) -> dict[str, str | bytes]:
    """Return the files below `folder` by name: texts without what varies, of others their bytes.

    Parameters
    ----------
    folder : Path
        Of one run.
    results : Path
        Its name is replaced, wherever it stands.
    """
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and not OWN.fullmatch(path.name))
    return {
        path.relative_to(folder).as_posix(): _text(path, results)
        if path.suffix in TEXTS
        else path.read_bytes()
        for path in paths
    }


def _text(path: Path, results: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        text = _notebook(json.loads(text))
    text = text.replace(str(results), "RESULTS")
    for pattern, name in VARIES.items():
        text = re.sub(pattern, name, text)
    return text


def _notebook(content: dict) -> str:
    """Return a notebook as text; of progress bars their kinds, as what they show last depends on the time."""
    for bars in content["metadata"].get("widgets", {}).values():
        bars["state"] = sorted(bar["model_name"] for bar in bars["state"].values())
    return json.dumps(content, indent=1, sort_keys=True)


def differences(first: dict[str, str | bytes], second: dict[str, str | bytes]) -> Iterator[str]:
    """Yield each file that differs, of a text with the first place where it does."""
    for name in sorted(first.keys() | second.keys()):
        one, other = first.get(name), second.get(name)
        if one == other:
            continue
        if not (isinstance(one, str) and isinstance(other, str)):
            yield f"{name}: {'bytes differ' if one and other else 'written by one run alone'}"
            continue
        at = len(os.path.commonprefix([one, other]))
        around = slice(max(0, at - 60), at + 60)
        yield f"{name}: {one[around]!r}, {other[around]!r}"
