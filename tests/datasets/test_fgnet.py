from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceworkbook import datasets
from faceworkbook.datasets import fgnet

POINTS = "version: 1\r\nn_points: 68\r\n{\r\n" + "".join(f"{i} {i}.5\r\n" for i in range(68)) + "}\r\n"


@given(
    st.integers(0, 999), st.integers(0, 69), st.sampled_from(["", "a", "b"]), st.sampled_from(["JPG", "jpg"])
)
def test_every_well_formed_name_is_read_back(person, age, letter, extension):
    parsed = fgnet.parse_name(f"{person:03}A{age:02}{letter}.{extension}")
    assert parsed == (f"{person:03}", age, f"{person:03}a{age:02}{letter}")


@given(st.text(max_size=15))
def test_any_name_is_read_or_refused(name):
    parsed = fgnet.parse_name(name)
    assert parsed is None or parsed[1] is None or 0 <= parsed[1] <= 69


@pytest.mark.parametrize("name", ["001A2.JPG", "01A02.JPG", "001B02.JPG", "001A02", "001A02ab.JPG"])
def test_a_cut_or_odd_name_is_refused(name):
    assert fgnet.parse_name(name) is None


def test_an_age_that_nobody_has_costs_its_label(lay):
    dataset = datasets.load("fgnet", lay(["images/001A70.JPG"]))
    assert dataset.faces["age"].isna().all() and dataset.faces["identity"].tolist() == ["fgnet:001"]
    assert dataset.notices["reason"].tolist() == ["bad value in age", "no points file"]


def test_identity_age_and_points(lay):
    root = lay(
        {
            "images/001A43b.JPG": b"",
            "images/x.JPG": b"",
            "images/002A01.JPG": b"",
            "points/001a43b.pts": POINTS,
        }
    )
    dataset = datasets.load("fgnet", root)
    rows = dataset.faces[["identity", "age", "points"]].astype(object).where(dataset.faces.notna(), None)
    assert rows.to_numpy().tolist() == [["fgnet:001", 43, "points/001a43b.pts"], ["fgnet:002", 1, None]]
    assert dataset.left_out["reason"].tolist() == ["name malformed"]
    assert dataset.notices["reason"].tolist() == ["no points file"]
    points = fgnet.read_points(root / dataset.faces["points"][0])
    assert points.shape == (68, 2) and points[3].tolist() == [3, 3.5]


@given(st.integers(0, len(POINTS) - 4))
def test_a_cut_points_file_is_an_error(tmp_path_factory, length):
    path = tmp_path_factory.mktemp("points") / "a.pts"
    path.write_bytes(POINTS.encode()[:length])
    with pytest.raises(datasets.DatasetError, match="expected 68"):
        fgnet.read_points(path)


@pytest.mark.realdata
def test_real_names_and_points(shared_data):
    root = shared_data("fgnet")
    names = [path.name for path in (root / "images").iterdir()]
    dataset = datasets.load("fgnet", root)
    assert len(dataset.faces) == len(names) and dataset.left_out.empty
    assert Counter(dataset.faces["identity"]) == Counter(f"fgnet:{name[:3]}" for name in names)
    assert Counter(dataset.faces["age"]) == Counter(float(name[4:6]) for name in names)
    assert dataset.faces["points"].notna().all()
    sample = dataset.faces.iloc[::50]
    assert all(np.isfinite(fgnet.read_points(root / path)).all() for path in sample["points"])
