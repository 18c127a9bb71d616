"""Several data sets below each other: labels, people, copies and splits."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest

from faceworkbook import audit, datasets, faces, splits
from faceworkbook.experiments import describing, multi_dataset, overlap
from faceworkbook.tasks import read_labels
from tests.conftest import REPO
from tests.experiments.multi_toys import make_multi


def test_a_label_that_a_set_lacks_is_missing_not_a_class():
    multi = make_multi()
    counts = multi.counts().set_index("dataset")
    assert counts.loc["one"].tolist() == [160, 0] and counts.loc["two"].tolist() == [0, 160]
    assert multi.labels["gender"].classes == ("male", "female")


def test_class_names_of_several_sets_are_joined_by_name():
    a = faces.build({"image": ["a", "b"], "race": ["White", "Indian"]}, dataset="a")
    b = faces.build(
        {"image": ["c", "d"], "race": ["Latino", "White"]},
        dataset="b",
        vocabularies={"race": ("Latino", "White")},
    )
    multi = multi_dataset.build({"a": a, "b": b}, [np.zeros((2, 3)), np.ones((2, 3))], ["race"])
    assert multi.labels["race"].truth.tolist() == ["White", "Indian", "Latino", "White"]


def test_faces_of_two_sets_with_one_id_are_refused_before_anything_is_trained():
    tables = {
        name: faces.build({"image": list("ab"), "face_id": ids, "gender": ["male", "female"]}, dataset=name)
        for name, ids in {"one": ["f1", "f2"], "two": ["f3", "f2"]}.items()
    }
    with pytest.raises(overlap.OverlapError, match=r"1 face ids stand in .*\['one', 'two'\], such as 'f2'"):
        multi_dataset.build(tables, [np.zeros((2, 3))] * 2, ["gender"])


def test_no_person_and_no_row_stands_in_two_subsets():
    """One fold must not be validation, test and early stopping at once, and no subset may be empty."""
    multi = make_multi()
    split = multi_dataset.split(multi, seed=3)
    rows = [split.train, split.validation, split.test]
    assert sorted(np.concatenate(rows)) == list(range(320)) and min(map(len, rows)) > 0
    people = [set(multi.faces["identity"].iloc[r]) for r in rows]
    assert not (people[0] & people[1] or people[0] & people[2] or people[1] & people[2])
    for r in rows:
        assert set(multi.faces["dataset"].iloc[r]) == {"one", "two"}


def test_data_sets_take_turns_and_tasks_do_in_a_single_set():
    multi = make_multi()
    made = multi_dataset.make_stages(multi, np.arange(320), ["gender", "yaw"])
    assert [(s.name, s.tasks, len(s.rows)) for s in made] == [
        ("one", ("gender",), 160),
        ("two", ("yaw",), 160),
    ]
    whole = faces.build(
        {"image": list("abcd"), "gender": ["male", "female"] * 2, "yaw": [1.0, 2, 3, 4]}, dataset="whole"
    )
    single = multi_dataset.build({"whole": whole}, [np.zeros((4, 2))], ["gender", "yaw"])
    assert [
        (s.name, s.tasks) for s in multi_dataset.make_stages(single, np.arange(4), ["gender", "yaw"])
    ] == [
        ("gender", ("gender",)),
        ("yaw", ("yaw",)),
    ]


def test_hidden_labels_are_hidden_from_those_rows_only():
    multi = make_multi()
    rows = np.arange(100)
    seen = multi_dataset.hide(multi, "gender", share=0.9, rows=rows, seed=0)
    assert seen.labels["gender"].known[:100].sum() == 10
    assert seen.labels["gender"].known[100:160].all()
    assert multi.labels["gender"].known[:160].all(), "the first one keeps its labels"
    assert (
        np.isnan(
            multi_dataset.hide(multi, "yaw", share=0.5, rows=np.arange(160, 320), seed=0).labels["yaw"].values
        ).sum()
        == 160 + 80
    )


@pytest.fixture
def twins(tmp_path):
    """Two sets whose first 30 pictures are the same files, under other names of people."""
    rng = np.random.default_rng(0)
    tables, pictures = {}, rng.integers(0, 256, (90, 16, 16, 3), dtype=np.uint8)
    for name, own in {"one": pictures[:60], "two": pictures[[*range(30), *range(60, 90)]]}.items():
        (tmp_path / name).mkdir()
        images = [f"{i}.png" for i in range(60)]
        for image, picture in zip(images, own, strict=True):
            cv2.imwrite(str(tmp_path / name / image), picture)
        people = [f"{name}{i // 2}" if name == "one" else f"{name}{i // 3}" for i in range(60)]
        labels = {"gender": np.where(np.arange(60) % 12 < 6, "male", "female")}
        tables[name] = faces.build({"image": images, "identity": people, **labels}, dataset=name)
    shared_faces = overlap.find(tables, {name: tmp_path / name for name in tables})
    return multi_dataset.build(tables, [np.zeros((60, 2))] * 2, ["gender"], overlap=shared_faces)


def test_copies_are_searched_over_all_sets_and_people_who_share_one_are_one(twins):
    assert twins.shared["same_picture"].tolist() == [30, 30]
    assert (twins.copies[:30] == twins.copies[60:90]).all() and (twins.copies[30:60] == -1).all()
    people = twins.faces["identity"]
    assert (people[:30].to_numpy() == people[60:90].to_numpy()).all()
    # Two pictures a person here, three there: six pictures are one person.
    assert people[:30].nunique() == 5 and people[30:60].nunique() == 15


@pytest.mark.parametrize("seed", range(5))
def test_no_picture_that_two_sets_share_trains_and_tests(twins, seed):
    split = multi_dataset.split(twins, seed=seed)
    pictures = np.r_[np.arange(30), 30 + np.arange(30), np.arange(30), 60 + np.arange(30)]
    fitted = np.concatenate([split.train, split.validation])
    assert not set(pictures[fitted]) & set(pictures[split.test])
    assert not set(pictures[split.train]) & set(pictures[split.validation])
    assert split.leakage["leaked"] == 0 and split.leakage["test_rows"] == len(split.test) > 0
    # A picture of both sets trains once, and what is not used again is listed.
    assert len(set(pictures[fitted])) == len(fitted)
    repeated = split.excluded[split.excluded["reason"] == splits.REPEATED]["face_id"]
    placed = np.concatenate([fitted, split.test, np.flatnonzero(twins.faces["face_id"].isin(repeated))])
    assert sorted(placed) == list(range(120))
    assert len(repeated) == split.counts()["repeated"] == 30 - len(set(split.test) & set(range(30)))


def test_copies_of_two_sets_with_contradicting_labels_do_not_test(twins):
    labels = np.array(twins.faces["gender"], dtype=object)
    labels[60:90] = np.where(labels[60:90] == "male", "female", "male")
    table = twins.faces.assign(gender=pd.Categorical(labels, ["male", "female"]))
    split = multi_dataset.split(replace(twins, faces=table), seed=0)
    assert split.counts()["contradicting"] > 0
    assert not set(split.test) & {*range(30), *range(60, 90)}


def test_a_repeated_picture_trains_again_where_it_bears_another_label(twins):
    """The second set's copies bear a yaw that the first set does not know: both train."""
    yaw = np.where(np.arange(120) >= 60, np.arange(120) % 40, np.nan)
    labels = {**twins.labels, "yaw": read_labels(twins.faces.assign(yaw=yaw), "yaw")}
    split = multi_dataset.split(replace(twins, faces=twins.faces.assign(yaw=yaw), labels=labels), seed=0)
    assert split.counts()["repeated"] == 0


def plant(folder, *, n=40, seed=0):
    """Two sets: of set two, the first 8 are copies of set one, 8 more saved anew as JPEG, 8 more mirrored."""
    rng = np.random.default_rng(seed)
    made = [cv2.resize(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8), (64, 64)) for _ in range(2 * n)]
    one, two = made[:n], made[n:]
    two[:8], two[8:16], two[16:24] = one[:8], one[8:16], [each[:, ::-1] for each in one[16:24]]
    matrices = {"one": rng.normal(size=(n, 64)), "two": rng.normal(size=(n, 64))}
    matrices["two"][16:24] = matrices["one"][16:24] + 0.01 * rng.normal(size=(8, 64))
    tables = {}
    for name, own in {"one": one, "two": two}.items():
        (folder / name).mkdir()
        images = [f"{i}.png" for i in range(n)]
        for i, picture in enumerate(own):
            if name == "two" and 8 <= i < 16:
                images[i] = f"{i}.jpg"
                cv2.imwrite(str(folder / name / images[i]), picture, [cv2.IMWRITE_JPEG_QUALITY, 60])
            else:
                cv2.imwrite(str(folder / name / images[i]), picture)
        gender = np.where(np.arange(n) % 2, "male", "female")
        tables[name] = faces.build({"image": images, "gender": gender}, dataset=name)
    shared = overlap.find(tables, {name: folder / name for name in tables}, matrices=matrices)
    return multi_dataset.build(tables, [*matrices.values()], ["gender"], overlap=shared)


def shared_rows(split):
    """Planted pictures on both sides of a split, and those that train twice."""
    picture = np.r_[np.arange(40), np.arange(24), np.arange(64, 80)]
    fitted = np.concatenate([split.train, split.validation])
    both = set(picture[fitted]) & set(picture[split.test])
    twice = [p for p in range(16) if (picture[fitted] == p).sum() > 1]
    return both, twice


def test_copies_saved_anew_and_mirrored_twins_never_train_and_test(tmp_path):
    multi = plant(tmp_path)
    assert multi.shared["same_picture"].tolist() == [16, 16]
    assert multi.shared["near_twin"].tolist() == [8, 8] and multi.shared["same_person"].tolist() == [24, 24]
    for seed in range(5):
        split = multi_dataset.split(multi, seed=seed)
        assert shared_rows(split) == (set(), []) and split.leakage["leaked"] == 0


def test_whoever_leaves_one_set_out_trains_on_none_of_its_pictures(tmp_path):
    multi = plant(tmp_path)
    for made in multi_dataset.leave_one_out(multi, "gender"):
        assert shared_rows(made) == (set(), [])
        excluded = made.left_out[made.left_out["reason"] == splits.ALSO_IN_TEST]
        assert len(excluded) == 24 and len(made.test) == 40
        assert len(made.train) + len(made.validation) == 40 - 24
        assert made.summary()["what"].str.contains(splits.ALSO_IN_TEST).any()


def test_two_training_sets_train_on_a_picture_once_when_a_third_is_left_out(tmp_path):
    multi = plant(tmp_path)
    other = multi.faces.iloc[:40].assign(dataset="three", copy_group=pd.NA, identity=pd.NA)
    other["face_id"] = "three:" + other["image"]
    table = pd.concat([multi.faces, other], ignore_index=True)
    copies = np.append(multi.copies, np.full(40, -1))
    made = {s.name: s for s in splits.leave_one_dataset_out(table, label="gender", keep_together=copies)}
    split = made["without three"]
    repeated = split.left_out[split.left_out["reason"] == splits.REPEATED]["face_id"]
    assert sorted(repeated) == sorted(multi.faces["face_id"].iloc[40:56])
    assert len(split.train) + len(split.validation) == 80 - 16


def test_descriptors_that_do_not_distinguish_faces_make_no_twins():
    rng = np.random.default_rng(0)
    table = faces.build({"image": [f"{i}.png" for i in range(200)]}, dataset="one")
    alike = 1 + 0.01 * rng.normal(size=(200, 10))
    assert (overlap.search_twins(table, alike) == -1).all()
    distinct = rng.normal(size=(200, 64))
    distinct[1] = distinct[0]
    assert overlap.search_twins(table, distinct)[:3].tolist() == [0, 0, -1]


def test_sets_that_share_nothing_are_split_as_if_each_stood_alone():
    multi = make_multi()
    split = multi_dataset.split(multi, seed=3)
    alone = splits.make(
        multi.faces.iloc[160:].reset_index(drop=True), label=["yaw"], seed=3, test=0.25, validation=0.15
    )
    assert set(split.test[split.test >= 160]) == set(160 + alone.test)


@pytest.mark.realdata
def test_adience_within_agegender_cleaned_never_trains_and_tests(shared_data):
    """All different Adience files stand byte for byte in the other set, under other names of people."""
    roots = {name: shared_data(name) for name in ("adience", "agegender_cleaned")}
    tables = {name: datasets.load(name, root).faces for name, root in roots.items()}
    shared_faces = overlap.find(tables, roots)
    multi = multi_dataset.build(
        tables, [np.zeros((len(table), 1)) for table in tables.values()], ["gender"], overlap=shared_faces
    )
    shared = multi.shared.set_index("dataset")["same_picture"]
    assert shared["adience"] == len(tables["adience"])
    paths = [Path(roots[name]) / image for name, table in tables.items() for image in table["image"]]
    hashes = np.array([hash(path.read_bytes()) for path in paths])
    split = multi_dataset.split(multi, seed=0)
    fitted = np.concatenate([split.train, split.validation])
    assert not set(hashes[fitted]) & set(hashes[split.test])
    assert split.leakage["leaked"] == 0
    assert len(set(hashes[split.train]) & set(hashes[split.validation])) == 0
    (made,) = multi_dataset.leave_one_out(multi, "gender")
    own = np.concatenate([made.train, made.validation])
    assert made.name == "without adience" and not set(hashes[own]) & set(hashes[made.test])
    for each in (made, split):
        trained = np.concatenate([each.train, each.validation])
        assert not set(multi.copies[trained][multi.copies[trained] >= 0]) & set(multi.copies[each.test])
    assert made.leakage["leaked"] == 0 and len(made.test) > 0.9 * len(tables["adience"])
    assert (made.left_out["reason"] == splits.ALSO_IN_TEST).sum() >= 2130
    assert "agegender_cleaned cannot be left out" in made.notices[-1]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: multi_dataset.parse(["utkface"]), "expected a list of NAME=FOLDER"),
        (lambda: multi_dataset.parse([]), "expected a list of NAME=FOLDER"),
        (lambda: multi_dataset.parse(["csv: a", "csv: b"]), "a name stands there twice"),
        (
            lambda: multi_dataset.hide(make_multi(), "gender", share=1.0, rows=np.arange(4), seed=0),
            "share=1.0 of the labels",
        ),
        (
            lambda: multi_dataset.build(
                {d: faces.build({"image": ["a"], "gender": ["male"]}, dataset=d) for d in "ab"},
                [np.zeros((1, 2)), np.zeros((1, 3))],
                ["gender"],
            ),
            r"widths \[2, 3\]; describe them with one network",
        ),
    ],
)
def test_wrong_sets_are_refused(make, text):
    with pytest.raises(multi_dataset.MultiDatasetError, match=text):
        make()


def test_a_set_without_any_of_the_labels_is_refused():
    table = faces.build({"image": ["a", "b"], "gender": ["male", "female"]}, dataset="mine")
    with pytest.raises(multi_dataset.MultiDatasetError, match="no face of mine has a label of"):
        multi_dataset.with_label(table, ["race"])
    assert isinstance(multi_dataset.with_label(table, ["race", "gender"]), pd.DataFrame)


def describe_by_pixels(faces_, name, root):
    matrix = np.arange(2.0 * len(faces_)).reshape(-1, 2)
    return SimpleNamespace(face_id=faces_["face_id"].tolist(), matrix=matrix, left_out=[])


@pytest.fixture
def folders(tmp_path):
    """Two folders of rendered faces, of men and women; one of the second is no face."""
    table = pd.read_csv(REPO / "data/synthetic/labels.csv").groupby("identity").head(1)
    for name, first in {"one": 0, "two": 4}.items():
        for gender, rows in table.groupby("gender"):
            (tmp_path / name / gender).mkdir(parents=True)
            for image in rows["image"].iloc[first : first + 4]:
                shutil.copy(REPO / "data/synthetic" / image, tmp_path / name / gender)
    cv2.imwrite(str(tmp_path / "two/male/flat.png"), np.full((64, 64, 3), 128, np.uint8))
    return {"image_folder": tmp_path / "one"}, tmp_path


def test_corrections_and_cleaning_reach_the_sets(folders):
    roots, place = folders
    image = sorted((place / "one/male").iterdir())[0].name
    face_id = f"image_folder:male/{image}"
    file = place / "corrections.csv"
    file.write_text(f"face_id,column,value\n{face_id},gender,female\n")
    read = partial(multi_dataset.load_datasets, tasks=["gender"], describe=describe_by_pixels)
    multi = read(roots, settings={"image_folder": {"corrections": file}})
    assert multi.faces.set_index("face_id")["gender"][face_id] == "female"
    assert multi.corrections[["dataset", "face_id", "status"]].to_numpy().tolist() == [
        ["image_folder", face_id, "corrected"]
    ]
    smiling = read(roots, tasks=["smile"], settings={"image_folder": {"label": "smile"}})
    assert smiling.labels["smile"].classes == ("female", "male")
    two = {"image_folder": place / "two"}
    assert len(read(two).faces) == 9
    cleaned = read(two, thresholds=audit.Thresholds.of(min_score=0.5))
    assert len(cleaned.faces) == 8
    assert ["image_folder", "removed: no face", 1] in cleaned.excluded.to_numpy().tolist()


def test_a_set_that_an_option_renames_keeps_its_pictures_and_what_is_known_of_it(tmp_path):
    """The predictor of 09_multitask looked the folder up under the reader's name, and in the folder that was given."""
    picture = next((REPO / "data/synthetic").glob("**/*.jpg"))
    for name in ("a.jpg", "b.jpg"):
        shutil.copy(picture, tmp_path / name)
    (tmp_path / "faces.csv").write_text("image,gender\na.jpg,male\nb.jpg,female\n")
    given = {"csv": {"dataset": "mine", "title": "My faces", "terms": "CC BY 4.0"}}
    multi = multi_dataset.load_datasets(
        {"csv": tmp_path}, ["gender"], describe=describe_by_pixels, settings=given
    )
    assert multi.datasets == ["mine"] and multi.excluded["dataset"].unique().tolist() == ["mine"]
    assert [Path(path) for path in multi.pictures()] == [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    (facts,) = multi.facts()
    assert (facts["title"], facts["terms"]) == ("My faces", "CC BY 4.0")


def test_two_sets_of_one_name_are_refused(folders):
    roots, place = folders
    shutil.copytree(place / "one", place / "csv")
    images = [path.relative_to(place / "csv").as_posix() for path in (place / "csv").glob("*/*")]
    rows = "".join(f"{image},{image.partition('/')[0]}\n" for image in images)
    (place / "csv/faces.csv").write_text(f"image,gender\n{rows}")
    with pytest.raises(multi_dataset.MultiDatasetError, match="two data sets bear the name 'image_folder'"):
        multi_dataset.load_datasets(
            {**roots, "csv": place / "csv"},
            ["gender"],
            describe=describe_by_pixels,
            settings={"csv": {"dataset": "image_folder"}},
        )


def test_corrections_of_no_set_and_thresholds_that_nobody_passes_are_refused(folders):
    roots, place = folders
    read = partial(multi_dataset.load_datasets, roots, ["gender"], describe=describe_by_pixels)
    with pytest.raises(
        multi_dataset.MultiDatasetError, match=r"corrections or options of \['utkface'\]; the data sets are"
    ):
        read(settings={"utkface": {"corrections": place / "none.csv"}})
    with pytest.raises(
        multi_dataset.MultiDatasetError, match=r"no face of image_folder passes.*min_height=9999"
    ):
        read(thresholds=audit.Thresholds.of(min_size=9999))


def test_what_a_reader_warns_of_is_handed_on(folders):
    roots, place = folders
    for k in range(5):
        (place / f"one/note{k}.txt").write_text("x")
    multi = multi_dataset.load_datasets(roots, ["gender"], describe=describe_by_pixels)
    assert [text.split(" were")[0] for text in multi.warnings] == ["image_folder: 5 of 13 files or rows"]


@pytest.mark.parametrize("source", ["landmarks", "mesh"])
def test_a_set_without_a_single_detected_face_is_refused(source, tmp_path):
    for i in range(4):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((90, 90, 3), 60 * i, np.uint8))
    table = pd.DataFrame({"image": [f"{i}.png" for i in range(4)], "gender": ["male", "female"] * 2})
    table.to_csv(tmp_path / "faces.csv", index=False)
    describe, _ = describing.describe_with(source, backbone="", tap="", store=tmp_path / "store")
    with pytest.raises(
        multi_dataset.MultiDatasetError, match=r"none of the 4 faces of csv .* no face detected;"
    ):
        multi_dataset.load_datasets({"csv": tmp_path}, ["gender"], describe=describe)
