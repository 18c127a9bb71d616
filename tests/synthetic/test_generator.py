"""The generator: labels first, true geometry, and clear refusals."""

import numpy as np
import pandas as pd
import pytest

from faceworkbook import datasets
from faceworkbook.synthetic import generate, headmodel, people


def test_people_are_crossed_for_any_number():
    table = generate.draw_people(37, seed=3)
    counts = table.groupby(["gender", "race"]).size()
    assert counts.sum() == 37 and counts.max() - counts.min() <= 1 and len(counts) == 6
    assert table["age"].between(*people.AGE_RANGE).all()


def test_splits_have_their_shares():
    shares = generate.draw_people(600)["split"].value_counts(normalize=True)
    assert shares["train"] == pytest.approx(0.6, abs=0.03)
    assert shares["test"] == pytest.approx(0.25, abs=0.03)


def test_emotions_are_dealt_evenly():
    dealt = pd.Series(np.ravel(generate.deal_emotions(70, 4)))
    assert dealt.value_counts().eq(40).all()


def test_the_scene_sees_no_label():
    """The same generator state gives the same scene, whoever is in the picture."""
    one, other = [people.draw_scene(np.random.default_rng([20, 5, 3, 1])) for _ in range(2)]
    assert one == other
    assert {"gender", "race", "age", "emotion"}.isdisjoint(one)


@pytest.mark.parametrize("age", [1, 10, 25, 60, 90])
def test_amounts_of_the_body_model_sum_to_one(age):
    amounts = headmodel.body_targets(male=1, age=age, muscle=0.5, weight=0.5, race={"asian": 1.0})
    assert sum(v for k, v in amounts.items() if "universal" in k) == pytest.approx(1)
    assert sum(v for k, v in amounts.items() if "asian" in k) == pytest.approx(1)


def test_rotation_follows_the_convention(renderer):
    from faceworkbook.synthetic.camera import rotation

    nose, crown = np.array([0, 0, 1.0]), np.array([0, 1.0, 0])
    assert (rotation(yaw=30, pitch=0, roll=0) @ nose)[0] == pytest.approx(0.5)
    assert (rotation(yaw=0, pitch=30, roll=0) @ nose)[1] == pytest.approx(0.5)
    assert (rotation(yaw=0, pitch=0, roll=30) @ crown)[0] == pytest.approx(0.5)


def test_the_eye_line_tilts_by_the_roll_whatever_the_yaw(renderer):
    from faceworkbook.synthetic.camera import rotation

    x, y, _ = rotation(yaw=35, pitch=12, roll=15) @ [1.0, 0, 0]
    assert np.degrees(np.arctan2(-y, x)) == pytest.approx(15)


def test_the_camera_sees_what_the_angles_say(renderer):
    """Right is right and up is up in pixels, and a decimetre at the centre has its size."""
    from faceworkbook.synthetic.camera import Camera

    camera = Camera(np.zeros(3), 10.0, 36.0, np.array([64.0, 64.0]))
    x, y, depth = camera.project(np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 5.0]])).T
    assert x.tolist() == [100, 64, 64]
    assert y.tolist() == [64, 28, 64]
    assert depth.tolist() == [10, 10, 5]


def test_a_generated_folder_is_a_data_set(renderer, tmp_path):
    labels = generate.generate(tmp_path, n_identities=2, shots=2, seed=5)
    dataset = datasets.load("synthetic", tmp_path)
    assert len(dataset.faces) == len(labels) == 4 and len(dataset.left_out) == 0
    assert (tmp_path / "contact_sheet.jpg").stat().st_size > 1000
    assert not list(tmp_path.rglob("*.part"))


def test_other_people_look_otherwise_and_shots_of_one_differ(renderer):
    row = generate.draw_people(2, seed=5).to_dict("records")
    shots = [p for i in (0, 1) for p, _, _ in generate.shoot_person(i, row[i], ["neutral"] * 2, seed=5)]
    gaps = [np.abs(a.astype(float) - b).mean() for i, a in enumerate(shots) for b in shots[:i]]
    assert min(gaps) > 5


def test_a_seed_fixes_the_picture_of_any_head(toy_head):
    row = generate.draw_people(2, seed=5).to_dict("records")
    once, again, other = (next(generate.shoot_person(i, row[i], ["happiness"], seed=5)) for i in (0, 0, 1))
    np.testing.assert_array_equal(once[0], again[0])
    assert once[1:] == again[1:]
    assert np.abs(once[0].astype(float) - other[0]).mean() > 5
    assert 0 <= once[1]["top"] < once[1]["bottom"] <= 128 and 0 <= once[1]["left"] < once[1]["right"] <= 128


@pytest.mark.parametrize("name", ["n_identities", "shots", "workers"])
def test_nothing_to_render_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=f"{name}.*0"):
        generate.generate(tmp_path, **{name: 0})


def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(headmodel.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"\[synthetic\].*pip install"):
        headmodel.data_folder()
