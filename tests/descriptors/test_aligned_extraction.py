"""Extraction of aligned faces: the pixels of `images.cut_face`, counted fallbacks, a store of their own."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from faceworkbook import alignment, datasets, descriptors, images, landmarks, mesh_detector
from faceworkbook.descriptors import StoreError, cluster, naming
from faceworkbook.descriptors.journal import Journal
from faceworkbook.faces import BOX
from faceworkbook.landmarks import AlignOptions
from tests.support.copies import copy_faces

PLAIN = images.Preprocessing((24, 24), "RGB", (0, 0, 0))


class Pixels:
    """An engine whose descriptor is the pixels themselves; counts the faces it sees."""

    name, batch_size, settings = "pixels", 4, {"name": "pixels"}

    def __init__(self):
        self.seen = 0

    def run(self, pixels):
        self.seen += len(pixels)
        return pixels.reshape(len(pixels), -1).astype(np.float32)


def network(align="none", **changes):
    return SimpleNamespace(
        name="tiny",
        tap="pixels",
        fingerprint="f" * 64,
        mirror="",
        is_own=False,
        variant="" if align == "none" else align,
        dim=24 * 24 * 3,
        preprocessing=replace(PLAIN, align=align, **changes),
    )


@pytest.fixture
def some(tmp_path):
    """Five faces of the embedded set, and a picture without a face in third place."""
    drawn = datasets.load("synthetic", "data/synthetic")
    faces = copy_faces(drawn, tmp_path, step=50, n=6)
    Image.fromarray(np.full((90, 90, 3), 128, np.uint8)).save(tmp_path / faces["image"][2])
    return faces, tmp_path


def extract(some, kind, engine=None, **options):
    faces, root = some
    engine = engine or Pixels()
    options = {"store": root / f"store-{kind}", **options}
    made = descriptors.extract(faces, network(kind), root=root, engine=engine, progress=False, **options)
    return made, engine


def cut(some, align):
    faces, root = some
    detector = mesh_detector.MeshDetector()
    points = landmarks.detect(faces, root, detector=detector, progress=False).points(min_score=0.6)
    read = [images.read_bytes(root / image) for image in faces["image"]]
    preprocessing = network(align).preprocessing
    return np.stack(
        [images.face_pixels(d, preprocessing, points=p).ravel() for d, p in zip(read, points, strict=True)]
    )


@pytest.mark.parametrize("align", ["five_points", "upright"])
def test_descriptors_are_of_the_faces_as_the_one_function_cuts_them(some, align):
    made, _ = extract(some, align)
    np.testing.assert_array_equal(made.matrix, cut(some, align))
    assert not np.array_equal(made.matrix[0], cut(some, "none")[0])
    np.testing.assert_array_equal(made.matrix[2], cut(some, "none")[2])
    assert made.aligned.without_face["face_id"].tolist() == [some[0]["face_id"][2]]
    assert "1 of 6" in made.aligned.describe()
    recipe = made.manifest["recipe"]
    assert recipe["preprocessing"]["align"] == align
    assert recipe["alignment"]["min_score"] == 0.6 and len(recipe["alignment"]["sha256"]) == 64


def test_faces_without_points_are_left_out_where_that_is_asked_for(some):
    made, _ = extract(some, "five_points", align=AlignOptions(no_face="leave_out"))
    assert len(made) == 5
    left = made.left_out[["face_id", "reason"]].to_numpy().tolist()
    assert left == [[some[0]["face_id"][2], "no face detected"]]
    np.testing.assert_array_equal(made.matrix, np.delete(cut(some, "five_points"), 2, axis=0))


def test_nothing_is_computed_twice_and_a_changed_picture_is(some):
    faces, root = some
    extract(some, "five_points")
    assert extract(some, "five_points")[1].seen == 0
    shutil.copy(root / faces["image"][0], root / faces["image"][2])
    made, engine = extract(some, "five_points")
    assert engine.seen == 1 and len(made.aligned.without_face) == 0
    assert extract(some, "five_points", align=AlignOptions(min_score=0.9))[1].seen == 6


def test_a_store_without_alignment_is_what_it_was_before(some):
    made, _ = extract(some, "none")
    assert made.manifest["recipe"] == {
        "backbone": "tiny",
        "tap": "pixels",
        "weights_sha256": "f" * 64,
        "preprocessing": {
            "size": [24, 24], "channels": "RGB", "mean": [0.0, 0.0, 0.0], "scale": 1.0,
            "interpolation": "bilinear", "crop_margin": 0.0,
        },
        "precision": "float32",
    }  # fmt: skip
    assert not list((some[1] / "store-none").glob("landmarks*"))


def test_where_no_face_is_left_the_error_says_so(some):
    faces, root = some
    with pytest.raises(StoreError, match="no face is left: 1 of 1 faces"):
        extract((faces.iloc[2:3], root), "upright", align=AlignOptions(no_face="leave_out"))


def test_an_actor_of_a_cluster_cuts_the_same_faces(some):
    faces, root = some
    made, _ = extract(some, "five_points")
    points = made.aligned.points
    plan = faces[["face_id", "image", *BOX]].astype({edge: "Float64" for edge in BOX})
    journal = Journal(root / "other", plan, {}, 24 * 24 * 3)
    piece = cluster._piece(journal, np.arange(6), points).rename_axis("row").reset_index()
    actor = cluster.Actor(network("five_points"), str(root), str(journal.path), 0, runner=Pixels())
    actor({name: column.to_numpy() for name, column in piece.items()})
    written = np.load(journal.path / "descriptors.npy")
    np.testing.assert_array_equal(written, made.matrix)


def test_the_store_is_named_after_what_differs():
    def name(kind="none", **options):
        return naming.default_store("mine", "data/synthetic", network(kind), **options).name

    assert name().endswith("-tiny-pixels")
    assert name("upright").endswith("-tiny-pixels-upright")
    assert name("five_points", align=AlignOptions(no_face="leave_out")).endswith(
        "-five_points-score0.6-leave_out"
    )
    assert name("upright", align=AlignOptions(landmarks="yunet")).endswith("-upright-yunet")
    assert name("none", align=AlignOptions(no_face="leave_out", landmarks="yunet")) == name()


def test_the_detector_is_not_asked_where_nothing_is_aligned(some, monkeypatch):
    monkeypatch.setattr(alignment.Detector, "detect", None)
    assert len(extract(some, "none")[0]) == 6


def test_the_table_of_landmarks_is_kept_where_a_plain_text_says(some):
    place = some[1] / "points.parquet"
    made, _ = extract(some, "five_points", landmarks=str(place))
    assert place.with_name("points-mesh.parquet").exists() and made.aligned.points is not None
