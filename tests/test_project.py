from __future__ import annotations

import tomllib
from pathlib import Path

from faceworkbook import project

CHECKOUT = Path(__file__).resolve().parents[1]


def test_what_comes_with_the_package_is_read_from_it_where_a_home_lacks_it(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEWORKBOOK_HOME", str(tmp_path))
    assert project.resolve("notebooks/01_faces.ipynb") == CHECKOUT / "notebooks/01_faces.ipynb"
    assert project.resolve("data/synthetic") == CHECKOUT / "data/synthetic"
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks/01_faces.ipynb").write_text("{}")
    assert project.resolve("notebooks/01_faces.ipynb") == tmp_path / "notebooks/01_faces.ipynb"


def test_results_and_other_data_of_the_checkout_are_never_those_of_another_home(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEWORKBOOK_HOME", str(tmp_path))
    for path in ("results/README.md", "data/README.md", "README.md", "weights/mine.onnx"):
        assert project.resolve(path) == tmp_path / path


def test_a_wheel_takes_along_every_folder_that_is_looked_for_in_it():
    settings = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    taken = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert all(inside == f"faceworkbook/shipped/{path}" for path, inside in taken.items())
    assert all((CHECKOUT / path).exists() for path in taken)
    for folder in project.SHIPPED_FOLDERS:
        assert any(Path(path).is_relative_to(folder) for path in taken), folder
