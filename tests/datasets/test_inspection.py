"""`workbook inspect`: what lies there, and a command that runs as printed."""

from __future__ import annotations

import itertools
import json
import shlex

import cv2
import numpy as np
import pandas as pd
import pytest

from faceworkbook import cli, datasets, faces
from faceworkbook.datasets import inspection, words
from faceworkbook.reports import experiments, inspect_command, parameters
from tests.conftest import REPO
from tests.datasets import test_aflw, test_imdb_wiki

PICTURE = cv2.imencode(".jpg", np.full((40, 30, 3), 90, np.uint8))[1].tobytes()
PUBLISHED = ("adience", "agegender_cleaned", "expw", "fairface", "ferplus", "fgnet", "genki4k", "utkface")


@pytest.fixture
def lay(tmp_path):
    def make(names, folder="my faces", **tables):
        root = tmp_path / folder
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(PICTURE)
        for name, text in tables.items():
            (root / name.replace("__", ".")).write_text(text)
        return root

    return make


def given_by(command):
    """Return the experiment that the printed command names, with all its values checked."""
    program, run, name, *rest = shlex.split(command)
    assert (program, run) == ("workbook", "run")
    given = dict(parameters.parse_assignment(text) for text in rest if text != "-p")
    return experiments.read(name, given={**given, "smoke": True})


def faces_of(command):
    """Return the faces that the first step of the printed command reads."""
    first = given_by(command).steps[0].parameters
    settings = datasets.with_label(
        first["dataset"], parameters.parse_options(first["options"]), first["label"]
    )
    table = datasets.load(first["dataset"], first["root"], **settings).faces
    return table, first["label"]


def table_of(n=40, **columns):
    rows = {"path": [f"img/{i}.jpg" for i in range(n)], **columns}
    return pd.DataFrame(rows), rows["path"]


OWN = {
    "Sex": ["M", "F"] * 20,
    "person_id": [f"p{i // 4}" for i in range(40)],
    "Age (years)": [str(20 + i) for i in range(40)],
    "extra_beard": ["0", "1"] * 20,
    "hair, colour": ["red", "fair", "black", "?"] * 10,
    "remark": [f"seen by {i}" for i in range(40)],
}


def test_the_columns_of_a_table_are_taken_for_what_they_hold(lay):
    table, pictures = table_of(**OWN)
    seen = inspection.inspect(lay(pictures, faces__csv=table.to_csv(index=False)))
    taken = {column.written: (column.name, column.role) for column in seen.columns}
    assert taken == {
        "path": ("image", "picture path"),
        "Sex": ("gender", "label"),
        "person_id": ("identity", "identity"),
        "Age (years)": ("age", "label, a number"),
        "extra_beard": ("beard", "yes/no label"),
        "hair, colour": ("hair_colour", "free label"),
        "remark": ("remark", "text"),
    }
    assert seen.counts["faces"] == 40 and seen.counts["people"] == 10
    assert seen.counts["hair_colour"] == "black 10, fair 10, red 10 (unknown: 10)"
    assert seen.pictures["decoded"] == 40 and seen.pictures["unreadable"] == 0
    assert seen.settings["terms"] == "not stated; ask whoever made the set"
    read, label = faces_of(inspect_command.command_for(seen))
    assert label == "gender" and len(read) == 40
    assert {"beard", "hair_colour", "age"} <= set(faces.label_columns(read))


@pytest.mark.parametrize("kind", ["csv", "tsv", "semicolon", "parquet", "jsonl", "json"])
def test_every_kind_of_table_is_read_and_the_folder_stays_as_it_is(lay, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(inspection.project, "resolve", lambda path: tmp_path / path)
    table, pictures = table_of(**OWN)
    root = lay(pictures)
    if kind == "parquet":
        table.to_parquet(root / "labels.parquet")
    elif kind.startswith("json"):
        table.to_json(root / f"labels.{kind}", orient="records", lines=kind == "jsonl")
    else:
        sign = {"csv": ",", "tsv": "\t", "semicolon": ";"}[kind]
        table.to_csv(root / f"labels.{'tsv' if kind == 'tsv' else 'csv'}", index=False, sep=sign)
    there = sorted(root.iterdir())
    seen = inspection.inspect(root)
    settings = datasets.with_label(seen.dataset, parameters.parse_options([
        words.write_option(*item) for item in seen.settings.items()
    ]), seen.label)  # fmt: skip
    assert len(datasets.load("csv", root, **settings).faces) == 40
    assert sorted(root.iterdir()) == there
    (path,) = root.glob("labels.*")
    assert inspection.inspect(path).counts == seen.counts


@pytest.mark.parametrize(
    ("names", "label", "kind"),
    [
        (["woman/1.jpg", "man/2.jpg", "man/3.jpg"], "gender", "one folder a class"),
        (["train/happy/1.jpg", "train/sad/2.jpg", "test/sad/3.jpg"], "emotion", "below split folders"),
        (["glasses/1.jpg", "none/2.jpg", "hat/4.jpg"], "category", "one folder a class"),
    ],
)
def test_folders_of_classes(lay, names, label, kind):
    seen = inspection.inspect(lay(names))
    assert (seen.dataset, seen.label) == ("image_folder", label) and kind in seen.taken_for
    read, name = faces_of(inspect_command.command_for(seen))
    assert (
        len(read) == len(names)
        and name == label
        and read[label].nunique() == len({n.split("/")[-2] for n in names})
    )


def test_labels_in_the_names_of_flat_pictures(lay, tmp_path, monkeypatch):
    monkeypatch.setattr(inspection.project, "resolve", lambda path: tmp_path / path)
    names = [f"anna{i // 4}_{'smiling' if i % 2 else 'serious'}_{i:03}.jpg" for i in range(24)]
    seen = inspection.inspect(lay(names))
    assert seen.dataset == "csv" and "smiling" in str(seen.counts)
    assert any("name its columns there" in remark for remark in seen.remarks)


def test_codes_of_a_known_label_are_taken_as_they_are_and_asked_about(lay):
    table, pictures = table_of(gender=["0", "1"] * 20)
    seen = inspection.inspect(lay(pictures, faces__csv=table.to_csv(index=False)))
    assert seen.settings["free"] == ["gender"]
    assert any("values: [gender:0=CLASS, gender:1=CLASS]" in remark for remark in seen.remarks)
    read, _ = faces_of(inspect_command.command_for(seen))
    assert list(read["gender"].cat.categories) == ["0", "1"]


def test_odd_rows_are_counted_by_reason_with_the_first_three(lay):
    table, pictures = table_of(gender=["male", "female"] * 20)
    text = (
        table.to_csv(index=False)
        + "".join(f"img/lost{i}.jpg,male\n" for i in range(5))
        + "img/0.jpg,female\n"
    )
    seen = inspection.inspect(lay(pictures, faces__csv=text))
    odd = {entry["reason"]: entry for entry in seen.odd}
    assert odd["no picture"]["count"] == 5 and len(odd["no picture"]["first"]) == 3
    assert odd["rows contradict"]["count"] == 2


def test_a_cache_of_links_is_followed(lay, tmp_path):
    """Hugging Face's cache, git-annex and DVC lay files out as links to where the bytes are."""
    blobs = lay([f"{i}.jpg" for i in range(6)], folder="blobs")
    root = tmp_path / "snapshot"
    for i in range(6):
        link = root / ("man" if i % 2 else "woman") / f"{i}.jpg"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blobs / f"{i}.jpg")
    seen = inspection.inspect(root)
    assert seen.settings["links"] == "anywhere"
    read, _ = faces_of(inspect_command.command_for(seen))
    assert len(read) == 6


@pytest.mark.parametrize("odd", ["it's", 'a "quote"', "blank and $HOME", "größe, é", "2024"])
def test_any_folder_and_header_survives_the_shell(lay, odd):
    table, pictures = table_of(**{f"sex {odd}": ["M", "F"] * 20, odd: ["a", "b"] * 20})
    seen = inspection.inspect(lay(pictures, folder=odd, faces__csv=table.to_csv(index=False)))
    read, _ = faces_of(inspect_command.command_for(seen))
    assert len(read) == 40


@pytest.mark.parametrize(
    ("names", "message"),
    [([], "there is nothing at"), (["1.jpg", "2.jpg"], "names hold no label"), (["a/1.jpg"], "one folder with pictures")],
)  # fmt: skip
def test_what_is_not_understood_exits_with_2_and_names_what_would_do(lay, names, message, capsys):
    root = lay(names)
    assert cli.main(["inspect", str(root)]) == 2
    assert message in capsys.readouterr().err
    assert cli.main(["inspect", str(root), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["understood"] is False


def test_the_embedded_set_is_recognised_and_printed_in_json_and_in_words(capsys):
    root = str(REPO / "data" / "synthetic")
    assert cli.main(["inspect", root]) == 0
    printed = capsys.readouterr().out
    assert "faces        2,400" in printed and printed.rstrip().splitlines()[-1].strip().startswith(
        "workbook run demo"
    )
    assert cli.main(["inspect", root, "--json", "--label", "emotion"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["dataset"] == "synthetic" and record["counts"]["people"] == 600
    assert given_by(record["command"]).steps[0].parameters["label"] == "emotion"
    assert cli.main(["inspect", root, "--label", "smile"]) == 2


@pytest.mark.realdata
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sets_are_recognised_and_their_command_is_whole(shared_data, name):
    seen = inspection.inspect(shared_data(name))
    assert seen.dataset == name
    experiment = given_by(inspect_command.command_for(seen))
    assert experiment.steps[0].parameters["dataset"] == name


@pytest.mark.realdata
def test_imdb_wiki_is_recognised_by_its_mat_file_and_read_as_printed(shared_data, lay):
    """300 of its own rows; the pictures are rendered ones."""
    listed = pd.read_csv(shared_data("imdbwiki") / "wiki_rows.csv").iloc[:300]
    rows = [
        test_imdb_wiki.row(path, gender=float(gender))
        for path, gender in zip(listed["img_paths"], listed["genders"], strict=True)
    ]
    root = test_imdb_wiki.wiki_set(lay, rows)
    put_faces(root.rglob("*.jpg"))
    seen = inspection.inspect(root)
    assert seen.dataset == "imdb_wiki" and seen.pictures["unreadable"] == 0
    read, label = faces_of(inspect_command.command_for(seen))
    assert label in seen.labels and len(read) > 250 and read[label].notna().mean() > 0.9


@pytest.mark.realdata
def test_aflw_is_recognised_by_its_database_and_read_as_printed(shared_data, lay):
    """Poses of its own list; the pictures are rendered ones."""
    yaws = np.radians(np.load(shared_data("aflw") / "AFLW_GT_crop_yaws.npy", allow_pickle=False)[:200])
    root = test_aflw.write_database(
        lay(["flickr/0/first.jpg"], "aflw"), [(float(yaw), 0.0, 0.0) for yaw in yaws.ravel()]
    )
    put_faces(root.rglob("*.jpg"))
    seen = inspection.inspect(root)
    assert seen.dataset == "aflw" and seen.pictures["unreadable"] == 0
    read, label = faces_of(inspect_command.command_for(seen))
    assert len(read) > 150 and read[label].notna().mean() > 0.9


def put_faces(paths):
    faces = sorted((REPO / "data/synthetic/images").rglob("*.jpg"))
    for path, face in zip(sorted(paths), itertools.cycle(faces[:50])):
        path.write_bytes(face.read_bytes())
