import datetime
import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st

from faceworkbook import datasets
from faceworkbook.datasets import imdb_wiki


def datenum(year, month, day):
    return datetime.date(year, month, day).toordinal() + 366


def write_mat(path, rows, name=None):
    """A file in the layout of imdb.mat: one struct of row vectors and cells."""
    rows = pd.DataFrame(rows)
    cells = {}
    for field in ("full_path", "name", "face_location"):
        cells[field] = np.empty((1, len(rows)), dtype=object)
        cells[field][0, :] = [np.atleast_2d(v) if field == "face_location" else v for v in rows[field]]
    numbers = {
        field: rows[field].to_numpy(float)[None]
        for field in ("dob", "photo_taken", "gender", "face_score", "second_face_score")
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {name or path.stem: {**numbers, **cells}}, do_compression=True)


def row(path="17/10000217_1981-05-05_2009.jpg", **changes):
    expected = re.search(r"_(\d+)-(\d+)-(\d+)_(\d+)", path)
    year, month, day, taken = map(int, expected.groups())
    values = {
        "dob": datenum(year, month, day),
        "photo_taken": taken,
        "full_path": path,
        "gender": 1.0,
        "name": "Somebody",
        "face_location": [10.0, 20.0, 110.0, 140.0],
        "face_score": 4.3,
        "second_face_score": np.nan,
    }
    return values | changes


def wiki_set(lay, rows, pictures=True):
    root = lay([])
    write_mat(root / "wiki_crop/wiki.mat", rows)
    for path in {r["full_path"] for r in rows} if pictures else ():
        (root / "wiki_crop" / path).parent.mkdir(parents=True, exist_ok=True)
        (root / "wiki_crop" / path).write_bytes(b"")
    return root


def test_age_gender_and_person(lay):
    rows = [
        row(),
        row("00/1_1981-07-01_2009.jpg", gender=0.0),
        row("00/2_1981-06-30_2009.jpg", gender=np.nan),
    ]
    dataset = datasets.load("imdb_wiki", wiki_set(lay, rows))
    table = dataset.faces[["age", "gender", "identity"]].astype(object)
    assert table.where(table.notna(), None).to_numpy().tolist() == [
        [28, "male", "wiki:10000217"],
        [27, "female", "wiki:1"],
        [28, None, "wiki:2"],
    ]
    assert dataset.faces["top"].isna().all()


def test_the_filters_count_by_reason(lay):
    rows = [
        row(),
        row("00/1_1981-05-05_2009.jpg", face_score=-np.inf),
        row("00/2_1981-05-05_2009.jpg", second_face_score=2.0),
        row("00/3_1881-05-05_2009.jpg"),
        row("00/4_2010-05-05_2009.jpg"),
        row("00/5_1981-05-05_2009.jpg", face_score=0.5),
        row("00/6_1981-05-05_2009.jpg", gender=np.nan),
        row("00/7_1981-05-05_2009.jpg", dob=np.nan),
        row("00/8_1981-05-05_2009.jpg", dob=datenum(1971, 5, 5)),
    ]
    root = wiki_set(lay, rows)
    dataset = datasets.load("imdb_wiki", root, min_face_score=1.0, unknown_gender="leave_out")
    assert dataset.faces["age"].isna().tolist() == [False, True]
    assert dataset.notices["reason"].tolist() == ["bad value in age"]
    assert Counter(dataset.left_out["reason"]) == {
        "no face detected": 1,
        "several faces": 1,
        "age out of range": 2,
        "below score": 1,
        "gender unknown": 1,
        "dates contradict the name": 1,
    }
    assert len(datasets.load("imdb_wiki", root, several_faces="keep", max_age=130).faces) == 6


@pytest.mark.parametrize("broken", [{"dob": np.nan}, {"dob": -5.0}, {"photo_taken": np.nan}])
def test_an_unreadable_date_costs_the_age_and_not_the_face(lay, broken):
    rows = [row(), row("00/1_1981-05-05_2009.jpg", gender=0.0, **broken)]
    dataset = datasets.load("imdb_wiki", wiki_set(lay, rows))
    assert dataset.left_out.empty and dataset.faces["gender"].tolist() == ["male", "female"]
    assert dataset.faces["age"].isna().tolist() == [False, True]


def test_whole_photos_have_boxes(lay):
    root = lay(["imdb/00/nm0000100_rm1_1955-1-6_2003.jpg"])
    write_mat(root / "imdb/imdb.mat", [row("00/nm0000100_rm1_1955-1-6_2003.jpg")])
    face = datasets.load("imdb_wiki", root, images="whole").faces.iloc[0]
    assert (face["top"], face["left"], face["bottom"], face["right"]) == (20, 10, 140, 110)
    assert face["identity"] == "imdb:nm0000100"


def test_a_picture_that_is_not_there_or_outside_is_listed(lay):
    rows = [row(), row("../9_1981-05-05_2009.jpg")]
    dataset = datasets.load("imdb_wiki", wiki_set(lay, rows, pictures=False))
    assert dataset.faces.empty
    assert Counter(dataset.left_out["reason"]) == {"no picture": 1, "path malformed": 1}


@given(st.dates(datetime.date(1850, 1, 1), datetime.date(1999, 12, 31)), st.integers(0, 99))
def test_age_in_the_middle_of_the_year(born, years):
    taken = born.year + years
    age = imdb_wiki.ages(np.array([born.toordinal() + 366.0]), np.array([float(taken)]))
    assert age[0] == years - (born.month >= 7)


@given(st.floats(), st.floats())
def test_any_date_gives_an_age_or_nan(dob, taken):
    age = imdb_wiki.ages(np.array([dob]), np.array([taken]))[0]
    assert np.isnan(age) or abs(age) < 2200


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_file_is_an_error(lay, share):
    root = wiki_set(lay, [row(), row("00/1_1981-07-01_2009.jpg")])
    path = root / "wiki_crop/wiki.mat"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(datasets.DatasetError, match=r"wiki\.mat"):
        datasets.load("imdb_wiki", root)


def test_a_flipped_bit_is_an_error_or_changes_nothing(lay):
    """The file is compressed, so that its checksum shows every damage but that of the words in its header."""
    root = wiki_set(lay, [row(), row("00/1_1981-07-01_2009.jpg")])
    path = root / "wiki_crop/wiki.mat"
    whole, faces = path.read_bytes(), datasets.load("imdb_wiki", root).faces
    rng = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            read = datasets.load("imdb_wiki", root).faces
        except datasets.DatasetError as error:
            assert "wiki.mat" in str(error)
        else:
            pd.testing.assert_frame_equal(read, faces)


@pytest.mark.parametrize("box", [[1.0, 2.0], [], "text", {"a": 1.0}])
def test_a_box_of_another_kind_is_an_error(lay, box):
    rows = [row(face_location=[1.0, 2.0, 3.0, 4.0]), row("00/1_1981-07-01_2009.jpg")]
    root = wiki_set(lay, rows)
    cells = np.empty((1, 2), object)
    cells[0, :] = [np.array([[1.0, 2.0, 3.0, 4.0]]), np.atleast_2d(box) if isinstance(box, list) else box]
    content = scipy.io.loadmat(root / "wiki_crop/wiki.mat")["wiki"]
    fields = {name: content[name][0, 0] for name in content.dtype.names} | {"face_location": cells}
    scipy.io.savemat(root / "wiki_crop/wiki.mat", {"wiki": fields})
    with pytest.raises(datasets.DatasetError, match=r"wiki\.mat: .*numbers"):
        datasets.load("imdb_wiki", root)


def test_files_of_another_kind_are_errors(lay):
    h5py = pytest.importorskip("h5py")
    root = wiki_set(lay, [row()])
    path = root / "wiki_crop/wiki.mat"
    write_mat(path, [row()], name="other")
    with pytest.raises(datasets.DatasetError, match="expected one struct 'wiki'"):
        datasets.load("imdb_wiki", root)
    with h5py.File(path, "w", userblock_size=512) as file:
        file["wiki"] = [1]
    content = bytearray(path.read_bytes())
    content[:128] = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    path.write_bytes(content)
    with pytest.raises(datasets.DatasetError, match=r"v7\.3"):
        datasets.load("imdb_wiki", root)


@pytest.mark.realdata
def test_real_rows_give_the_ages_that_others_read(lay, shared_data):
    table = pd.read_csv(shared_data("imdbwiki/wiki_rows.csv"))
    good = table["img_paths"].str.fullmatch(
        r"\d\d/\d+_\d{4}-(0[1-9]|1[012])-(0[1-9]|[12]\d|3[01])_\d{4}\.jpg"
    )
    table = table[good].iloc[::19]
    root = lay([])
    rows = [row(path, gender=float(g)) for path, g in zip(table["img_paths"], table["genders"], strict=True)]
    write_mat(root / "wiki_crop/wiki.mat", rows)
    for path in table["img_paths"]:
        (root / "wiki_crop" / path).parent.mkdir(exist_ok=True)
        (root / "wiki_crop" / path).write_bytes(b"")
    dataset = datasets.load("imdb_wiki", root)
    assert len(dataset.faces) == len(table) > 2000
    expected = table.set_index("wiki_crop/" + table["img_paths"])
    assert (dataset.faces["age"].to_numpy() == expected.loc[dataset.faces["image"], "ages"].to_numpy()).all()
    women = expected.loc[dataset.faces["image"], "genders"].to_numpy() == 0
    assert ((dataset.faces["gender"] == "female").to_numpy() == women).all()
