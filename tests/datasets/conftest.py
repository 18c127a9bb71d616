"""Helpers of the readers' tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def lay(tmp_path):
    """``lay({"a/b.csv": "text", "c.jpg": b"..."})``: those files under a fresh folder, which is returned."""
    made = []

    def write(files) -> Path:
        root = tmp_path / f"set{len(made)}"
        made.append(root)
        root.mkdir()
        for name in files:
            content = files[name] if isinstance(files, dict) else b""
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return root

    return write
