"""Descriptors that somebody else has made: every format, every way of naming faces, and what is refused."""

from __future__ import annotations

import hashlib
import json
import pickle

import cv2
import h5py
import numpy as np
import pandas as pd
import pytest

from faceworkbook import descriptors, faces
from faceworkbook.descriptors import StoreError, VectorFileError, matching, reading

N, DIM = 12, 5
NAMES = [f"part{i % 2}/{i:02d}.png" for i in range(N)]
VECTORS = np.random.default_rng(0).normal(size=(N, DIM)).astype(np.float32)
ORDER = np.random.default_rng(1).permutation(N)  # no file has its rows in the order of the face table


@pytest.fixture
def root(tmp_path):
    place = tmp_path / "pictures"
    for i, name in enumerate(NAMES):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place / name), np.full((6, 6, 3), 10 * i, np.uint8))
    return place


@pytest.fixture
def table():
    return faces.build({"image": NAMES}, dataset="toys")


@pytest.fixture
def read(root, table, tmp_path):
    """``read(file, **options)`` into a store of its own."""

    def run(file, asked=None, **options):
        return descriptors.read(
            file, table if asked is None else asked, root=root, store=tmp_path / "store", **options
        )

    return run


def check_all(described, table):
    assert described.face_id.tolist() == table["face_id"].tolist()
    np.testing.assert_array_equal(described.matrix, VECTORS)
    assert described.left_out.empty


def frame():
    return pd.DataFrame(VECTORS[ORDER], columns=[f"e{i}" for i in range(DIM)]).assign(
        image=np.array(NAMES)[ORDER], age=ORDER
    )


def lists():
    return pd.DataFrame({"image_path": np.array(NAMES)[ORDER], "embedding": list(VECTORS[ORDER]), "age": 7})


def write_csv(path):
    frame().to_csv(path, index=False)


def write_csv_without_header(path):
    columns = ["image", *(f"e{i}" for i in range(DIM))]
    frame()[columns].to_csv(path, index=False, header=False, sep=";")


def write_csv_of_lists(path):
    table = lists()
    table["embedding"] = [json.dumps([float(v) for v in row]) for row in table["embedding"]]
    table.to_csv(path, index=False)


def write_parquet(path):
    frame().to_parquet(path)


def write_parquet_of_lists(path):
    lists().to_parquet(path)


def write_parquet_with_index(path):
    frame().set_index("image").drop(columns="age").to_parquet(path)


def write_npz(path):
    np.savez(path, paths=np.array(NAMES)[ORDER], embeddings=VECTORS[ORDER, None], age=ORDER)


def write_hdf5(path):
    with h5py.File(path, "w") as file:
        file["run/embeddings"] = VECTORS[ORDER]
        file["image"] = np.array(NAMES, dtype="S")[ORDER]


def write_records(path):
    records = lists().assign(embedding=[row.tolist() for row in VECTORS[ORDER]]).to_dict("records")
    path.write_text(json.dumps(records))


def write_folds(path):
    """arXiv 2108.08186: records by fold."""
    records = lists().assign(embedding=[row.tolist() for row in VECTORS[ORDER]]).to_dict("records")
    path.write_text(json.dumps({"0": records[:5], "1": records[5:]}))


def write_mapping(path):
    path.write_text(json.dumps({NAMES[i]: VECTORS[i].tolist() for i in ORDER}))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.csv", write_csv),
        ("bare.csv", write_csv_without_header),
        ("lists.csv", write_csv_of_lists),
        ("a.parquet", write_parquet),
        ("lists.parquet", write_parquet_of_lists),
        ("index.parquet", write_parquet_with_index),
        ("a.npz", write_npz),
        ("a.h5", write_hdf5),
        ("records.json", write_records),
        ("folds.json", write_folds),
        ("mapping.json", write_mapping),
    ],
)
def test_every_format_gives_each_face_its_own_row(read, table, tmp_path, name, write):
    write(tmp_path / name)
    check_all(read(tmp_path / name), table)


def write_names(path, names):
    if path.suffix == ".txt":
        path.write_text("\n".join(names) + "\n")
    elif path.suffix == ".csv":
        pd.DataFrame({"filename": names, "age": 3}).to_csv(path, index=False)
    elif path.suffix == ".npy":
        np.save(path, np.array(names))
    else:
        records = [{"image_path": name, "gender": "m"} for name in names]
        path.write_text(
            json.dumps({"0": records[:4], "1": records[4:]} if path.stem.startswith("meta") else records)
        )


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("emb.npy", "emb.txt"),
        ("emb.npy", "emb.csv"),
        ("emb.npy", "emb.json"),
        ("data-aligned.npy", "meta-data-aligned.json"),
        ("data.npy", "meta-data.json"),
    ],
)
def test_names_stand_in_a_file_beside_an_array(read, table, tmp_path, file, names):
    np.save(tmp_path / file, VECTORS[ORDER].astype(np.float16).astype(np.float64) * 0 + VECTORS[ORDER])
    write_names(tmp_path / names, np.array(NAMES)[ORDER].tolist())
    check_all(read(tmp_path / file), table)


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".npy", ".json"])
def test_names_stand_in_another_file(read, table, tmp_path, suffix):
    np.save(tmp_path / "emb.npy", VECTORS[ORDER])
    other = tmp_path / f"who{suffix}"
    write_names(other, np.array(NAMES)[ORDER].tolist())
    check_all(read(tmp_path / "emb.npy", ids=str(other)), table)
    check_all(read(tmp_path / "emb.npy", ids=other.name), table)


@pytest.mark.parametrize(
    "write",
    [
        lambda name, root: f"toys:{name}",
        lambda name, root: str(root.resolve() / name),
        lambda name, root: f"D:\\somewhere\\{name}".replace("/", "\\"),
        lambda name, root: f"./{name}",
        lambda name, root: name.rpartition("/")[2],
        lambda name, root: name.upper(),
    ],
)
def test_faces_are_named_by_id_by_path_or_by_a_unique_file_name(read, table, root, tmp_path, write):
    np.save(tmp_path / "emb.npy", VECTORS[ORDER])
    check_all(read(tmp_path / "emb.npy", ids=[write(NAMES[i], root) for i in ORDER]), table)


def test_the_order_of_rows_counts_only_where_it_is_asked_for_and_fits(read, table, tmp_path):
    np.save(tmp_path / "emb.npy", VECTORS)
    with pytest.raises(VectorFileError, match=r"names no faces.*no file of names beside it.*ids=row_order"):
        read(tmp_path / "emb.npy")
    check_all(read(tmp_path / "emb.npy", ids="row_order"), table)
    with pytest.raises(
        VectorFileError, match="has 12 rows and the face table 11; they must be the same faces"
    ):
        read(tmp_path / "emb.npy", table.iloc[:11], ids="row_order")


def test_what_does_not_fit_is_counted_and_listed_with_its_reason(read, table, tmp_path):
    names = [*NAMES, "strange.png", "", NAMES[1], NAMES[2], NAMES[2]]
    vectors = np.concatenate([VECTORS, VECTORS[:2] + 9, VECTORS[1:3], VECTORS[2:3] + 1]).astype(float)
    vectors[4, 2], vectors[5, 0], vectors[6, 0] = np.nan, np.inf, 1e300
    np.save(tmp_path / "emb.npy", vectors)
    described = read(tmp_path / "emb.npy", ids=names)
    assert [NAMES.index(f.removeprefix("toys:")) for f in described.face_id] == [0, 1, 3, 7, 8, 9, 10, 11]
    np.testing.assert_array_equal(described.matrix, VECTORS[[0, 1, 3, 7, 8, 9, 10, 11]])
    reasons = described.left_out["reason"].value_counts().to_dict()
    assert reasons == {
        "no descriptor": 4,
        "not finite": 3,
        "one of several different descriptors of a face": 3,
        "repeated with the same descriptor": 1,
        matching.NO_FACE: 1,
        "no name": 1,
    }
    strange = described.left_out.set_index("image").loc["strange.png"]
    assert strange["detail"] == "row 13 of emb.npy"
    lacking = described.left_out[described.left_out["reason"] == "no descriptor"]
    assert lacking["image"].tolist() == [NAMES[i] for i in (2, 4, 5, 6)]


def test_a_file_name_that_fits_two_faces_is_never_guessed(root, tmp_path):
    (root / "part1" / "00.png").write_bytes((root / "part0" / "00.png").read_bytes())
    table = faces.build({"image": [*NAMES, "part1/00.png"]}, dataset="toys")
    np.save(tmp_path / "emb.npy", VECTORS)
    names = [name.rpartition("/")[2] for name in NAMES]
    described = descriptors.read(tmp_path / "emb.npy", table, root=root, store=tmp_path / "s", ids=names)
    assert len(described) == N - 1 and "toys:part0/00.png" not in described.face_id
    assert matching.SEVERAL in set(described.left_out["reason"])


def test_rows_of_another_width_or_none_are_left_out(read, tmp_path):
    table = lists()
    table["embedding"] = [row.tolist() for row in VECTORS[ORDER]]
    table.at[0, "embedding"] = [1.0, 2.0]
    table.at[1, "embedding"] = None
    table.to_parquet(tmp_path / "e.parquet")
    described = read(tmp_path / "e.parquet")
    assert len(described) == N - 2
    reasons = set(described.left_out["reason"])
    assert {"2 numbers where the others have 5", "no numbers", "no descriptor"} == reasons


def test_a_column_that_is_no_descriptor_is_not_read_as_one(read, table, tmp_path):
    """A label beside the numbers would make every figure too good."""
    write_csv(tmp_path / "a.csv")
    assert read(tmp_path / "a.csv").dim == DIM
    frame().assign(x0=1.0, x1=2.0).to_csv(tmp_path / "two.csv", index=False)
    with pytest.raises(VectorFileError, match=r"2 things that could be the descriptors: 'e', 'x'; say which"):
        read(tmp_path / "two.csv")
    check_all(read(tmp_path / "two.csv", values="e"), table)
    frame()[["image", "age"]].to_csv(tmp_path / "none.csv", index=False)
    with pytest.raises(
        VectorFileError, match=r"has the columns age: no column of lists and no numbered ones"
    ):
        read(tmp_path / "none.csv")


class Bomb:
    """Leaves a file behind when it is un-pickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("name", ["data-aligned.npy", "a.npz", "renamed.npy", "a.pkl"])
def test_nothing_is_ever_unpickled(read, tmp_path, name):
    """arXiv 2108.08186 keeps its embeddings in an array of objects, which is a pickle."""
    path, trap = tmp_path / name, tmp_path / "sprung"
    content = {0: [{"image_path": NAMES[0], "embedding": VECTORS[0], "trap": Bomb(str(trap))}]}
    if name == "a.npz":
        np.savez(path, data=np.array(content, dtype=object))
    elif name == "data-aligned.npy":
        np.save(path, content)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(VectorFileError, match=r"is a pickle.*numpy\.save\('descriptors\.npy'"):
        read(path, ids="row_order")
    assert not trap.exists()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 4, 4, 2)), r"shape \(3, 4, 4, 2\), expected \(n, d\).*flatten maps"),
        (np.zeros(7), r"shape \(7,\), expected \(n, d\)"),
        (np.array([["a"]]), "holds <U1, expected numbers"),
        (np.zeros((2, 2), complex), "holds complex128, expected numbers"),
        (np.zeros((0, 4)), r"shape \(0, 4\)"),
    ],
)
def test_an_array_that_holds_no_descriptors_is_refused_with_its_shape(read, tmp_path, array, message):
    np.save(tmp_path / "emb.npy", array)
    with pytest.raises(VectorFileError, match=message):
        read(tmp_path / "emb.npy", ids="row_order")


@pytest.mark.parametrize("name", ["emb.npy", "emb.npz", "emb.parquet", "emb.h5", "emb.json", "emb.csv"])
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01", b"\x00\xff garbage \xfe", b"PK\x03\x04"])
def test_a_damaged_file_ends_in_one_error_that_names_it(read, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(VectorFileError, match=name):
        read(tmp_path / name, ids="row_order")


def test_names_that_fit_no_face_are_answered_with_examples_of_both(read, tmp_path):
    np.save(tmp_path / "emb.npy", VECTORS)
    with pytest.raises(StoreError, match=r"none of the 12 rows.*12 no face.*named 'x0'.*'toys:part0/00.png'"):
        read(tmp_path / "emb.npy", ids=[f"x{i}" for i in range(N)])
    with pytest.raises(VectorFileError, match="12 rows and names given 3 names"):
        read(tmp_path / "emb.npy", ids=NAMES[:3])
    with pytest.raises(VectorFileError, match=r"ids='nobody' is no file, and .* holds one array"):
        read(tmp_path / "emb.npy", ids="nobody")
    write_csv(tmp_path / "a.csv")
    with pytest.raises(VectorFileError, match=r"has no 'nobody' \(ids\); it has e0"):
        read(tmp_path / "a.csv", ids="nobody")


def test_the_store_knows_file_and_faces_by_content(read, table, root, tmp_path):
    write_csv(tmp_path / "a.csv")
    described = read(tmp_path / "a.csv")
    recipe = described.manifest["recipe"]
    assert recipe["kind"] == "read" and recipe["file"] == "a.csv"
    assert recipe["file_sha256"] == hashlib.sha256((tmp_path / "a.csv").read_bytes()).hexdigest()
    assert described.content_hash[0] and len(set(described.content_hash)) == N
    again = read(tmp_path / "a.csv")
    assert again.generation == 1 and again.fingerprint == described.fingerprint
    some = read(tmp_path / "a.csv", table.iloc[[7, 2]].reset_index(drop=True))
    np.testing.assert_array_equal(some.matrix, VECTORS[[7, 2]])
    changed = frame()
    changed.loc[0, "e0"] += 1
    changed.to_csv(tmp_path / "a.csv", index=False)
    other = read(tmp_path / "a.csv")
    assert other.generation == 2 and other.fingerprint != described.fingerprint


def test_a_picture_that_cannot_be_read_keeps_its_descriptor(read, table, root, tmp_path):
    (root / NAMES[3]).unlink()
    write_csv(tmp_path / "a.csv")
    described = read(tmp_path / "a.csv")
    check_all(described, table)
    assert described.content_hash[3] == ""


def test_faces_of_one_picture_are_named_by_their_id(root, tmp_path):
    table = faces.build(
        {
            "face_id": ["toys:left", "toys:right"],
            "image": [NAMES[0], NAMES[0]],
            **{"top": [0, 0], "left": [0, 3], "bottom": [3, 3], "right": [3, 6]},
        },
        dataset="toys",
    )
    np.save(tmp_path / "emb.npy", VECTORS[:2])
    with pytest.raises(StoreError, match=f"2 {matching.SEVERAL}"):
        descriptors.read(
            tmp_path / "emb.npy", table, root=root, store=tmp_path / "s", ids=[NAMES[0], NAMES[0]]
        )
    described = descriptors.read(
        tmp_path / "emb.npy", table, root=root, store=tmp_path / "s", ids=table["face_id"].tolist()[::-1]
    )
    np.testing.assert_array_equal(described.matrix, VECTORS[[1, 0]])


def test_several_files_beside_an_array_are_not_guessed_between(read, tmp_path):
    np.save(tmp_path / "emb.npy", VECTORS)
    for suffix in (".txt", ".csv"):
        write_names(tmp_path / f"emb{suffix}", NAMES)
    with pytest.raises(VectorFileError, match=r"emb\.txt and emb\.csv stand beside it"):
        read(tmp_path / "emb.npy")
    assert reading.ROW_ORDER == "row_order"
