"""The lock files: every package has one version and the SHA-256 of its files."""

from __future__ import annotations

import re

import pytest

from tests.conftest import REPO

LOCKS = ("requirements.lock", "requirements-dev.lock")


def requirements(name: str) -> dict[str, list[str]]:
    """Return the hashes of every requirement of a lock file."""
    text = (REPO / name).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return {
        line.partition(" ")[0]: re.findall(r"--hash=sha256:([0-9a-f]{64})(?:\s|$)", line) for line in lines
    }


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_is_pinned_with_its_hashes(name):
    """A line without a hash is refused by `make test` and the images (--require-hashes)."""
    listed = requirements(name)
    assert len(listed) > 100
    assert [line for line, hashes in listed.items() if "==" not in line or not hashes] == []


def test_the_development_lock_extends_the_other_one():
    plain, development = (requirements(name) for name in LOCKS)
    assert plain.items() <= development.items()


@pytest.mark.parametrize("name", ["Makefile", "Dockerfile", "Dockerfile.cuda"])
def test_what_installs_from_a_lock_file_checks_the_hashes(name):
    lines = [
        line
        for line in (REPO / name).read_text().splitlines()
        if re.search(r"-r requirements\S*\.lock", line)
    ]
    assert lines and all("--require-hashes" in line for line in lines)
