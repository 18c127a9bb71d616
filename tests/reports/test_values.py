"""Values of parameters: one rule a name, all that is wrong in one message, before the first kernel starts."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from faceworkbook import backbones, datasets, tasks
from faceworkbook.backbones import several
from faceworkbook.descriptors import manifest, naming
from faceworkbook.reports import experiments, parameters, runs, values
from faceworkbook.reports.parameters import ParameterError
from tests.conftest import REPO

NOTEBOOKS = [p for p in sorted((REPO / "notebooks").glob("*.ipynb")) if p.stem != "index"]
MAIN = ["01_faces", "02_descriptors", "03_classifier", "06_cross_validation"]


def write(tmp_path, steps=MAIN, **content):
    path = tmp_path / "e.yaml"
    path.write_text(yaml.safe_dump({"name": "e", "steps": list(steps), **content}))
    return path


def problems(step, **given):
    allowed = parameters.read(REPO / "notebooks" / f"{step}.ipynb")
    everything = {name: parameter.default for name, parameter in allowed.items()} | given
    return values.check(everything, allowed)


def test_every_parameter_of_every_notebook_has_a_rule():
    names = {name for path in NOTEBOOKS for name in parameters.read(path)}
    assert names - set(values.RULES) == set()


def test_a_name_has_one_type_in_all_notebooks():
    kinds = {}
    for path in NOTEBOOKS:
        for name, parameter in parameters.read(path).items():
            kind = type(parameter.default)
            # Where a list of texts is taken, a single text is one of them.
            kinds.setdefault(name, set()).add(str if name in ("backbone", "tap", "weights") else kind)
    assert {name: kind for name, kind in kinds.items() if len(kind) > 1} == {}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_the_defaults_of_the_shipped_notebooks_are_allowed(path):
    defaults = {name: p.default for name, p in parameters.read(path).items()}
    blanks = {name for name, value in defaults.items() if value in ("", [], -1, -1.0)}
    wrong = {
        name: complaint
        for name, value in defaults.items()
        if name not in blanks and (complaint := values.RULES[name](value))
    }
    assert wrong == {}


@pytest.mark.parametrize(
    ("step", "given", "message"),
    [
        ("01_faces", {"dataset": "UTKface"}, "did you mean 'utkface'"),
        ("01_faces", {"root": "data/synthetics"}, "no such folder; did you mean 'synthetic'"),
        ("01_faces", {"root": "data/synthetic/labels.csv"}, "it is a file; expected a folder"),
        ("01_faces", {"label": "gendre"}, "synthetic has age, gender, .*did you mean 'gender'"),
        ("01_faces", {"label": "gender+smile"}, "synthetic has age, gender"),
        ("01_faces", {"label": "gender race"}, "joined by"),
        ("01_faces", {"options": ["margn: 3"]}, "has no option"),
        ("01_faces", {"options": ["margin"]}, "expected 'NAME: VALUE'"),
        ("09_multitask", {"sets": ["utkface: data/nowhere"]}, "no such folder"),
        ("09_multitask", {"sets": ["utkface"]}, "expected 'NAME: FOLDER'"),
        ("09_multitask", {"sets": ["utkfase=data/synthetic"]}, "Did you mean 'utkface'"),
        ("09_multitask", {"set_corrections": ["synthetic: none.csv"]}, "no such file"),
        ("09_multitask", {"set_options": ["expw: 30"]}, "expected 'NAME: OPTION: VALUE'"),
        ("09_multitask", {"set_options": ["expw: min_confidense: 30"]}, "did you mean 'min_confidence'"),
        ("09_multitask", {"set_options": ["expv: min_confidence: 30"]}, "Did you mean 'expw'"),
        ("01_faces", {"scheme": "identitty"}, "did you mean 'identity'"),
        ("01_faces", {"test": 1.5}, "0 or more and at most 1"),
        ("01_faces", {"test": 0.7, "validation": 0.3}, "no face is left to train on"),
        ("01_faces", {"limit": -5}, "allowed is 0 or more"),
        ("01_faces", {"seed": -1}, "0 or more and at most 4,294,967,295"),
        ("01_faces", {"corrections": "no/such.csv"}, "no such file"),
        ("02_descriptors", {"backbone": "faceres"}, "did you mean 'faceres_deep'"),
        ("02_descriptors", {"backbone": "faceres_deep", "tap": "fc7"}, "faceres_deep has .*global_pooling"),
        ("02_descriptors", {"backbone": ["auto", "faceres"]}, "'faceres': .*did you mean 'faceres_deep'"),
        ("02_descriptors", {"backbone": ["auto"], "tap": ["feats", "fc7"]}, "faceres_deep has .*global_pooling"),
        ("02_descriptors", {"backbone": ["auto"], "tap": ["feats"], "dataset": "adience"}, "barred on 'adience': its author tuned it"),
        ("02_descriptors", {"backbone": ["auto"] * 2, "tap": ["feats"] * 3}, "backbone has 2 entries"),
        ("02_descriptors", {"features": "auto", "mirror": True}, "takes both sides .* mirror is given too: .*add -p features="),
        ("02_descriptors", {"descriptors": "no/such.npy"}, "no such file"),
        ("02_descriptors", {"weights": ["weights/none.mat"]}, "no such file"),
        ("02_descriptors", {"margin": -0.5}, "more than -0.5 and at most 5, or -1"),
        ("10_fine_tune", {"margin": 6.0}, "more than -0.5 and at most 5, or -1"),
        ("10_fine_tune", {"align": "five_point"}, "did you mean 'five_points'"),
        ("07_compare", {"margin": -0.2}, "allowed is 0 or more, or -1"),
        ("02_descriptors", {"engine": "onxx"}, "did you mean 'onnx'"),
        ("02_descriptors", {"precision": "int16"}, "allowed are float32, tf32, float16, bfloat16, int8"),
        ("02_descriptors", {"store": "README.md/x"}, "a file; expected a folder"),
        ("03_classifier", {"widths": [16, 0]}, "0: allowed is 1 or more"),
        ("03_classifier", {"balance": "over_sample"}, "did you mean 'oversample'"),
        ("03_classifier", {"learning_rate": 0.0}, "more than 0"),
        ("06_cross_validation", {"classifier": "mpl"}, "did you mean 'mlp'"),
        ("07_compare", {"metric": "accurate_"}, "did you mean 'accuracy'"),
        ("09_multitask", {"sets": ["synthetic data"]}, "NAME: FOLDER"),
        ("10_fine_tune", {"dtype_policy": "int8"}, "allowed are float32, mixed_bfloat16"),
        ("11_confidence", {"coverage": 1.0}, "at most 0.9999"),
        ("12_stress", {"corruptions": ["blurs"]}, "did you mean 'blur'"),
        ("16_differences", {"pictures": ["as they are", "bluring 3"]}, "a corruption with its level"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_answered_with_what_is_allowed(step, given, message):
    (problem,) = problems(step, **given)
    assert problem.startswith(next(iter(given)))
    assert re.search(message, problem)


@pytest.mark.parametrize(
    "given",
    [
        {"label": "age_years"},
        {"label": "age_group"},
        {"label": "pose"},
        {"label": "gender+race"},
        {"label": "smile", "dataset": "image_folder"},
        {"seed": 7, "limit": 10, "test": 0.5},
    ],
)
def test_what_is_allowed_passes(given):
    assert problems("01_faces", **given) == []


LACKING = {
    "tf32": (
        {"precision": "tf32"},
        r"precision='tf32' is computed by NVIDIA GPUs .*expected float32, float16",
    ),
    "gpu": (
        {"engine": "gpu"},
        "engine='gpu' needs an NVIDIA GPU.*expected 'auto', .*stored are used anywhere",
    ),
    "both": (
        {"engine": "onnx", "precision": "float16"},
        "engine='onnx' has no float16; expected 'keras', 'gpu', 'tensorrt' or 'auto'",
    ),
}


@pytest.mark.parametrize("asked", LACKING)
def test_what_no_device_here_computes_is_refused_before_a_run_unless_it_is_stored(
    asked, tmp_path, monkeypatch
):
    """It was refused by the second kernel, minutes later."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    given, message = LACKING[asked]
    (problem,) = problems("02_descriptors", **given)
    assert re.search(message, problem)
    precision = given.get("precision", "float32")
    for name, there in (("same", precision), ("another", "bfloat16")):
        manifest.write(tmp_path / name, {"recipe": {"precision": there}})
    assert problems("02_descriptors", **given, store=str(tmp_path / "same")) == []
    assert problems("02_descriptors", **given, store=str(tmp_path / "another")) == [problem]
    assert problems("02_descriptors", **given, store=str(tmp_path / "none")) == [problem]


@pytest.mark.parametrize("features", ["", "auto"])
def test_stored_descriptors_are_sought_where_02_descriptors_keeps_them(features, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("FACEWORKBOOK_HOME", str(tmp_path))
    (tmp_path / "weights").symlink_to(REPO / "weights")
    allowed = parameters.read(REPO / "notebooks" / "02_descriptors.ipynb")
    given = {name: parameter.default for name, parameter in allowed.items()}
    given |= {"backbone": ["faceres_deep"], "precision": "tf32", "features": features}
    settled = {"dataset": "synthetic", "root": str(tmp_path)}
    (problem,) = values.check(given, allowed, settled=settled)
    nets = [backbones.load("faceres_deep")]
    nets = several.choose_taps(nets, "synthetic")[0] if features else nets
    for net in nets:
        assert values.check(given, allowed, settled=settled) == [problem]
        place = naming.default_store("synthetic", tmp_path, net, precision="tf32")
        manifest.write(tmp_path / place, {"recipe": {"precision": "tf32"}})
    assert values.check(given, allowed, settled=settled) == []


@pytest.mark.parametrize("level", ["none", "upright", "five_points", "five_points 0.2", "blur 0.02"])
def test_pictures_may_be_alignments_and_corruptions(level):
    assert problems("16_differences", pictures=["as they are", level]) == []


@pytest.mark.parametrize("margin", [-0.49, -0.2, -1.0, 0.0, 5.0])
def test_a_margin_around_faces_may_be_what_preprocessing_allows(margin):
    assert problems("02_descriptors", margin=margin) == [] == problems("10_fine_tune", margin=margin)


def test_the_score_of_cleaning_and_the_score_of_alignment_are_set_apart(tmp_path):
    steps = ["01_faces", "02_descriptors", "09_multitask", "10_fine_tune"]
    given = {"min_score": 0.8, "align_min_score": 0.3}
    made = [step.parameters for step in experiments.read(write(tmp_path, steps), given=given).steps]
    assert [own.get("min_score") for own in made] == [0.8, None, 0.8, None]
    assert [own.get("align_min_score") for own in made] == [None, 0.3, 0.3, 0.3]


@pytest.mark.parametrize(
    "path", sorted((REPO / "notebooks/experiments").glob("*.yaml")), ids=lambda p: p.stem
)
def test_shipped_experiments_lack_nothing_but_the_folders_of_their_sets(path):
    try:
        experiments.read(path)
    except ParameterError as error:
        complaints = [line for line in str(error).splitlines() if "values are wrong" not in line]
        assert all("no such folder" in line for line in complaints), error


def test_sets_may_be_written_with_an_equals_sign():
    assert problems("09_multitask", sets=["synthetic=data/synthetic"]) == []


CUT_AND_JUDGE = ["01_faces", "02_descriptors", "07_compare"]


def test_one_margin_for_two_meanings_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(ParameterError) as error:
        experiments.read(write(tmp_path, CUT_AND_JUDGE), given={"margin": 0.4})
    assert str(error.value) == (
        "e: margin=0.4 would be the share added around a face in 02_descriptors and the smallest difference that matters "
        "in 07_compare: set it under the step in the experiment's YAML file, such as {notebook: 02_descriptors, "
        "parameters: {margin: 0.4}}"
    )


@pytest.mark.parametrize(
    ("steps", "margins"),
    [
        (["02_descriptors", "10_fine_tune"], [0.4, 0.4]),
        (["06_cross_validation", "07_compare"], [0.4, 0.4]),
        ([{"notebook": "02_descriptors", "parameters": {"margin": 0.1}}, "07_compare"], [0.1, 0.4]),
        (["02_descriptors", {"notebook": "07_compare", "parameters": {"margin": 0.0}}], [0.4, 0.0]),
    ],
)
def test_a_margin_of_one_meaning_is_for_all_steps_that_take_it(tmp_path, steps, margins):
    experiment = experiments.read(write(tmp_path, steps), given={"margin": 0.4})
    assert [step.parameters["margin"] for step in experiment.steps] == margins


def test_all_that_is_wrong_stands_in_one_message_and_names_the_steps(tmp_path):
    wrong = {"dataset": "synthetik", "seed": -3, "classifier": "mpl", "smoke": 1, "lable": "race"}
    with pytest.raises(ParameterError) as error:
        experiments.read(write(tmp_path), given=wrong)
    lines = str(error.value).splitlines()
    assert lines[0] == "e: 5 values are wrong, nothing was run"
    assert len(lines) == 6
    for text in (
        "did you mean 'synthetic'? (01_faces, 02_descriptors)",
        "did you mean 'label'?",
        "takes bool",
    ):
        assert text in str(error.value)


def test_a_label_of_a_later_step_must_fit_the_faces_of_the_first(tmp_path):
    steps = ["01_faces", {"notebook": "03_classifier", "parameters": {"label": "smile"}}]
    with pytest.raises(ParameterError, match=r"label='smile': synthetic has .* \(03_classifier\)"):
        experiments.read(write(tmp_path, steps))


def test_a_label_of_ones_own_table_is_looked_up_in_its_header(tmp_path):
    (tmp_path / "faces.csv").write_text("image,Sex,extra_beard,full_time job\na.jpg,M,1,2\n")
    given = {"dataset": "csv", "root": str(tmp_path)}
    for label in ("beard", "gender", "full_time_job", "beard+gender"):
        assert problems("01_faces", **given, label=label, options=["columns: [gender=Sex]"]) == []
    (problem,) = problems("01_faces", **given, label="extra_beard")
    assert "did you mean 'beard'" in problem and "Sex" in problem
    (problem,) = problems("01_faces", **given | {"root": str(REPO / "data")}, label="x")
    assert "missing: faces.csv" in problem


def test_names_that_a_notebook_or_a_startup_file_registers_are_allowed(tmp_path, monkeypatch):
    startup = tmp_path / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "mine.py").write_text("datasets.register(\"mine\", read)\ntraining.register( 'knn', make)\n")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    read = experiments.read(
        write(tmp_path), given={"dataset": "mine", "label": "anything", "classifier": "knn"}
    )
    assert read.steps[0].parameters["dataset"] == "mine"
    with pytest.raises(ParameterError, match="dataset='mien'"):
        experiments.read(write(tmp_path), given={"dataset": "mien"})


def test_names_registered_in_this_process_are_allowed(monkeypatch):
    monkeypatch.setattr(datasets, "_REGISTERED", dict(datasets._REGISTERED))
    monkeypatch.setattr(tasks, "_DERIVED", dict(tasks._DERIVED))
    datasets.register("own_set", lambda root: {"image": ["a.jpg"]})
    tasks.register("decade", lambda faces: None, column="age")
    assert problems("01_faces", dataset="own_set", label="anything") == []
    assert problems("01_faces", label="decade") == []


def test_a_notebook_run_by_hand_checks_its_values_too(tmp_path):
    defaults = {name: p.default for name, p in parameters.read(REPO / "notebooks" / "01_faces.ipynb").items()}
    with pytest.raises(ParameterError, match=r"01_faces: scheme='officail': .*did you mean 'official'"):
        runs.start(tmp_path, "01_faces", defaults | {"scheme": "officail"})
    assert not (tmp_path / "01_faces").exists()


def test_a_network_whose_file_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(backbones, "WEIGHTS", tmp_path)
    (problem,) = problems("02_descriptors", backbone="vgg_face")
    assert "vgg_face needs weights" in problem


def test_a_refusal_needs_no_tensorflow_and_exits_with_2():
    program = (
        "import sys; from faceworkbook import cli; "
        "code = cli.main(['run', 'demo', '-p', 'backbone=faceres', '-p', 'label=gendre', '-p', 'classifier=x']); "
        "assert not {'tensorflow', 'keras'} & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "did you mean 'faceres_deep'" in done.stderr and "classifier='x': allowed are" in done.stderr


def test_an_outline_asks_for_no_folder(tmp_path):
    path = write(tmp_path, parameters={"root": "data/not_there"})
    assert experiments.outline(path).name == "e"
    with pytest.raises(ParameterError, match="no such folder"):
        experiments.read(path)
    shutil.rmtree(tmp_path)


def test_choices_are_those_of_the_rooms_that_own_them():
    """They stand twice because the rooms import TensorFlow."""
    from faceworkbook.descriptors import engines
    from faceworkbook.models import multitask, ordinal
    from faceworkbook.training import balancing, batches, pictures, pseudo_labels, schedules

    owned = {
        "heads": multitask.HEADS,
        "pool": multitask.POOLS,
        "balance": balancing.BALANCES,
        "mixing": batches.MIXINGS,
        "turn": batches.TURNS,
        "selection": pseudo_labels.SELECTIONS,
        "precision": engines.PRECISIONS,
        "dtype_policy": multitask.DTYPE_POLICIES,
        "memory": pictures.MEMORIES,
        "schedule": schedules.SCHEDULES,
        "ordinal_loss": ordinal.LOSSES,
    }
    for name, choices in owned.items():
        assert [values.RULES[name](choice) for choice in choices] == [""] * len(choices)
        assert f"allowed are {', '.join(choices)}" in values.RULES[name]("?")


def test_pictures_are_changed_as_far_as_training_allows_and_no_further():
    """rotate=90 passed here and ended the run when training began."""
    from faceworkbook.training import augment

    for name, limit in augment.LIMITS.items():
        rule = values.RULES["flip" if name == "mirror" else name]
        assert rule(limit) == "" and rule(limit + 0.01) != ""


def test_a_later_step_knows_the_table_of_ones_own_that_01_faces_read(tmp_path):
    """`workbook run` with a csv whose table has another name ended in 02: its label was looked for in faces.csv."""
    root, out = tmp_path / "own", tmp_path / "out"
    root.mkdir()
    (root / "faces.csv").write_text("image,race\na.jpg,Asian\n")
    (root / "numbers.csv").write_text("image,years\na.jpg,4\n")
    (out / "01_faces").mkdir(parents=True)
    given = {"dataset": "csv", "root": str(root), "label": "years"}
    (out / "01_faces" / "params.json").write_text(json.dumps({**given, "options": ["table: numbers.csv"]}))
    declared = parameters.read(REPO / "notebooks" / "02_descriptors.ipynb")
    defaults = {name: own.default for name, own in declared.items()}
    runs.start(out, "02_descriptors", {**defaults, **given})
    with pytest.raises(ParameterError, match="label='yeers': csv has years"):
        runs.start(out, "02_descriptors", {**defaults, **given, "label": "yeers"})
