"""Fixtures that all tests share."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine makes an example slow, never wrong.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# Each worker has a core: a second thread would only take time from the other worker.
if "PYTEST_XDIST_WORKER" in os.environ:
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(name, "1")
# Tracing a network makes a million objects that live; looking through all of them over and over takes a tenth of
# the time.
gc.set_threshold(50_000, 20, 10)

REPO = Path(__file__).resolve().parents[1]
SHARED = REPO.parent / "shared"

# A worker that begins one of these last would run alone at the end: a file goes to one worker as a whole.
SLOWEST_FIRST = (
    "test_notebooks.py",
    "test_on_ray.py",
    "reports/test_sweeps.py",
    "training/test_planned_pictures.py",
    "backbones/test_keras_weights.py",
    "test_evaluate.py",
    "reports/test_runner.py",
    "descriptors/test_engines.py",
    "training/test_multitask_training.py",
    "training/test_fine_tune.py",
    "training/test_checkpoints.py",
    "test_quiet.py",
    "faults/test_crashes.py",
    "backbones/test_vgg_face.py",
    "reports/test_kernels.py",
    "descriptors/test_store_damage.py",
    "descriptors/test_winograd.py",
    "audit/test_audit_notebook.py",
    "training/test_classifiers.py",
    "training/test_batched.py",
    "training/test_hyperparameter_search.py",
    "datasets/test_fuzz.py",
    "test_docs.py",
    "test_contributing.py",
)


def pytest_collection_modifyitems(items: list) -> None:
    """Put the tests of the slowest files first, in the order above."""
    ranks = {REPO / "tests" / name: rank for rank, name in enumerate(SLOWEST_FIRST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


def pytest_runtest_setup() -> None:
    """Let TensorFlow run graphs as they are traced: to rewrite one takes longer than the few steps of a test."""
    if (tensorflow := sys.modules.get("tensorflow")) is not None:
        tensorflow.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Let go of a full-size network at once: half a gigabyte each, in cycles that wait for the collector."""
    if item.get_closest_marker("fullsize"):
        gc.collect()


def pytest_sessionfinish() -> None:
    """Leave what tests made to the end of the process: pytest and Python look through all of it six times."""
    gc.freeze()


@pytest.fixture
def shared_data():
    """``shared_data("utkface/UTKFace")``: that folder of real faces, or a skip with the reason."""

    def locate(relative: str) -> Path:
        path = SHARED / "data" / relative
        if not path.exists():
            pytest.skip(f"real faces are not beside the project: {relative} is missing in ../shared/data")
        return path

    return locate


@pytest.fixture
def shared_weights():
    """``shared_weights("faceres-deep")``: that folder of source weights, or a skip with the reason."""

    def locate(relative: str) -> Path:
        path = SHARED / "weights" / relative
        if not path.exists():
            pytest.skip(
                f"source weights are not beside the project: {relative} is missing in ../shared/weights"
            )
        return path

    return locate


@pytest.fixture
def export_here(monkeypatch):
    """ONNX graphs are written in this process, which has TensorFlow, and not in one of their own."""
    from faceworkbook.descriptors.engines import prepare

    monkeypatch.setattr(prepare, "_export", prepare.write_graph)


@pytest.fixture
def folder_of_namesakes(tmp_path, monkeypatch):
    """The working folder has modules named as those of Python and of libraries, which end who imports them."""
    folder = tmp_path / "namesakes"
    folder.mkdir()
    for name in ("random", "tempfile", "numpy", "pandas", "tensorflow", "faceworkbook"):
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name} was taken from the working folder')")
    monkeypatch.chdir(folder)
    return folder
