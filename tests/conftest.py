"""Fixtures that all tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine makes an example slow, never wrong.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

REPO = Path(__file__).resolve().parents[1]
SHARED = REPO.parent / "shared"

# A worker that begins one of these last would run alone at the end: a file goes to one worker as a whole.
SLOWEST_FIRST = (
    "test_notebooks.py",
    "descriptors/test_cluster.py",
    "reports/test_sweeps.py",
    "training/test_planned_pictures.py",
    "test_evaluate.py",
    "reports/test_runner.py",
    "descriptors/test_engines.py",
    "training/test_multitask_training.py",
    "training/test_fine_tune.py",
    "training/test_checkpoints.py",
    "test_quiet.py",
    "descriptors/test_store_damage.py",
    "descriptors/test_winograd.py",
    "audit/test_audit_notebook.py",
    "test_contributing.py",
)


def pytest_collection_modifyitems(items: list) -> None:
    """Put the tests of the slowest files first, in the order above."""
    ranks = {REPO / "tests" / name: rank for rank, name in enumerate(SLOWEST_FIRST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


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
