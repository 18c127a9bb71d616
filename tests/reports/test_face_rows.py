"""What a page's script reads of test faces: every label's own spelling, the map, known figures, no markup."""

from __future__ import annotations

import json
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from faceworkbook import datasets
from faceworkbook.evaluation import predictions
from faceworkbook.plots.descriptor_map import LEAST, DescriptorMapDisplay
from faceworkbook.reports import face_browser, face_rows, pages, sections, values
from faceworkbook.tasks import Task
from tests.conftest import REPO
from tests.support import face_pages

ROOT = REPO / "data" / "synthetic"


@pytest.fixture(scope="module")
def faces():
    return datasets.load("synthetic", ROOT).faces.iloc[::100].reset_index(drop=True)


def test_codes_stand_for_the_names_of_truth_prediction_and_groups(faces):
    made = face_pages.make_rows(faces, face_pages.predict(faces))
    columns = made.record["columns"]
    for name, values_ in (("truth", made.rows["truth"]), ("group:race", made.rows["race"])):
        assert [columns[name]["names"][code] for code in columns[name]["values"]] == values_.astype(
            str
        ).tolist()
    assert columns["right"]["values"].tolist() == sorted(columns["right"]["values"])  # errors first
    assert len(columns["truth"]["colors"]) == 2
    assert set(made.record["groups"]) == {"group:race", "group:age"}


def test_an_unknown_group_has_no_name(faces):
    unknown = faces.assign(race=faces["race"].where(faces.index > 3))
    made = face_pages.make_rows(unknown, face_pages.predict(unknown), ("race",))
    assert (made.record["columns"]["group:race"]["values"] == -1).sum() == 4


def test_a_correction_is_about_the_column_that_the_label_is_read_from(faces):
    """Age groups of a set that has ages are corrected as ages, in years."""
    groups = pd.cut(faces["age"].astype(float), [0, 30, 60, 200], labels=["young", "middle", "old"]).astype(
        str
    )
    table = predictions.build(
        faces, Task("age_group", "ordered", ("young", "middle", "old")), truth=groups,
        output=np.full((len(faces), 3), 1 / 3), split="test",
    )  # fmt: skip
    label, *others = face_pages.make_rows(faces, table, ("gender",)).record["labels"]
    assert label["column"] == "age" and "names" not in label and not others


def test_each_of_several_labels_can_be_corrected(faces):
    own = faces.assign(
        hat=pd.Categorical(np.resize(["no", "yes"], len(faces))),
        beard=pd.Categorical(np.resize(["yes", "no"], len(faces))),
    )
    task = Task("hat+beard", "multilabel", ("hat", "beard"))
    table = predictions.build(
        own, task, truth=["hat"] * len(own), output=np.full((len(own), 2), 0.6), split="test"
    )
    record = face_rows.make(table, own).record
    assert [label["column"] for label in record["labels"]] == ["hat", "beard"]
    assert record["labels"][0]["names"] == ["no", "yes"] and record["columns"]["predicted"]["names"] == [
        "hat+beard"
    ]


def test_repeats_show_a_face_once_and_no_figure(faces):
    once = face_pages.predict(faces)
    twice = pd.concat([once, once.assign(repeat=1)])
    twice.attrs = dict(once.attrs)
    record = face_rows.make(twice, faces).record
    assert record["rows"] == len(faces) and record["task"]["figure"] == "" and record["overall"] is None


def test_no_markup_is_left_in_the_record():
    text = pages.to_json({"a": "</script><!--&", "b": np.arange(2)})
    assert not set("<>&") & set(text) and json.loads(text) == {"a": "</script><!--&", "b": [0, 1]}


def test_the_map_is_scaled_and_faces_outside_of_it_have_no_place(faces):
    points = pd.DataFrame({"face_id": faces["face_id"][:3], "x": [-1.0, 0.0, 3.0], "y": [0.0, 2.0, 1.0]})
    made = face_rows.make(face_pages.predict(faces), faces, points=points)
    places = {
        face: (x, y)
        for face, x, y in zip(
            made.rows["face_id"], made.record["map"]["x"], made.record["map"]["y"], strict=True
        )
    }
    assert [places[face] for face in faces["face_id"][:3]] == [(0, 1000), (250, 0), (1000, 500)]
    assert places[faces["face_id"][5]] == (None, None)
    assert face_rows.make(face_pages.predict(faces), faces).record["map"] is None


@pytest.mark.parametrize(("n", "size"), [(3, 96), (601, 64)])
def test_a_sprite_has_a_tile_a_face(faces, n, size):
    many = pd.concat([faces] * (n // len(faces) + 1)).head(n).reset_index(drop=True)
    many = many.assign(face_id=[f"f{i}" for i in range(n)], image="none.jpg" if n > 10 else many["image"])
    made = face_rows.make(face_pages.predict(many), many)
    sprite = face_browser._sprite(made, ROOT, "all")
    columns = int(np.ceil(np.sqrt(n)))
    assert (sprite["size"], sprite["columns"]) == (size, columns)
    with Image.open(BytesIO(sprite["webp"])) as picture:
        assert picture.size == (columns * size, -(-n // columns) * size)


def test_errors_alone_have_pictures_where_the_page_may_show_no_others(faces):
    made = face_rows.make(face_pages.predict(faces), faces)
    tiles = face_browser._sprite(made, ROOT, "errors")["tiles"]
    assert ((tiles >= 0) == made.is_error).all()
    assert face_browser._sprite(made, ROOT, "none") is None
    assert sections.allowed(["errors", "error_matrix", "sample"], "errors") == ["errors", "error_matrix"]
    assert sections.allowed(["errors", "error_matrix", "sample"], "none") == ["error_matrix"]
    assert "allowed are all, errors, none" in values.RULES["faces_in_report"]("few")


def test_faces_of_one_cluster_lie_together_on_the_map(faces):
    matrix = np.random.default_rng(0).normal(0, 1, (len(faces), 8)).astype(np.float32)
    half = np.arange(len(faces)) % 2 == 0
    matrix[half] += 20
    order = np.random.default_rng(1).permutation(len(faces))
    own = SimpleNamespace(face_id=faces["face_id"].to_numpy()[order], matrix=matrix[order])
    display = DescriptorMapDisplay.from_predictions(face_pages.predict(faces), own, quick=True).plot()
    places = display.points[["x", "y"]].to_numpy()
    between = np.linalg.norm(places[half].mean(0) - places[~half].mean(0))
    assert display.points["face_id"].tolist() == faces["face_id"].tolist()
    assert between > places[half].std() and "Map of the descriptors of 24 of 24" in display.describe()
    few = DescriptorMapDisplay.from_predictions(face_pages.predict(faces.head(LEAST - 1)), own).plot()
    assert len(few.points) == 0 and few.describe().startswith("No map: 9 test faces")


def test_every_picture_of_a_page_has_an_alt_text(faces):
    made = face_rows.make(face_pages.predict(faces.head(12)), faces)
    body = face_browser.to_html(made, ROOT, static=(b"png", "A map"))
    assert body.count("<img") == body.count('alt="') == 2 and 'alt=""' not in body
