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
