"""Pre-training and fine-tuning: nothing that is tested was seen before, labels of several sets fit, differences are corrected."""

from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from faceworkbook import faces
from faceworkbook.experiments import multi_dataset, overlap, transfer
from faceworkbook.experiments.multi_dataset import MultiDatasetError

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

N, DIM = 60, 8


def draw(path, seed):
    """A picture of its own: blurred noise."""
    noise = np.random.default_rng(seed).integers(0, 255, (12, 12, 3), np.uint8)
    cv2.imwrite(str(path), cv2.resize(noise, (96, 96), interpolation=cv2.INTER_CUBIC))


@pytest.fixture
def leaking(tmp_path):
    """A target of 8 faces and a source of 12; four of the source show what the target shows, each in its manner."""
    for name, n in (("target", 8), ("source", 12)):
        (tmp_path / name).mkdir()
        for i in range(n):
            draw(tmp_path / name / f"{i}.png", seed=i + 100 * (name == "source"))
    (tmp_path / "source" / "0.png").write_bytes((tmp_path / "target" / "3.png").read_bytes())
    picture = cv2.imread(str(tmp_path / "target" / "5.png"))
    small = cv2.resize(picture, (60, 60), interpolation=cv2.INTER_AREA)
    (tmp_path / "source" / "1.png").unlink()
    cv2.imwrite(str(tmp_path / "source" / "1.jpg"), small, [cv2.IMWRITE_JPEG_QUALITY, 60])
    tables = {}
    for name, n in (("target", 8), ("source", 12)):
        images = [f"{i}.jpg" if (name, i) == ("source", 1) else f"{i}.png" for i in range(n)]
        people = [f"{name}{i}" for i in range(n)]
        if name == "source":
            people[2] = "target6"  # the same person in another picture
            people[4] = people[0]  # a person of whom another picture is a copy of the target's
        gender = ["male", "female"] * (n // 2)
        tables[name] = faces.build({"image": images, "identity": people, "gender": gender}, dataset=name)
    roots = {name: tmp_path / name for name in tables}
    matrices = [np.random.default_rng(i).normal(size=(len(t), DIM)) for i, t in enumerate(tables.values())]
    return multi_dataset.build(tables, matrices, ["gender"], overlap=overlap.find(tables, roots))


def test_planted_copies_and_people_are_removed_before_anything_trains(leaking):
    prepared = transfer.prepare(leaking, "target", ["gender"])
    removed = prepared.removed.set_index("face_id")
    assert removed["reason"].to_dict() == {
        "source:0.png": "same picture",
        "source:1.jpg": "same picture",
        "source:2.png": "same person",
        "source:4.png": "same person",
    }
    assert removed.loc["source:0.png", "shared_with"] == "target:3.png"
    assert removed.loc["source:1.jpg", "shared_with"] == "target:5.png"
    assert removed.loc["source:2.png", "shared_with"] == "target:6.png"
    left = prepared.multi.faces
    assert len(left) == 8 + 8 and not set(removed.index) & set(left["face_id"]) and prepared.shared() == 0
    counted = prepared.count_removed().iloc[0]
    assert counted[["faces", "same picture", "near twin", "same person", "left"]].tolist() == [12, 2, 0, 2, 8]


def test_what_leaks_is_never_trained_on(leaking):
    careless = transfer.Prepared(leaking, "target", pd.DataFrame())
    with pytest.raises(MultiDatasetError, match=r"4 faces of .*source.* show people or pictures of target"):
        transfer.run(careless, transfer.Options())


def test_a_set_that_the_target_holds_whole_leaves_nothing(leaking):
    same = replace(leaking, groups=np.where(leaking.faces["dataset"] == "source", 0, leaking.groups))
    same.groups[0] = 0
    with pytest.raises(MultiDatasetError, match="all 12 faces of the other sets"):
        transfer.prepare(same, "target", ["gender"])
    with pytest.raises(
        MultiDatasetError, match=r"target='nobody'; allowed is one of the data sets \['target', 'source'\]"
    ):
        transfer.prepare(leaking, "nobody", ["gender"])


def make(n_target=N, n_source=600, *, seed=0, with_folds=True):
    """A weak direction that both sets share, and much noise."""
    rng = np.random.default_rng(seed)
    tables, matrices = {}, []
    for name, n in (("target", n_target), ("source", n_source)):
        codes = np.arange(n) % 2
        x = rng.normal(size=(n, 40))
        x[:, :4] += np.outer(2 * codes - 1, np.full(4, 0.7))
        columns = {"image": [f"{i}.jpg" for i in range(n)], "identity": [f"{name}{i // 2}" for i in range(n)]}
        columns["gender"] = np.array(["male", "female"])[codes]
        if name == "target" and with_folds:
            columns["fold"] = np.arange(n) // 2 % 3
        tables[name] = faces.build(columns, dataset=name)
        matrices.append(x)
    return multi_dataset.build(tables, matrices, ["gender"])


@pytest.fixture(scope="module")
def result():
    prepared = transfer.prepare(make(), "target", ["gender"])
    options = transfer.Options(
        {"widths": (8,), "epochs": 25, "learning_rate": 0.01, "dropout": 0.0},
        {"learning_rate": 0.001},
        n_repeats=2,
        validation=0.2,
    )
    return transfer.run(prepared, options)


def test_few_faces_profit_from_many_of_another_set(result):
    value = result.figures.set_index("strategy")["value"]
    assert value["pre-trained"] > value["random start"] + 0.05
    assert value["all together"] > value["random start"] + 0.05
    assert result.pre_training["value"].min() > 0.8 and len(result.pre_training) == 2
    sizes = result.sizes.set_index("strategy")["n_train"]
    assert sizes["random start"] == sizes["pre-trained"] < 40 < 400 < sizes["all together"]


def test_every_strategy_tests_each_face_of_the_target_once_a_repeat_and_no_other(result):
    for (_, label), table in result.tables.items():
        assert label == "gender"
        tested = table[table["split"] == "test"]
        assert tested.groupby("repeat")["face_id"].nunique().tolist() == [N, N]
        assert len(tested) == 2 * N and all(face.startswith("target:") for face in table["face_id"])


def test_differences_are_nadeau_and_bengios_over_the_official_folds(result):
    """By hand: fits of the same fold count once, and n_test / n_train is added to 1 / folds."""
    accuracy = {}
    for strategy in ("random start", "pre-trained"):
        table = result.tables[strategy, "gender"]
        tested = table[table["split"] == "test"]
        predicted = np.where(tested["p:male"] > 0.5, "male", "female")
        right = pd.Series(predicted == tested["truth"].to_numpy(), index=[tested["fold"], tested["repeat"]])
        accuracy[strategy] = right.groupby(level=[0, 1]).mean().groupby(level=0).mean().to_numpy()
    d = accuracy["random start"] - accuracy["pre-trained"]
    n_test, n_train = N / 3, result.sizes.set_index("strategy").loc["random start", "n_train"]
    error = d.std(ddof=1) * np.sqrt(1 / 3 + n_test / n_train)
    reach = stats.t.ppf(0.975, 2) * error
    row = result.differences.set_index(["first", "second"]).loc[("random start", "pre-trained")]
    assert row["difference"] == pytest.approx(d.mean(), abs=1e-9)
    assert row["low"] == pytest.approx(max(d.mean() - reach, -1), abs=0.01)
    assert row["high"] == pytest.approx(min(d.mean() + reach, 1), abs=0.01)
    assert row["p_holm"] >= row["p"]


def test_ages_of_all_sets_become_the_same_classes():
    table = {
        "years": faces.build({"image": ["a", "b", "c", "d"], "age": [2, 23, 45.4, 104]}, dataset="years"),
        "groups": faces.build(
            {
                "image": ["e", "f", "g"],
                "age_group": ["8-12", "60-100", None],
                "gender": ["male", "female", "male"],
            },
            dataset="groups",
        ),
        "fairface": faces.build(
            {"image": ["h", "i"], "age_group": ["3-9", "more than 70"]},
            dataset="fairface",
            vocabularies={"age_group": faces.AGE_GROUPS_FAIRFACE},
        ),
    }
    multi = multi_dataset.build(table, [np.zeros((len(t), 2)) for t in table.values()], ["age_group"])
    prepared = transfer.prepare(multi, "groups", ["age_8", "age_101"])
    groups, years = prepared.multi.labels["age_8"], prepared.multi.labels["age_101"]
    assert groups.truth.tolist() == [
        "0-2",
        "25-32",
        "38-43",
        "60-100",
        "8-12",
        "60-100",
        None,
        "4-6",
        "60-100",
    ]
    assert years.truth.tolist() == ["2", "23", "45", "100", "10", "80", None, "6", "75"]
    assert (
        len(years.classes) == 101 and years.task.class_values[-1] == 100.0 and groups.task.kind == "ordered"
    )
    assert transfer.read_from(["gender", "age_8", "age_101"]) == ["gender", "age_group"]


def test_half_of_the_people_of_a_single_set_stand_for_another():
    multi = make(n_target=80, n_source=2)
    multi = multi_dataset.take(multi, multi.rows_of("target"))
    prepared = transfer.prepare(multi, "target", ["gender"])
    assert prepared.others == ["other people of target"] and prepared.removed.empty
    people = [set(prepared.multi.faces["identity"].iloc[prepared.rows(of_target=t)]) for t in (True, False)]
    assert not people[0] & people[1] and abs(len(people[0]) - len(people[1])) <= 1
