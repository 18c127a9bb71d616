"""The committed faces: complete, balanced, independent of what is not a label, and regenerable."""

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from faceworkbook import datasets
from tests.conftest import REPO

ROOT = REPO / "data/synthetic"
SIZE, BORDER = 128, 16
NUISANCE = [
    "key_azimuth", "key_height", "key_strength", "key_warmth", "fill_strength", "sky_warmth", "ground",
    "exposure", "contrast", "saturation", "distance", "scale", "shift_x", "shift_y", "blur", "noise", "quality",
    "shoulders", "collar", "gaze_x", "gaze_y", "body_turn",
    *[f"{what}_{channel}" for what in ("cloth", "back", "back2") for channel in "rgb"],
]  # fmt: skip


@pytest.fixture(scope="module")
def faces():
    return datasets.load("synthetic", ROOT).faces


@pytest.fixture(scope="module")
def parameters(faces):
    table = pd.read_csv(ROOT / "parameters.csv")
    assert table["face_id"].tolist() == faces["face_id"].tolist()
    return table


@pytest.fixture(scope="module")
def pictures(faces):
    return np.stack([cv2.imread(str(ROOT / image)) for image in faces["image"]])


def test_every_row_has_a_picture_and_every_picture_a_row(faces):
    dataset = datasets.load("synthetic", ROOT)
    assert len(dataset.left_out) == 0
    assert set(faces["image"]) == {f"images/{path.name}" for path in (ROOT / "images").iterdir()}
    assert len(faces) == 2400 and faces["identity"].nunique() == 600


def test_the_set_is_small_enough_to_ship():
    size = sum(path.stat().st_size for path in ROOT.rglob("*") if path.is_file())
    assert size <= 14e6


def test_pictures_are_128_pixels_square(pictures):
    assert pictures.shape == (2400, SIZE, SIZE, 3)
    assert pictures.std(axis=(1, 2, 3)).min() > 8


def test_a_person_has_one_gender_race_age_and_split(faces):
    constant = faces.groupby("identity")[["gender", "race", "age", "split"]].nunique()
    assert (constant == 1).all(axis=None)


def test_gender_race_and_emotion_are_balanced(faces):
    assert faces.groupby(["gender", "race"], observed=True).size().eq(400).all()
    counts = faces["emotion"].value_counts()
    assert counts[counts > 0].between(342, 344).all()


@pytest.mark.parametrize(("one", "other"), [("gender", "race"), ("gender", "split"), ("race", "split")])
def test_labels_of_people_are_independent(faces, one, other):
    people = faces.drop_duplicates("identity")
    table = pd.crosstab(people[one].astype(str), people[other].astype(str))
    assert stats.chi2_contingency(table).pvalue > 0.5


@pytest.mark.parametrize("column", ["gender", "race", "split"])
def test_ages_do_not_depend_on_the_other_labels(faces, column):
    people = faces.drop_duplicates("identity")
    ages = [group.astype(float) for _, group in people.groupby(people[column].astype(str))["age"]]
    assert stats.kruskal(*ages).pvalue > 0.5


@pytest.mark.parametrize("column", ["gender", "race", "emotion", "split"])
@pytest.mark.parametrize("axis", ["yaw", "pitch", "roll"])
def test_pose_does_not_depend_on_the_labels(faces, column, axis):
    groups = [group.astype(float) for _, group in faces.groupby(faces[column].astype(str))[axis]]
    assert stats.kruskal(*groups).pvalue > 0.05 / 12


def test_light_background_and_camera_do_not_depend_on_the_labels(faces, parameters):
    """With Bonferroni's correction over all pairs, and a reported smallest p value."""
    pvalues = {}
    for column in ("gender", "race", "emotion", "split"):
        labels = faces[column].astype(str).to_numpy()
        for name in NUISANCE:
            groups = [parameters.loc[labels == label, name] for label in np.unique(labels)]
            pvalues[column, name] = stats.kruskal(*groups).pvalue
    for label in ("age", "yaw", "pitch", "roll"):
        for name in NUISANCE:
            pvalues[label, name] = stats.spearmanr(faces[label].astype(float), parameters[name]).pvalue
    worst = min(pvalues, key=pvalues.get)
    assert pvalues[worst] > 0.05 / len(pvalues), (worst, pvalues[worst])


def test_skin_tone_within_a_group_does_not_depend_on_the_other_labels(faces, parameters):
    people = ~faces["identity"].duplicated().to_numpy()
    place = parameters.loc[people, "tone_place"].to_numpy()
    for column in ("gender", "race", "split"):
        labels = faces.loc[people, column].astype(str).to_numpy()
        assert stats.kruskal(*[place[labels == label] for label in np.unique(labels)]).pvalue > 0.01
    assert stats.spearmanr(place, faces.loc[people, "age"].astype(float)).pvalue > 0.01


@pytest.mark.parametrize("column", ["gender", "age_group", "emotion"])
def test_the_border_gives_no_label_away(faces, pictures, column):
    """A linear probe on the outer 16 pixels, by identity, stays within 5 points of chance."""
    small = np.stack([cv2.resize(p, (16, 16), interpolation=cv2.INTER_AREA) for p in pictures])
    inner = slice(BORDER // 8, -BORDER // 8)
    small[:, inner, inner] = 0
    features = small.reshape(len(small), -1).astype(np.float32)
    features = features[:, features.any(axis=0)]
    labels = faces[column].astype(str).to_numpy()
    if column == "age_group":
        labels = (
            pd.cut(faces["age"].astype(float), [0, 18, 35, 50, 65, 200], right=False).astype(str).to_numpy()
        )
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.001, max_iter=1000))
    guess = cross_val_predict(model, features, labels, groups=faces["identity"].to_numpy(), cv=GroupKFold(5))
    gain = balanced_accuracy_score(labels, guess) - 1 / len(np.unique(labels))
    assert gain <= 0.05


def test_a_detector_finds_the_faces_and_their_pose(faces, pictures):
    """YuNet on every sixth picture: the nose goes right for yaw > 0 and up for pitch > 0."""
    model = REPO / "weights/yunet/face_detection_yunet_2023mar_int8bq.onnx"
    detector = cv2.FaceDetectorYN.create(str(model), "", (256, 256), 0.6)
    near = np.flatnonzero(faces["yaw"].abs().to_numpy(float) <= 45)[::6]
    offsets, heights, tilts, rows = [], [], [], []
    for row in near:
        _, detected = detector.detect(cv2.resize(pictures[row], (256, 256), interpolation=cv2.INTER_CUBIC))
        if detected is None:
            continue
        points = detected[np.argmax(detected[:, 14]), 4:14].reshape(5, 2)
        across = points[1] - points[0]
        eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
        along = across / np.linalg.norm(across)
        # Eyes to mouth, and not eye to eye: that distance shrinks as the head turns.
        offsets.append((points[2] - eyes) @ along / np.linalg.norm(mouth - eyes))
        heights.append((points[2] - eyes) @ (mouth - eyes) / ((mouth - eyes) @ (mouth - eyes)))
        tilts.append(np.degrees(np.arctan2(across[1], across[0])))
        rows.append(row)
    assert len(rows) / len(near) >= 0.97
    yaw, pitch, roll = (
        np.sin(np.radians(faces[name].to_numpy(float)[rows])) for name in ("yaw", "pitch", "roll")
    )
    assert np.corrcoef(offsets, yaw)[0, 1] >= 0.95
    # The detector's points follow roll and pitch only in part, on photographs as well; the signs are sure.
    assert np.corrcoef(tilts, roll)[0, 1] >= 0.7
    assert np.corrcoef(heights, pitch)[0, 1] <= -0.3


def test_faces_lie_in_their_boxes(faces):
    boxes = faces[["top", "left", "bottom", "right"]].astype(float)
    assert (boxes["bottom"] - boxes["top"]).between(40, 90).all()
    assert boxes.min().min() >= 0 and boxes.max().max() <= SIZE


def test_the_seed_gives_the_committed_labels():
    from faceworkbook.synthetic import generate

    people = generate.draw_people(generate.N_IDENTITIES)
    emotions = generate.deal_emotions(generate.N_IDENTITIES, generate.SHOTS)
    table = pd.read_csv(ROOT / "labels.csv")
    first = table.drop_duplicates("identity")
    for column in ("identity", "gender", "race", "age", "split"):
        assert first[column].tolist() == people[column].tolist()
    assert table["emotion"].tolist() == [emotion for dealt in emotions for emotion in dealt]


@pytest.mark.parametrize("number", [0, 299, 598])
def test_the_seed_gives_the_committed_pictures(renderer, faces, parameters, number):
    from faceworkbook.synthetic import generate

    row = generate.draw_people(generate.N_IDENTITIES).iloc[number].to_dict()
    emotions = generate.deal_emotions(generate.N_IDENTITIES, generate.SHOTS)[number]
    for picture, labels, drawn in generate.shoot_person(number, row, emotions, only=2):
        committed = cv2.imread(str(ROOT / labels["image"])).astype(float)
        encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, drawn["quality"]])[1]
        again = cv2.imdecode(encoded, cv2.IMREAD_COLOR).astype(float)
        assert np.abs(committed - again).mean() < 1.5
        committed_row = faces.set_index("face_id").loc[labels["face_id"]]
        for axis in ("yaw", "pitch", "roll", "top", "right"):
            assert committed_row[axis] == pytest.approx(labels[axis], abs=0.11)
