"""TensorBoard reads the curves of every training: one MLP, folds, trials, nets of several labels, networks on pictures."""

from dataclasses import replace

import numpy as np
import pytest
from training_toys import blobs, cut

events = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator",
    reason="the extra [tensorboard] is not installed",
)

from faceworkbook import training  # noqa: E402
from faceworkbook.files import FileError  # noqa: E402
from faceworkbook.training import fine_tune, logs, networks  # noqa: E402
from faceworkbook.training.batches import Joint, Stage  # noqa: E402
from faceworkbook.training.search import Plan, search  # noqa: E402
from tests.training import toy_network as toy  # noqa: E402

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

EPOCHS = 2
PLAIN = {"loss", "val_loss", "accuracy", "val_accuracy"}


@pytest.fixture(scope="module")
def toys():
    x, labels = blobs(n=120)
    return x, labels, cut(120)


def read(folder) -> dict[str, dict]:
    """Scalars by the path of the run below `folder`, as TensorBoard shows them: tag to values by step."""
    runs = {}
    for place in sorted({path.parent for path in folder.rglob("*tfevents*")}):
        own = events.EventAccumulator(str(place)).Reload()
        runs[place.relative_to(folder).as_posix()] = {
            tag: {event.step: event.value for event in own.Scalars(tag)} for tag in own.Tags()["scalars"]
        }
    return runs


def of_one_mlp(toys, folder):  # 03_classifier
    x, labels, split = toys
    fitted = training.fit("mlp", x, labels, split, folder=folder, epochs=EPOCHS, widths=(4,))
    return {"tensorboard": fitted.history}, PLAIN


def of_folds(toys, folder):  # 06_cross_validation
    x, labels, split = toys
    splits = [split, cut(120, seed=1)]
    splits[1].fold = 1
    fits = training.fit_folds(x, labels, splits, epochs=EPOCHS, widths=(4,))
    histories = logs.by_fold(fits.history)
    logs.write_fits(folder, histories)
    assert list(histories) == ["repeat-0-fold-0", "repeat-0-fold-1"]
    return {f"tensorboard/{name}": history for name, history in histories.items()}, PLAIN


def of_several_labels(toys, folder):  # 09_multitask
    x, labels, split = toys
    networks.Multitask().fit_split(x, labels, split, folder=folder, epochs=EPOCHS)
    return {"tensorboard": None}, {
        "loss",
        "letter_loss",
        "letter_rate",
        "validation_letter_rate",
        "rate/letter",
    }


def of_pictures(toys, folder):  # 10_fine_tune
    pictures, labels = networks.PictureRows(toy.source(60)), toy.labels(60)["light"]
    split = toy.Split(np.arange(40), np.arange(40, 52))
    learner = networks.FineTune(toy.backbone(), reproducible=False)
    learner.fit_split(pictures, labels, split, folder=folder, epochs=EPOCHS)
    return {"tensorboard": None}, {"loss", "light_loss", "validation_light_rate", "rate/trunk"}


def of_planned_pictures(toys, folder):  # 19_picture_tasks
    labels = toy.labels(60)
    heads = [networks.models.make_head(labels["light"], rows=np.arange(40))]
    network = networks.cutting.assemble(toy.backbone(), heads)
    plan = Joint((Stage("all", np.arange(40), ("light",)),), 20)
    settings = fine_tune.Settings(epochs=EPOCHS, progress=False)
    given = {"plan": plan, "validation": np.arange(40, 52), "settings": settings}
    fine_tune.fit_plan(network, toy.source(60), labels, folder=folder, **given)
    return {"tensorboard": None}, {"loss", "light_rate", "validation_light_loss"}


def of_trials(toys, folder):  # 14_search
    x, labels, split = toys
    plan = Plan(n_trials=2, at_once=2, epochs=EPOCHS, halving=None)
    search("mlp", x, labels, split, plan=plan, folder=folder)
    (study,) = folder.iterdir()
    return {f"{study.name}/tensorboard/round-0-trial-{number}": None for number in (0, 1)}, PLAIN


@pytest.mark.parametrize(
    "train", [of_one_mlp, of_folds, of_several_labels, of_pictures, of_planned_pictures, of_trials]
)
def test_every_training_is_seen(toys, tmp_path, train):
    expected, tags = train(toys, tmp_path)
    seen = read(tmp_path)
    assert set(seen) == set(expected)
    for name, scalars in seen.items():
        assert tags <= set(scalars)
        assert all(len(values) == EPOCHS for values in scalars.values())
        if (history := expected[name]) is not None:
            for tag in tags:
                assert scalars[tag] == pytest.approx(dict(zip(history["epoch"], history[tag], strict=True)))


def test_a_search_that_is_killed_shows_each_trial_once(toys, tmp_path, monkeypatch):
    x, labels, split = toys
    plan = Plan(n_trials=2, at_once=2, epochs=EPOCHS, halving=None)
    with monkeypatch.context() as patched:
        patched.setattr(
            "faceworkbook.training.studies.Study.commit", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            search("mlp", x, labels, split, plan=plan, folder=tmp_path)
    search("mlp", x, labels, split, plan=replace(plan, n_trials=3), folder=tmp_path)
    assert [name.partition("/tensorboard/")[2] for name in read(tmp_path)] == [
        "round-0-trial-0", "round-0-trial-1", "round-1-trial-0"
    ]  # fmt: skip


def test_a_disk_that_refuses_the_event_file_is_a_sentence(tmp_path, monkeypatch):
    import tensorflow as tf

    def refuse(path):
        raise tf.errors.UnknownError(None, None, f"{path}; Input/output error")

    monkeypatch.setattr(tf.io, "TFRecordWriter", refuse)
    with pytest.raises(
        FileError, match=r"cannot be written: TensorFlow: .*Input/output error; check the folder"
    ):
        logs.write_tensorboard(tmp_path, [{"epoch": 1, "loss": 0.5}])
