"""Each planted defect is removed for its own reason; what stays is untouched."""

import cv2
import numpy as np
import pandas as pd
import pytest

from faceworkbook import alignment, datasets, images
from faceworkbook import faces as face_table
from faceworkbook.audit import cleaning


@pytest.fixture(scope="module")
def detector():
    return alignment.Detector()


@pytest.fixture
def spoiled(shared_data, tmp_path):
    """Twelve real faces, some spoiled: the file says how."""
    chips = [images.read(p) for p in sorted(shared_data("utkface/UTKFace").glob("2[5-9]_*"))[:240:20]]
    made = {f"good{i}": chip for i, chip in enumerate(chips[:6])}
    made["two"] = np.hstack(chips[6:8])
    made["noface"] = np.full((200, 200, 3), 130, np.uint8)
    made["soft"] = cv2.GaussianBlur(chips[8], (0, 0), 7)
    made["dark"] = (chips[9] * 0.05).astype(np.uint8)
    made["small"] = cv2.copyMakeBorder(cv2.resize(chips[10], (18, 18)), 20, 20, 20, 20, cv2.BORDER_REPLICATE)
    for name, pixels in made.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), pixels[..., ::-1])
    (tmp_path / "text.png").write_text("no picture")
    names = [*made, "text"]
    faces = face_table.build(
        {"image": [f"{n}.png" for n in names], "gender": ["male"] * len(names)}, dataset="x"
    )
    return faces, tmp_path


def test_each_defect_has_its_reason(spoiled, detector):
    faces, root = spoiled
    limits = cleaning.Thresholds(min_blur=15, min_height=30, min_brightness=20, min_score=0.5)
    cleaned = cleaning.clean(faces, cleaning.measure(faces, root, detector=detector), thresholds=limits)
    reasons = cleaned.removed.set_index("image")["all_reasons"].to_dict()
    assert set(cleaned.faces["image"]) == {f"good{i}.png" for i in range(6)}
    assert reasons["text.png"] == "unreadable" and reasons["noface.png"] == "no face"
    assert "several faces" in reasons["two.png"] and "blurred" in reasons["soft.png"]
    assert "too dark" in reasons["dark.png"] or "no face" in reasons["dark.png"]
    assert "face too small" in reasons["small.png"]


def measures(**columns):
    n = len(next(iter(columns.values())))
    table = pd.DataFrame({"face_id": [f"x:{i}" for i in range(n)], "image": [f"{i}" for i in range(n)]})
    normal = {"n_faces": 1, "score": 0.9, "face_height": 90, "face_share": 0.5, "blur": 99, "brightness": 120}
    return table.assign(**normal, problem="").assign(**columns)


def table(n, **columns):
    return face_table.build({"image": [f"{i}" for i in range(n)]} | columns, dataset="x")


def test_counts_add_up_and_the_first_reason_is_counted_once():
    measured = measures(score=[0.9, 0.1, 0.1, 0.9], n_faces=[1, 3, 1, 2], brightness=[120, 120, 2, 120])
    cleaned = cleaning.clean(table(4, gender=["male", "male", None, None]), measured, label="gender")
    counts = cleaned.counts.set_index("reason")
    assert counts["removed"].sum() == 3 == len(cleaned.removed) and len(cleaned.faces) == 1
    assert counts.loc["no label", ["removed", "concerned"]].tolist() == [2, 2]
    assert counts.loc["below score", ["removed", "concerned"]].tolist() == [0, 2]
    assert cleaned.removed["all_reasons"].tolist() == [
        "several faces, below score",
        "no label, below score, too dark",
        "no label, several faces",
    ]
    assert list(cleaned.left_out().columns) == ["image", "reason", "detail"]


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        (cleaning.Thresholds(), [1]),
        (cleaning.Thresholds(min_score=0), [0, 1]),
        (cleaning.Thresholds(max_faces=0), [1, 2]),
        (cleaning.Thresholds(min_score=0.95), []),
    ],
)
def test_thresholds_are_parameters(limits, kept):
    measured = measures(score=[0.2, 0.9, 0.9], n_faces=[1, 1, 4])
    assert np.flatnonzero(cleaning.clean(table(3), measured, thresholds=limits).keep).tolist() == kept


def test_measures_of_other_faces_are_refused():
    with pytest.raises(ValueError, match="other faces"):
        cleaning.clean(table(2), measures(score=[0.9]))


@pytest.mark.realdata
def test_a_boxed_face_is_measured_within_its_box(shared_data, detector):
    root = shared_data("expw")
    faces = datasets.load("expw", root).faces.iloc[:12]
    measured = cleaning.measure(faces, root, detector=detector)
    assert measured["face_id"].tolist() == faces["face_id"].tolist()
    assert (measured["score"] > 0.5).mean() > 0.8


def test_without_a_threshold_no_picture_is_looked_at(tmp_path):
    class Refuses:
        def detect(self, image):
            raise AssertionError("no detector is needed")

    limits = cleaning.Thresholds.of()
    cleaned = cleaning.clean_faces(table(3), tmp_path, limits, detector=Refuses())
    assert limits.are_off and cleaned.keep.all() and cleaned.record() == {}
    assert len(cleaned.add_to(cleaned.left_out())) == 0


def test_only_the_thresholds_that_are_given_remove(spoiled, detector):
    faces, root = spoiled
    cleaned = cleaning.clean_faces(faces, root, cleaning.Thresholds.of(min_blur=15), detector=detector)
    gone = set(cleaned.removed["image"])
    assert "soft.png" in gone and "two.png" not in gone and "noface.png" in gone
    record, removal = cleaned.record(), cleaned.removal_table()
    assert record["thresholds"]["min_blur"] == 15 and sum(record["removed"].values()) == len(gone)
    assert removal.iloc[-1][["reason", "removed"]].tolist() == ["SUM", len(gone)]
    left_out = cleaned.add_to(datasets.base.Reasons().table())
    assert set(left_out["image"]) == gone and list(left_out) == ["image", "reason", "detail"]


@pytest.mark.parametrize(
    ("threshold", "allowed"),
    [
        ({"min_score": 2}, r"min_score=2; allowed is 0\.\.1"),
        ({"min_score": float("nan")}, r"min_score=nan; allowed is 0\.\.1"),
        ({"min_size": -5}, "min_height=-5; allowed is 0 or more"),
        ({"min_blur": float("inf")}, "min_blur=inf; allowed is 0 or more"),
    ],
)
def test_a_threshold_that_nothing_or_everything_passes_is_refused(threshold, allowed):
    with pytest.raises(ValueError, match=allowed):
        cleaning.Thresholds.of(**threshold)
