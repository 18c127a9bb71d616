"""A few operations on the disk of every door that fail; ``python -m benchmarks faults`` tries all of them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.faults import disk, doors

POINTS = 3  # of each door
# Those that load no TensorFlow are driven by a process of their own.
NETWORKS = ("dense training", "multi-task training", "fine-tuning", "a fitted model", "search", "folds")
LIGHT = tuple(name for name in doors.DOORS if name not in NETWORKS)

pytestmark = pytest.mark.skipif(not disk.compiler(), reason="the shim wants Linux and a C compiler")


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return disk.build(tmp_path_factory.mktemp("shim"))


def drive(library, *arguments) -> list[dict]:
    """Return the records of points that `tests.faults.drive` tried."""
    command = [sys.executable, "-m", "tests.faults.drive", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=disk.REPO, env=disk.environment(library), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"door"')]


def check(records: list[dict], names: tuple[str, ...]) -> None:
    tried = [record for record in records if "kind" in record]
    assert {record["door"] for record in tried} == set(names)
    assert not [record for record in tried if record["problem"]]


def test_what_a_disk_refuses_anywhere_is_a_sentence_and_the_next_run_goes_on(library):
    check(drive(library, *LIGHT, "--points", POINTS), LIGHT)


@pytest.mark.tensorflow
@pytest.mark.xdist_group("tensorflow")
def test_training_and_searches_go_on_after_a_kill_at_any_operation(library):
    pytest.importorskip("optuna", reason="the extra [search] is not installed")
    check(drive(library, *NETWORKS, "--points", 1, "--seed", 1), NETWORKS)
