"""The package as a wheel lays it out, far from any checkout: a photo is answered in an empty folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib

import pytest

from tests.conftest import REPO


@pytest.fixture
def site(tmp_path):
    """A folder like site-packages: the package, and beside its modules what the wheel brings along."""
    site = tmp_path / "site"
    shutil.copytree(
        REPO / "lib/faceworkbook", site / "faceworkbook", ignore=shutil.ignore_patterns("__pycache__")
    )
    settings = tomllib.loads((REPO / "pyproject.toml").read_text())
    for path, inside in settings["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"].items():
        (site / inside).parent.mkdir(parents=True, exist_ok=True)
        if path != "data/synthetic":
            copy = shutil.copytree if (REPO / path).is_dir() else shutil.copy
            copy(REPO / path, site / inside)
    return site


@pytest.mark.tensorflow
@pytest.mark.xdist_group("tensorflow")
def test_a_photo_is_answered_in_an_empty_folder(site, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    photo = next((REPO / "data/synthetic/images").rglob("*.jpg"))
    shutil.copy(photo, work / "photo.jpg")
    environment = {name: value for name, value in os.environ.items() if name != "FACEWORKBOOK_HOME"}
    environment |= {"PYTHONPATH": str(site), "HOME": str(work)}
    command = [sys.executable, "-m", "faceworkbook.cli", "predict", "photo.jpg", "--json"]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (face,) = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert face["image"] == "photo.jpg" and face["status"] == "ok"
    assert {"gender", "race", "age_group"} <= set(face)
    assert not [path for path in work.iterdir() if not path.name.startswith(".") and path.name != "photo.jpg"]
