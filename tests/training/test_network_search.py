"""Networks with heads in a search: several labels, pictures, killed and resumed, as tasks of a cluster."""

import itertools
import pickle
from dataclasses import fields, replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from training_toys import ages, blobs, cut

optuna = pytest.importorskip("optuna", reason="the extra [search] is not installed")

from faceworkbook import ray_cluster, tasks, training  # noqa: E402
from faceworkbook.reports import parameters  # noqa: E402
from faceworkbook.training import loop, networks, ray_trials, spaces, trials  # noqa: E402
from faceworkbook.training.batched import TrainingError  # noqa: E402
from faceworkbook.training.checkpoint import CheckpointError  # noqa: E402
from faceworkbook.training.halving import Halving, Umpire  # noqa: E402
from faceworkbook.training.search import Plan, search  # noqa: E402
from faceworkbook.training.spaces import Choice, Range  # noqa: E402
from tests.conftest import REPO  # noqa: E402
from tests.training import toy_network as toy  # noqa: E402

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

PLAN = Plan(n_trials=4, at_once=2, epochs=4, patience=4, startup=2, halving=Halving(1, 2))
SPACE = {
    "learning_rate": Range(1e-3, 1e-1, log=True),
    "hidden": Choice(((),)),
    "dropout": Choice((0.0,)),
    "batch_size": Choice((64,)),
}
PICTURE_SPLIT = toy.Split(np.arange(40), np.arange(40, 52))


@pytest.fixture(scope="module")
def toys():
    x, labels = blobs(n=200, noise=3.0)
    years = ages(200)[1]
    years[::3] = np.nan
    return x, labels, cut(200), networks.Multitask({"age": tasks.labels_of_numbers(years, name="age")})


@pytest.fixture(scope="module")
def straight(toys):
    x, labels, split, learner = toys
    return search(learner, x, labels, split, space=SPACE, plan=PLAN)


@pytest.fixture(scope="module")
def photos():
    return networks.PictureRows(toy.source(60)), toy.labels(60)["light"]


def test_the_best_net_of_several_labels_is_trained_again_from_its_options(toys, straight):
    x, labels, split, learner = toys
    assert set(straight.table["state"]) <= {"complete", "pruned"} and straight.classifier == "multitask"
    assert straight.table["val:age"].between(1, 60).all()  # years off, of those rows whose age is known
    fitted = training.fit(learner, x, labels, split, seed=PLAN.seed, **straight.options)
    best = fitted.history.set_index("epoch").loc[fitted.settings["best_epoch"]]
    assert best["val_accuracy"] == pytest.approx(straight.row["value"], abs=1e-6)
    output = fitted.predict(x[split.validation])
    right = (output.argmax(axis=1) == labels.codes[split.validation]).mean()
    assert right == pytest.approx(straight.row["value"], abs=1e-6)


def test_trials_that_lose_stop_where_they_are_judged(straight):
    lost = straight.table[straight.table["state"] == "pruned"]
    assert len(lost) and (lost["epochs"] < PLAN.epochs).all() and lost["epochs"].isin([1, 2]).all()


KILLS = (
    (loop.Learner, "train_epoch", 1),  # in the midst of a trial
    (loop.Learner, "train_epoch", 3),
    (trials.files, "write_json", 1),  # a trial has ended and is not written down
)


def test_a_killed_search_of_networks_ends_with_the_same_trials(toys, straight, tmp_path, monkeypatch):
    x, labels, split, learner = toys
    given = {"space": SPACE, "plan": PLAN, "folder": tmp_path}
    for owner, name, call in KILLS:
        with monkeypatch.context() as patched:
            plain, count = getattr(owner, name), itertools.count()

            def counted(*args, plain=plain, count=count, call=call, **kwargs):
                if next(count) == call:
                    raise KeyboardInterrupt
                return plain(*args, **kwargs)

            patched.setattr(owner, name, counted)
            with pytest.raises(KeyboardInterrupt):
                search(learner, x, labels, split, **given)
    # Epochs that are over are not trained again.
    trained = []
    plain = loop.Learner.train_epoch
    monkeypatch.setattr(
        loop.Learner,
        "train_epoch",
        lambda self, examples, epoch, *rest: trained.append(epoch) or plain(self, examples, epoch, *rest),
    )
    resumed = search(learner, x, labels, split, **given)
    pd.testing.assert_frame_equal(resumed.table, straight.table)
    assert len(trained) < straight.table["epochs"].sum()


def test_other_further_labels_are_another_study(toys, tmp_path):
    x, labels, split, learner = toys
    plan = replace(PLAN, n_trials=1, epochs=1)
    changed = tasks.labels_of_numbers(ages(200, seed=5)[1], name="age")
    for own in (learner, networks.Multitask({"age": changed}), networks.Multitask()):
        search(own, x, labels, split, space=SPACE, plan=plan, folder=tmp_path)
    assert len(list(tmp_path.glob("multitask-*"))) == 3


def test_networks_on_pictures_are_searched_and_share_what_frozen_layers_make(photos, monkeypatch):
    pictures, labels = photos
    computed = []
    plain = networks.precomputing.compute
    monkeypatch.setattr(networks.precomputing, "compute", lambda *a: computed.append(1) or plain(*a))
    learner = networks.FineTune(toy.backbone(), reproducible=False)
    space = {"learning_rate": Range(1e-3, 1e-1, log=True), "trunk": Choice((0.1, 1.0))}
    space |= {"freeze": Choice(("conv_2_relu",)), "precompute": Choice(("conv_2_relu",))}
    given = {"space": space, "plan": replace(PLAN, n_trials=2)}
    result = search(learner, pictures, labels, PICTURE_SPLIT, **given)
    assert computed == [1]
    fitted = training.fit(learner, pictures, labels, PICTURE_SPLIT, seed=PLAN.seed, **result.options)
    rows = PICTURE_SPLIT.validation
    right = (fitted.predict(pictures[rows]).argmax(axis=1) == labels.codes[rows]).mean()
    assert right == pytest.approx(result.row["value"], abs=1e-6)
    # Rows of rows are those of the source.
    np.testing.assert_array_equal(pictures[rows][[2, 0]].take(np.array([1])), pictures.take(rows[:1]))
    assert pictures[rows].fingerprint(np.arange(2)) == pictures.fingerprint(rows[:2])


def test_what_networks_cannot_learn_is_refused_in_words(toys):
    x, labels, split, learner = toys
    with pytest.raises(ValueError, match=r"multitask has no option \['widths'\]; allowed are \['balance', "):
        training.fit(learner, x, labels, split, widths=(8,))
    with pytest.raises(ValueError, match="task_weights='emotion: 2'; allowed are"):
        training.fit(learner, x, labels, split, task_weights="emotion: 2")
    with pytest.raises(TrainingError, match="'letter' is learned already"):
        training.fit(networks.Multitask({"letter": labels}), x, labels, split)
    short = networks.Multitask({"age": learner.others["age"].take(np.arange(9))})
    with pytest.raises(TrainingError, match=r"200 labels and \{'age': 9\} further ones"):
        training.fit(short, x, labels, split)
    with pytest.raises(ValueError, match=r"cluster='dask'; allowed are \['', 'ray'\]"):
        replace(PLAN, cluster="dask")


@pytest.mark.parametrize(
    ("kind", "step"),
    [(networks.MultitaskOptions, "09_multitask"), (networks.FineTuneOptions, "10_fine_tune")],
)
def test_what_is_not_searched_has_the_notebooks_default(kind, step):
    known = parameters.read(REPO / "notebooks" / f"{step}.ipynb")
    for field in fields(kind):
        if field.name == "trunk":
            assert known["lr_multipliers"].default == [f"trunk: {field.default}"]
            continue
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        assert known[field.name].default == default, field.name


@pytest.mark.parametrize(
    ("name", "kind"), [("multitask", networks.MultitaskOptions), ("fine_tune", networks.FineTuneOptions)]
)
def test_spaces_of_networks_name_their_options(toys, name, kind):
    space = spaces.of(name, toys[1].task, n_labels=2)
    assert "task_weights" in space and "task_weights" not in spaces.of(name, toys[1].task)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = study.ask({key: one.distribution() for key, one in space.items()}).params
    assert isinstance(kind(**spaces.options(name, space, drawn)).hidden, tuple)


# ------------------------------------------------------------------ as tasks of a cluster


class _Ray:
    """Ray's calls, at once and in this process."""

    def remote(self, of):
        make = SimpleNamespace(remote=lambda *args, **kwargs: _Actor(of, *args, **kwargs))
        if not isinstance(of, type):
            make = SimpleNamespace(remote=of)
        return SimpleNamespace(options=lambda **options: make)

    def put(self, value):
        return pickle.loads(pickle.dumps(value))

    def get(self, value):
        return value

    def cluster_resources(self):
        return {"CPU": 2.0}


class _Actor:
    def __init__(self, kind, *args, **kwargs):
        self._own = kind(*args, **kwargs)

    def __getattr__(self, name):
        return SimpleNamespace(remote=getattr(self._own, name))


@pytest.fixture
def one_process(monkeypatch):
    """A cluster whose tasks run one after another."""
    fake = _Ray()
    monkeypatch.setitem(__import__("sys").modules, "ray", fake)

    class Connection:
        def __init__(self, *_):
            pass

        def __enter__(self):
            return fake

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(ray_cluster, "connected", Connection)


def test_tasks_in_turn_have_the_same_trials_as_one_process(toys, straight, one_process, tmp_path):
    x, labels, split, learner = toys
    given = {"space": SPACE, "folder": tmp_path}
    result = search(learner, x, labels, split, plan=replace(PLAN, cluster="ray"), **given)
    pd.testing.assert_frame_equal(result.table, straight.table)
    # The same study: it goes on without a cluster.
    more = search(learner, x, labels, split, plan=replace(PLAN, n_trials=5), **given)
    pd.testing.assert_frame_equal(more.table[:4], straight.table)


def test_a_killed_cluster_goes_on_with_what_its_trials_have_written(toys, straight, one_process, tmp_path):
    x, labels, split, learner = toys
    goal = trials.Goal(x, labels, split, PLAN.epochs, PLAN.patience, halving=PLAN.halving)
    drawn = [
        spaces.options("multitask", SPACE, row) for row in straight.table[list(SPACE)].to_dict("records")
    ]
    whole = ray_trials.train(learner, goal, drawn[:2], known={}, folder=tmp_path)
    kept = tmp_path / "trial-1.json"
    text = kept.read_text()
    nothing = SimpleNamespace(fit_split=None)  # trains no trial again
    again = ray_trials.train(nothing, goal, drawn[:2], known={}, folder=tmp_path)
    assert again == whole
    kept.write_text(text[:-40])
    with pytest.raises(
        CheckpointError, match=r"trial-1.json cannot be read .*; delete it; the trial is trained"
    ):
        ray_trials.train(nothing, goal, drawn[:2], known={}, folder=tmp_path)


def test_the_umpire_judges_beside_all_that_have_come():
    umpire = Umpire({2: [0.5]}, sign=-1, halving=Halving(2, 2))  # errors: lower is better
    assert umpire.judge(0, 2, 0.4) and not umpire.judge(1, 2, 0.6)
    assert umpire.judge(0, 2, 0.4)  # a task that is given to another machine asks again
    umpire.note(2, {2: 0.1, 4: 0.1})
    assert not umpire.judge(3, 4, 0.2)
