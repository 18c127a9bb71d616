"""Searches of hyper-parameters: judged alike in company and after a kill, and trained again from their options."""

import errno
import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from training_toys import ages, blobs, cut

optuna = pytest.importorskip("optuna", reason="the extra [search] is not installed")

from faceworkbook import tasks, training  # noqa: E402
from faceworkbook.files import FileError  # noqa: E402
from faceworkbook.training import batched, registry, spaces, studies, trials  # noqa: E402
from faceworkbook.training.batched import TrainingError  # noqa: E402
from faceworkbook.training.checkpoint import CheckpointError  # noqa: E402
from faceworkbook.training.halving import Halving  # noqa: E402
from faceworkbook.training.search import Plan, search  # noqa: E402
from faceworkbook.training.spaces import Choice, Range  # noqa: E402

pytestmark = [pytest.mark.tensorflow, pytest.mark.xdist_group("tensorflow")]

PLAN = Plan(n_trials=12, at_once=6, epochs=8, patience=4, startup=6, halving=Halving(2, 2))
SPACE = {
    "widths": Choice(((8,), (6, 4))),
    "learning_rate": Range(1e-3, 1e-1, log=True),
    "dropout": Range(0.0, 0.5),
    "balance": Choice(("none", "class_weights")),
}


@pytest.fixture(scope="module")
def toys():
    x, labels = blobs(n=200, noise=3.0)
    return x, labels, cut(200)


# ------------------------------------------------------------------ judging


@pytest.mark.parametrize(
    ("halving", "place", "rungs"),
    [
        (Halving(1, 2), 0, [1, 2, 4, 8]),
        (Halving(2, 3), 5, [2, 6]),
        (Halving(1, 2, brackets=3), 4, [2, 4, 8]),
        (Halving(20, 2), 0, []),
    ],
)
def test_trials_are_judged_at_growing_epochs_by_bracket(halving, place, rungs):
    assert halving.rungs(place, 10) == rungs


def test_one_of_factor_goes_on_and_what_is_no_number_never():
    halving = Halving(1, 4)
    values = [float(v) for v in range(8)]
    going = [v for v in values if halving.goes_on(v, [o for o in values if o != v])]
    assert going == [6.0, 7.0]
    assert halving.goes_on(0.1, []) and not halving.goes_on(math.nan, [])
    assert halving.goes_on(0.1, [math.nan])


@pytest.mark.parametrize("wrong", [{"first": 0}, {"factor": 1}, {"brackets": 0}])
def test_halving_of_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match="allowed are whole numbers"):
        Halving(**wrong)


def test_trials_in_company_are_judged_as_their_histories_say(toys):
    """A second computation, from the figures of trials that were trained to their end."""
    x, labels, split = toys
    goal = trials.Goal(x, labels, split, epochs=8, patience=8, halving=Halving(2, 2))
    rng = np.random.default_rng(0)
    drawn = [{"widths": (8,), "learning_rate": 10 ** rng.uniform(-4, -1)} for _ in range(6)]
    outcomes = trials.train("mlp", goal, drawn, known={2: [0.99]})
    whole = [trials.train_one("mlp", goal, one, lambda history: True) for one in drawn]
    alive = set(range(6))
    for epoch, others in ((2, [0.99]), (4, [])):
        value = {i: goal.value(whole[i], epoch) for i in alive}
        ranked = sorted([*value.values(), *others], reverse=True)
        alive = {i for i in alive if value[i] >= ranked[max(len(ranked) // 2, 1) - 1]}
    assert {i for i, one in enumerate(outcomes) if one.state == "complete"} == alive
    assert 0 < len(alive) < 6
    for i in alive:
        assert outcomes[i].value == pytest.approx(goal.value(whole[i]), abs=0.03)
    # The values of pruned trials are those of their own last epoch.
    for i in set(range(6)) - alive:
        assert outcomes[i].figures["epochs"] in (2, 4)


# ------------------------------------------------------------------ the whole search


def test_the_best_trial_is_trained_again_from_its_options(toys):
    x, labels, split = toys
    result = search("mlp", x, labels, split, space=SPACE, plan=PLAN)
    assert list(result.table["number"]) == list(range(12)) and result.column == "val_accuracy"
    assert {"pruned", "complete"} == set(result.table["state"])
    whole = result.table[result.table["state"] == "complete"]
    assert result.row["value"] == whole["value"].max()
    fitted = training.fit("mlp", x, labels, split, seed=PLAN.seed, **result.options)
    best = fitted.history.set_index("epoch").loc[fitted.settings["best_epoch"]]
    assert best["val_accuracy"] == pytest.approx(result.row["value"], abs=0.03)


@pytest.mark.parametrize("classifier", ["linear", "kernel"])
def test_classifiers_without_epochs_are_never_stopped(toys, classifier):
    x, labels, split = toys
    plan = replace(PLAN, n_trials=4, at_once=2, halving=Halving(1, 2))
    result = search(classifier, x, labels, split, plan=plan)
    assert set(result.table["state"]) == {"complete"}
    fitted = training.fit(classifier, x, labels, split, **result.options)
    accuracy = (fitted.predict(x[split.validation]).argmax(1) == labels.codes[split.validation]).mean()
    assert accuracy == pytest.approx(result.row["value"])


def test_a_residual_perceptron_is_searched_with_its_parts_on_and_off(toys):
    x, labels, split = toys
    space = {"residuals": Choice((1,)), "groups": Choice((1,)), "shortcuts": Choice((True, False))}
    space |= {"ic_layers": Choice((True, False)), "gamma": Choice((0.9,)), "learning_rate": Range(1e-3, 1e-2)}
    plan = replace(PLAN, n_trials=3, at_once=1, epochs=3, halving=Halving(1, 2))
    result = search("residual_mlp", x, labels, split, space=space, plan=plan)
    assert set(result.table["state"]) <= {"complete", "pruned"} and len(result.table) == 3
    assert (result.table.loc[result.table["state"] == "pruned", "epochs"] < 3).all()
    fitted = training.fit("residual_mlp", x, labels, split, **result.options)
    assert fitted.options["shortcuts"] == result.options["shortcuts"]


def test_numbers_are_chosen_by_the_least_error():
    x, years = ages(200)
    labels, split = tasks.labels_of_numbers(years, name="age"), cut(200)
    space = {"learning_rate": Range(1e-4, 1e-1, log=True), "widths": Choice(((8,),))}
    result = search("mlp", x, labels, split, space=space, plan=replace(PLAN, n_trials=6))
    assert result.column == "val_mae"
    whole = result.table[result.table["state"] == "complete"]
    assert result.row["value"] == whole["value"].min()


def test_a_trial_that_diverges_is_no_result_and_others_go_on(toys):
    x, labels, split = toys
    x = x.copy()
    space = {"learning_rate": Choice((1e30, 0.01)), "widths": Choice(((8,),)), "dropout": Choice((0.0,))}
    result = search("mlp", x, labels, split, space=space, plan=replace(PLAN, halving=None))
    states = result.table.groupby("learning_rate")["state"].unique()
    assert list(states[0.01]) == ["complete"] and result.options["learning_rate"] == 0.01
    with pytest.raises(
        TrainingError, match=r"all \d+ trials have diverged.*lower the bounds of learning_rate"
    ):
        search(
            "mlp", x, labels, split, space={**space, "learning_rate": Choice((1e30,))}, plan=replace(PLAN, n_trials=2)
        )  # fmt: skip


# ------------------------------------------------------------------ killed and resumed


def stop_at(monkeypatch, owner, name, call):
    """Interrupt the search at a call of a function; what comes before it happens."""
    plain, calls = getattr(owner, name), itertools.count()

    def counted(*args, **kwargs):
        if next(calls) == call:
            raise KeyboardInterrupt
        return plain(*args, **kwargs)

    monkeypatch.setattr(owner, name, counted)
    return lambda: monkeypatch.setattr(owner, name, plain)


@pytest.mark.parametrize(
    ("owner", "name", "calls"),
    [
        (batched.Training, "step", [1, 4, 9]),  # in the midst of rounds
        (studies.Study, "_trial", [0, 3, 8]),  # with some of a round's trials in the journal
        (studies.Study, "commit", [0, 1]),
        (studies.Study, "_hold", [0, 1]),  # a round written down, not begun
        (studies.shutil, "rmtree", [0]),
    ],
)
def test_a_killed_search_ends_with_the_same_trials(toys, tmp_path, monkeypatch, owner, name, calls):
    x, labels, split = toys
    monkeypatch.setattr("faceworkbook.training.batched.epochs.SAVE_EVERY", 2)
    straight = search("mlp", x, labels, split, space=SPACE, plan=PLAN)
    for call in calls:
        restore = stop_at(monkeypatch, owner, name, call)
        with pytest.raises(KeyboardInterrupt):
            search("mlp", x, labels, split, space=SPACE, plan=PLAN, folder=tmp_path)
        restore()
    resumed = search("mlp", x, labels, split, space=SPACE, plan=PLAN, folder=tmp_path)
    assert resumed.table.equals(straight.table)
    assert resumed.options == straight.options


def test_a_full_disk_under_the_journal_is_one_sentence(toys, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    x, labels, split = toys
    monkeypatch.setattr("optuna.storages.journal.JournalFileBackend.append_logs", full)
    with pytest.raises(
        FileError, match=f"{tmp_path.name} cannot be written: the disk is full; free some space"
    ):
        search("mlp", x, labels, split, space=SPACE, plan=PLAN, folder=tmp_path)


def test_a_finished_search_is_read_and_more_trials_go_on(toys, tmp_path, monkeypatch):
    x, labels, split = toys
    given = {"space": SPACE, "folder": tmp_path}
    first = search("mlp", x, labels, split, plan=PLAN, **given)
    with monkeypatch.context() as patched:
        patched.setattr(trials, "train", None)
        assert search("mlp", x, labels, split, plan=PLAN, **given).table.equals(first.table)
    more = search("mlp", x, labels, split, plan=replace(PLAN, n_trials=15), **given)
    assert more.table[:12].equals(first.table) and len(more.table) == 15


def test_other_rows_labels_or_plans_are_another_study(toys, tmp_path):
    x, labels, split = toys
    plan = replace(PLAN, n_trials=2, epochs=2)
    changed = x.copy()
    changed[split.train[0], 1] += 1
    flipped = tasks.Labels(labels.task, 1 - labels.codes, labels.values)
    for matrix, target, own in (
        (x, labels, plan),
        (changed, labels, plan),
        (x, flipped, plan),
        (x, labels, replace(plan, seed=1)),
    ):
        search("mlp", matrix, target, split, space=SPACE, plan=own, folder=tmp_path)
    assert len(list(tmp_path.glob("mlp-*"))) == 4


def test_a_line_that_a_killed_process_has_not_finished_is_cut_off(toys, tmp_path):
    x, labels, split = toys
    given = {"space": SPACE, "plan": replace(PLAN, n_trials=6), "folder": tmp_path}
    first = search("mlp", x, labels, split, **given)
    (journal,) = tmp_path.rglob("journal.log")
    with journal.open("ab") as file:
        file.write(b'{"op_code":4,"wor')
    assert search("mlp", x, labels, split, **given).table.equals(first.table)
    journal.write_bytes(b"no journal\n" + journal.read_bytes())
    with pytest.raises(CheckpointError, match=r"journal.log is no whole journal .*; delete it"):
        search("mlp", x, labels, split, **given)


def test_processes_take_rounds_of_their_own_and_those_of_the_dead(tmp_path):
    here, there = (studies.Study.open(tmp_path, "toy", SPACE, maximize=True) for _ in range(2))
    first, second = here.take(PLAN), there.take(PLAN)
    assert (first.number, second.number) == (0, 1) and first.drawn != second.drawn
    second.__exit__()  # its process dies: the system frees the lock
    again = here.take(PLAN)
    assert (again.number, again.drawn) == (second.number, second.drawn)
    done = [trials.Outcome("complete", 0.5 + i / 100, {}, {"epochs": 1}) for i in range(6)]
    for taken in (again, first):
        here.commit(taken, done)
        taken.__exit__()
    assert there.take(PLAN) is None
    assert sorted(there.table().groupby("round").size()) == [6, 6]


def test_a_round_is_written_down_before_it_is_trained(tmp_path):
    study = studies.Study.open(tmp_path, "toy", SPACE, maximize=True)
    taken = study.take(PLAN)
    record = json.loads((tmp_path / "toy" / "round-0.json").read_text())
    assert record["drawn"] == taken.drawn and len(taken.drawn) == PLAN.at_once


# ------------------------------------------------------------------ spaces and refusals


@pytest.mark.parametrize("classifier", ["mlp", "residual_mlp", "linear", "kernel"])
def test_every_space_gives_options_that_its_classifier_takes(classifier, toys):
    _, labels, _ = toys
    space = spaces.of(classifier, labels.task)
    assert set(spaces.table(space)["hyper-parameter"]) == set(space)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    distributions = {name: one.distribution() for name, one in space.items()}
    given = spaces.options(classifier, space, study.ask(distributions).params)
    if classifier == "mlp":
        batched.with_settings(batched.Settings(), **given)
        assert isinstance(given["widths"], tuple)
    if classifier in spaces.LISTS:
        assert all(len(given[name]) == 1 for name in spaces.LISTS[classifier].values())


def test_the_residual_space_has_the_papers_ranges(toys):
    space = spaces.of("residual_mlp", toys[1].task)
    assert (space["residuals"].low, space["residuals"].high, space["groups"].high) == (0, 5, 5)
    assert space["batch_size"].values == (128, 256, 512)
    assert [(space[name].low, space[name].high) for name in ("learning_rate", "weight_decay", "gamma")] == [
        (1e-6, 1e-1),
        (1e-6, 1e-1),
        (1e-6, 1.0),
    ]


def test_the_kernel_is_searched_on_the_blocks_that_03_gives_it(toys):
    x, labels, split = toys
    assert "blocks" not in spaces.of("kernel", labels.task, blocks=(12,))
    space = spaces.of("kernel", labels.task, blocks=(4, 8)) | {"landmarks": Choice((20,))}
    result = search("kernel", x, labels, split, space=space, plan=replace(PLAN, n_trials=2, at_once=2))
    assert result.options["blocks"] == (4, 8)
    own = training.fit("kernel", x, labels, split, **result.options)
    assert own.settings["blocks"] and set(own.settings["blocks"]) <= {0, 1}


def test_a_registered_network_is_searched_among_the_options_of_its_fit(toys, monkeypatch):
    import keras

    def make(task, seed):
        keras.utils.set_random_seed(seed)
        net = keras.Sequential([keras.Input((12,)), keras.layers.Dense(2, "softmax")])
        net.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return net

    x, labels, split = toys
    monkeypatch.setattr(registry, "MAKERS", {"own": make})
    plan = replace(PLAN, n_trials=2, at_once=1, epochs=1)
    result = search("own", x, labels, split, space={"batch_size": Choice((16, 32))}, plan=plan)
    assert set(result.table["batch_size"]) <= {16, 32} and result.options["batch_size"] in (16, 32)


def test_what_cannot_be_searched_is_refused_in_words(toys, monkeypatch):
    x, labels, split = toys
    with pytest.raises(spaces.SpaceError, match="'forest' has no space; there is one for"):
        search("forest", x, labels, split)
    with pytest.raises(spaces.SpaceError, match="above 0 on a logarithmic scale"):
        Range(0, 1, log=True)
    # Trials would differ by what the best one is trained again without.
    for name in ("epochs", "patience", "seed"):
        own = {**SPACE, name: Choice((1, 2))}
        with pytest.raises(spaces.SpaceError, match=rf"\['{name}'\], which all trials have alike"):
            search("mlp", x, labels, split, space=own, plan=PLAN)
    for name, allowed in (("kernel", "'alpha', 'balance'"), ("linear", "'balance', 'strength'"), ("mlp", "")):
        text = rf"the space names \['C'\], which {name} does not have; allowed are \[{allowed}"
        with pytest.raises(spaces.SpaceError, match=text):
            search(name, x, labels, split, space={"C": Choice((1,))}, plan=PLAN)
    with pytest.raises(TrainingError, match="no validation row, and a search chooses on validation rows"):
        search("mlp", x, labels, cut(200, train=0.8, validation=0.0))
    with pytest.raises(ValueError, match="choose_by='f1'; allowed are"):
        search("mlp", x, labels, split, plan=replace(PLAN, choose_by="f1"))
    with pytest.raises(ValueError, match="n_trials=0; allowed are whole numbers of 1 or more"):
        replace(PLAN, n_trials=0)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'faceworkbook\[search\]'"):
        search("mlp", x, labels, split)
