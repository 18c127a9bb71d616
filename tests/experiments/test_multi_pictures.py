"""One network on the pictures of several data sets: reading, every strategy, single starts, losses of ordered classes."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

pytest.importorskip("keras")

from faceworkbook import faces, tasks  # noqa: E402
from faceworkbook.experiments import multi_dataset, strategies, strategy_comparison  # noqa: E402
from faceworkbook.experiments.multi_dataset import MultiDatasetError  # noqa: E402
from faceworkbook.experiments.multi_pictures import PictureReader  # noqa: E402
from faceworkbook.experiments.strategies import Options, TrainedNetwork  # noqa: E402
from faceworkbook.models import multitask  # noqa: E402
from faceworkbook.training import cutting, fine_tune  # noqa: E402
from faceworkbook.training.multitask import Settings  # noqa: E402
from faceworkbook.training.pseudo_labels import Fill  # noqa: E402
from tests.experiments.multi_toys import make_multi  # noqa: E402
from tests.training import toy_network as toy  # noqa: E402

N = 60


class Described:
    """As many numbers a face as make each face differ from each other."""

    def __init__(self, table):
        self.face_id = list(table["face_id"])
        self.matrix = np.random.default_rng(0).normal(size=(len(table), 8)).astype(np.float32)
        self.left_out = pd.DataFrame(columns=["face_id", "reason"])


def describe(table, name, root):
    return Described(table)


def folder(path, seed):
    path.mkdir()
    pixels, codes = toy.pictures(N, seed=seed)
    for i, image in enumerate(pixels):
        cv2.imwrite(str(path / f"{i}.png"), image[:, :, ::-1])
    (path / "3.png").write_bytes(b"no picture")
    return codes


@pytest.fixture(scope="module")
def multi(tmp_path_factory):
    place = tmp_path_factory.mktemp("sets")
    reader = PictureReader(toy.backbone(), describe, store=place)
    tables, read = {}, {}
    for seed, (name, column) in enumerate((("one", "light"), ("two", "age"))):
        codes = folder(place / name, seed)
        columns = {"image": [f"{i}.png" for i in range(N)], "identity": [f"{name}{i}" for i in range(N)]}
        columns[column] = np.where(codes, "above", "below") if column == "light" else 20.0 + 30 * codes
        tables[name] = faces.build(columns, dataset=name)
        read[name] = reader(tables[name], name, place / name)
        tables[name] = (
            tables[name].set_index("face_id", drop=False).loc[read[name].face_id].reset_index(drop=True)
        )
    assert all(len(own.left_out) == 1 for own in read.values())
    made = multi_dataset.build(tables, [r.matrix for r in read.values()], ["light", "age_years"])
    return reader.attach(made)


def options(tmp_path=None, **more):
    settings = fine_tune.Settings(epochs=6, learning_rate=0.02, progress=False)
    return Options(
        settings,
        {"dropout": 0.0},
        batch_size=16,
        folder=tmp_path,
        network=TrainedNetwork(toy.backbone()),
        **more,
    )


def test_pictures_stand_row_by_row_beside_the_faces(multi):
    assert len(multi.pixels) == len(multi.faces) == 2 * (N - 1)
    rows = np.array([0, 5, N + 4])
    expected = np.concatenate([np.delete(toy.pictures(N, seed=seed)[0], 3, axis=0) for seed in (0, 1)])[rows]
    np.testing.assert_array_equal(multi.pixels.take(rows), expected)
    assert multi.inputs[rows].dtype == np.float32
    with pytest.raises(MultiDatasetError, match=r"no pictures of .* were opened"):
        PictureReader(toy.backbone(), describe, store=None).attach(multi)


def test_every_strategy_is_trained_tested_and_judged_on_training_rows_too(multi):
    chosen = [
        strategies.parse(text, Fill(first_epoch=1)) for text in ("single", "joint", "alternating-pseudo+sord")
    ]
    made = strategy_comparison.repeat(chosen, multi, options(), seeds=[0])
    figures = strategy_comparison.summarise(made, n_boot=50).set_index(["strategy", "task"])
    assert set(figures.index.get_level_values(0)) == {"single", "joint-naive", "alternating-pseudo+sord"}
    assert (figures.xs("light", level="task")["train"] > 0.7).all()
    assert np.isfinite(figures[["train", "validation"]].to_numpy()).all()
    heads = {head.name: head.loss for head in made.fitted["alternating-pseudo+sord"][0].net.heads}
    assert heads == {"light": "cross_entropy", "age_years": "sord"}
    epochs = [len(made.fitted[name][0].history) for name in ("joint-naive", "alternating-pseudo+sord")]
    assert epochs == [6, 12]


def test_a_net_starts_from_that_of_one_task_which_is_trained_once(multi, tmp_path):
    split = multi_dataset.split(multi, seed=0)
    single, joint = (strategies.parse(text, Fill()) for text in ("single", "joint"))
    alone, _ = strategies.train(single, multi, split, options(tmp_path))
    (path,) = tmp_path.glob("single-light-0/checkpoint.npz")
    written = path.stat().st_mtime_ns
    plain = strategies.train(joint, multi, split, options())[0].history
    started = strategies.train(joint, multi, split, options(tmp_path, start_single=True))[0].history
    assert path.stat().st_mtime_ns == written
    assert started["light_loss"][0] < plain["light_loss"][0]

    heads = [multitask.make_head(own, rows=split.train) for own in multi.labels.values()]
    net = cutting.assemble(toy.backbone(), heads, seed=5).net
    fresh = net.model.get_layer("age_years__logits").get_weights()
    multitask.start_from(net, alone.net)
    for layer in ("conv_2", "light__logits"):
        expected = alone.net.model.get_layer(layer).get_weights()
        np.testing.assert_array_equal(net.model.get_layer(layer).get_weights()[0], expected[0])
    np.testing.assert_array_equal(net.model.get_layer("age_years__logits").get_weights()[0], fresh[0])


def test_losses_of_ordered_classes_are_compared_on_descriptors_too():
    multi = make_multi(tasks=("gender", "yaw"))
    with pytest.raises(
        ValueError, match=r"'single\+coral' names a loss of ordered classes, and the tasks are"
    ):
        strategies.train(
            strategies.parse("single+coral", Fill()),
            multi,
            multi_dataset.split(multi, seed=0),
            Options(Settings(epochs=1, progress=False)),
        )
    years = tasks.read_labels(
        faces.build({"image": ["a", "b", "c"], "age": [20.0, 21.0, 40.0]}, dataset="x"), "age_years"
    )
    assert strategies.check_loss(strategies.parse("joint+coral", Fill()), {"age_years": years}) is None


@pytest.mark.parametrize(
    "texts, message",
    [
        (["single", "single+corall"], r"'single\+corall' names the loss 'corall'; allowed are"),
        (["joint", "single", "joint-naive"], r"of which \['joint-naive'\] come twice; name each once"),
    ],
)
def test_strategies_are_checked_before_the_first_is_trained(texts, message, monkeypatch):
    monkeypatch.setattr(strategy_comparison, "train", lambda *_: pytest.fail("trained"))
    with pytest.raises(ValueError, match=message):
        strategy_comparison.repeat(
            [strategies.parse(text, Fill()) for text in texts],
            make_multi(),
            Options(Settings(epochs=1, progress=False)),
            seeds=[0],
        )


@pytest.mark.parametrize(
    "text, name",
    [
        ("single+coral", "single+coral"),
        ("joint+sord", "joint-naive+sord"),
        ("alternating-pseudo", "alternating-pseudo"),
    ],
)
def test_strategies_are_named_by_what_they_do(text, name):
    assert strategies.parse(text, Fill()).name == name
    assert strategies.parse("single", Fill(), "dldl_v2").name == "single+dldl_v2"
