"""Atomic writes and fingerprints of content."""

import errno
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
