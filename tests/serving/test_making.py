"""Predictors that are written: what they know of their own answers, and that they answer as the run did."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest

from faceworkbook import images, landmarks, mesh_detector
from faceworkbook.alignment import Detector, main_face
from faceworkbook.evaluation import predictions
from faceworkbook.faces import BOX
from faceworkbook.landmarks import AlignOptions
from faceworkbook.preprocessing import Preprocessing
from faceworkbook.serving import card, making, measuring
from faceworkbook.serving.answers import Answering
from faceworkbook.serving.checks import PredictorError
from faceworkbook.serving.describing import Describer, Network
from faceworkbook.serving.framing import Framing, cut, measure, pose_band, size_band
from faceworkbook.serving.photos import Cutter, Detection
from faceworkbook.serving.spread import Spread, SpreadError
from faceworkbook.tasks import CLASSES, MULTILABEL, NUMBER, ORDERED, Task
from tests.conftest import REPO
from tests.serving.toys import make_record

rng = np.random.default_rng(0)


def _table(task, truth, output, split):
    faces = pd.DataFrame(
        {
            "face_id": [f"f{i}" for i in range(len(truth))],
            "identity": pd.array([pd.NA] * len(truth), "string"),
        }
    )
    return predictions.build(faces, task, truth=np.asarray(truth), output=output, split=split)


def _classified(n=3000, sharpness=3.0):
    """Predictions that are `sharpness` times too sure."""
    task = Task("colour", CLASSES, ("red", "green", "blue"))
    logits = rng.normal(size=(n, 3))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.array([task.classes[rng.choice(3, p=p)] for p in shares])
    sure = np.exp(sharpness * logits)
    split = np.where(np.arange(n) % 2, "validation", "test")
    return _table(task, truth, sure / sure.sum(axis=1, keepdims=True), split)


def test_too_sure_probabilities_are_calibrated_and_sets_hold_the_truth_in_every_class():
    table = _classified()
    one = measuring.calibrate(table, coverage=0.9)
    assert one.temperature == pytest.approx(3, rel=0.15)
    test = table[table["split"] == "test"]
    shares = one.calibrate(predictions.probabilities(test))
    inside = one.sets(shares)
    truth = pd.Index(one.task.classes).get_indexer(test["truth"])
    for code in range(3):
        assert inside[np.arange(len(truth)), truth][truth == code].mean() == pytest.approx(0.9, abs=0.04)
    lines = measuring.judge(table, one)
    assert "calibration error" in lines[0] and "90% asked" in lines[1] and "blue 0." in lines[2]


def test_each_of_several_labels_is_calibrated_by_itself_and_what_is_predicted_stays():
    n, task = 4000, Task("a+b", MULTILABEL, ("a", "b"))
    odds, too_sure = rng.normal(size=(n, 2)), np.array([3.0, 0.7])
    yes = rng.random((n, 2)) < 1 / (1 + np.exp(-odds))
    truth = ["+".join(np.array(task.classes)[row]) or "none" for row in yes]
    table = _table(
        task, truth, 1 / (1 + np.exp(-odds * too_sure)), np.where(np.arange(n) % 2, "validation", "test")
    )
    one = measuring.calibrate(table)
    assert [one.label_temperatures[name] for name in "ab"] == pytest.approx(too_sure, rel=0.15)
    shares = predictions.probabilities(table)
    np.testing.assert_allclose(one.calibrate(shares), 1 / (1 + np.exp(-odds)), atol=0.06)
    assert one.predicted(one.calibrate(shares)) == one.predicted(shares)
    assert np.isfinite(one.calibrate(np.array([[0.0, 1.0]]))).all()
    again = Answering.from_record(json.loads(json.dumps(one.to_record())))
    assert again.to_record() == one.to_record() and again.label_temperatures == one.label_temperatures
    lines = measuring.judge(table, one)
    assert [line.split(":")[0] for line in lines] == ["a", "b"] and "calibration error (ECE) 0.0" in lines[0]
    assert "; temperatures a " in card.to_markdown(make_record()[0], [one])


def test_intervals_of_numbers_are_as_wide_as_errors_are():
    n = 2000
    task, values = Task("age", NUMBER, unit="years"), rng.uniform(0, 80, n)
    truth = values + rng.normal(size=n) * (1 + values / 10)
    table = _table(task, truth, values, np.where(np.arange(n) % 2, "validation", "test"))
    one = measuring.calibrate(table, coverage=0.8)
    reach = one.reach(values)
    assert reach[values.argmin()] < reach[values.argmax()] / 2
    holds = np.abs(values - truth) <= reach
    for young in (True, False):
        assert holds[
            (table["split"] == "test").to_numpy() & ((values < 40) == young)
        ].mean() == pytest.approx(0.8, abs=0.05)
    assert "80% asked" in measuring.judge(table, one)[0]


def test_classes_that_stand_for_numbers_have_intervals():
    task = Task("age_years", ORDERED, tuple(map(str, range(5))), "years", tuple(range(5)))
    truth = rng.integers(0, 5, 400)
    table = _table(
        task,
        [str(t) for t in truth],
        np.eye(5)[truth] * 0.6 + 0.08,
        np.where(np.arange(400) % 2, "validation", "test"),
    )
    one = measuring.calibrate(table)
    assert one.is_value and one.bands and not one.limits


def test_too_few_validation_faces_calibrate_nothing():
    table = _classified(n=20)
    one = measuring.calibrate(table)
    assert one.temperature == 1 and not one.limits and one.coverage == 0


def test_figures_by_kind_count_test_faces_alone():
    table = _classified(n=400)
    bands = pd.DataFrame(
        {"face_id": table["face_id"], "pose": ["frontal", "turned", None, "frontal"] * 100, "size": "large"}
    )
    (one,) = measuring.with_cells([measuring.calibrate(table)], {"colour": table}, bands)
    by_kind = {tuple(cell.like.items()): cell for cell in one.cells}
    everyone = by_kind[()]
    test = table[table["split"] == "test"]
    assert everyone.n == len(test) and everyone.value == pytest.approx(
        (test["truth"] == test["predicted"]).mean()
    )
    assert everyone.low < everyone.value < everyone.high
    frontal = by_kind[(("pose", "frontal"),)]
    chosen = test["face_id"].isin(bands.loc[bands["pose"] == "frontal", "face_id"])
    assert frontal.n == chosen.sum() and all(cell.n >= measuring.LEAST for cell in one.cells)


def test_answering_is_the_same_after_a_file():
    one = measuring.calibrate(_classified())
    again = Answering.from_record(json.loads(json.dumps(one.to_record())))
    assert again.to_record() == one.to_record()


def test_spread_flags_what_is_unlike_and_five_in_a_hundred_of_what_is_alike():
    base = rng.normal(size=(8, 64))
    alike = rng.normal(size=(900, 8)) @ base + 5
    spread = Spread.fit(alike[:300], alike[300:600])
    assert spread.is_unlike(spread.score(alike[600:])).mean() == pytest.approx(0.05, abs=0.05)
    assert spread.is_unlike(spread.score(rng.normal(size=(100, 64)) * 5)).all()
    again = Spread.from_arrays(spread.to_arrays(), width=64, flagged=0.05)
    np.testing.assert_array_equal(again.distances(alike), spread.distances(alike))
    with pytest.raises(SpreadError, match="shapes"):
        Spread.from_arrays(spread.to_arrays(), width=65, flagged=0.05)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_spread_of_few_faces_is_finite(n):
    x = rng.normal(size=(n, 16))
    assert np.isfinite(Spread.fit(x, x[:0]).distances(rng.normal(size=(4, 16)))).all()


@pytest.fixture(scope="module")
def synthetic():
    from faceworkbook import datasets

    loaded = datasets.load("synthetic", REPO / "data" / "synthetic")
    nothing = dict.fromkeys(("top", "left", "bottom", "right"), pd.NA)
    return loaded.faces.iloc[:40].assign(**nothing), loaded.root


def test_a_photo_s_face_is_cut_as_the_training_pictures_show_it(synthetic):
    """A chip that is pasted into a large photo is cut out again within a few pixels."""
    faces, root = synthetic
    preprocessing, detector = Preprocessing((96, 96), "RGB", (0, 0, 0)), Detector()
    framing, bands = measure(faces, root, preprocessing, detector=detector)
    assert framing.detected >= 0.9 * framing.n and 0.3 < framing.share < 1.5
    assert set(bands["pose"].dropna()) <= {"frontal", "half turned", "turned"}
    off = []
    for name in faces["image"].iloc[:12]:
        chip = images.read(root / name)
        photo = np.full((600, 800, 3), 127, np.uint8)
        photo[200 : 200 + chip.shape[0], 300 : 300 + chip.shape[1]] = chip
        face = main_face(detector.detect(photo), photo.shape)
        if face is None:
            continue
        made = cut(photo, face, framing, preprocessing, points=None)
        assert made.shape == (96, 96, 3)
        top, left, _, _ = framing.region(face)
        off.append(max(abs(top - 200), abs(left - 300)) / chip.shape[0])
        assert pose_band(face.points) and size_band(face)
    assert len(off) >= 8 and np.median(off) < 0.15


def test_framing_of_pictures_without_a_face_is_the_box_with_room(tmp_path):
    from PIL import Image

    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "x.png")
    nothing = dict.fromkeys(("top", "left", "bottom", "right"), pd.NA)
    faces = pd.DataFrame(
        [{"face_id": "x", "image": "x.png", **nothing}, {"face_id": "y", "image": "gone.png", **nothing}]
    )
    framing, bands = measure(faces, tmp_path, Preprocessing((64, 64), "RGB", (0, 0, 0)), detector=Detector())
    assert framing.detected == 0 and framing.n == 2 and bands["pose"].isna().all()
    assert Framing.from_record(framing.to_record()) == framing


@pytest.fixture(scope="module")
def boxed(tmp_path_factory, synthetic):
    """Pictures twice as large as a chip that lies in them, with a box around its face."""
    faces, root = synthetic
    place, rows = tmp_path_factory.mktemp("boxed"), []
    for row in faces.head(24).itertuples():
        chip = images.read(root / row.image)
        height, width = chip.shape[:2]
        picture = np.full((2 * height, 2 * width, 3), 127, np.uint8)
        picture[height // 2 :, width // 2 :][:height, :width] = chip
        cv2.imwrite(str(place / f"{row.face_id}.png"), picture[..., ::-1])
        edges = (0.65 * height, 0.65 * width, 1.35 * height, 1.35 * width)
        rows.append(
            {"face_id": row.face_id, "image": f"{row.face_id}.png", **dict(zip(BOX, edges, strict=True))}
        )
    return pd.DataFrame(rows), place


def _cutter(table, root, preprocessing, options):
    """Return what a predictor cuts faces out by, as the record of its folder has it."""
    networks = [SimpleNamespace(preprocessing=preprocessing)]
    given = SimpleNamespace(faces=table, trained_on=table["face_id"], networks=networks)
    detector = Detector()
    framing, _ = measure(table, root, preprocessing, detector=detector)
    detection = Detection.of(
        detector, options, search=making._search(given), aligns=preprocessing.align != "none"
    )
    return Cutter(
        Detection.from_record(json.loads(json.dumps(detection.to_record()))), framing, [preprocessing]
    )


def test_other_files_for_boxes_and_points_than_those_of_training_are_refused(boxed, monkeypatch):
    """Faces would be cut out at other places than in training, and answered without a word."""
    table, root = boxed
    preprocessing = Preprocessing((112, 112), "RGB", (0, 0, 0), align="five_points")
    cutter = _cutter(table, root, preprocessing, AlignOptions())
    cutter.check()
    assert len(cutter._detection.mesh_sha256) == 64
    with monkeypatch.context() as patched:
        patched.setattr(mesh_detector._network(), "sha256", "0" * 64)
        with pytest.raises(
            PredictorError, match=rf"by the face mesh with SHA-256 .*, and .*facemesh has {'0' * 64}; put"
        ):
            _cutter_of(cutter._detection, preprocessing).check()
        _cutter_of(cutter._detection, replace(preprocessing, align="none")).check()  # its points are not used
    other = replace(cutter._detection, sha256="1" * 64)
    with pytest.raises(PredictorError, match=f"by the detector with SHA-256 '{'1' * 64}'"):
        _cutter_of(other, preprocessing).check()
    older = replace(cutter._detection, mesh_sha256="", sha256="")
    _cutter_of(older, preprocessing).check()


def _cutter_of(detection, preprocessing):
    return Cutter(detection, Framing(0.7), [preprocessing])


def test_faces_of_boxed_pictures_are_aligned_by_the_points_of_training(boxed):
    """Training searches around the box; a photo's face is searched there too, not in the whole photo alone."""
    table, root = boxed
    preprocessing, options = Preprocessing((112, 112), "RGB", (0, 0, 0), align="five_points"), AlignOptions()
    trained = landmarks.align_faces(table, root, preprocessing, options=options, progress=False)
    cutter, photo, served = _cutter(table, root, preprocessing, options), [], []
    for row, points in zip(table.itertuples(), trained.points, strict=True):
        picture = images.read(root / row.image)
        face = main_face(cutter.detect(picture), picture.shape)
        if face and not np.isnan(points).any():
            eyes = np.hypot(*(points[1] - points[0]))
            photo.append(np.abs(face.points - points).max() / eyes)
            served.append(np.abs(cutter._points(picture, face) - points).max() / eyes)
    assert len(served) >= 16 and np.mean(served) < 0.85 * np.mean(photo)


def test_poses_of_aligned_faces_are_read_from_the_mesh_where_they_are_measured_and_where_they_are_served(
    boxed, monkeypatch
):
    """The detector's own nose says little of a face that is turned by 30 degrees."""
    table, root = boxed
    preprocessing = Preprocessing((112, 112), "RGB", (0, 0, 0), align="five_points")
    cutter = _cutter(table, root, preprocessing, AlignOptions())
    assert cutter._detection.bands == "mesh"
    turned = np.array([[0, 0], [10, 0], [11, 10], [0, 20], [10, 20]], float)
    monkeypatch.setattr(Cutter, "_points", lambda self, picture, face: turned)
    monkeypatch.setattr(
        mesh_detector.MeshDetector, "refine", lambda self, picture, face: replace(face, points=turned)
    )
    (served,) = cutter.cut(images.read(root / table["image"].iloc[0]))
    assert served.bands["pose"] == "turned" == pose_band(turned)
    marker = mesh_detector.MeshDetector()
    _, bands = measure(table, root, preprocessing, detector=Detector(), marker=marker)
    assert set(bands["pose"].dropna()) == {"turned"}
    older = replace(cutter._detection, bands="yunet")
    (served,) = _cutter_of(older, preprocessing).cut(images.read(root / table["image"].iloc[0]))
    assert served.bands["pose"] == pose_band(served.face.points) == "frontal"


@pytest.mark.parametrize("least", [0.0, 1.0])
def test_faces_below_the_score_of_training_are_cut_out_as_training_did(boxed, least):
    table, root = boxed
    preprocessing = Preprocessing((112, 112), "RGB", (0, 0, 0), align="five_points", crop_margin=0.3)
    unaligned = replace(preprocessing, align="none")
    cutter = _cutter(table, root, preprocessing, AlignOptions(least))
    picture = images.read(root / table["image"].iloc[0])
    (one,) = cutter.cut(picture)
    # What is cut out without points is what was measured, with no margin around it.
    plain = images.crop(picture, cutter._framing.region(one.face))
    plain = images.resize(plain, (112, 112), interpolation=unaligned.interpolation)
    assert (np.abs(one.pixels[0].astype(int) - plain).max() == 0) == (least == 1.0)
    assert cutter.cut(plain, faces="whole")[0].status == "ok"


def test_networks_with_other_margins_see_a_photo_s_face_as_each_was_trained(boxed):
    """They were all shown what the first one's margin leaves around a face."""
    table, root = boxed
    tight = Preprocessing((96, 96), "RGB", (0, 0, 0))
    networks = [
        Network(name, "tap", 4, "0" * 64, "", preprocessing)
        for name, preprocessing in (("a", tight), ("b", replace(tight, crop_margin=0.4)), ("c", tight))
    ]
    ids = table["face_id"].tolist()
    predicted = {"t": pd.DataFrame({"split": "test", "face_id": ids})}
    given = SimpleNamespace(faces=table, root=root, trained_on=ids, networks=networks, predicted=predicted)
    first, _, framed = making._measure_pictures(given, making.Options(), Detector())
    again = [Network.from_record(json.loads(json.dumps(one.to_record()))) for one in framed]
    assert again == framed and [one.framing is None for one in framed] == [True, False, True]
    assert framed[1].framing.share == pytest.approx(first.share / 1.8, rel=0.05)
    describer = Describer(tuple(framed), (None,) * 3)
    framings = describer.framings(first)
    cutter = Cutter(Detection(), first, describer.preprocessings, framings=framings)
    wide, off = describer.preprocessings[1], []
    for row in table.itertuples():
        picture = images.read(root / row.image)
        trained = images.cut_face(picture, wide, box=[getattr(row, edge) for edge in BOX]).astype(float)
        off.append([np.abs(pixels - trained).mean() for pixels in cutter.cut(picture)[0].pixels])
    first_s, own = np.median(off, axis=0)
    assert own < first_s / 2


def test_faces_that_training_left_out_have_no_answer(boxed):
    table, root = boxed
    preprocessing = Preprocessing((112, 112), "RGB", (0, 0, 0), align="five_points")
    cutter = _cutter(table, root, preprocessing, AlignOptions(1.0, "leave_out"))
    for faces in ("largest", "whole"):
        (one,) = cutter.cut(images.read(root / table["image"].iloc[0]), faces=faces)
        assert one.status == "no face" and one.pixels is None and "score 1 or more" in one.detail


def test_what_training_searched_is_larger_than_a_box_and_no_larger_than_a_chip(boxed, synthetic):
    preprocessing = Preprocessing((112, 112), "RGB", (0, 0, 0), crop_margin=0.1)
    for (table, _), expected in ((boxed, 1.8 / 1.2), (synthetic, 1.0)):
        networks = [SimpleNamespace(preprocessing=preprocessing)]
        given = SimpleNamespace(faces=table, trained_on=table["face_id"], networks=networks)
        assert making._search(given) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("align", "no_face", "sentence"),
    [
        ("none", "whole", "turned until the eyes are level, as in training, and cut out"),
        ("five_points", "whole", "below 0.6 is cut out unaligned, as in training"),
        ("upright", "leave_out", "below 0.6 has no answer, as in training"),
    ],
)
def test_the_card_says_how_faces_are_cut_out(align, no_face, sentence):
    record, _ = make_record()
    record["networks"][0]["preprocessing"]["align"] = align
    record["detection"]["no_face"], record["framing"]["level"] = no_face, True
    assert sentence in card.to_markdown(record, [])
