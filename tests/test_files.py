"""Atomic writes and fingerprints of content."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceworkbook import files


def test_a_failed_write_leaves_the_old_content_and_nothing_beside(tmp_path, monkeypatch):
    path = files.write_beside(tmp_path / "a.json", "old")

    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(files.FileError, match=r"a\.json.*disk is full.*free some space"):
        files.write_beside(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_writer_that_wants_a_name_gets_one_with_the_same_suffix(tmp_path):
    with files.open_beside(tmp_path / "deep" / "table.parquet") as beside:
        assert beside.suffix == ".parquet"
        pd.DataFrame({"a": [1]}).to_parquet(beside)
    assert pd.read_parquet(tmp_path / "deep" / "table.parquet")["a"].tolist() == [1]


def test_a_record_that_is_none_is_named_with_advice(tmp_path):
    (tmp_path / "r.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"r\.json cannot be read.*run 01_faces again"):
        files.read_json(tmp_path / "r.json", ValueError, advice="run 01_faces again")
    (tmp_path / "r.json").write_text("[1]")
    with pytest.raises(ValueError, match="holds list, expected a JSON object"):
        files.read_json(tmp_path / "r.json", ValueError, advice="")


def test_the_hash_of_rows_knows_content_and_not_order():
    table = pd.DataFrame({"face_id": ["a", "b", "c"], "age": [1.0, None, 3.0], "sex": ["m", None, "f"]})
    columns = ["face_id", "age", "sex"]
    same = files.hash_rows(table, columns, key="face_id")
    assert files.hash_rows(table.iloc[::-1], columns, key="face_id") == same
    assert (
        files.hash_rows(table.astype({"sex": "category", "age": "Float64"}), columns, key="face_id") == same
    )
    assert files.hash_rows(table.assign(age=[1.0, 2.0, 3.0]), columns, key="face_id") != same
    assert files.hash_rows(table.assign(sex=["m", "", "f"]), columns, key="face_id") != same


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_different_values_have_different_hashes(first, second):
    assert (files.hash_values(*first) == files.hash_values(*second)) == (first == second)


def test_arrays_of_other_shape_have_other_hashes():
    a = np.arange(6)
    assert files.hash_values(a) != files.hash_values(a.reshape(2, 3))
    assert files.hash_values(a) != files.hash_values(a.astype(np.int32))


GONE = """
import os, sys
from faceworkbook import files
with files.open_beside(sys.argv[1]) as beside:
    beside.write_text("half")
    os._exit(1)
"""


def test_what_a_killed_process_left_half_written_is_removed_by_the_next(tmp_path):
    page = tmp_path / "page.html"
    subprocess.run([sys.executable, "-c", GONE, str(page)], check=False)
    (left,) = tmp_path.iterdir()
    assert files.is_abandoned(left.name) and left.suffix == ".html"
    with files.open_beside(page) as beside:  # of a process that lives
        assert not files.is_abandoned(beside.name)
        beside.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    foreign = f".00000000-{'0' * 8}-{os.getpid()}-page.html"
    assert not files.is_abandoned(foreign) and not files.is_abandoned(".hidden-page.html")


def test_the_longest_names_can_be_written(tmp_path):
    name = "n" * 250 + ".json"
    assert files.write_json(tmp_path / name, {}).read_text() == "{}\n"


def test_a_table_is_read_where_the_system_grants_no_thread(tmp_path):
    """Under a limit of memory Arrow's own readers wait for threads for ever."""
    pytest.importorskip("resource")
    pd.DataFrame({f"c{i}": np.arange(100.0) for i in range(20)}).to_parquet(tmp_path / "t.parquet")
    code = (
        "import re, resource, sys; import pyarrow.parquet, pyarrow.dataset; from faceworkbook import files; "
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize(); "
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**21,) * 2); "
        "assert files.read_parquet(sys.argv[1]).shape == (100, 20)"
    )
    if not Path("/proc/self/statm").exists():
        pytest.skip("limits of memory are Linux's")
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "t.parquet")], check=True, timeout=300)


def test_a_damaged_table_is_one_kind_of_error(tmp_path):
    for content in (b"", b"PAR1", b"PAR1" * 9):
        (tmp_path / "t.parquet").write_bytes(content)
        with pytest.raises((OSError, ValueError)):
            files.read_parquet(tmp_path / "t.parquet")


def test_what_is_nested_too_deep_is_no_json():
    with pytest.raises(ValueError, match="nested too deep"):
        files.parse_json("[" * 100_000)
    assert files.parse_json(b'{"a": [1]}') == {"a": [1]}
