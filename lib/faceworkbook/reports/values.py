"""Which values the notebooks' parameters may take: one table of rules, and what must fit together.

A name means the same in every notebook, so that one rule serves all. Nothing here imports TensorFlow: what is wrong
is known before the first kernel starts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from faceworkbook import project
from faceworkbook.landmarks import NO_FACE
from faceworkbook.mesh_detector import SOURCES as LANDMARKS
from faceworkbook.preprocessing import ALIGNMENTS
from faceworkbook.reports import describing_rules, searching, training_rules
from faceworkbook.reports import parameters as params
from faceworkbook.reports.parameters import ParameterError
from faceworkbook.reports.rules import (
    COUNT,
    COUNT_OR_ALL,
    SHARE,
    Rule,
    anything,
    each,
    file,
    folder,
    name_of_folder,
    named,
    number,
    one_of,
    one_or_each,
    suggest,
    texts,
    writable_folder,
)

LARGEST_SEED = 2**32 - 1
SETTLED = ("dataset", "root", "options")  # an earlier step's, which a later one's label must fit
_REGISTERED = re.compile(r"""\bregister\(\s*["']([^"']+)["']""")


# --------------------------------------------------------------------------- names that are known somewhere


def _datasets() -> list[str]:
    from faceworkbook import datasets

    return [*datasets.list()["name"]]


def _backbones() -> list[str]:
    from faceworkbook import backbones

    # Files that lack their side-car are known too: `backbones.load` says what is missing.
    return ["auto", *dict.fromkeys([*backbones.list(), *backbones.describe_own()])]


def _engines() -> Sequence[str]:
    from faceworkbook.descriptors import engines

    return engines.ENGINES


def _schemes() -> Sequence[str]:
    from faceworkbook import splits

    return splits.SCHEMES


def _classifiers() -> list[str]:
    from faceworkbook.training import registry

    return registry.names()


def _searched() -> list[str]:
    from faceworkbook.training import registry

    return [*registry.names(), *registry.NETWORKS]


def _corruptions() -> list[str]:
    from faceworkbook.experiments import corruptions

    return [*corruptions.CORRUPTIONS]


def _metric(value) -> str:
    from faceworkbook.evaluation import metric_definitions

    names = metric_definitions.names()
    return "" if metric_definitions.find(value) else one_of(names)(value)


def _corruption_level(value) -> str:
    text = str(value)
    kind, _, level = text.rpartition(" ")
    try:
        named = text in ("as they are", *ALIGNMENTS)
        fits = named or (kind in (*ALIGNMENTS, *_corruptions()) and float(level) == float(level))
    except ValueError:
        fits = False
    return (
        ""
        if fits
        else f"expected 'as they are', {', '.join(ALIGNMENTS)} (with a margin where one likes), or a corruption with its "
        f"level: {', '.join(_corruptions())}"
    )


OPTION = texts(r"(?s)\w+:.*", "'NAME: VALUE'")
NAMES = each(texts(r"\w+", "the name of a column"))

# What a parameter of that name may be, in whichever notebook it stands.
RULES: dict[str, Rule] = {
    # data
    "dataset": one_of(_datasets, blank=True),
    "root": folder,
    "options": each(OPTION),
    "corrections": file,
    "label": texts(r"(\w+(\+\w+)*)?", "the name of a label, or several joined by +"),
    "labels": each(texts(r"\w+", "the name of a label"), least=1),
    "more_labels": each(texts(r"\w+(\+\w+)*", "the name of a label, or several joined by +")),
    "tasks": each(texts(r"\w+", "the name of a label"), least=1),
    "sets": each(named(folder, "FOLDER"), least=1),
    "also_train": each(named(folder, "FOLDER")),
    "set_options": each(
        texts(r"(?s)\w+: *\w+:.*", "'NAME: OPTION: VALUE', such as 'expw: min_confidence: 30'")
    ),
    "set_corrections": each(named(file, "FILE")),
    "hide": each(texts(r"\w+: *(0?\.\d+|0|1|1\.0*)", "'LABEL: SHARE', such as 'gender: 0.9'")),
    "limit": COUNT_OR_ALL,
    "clean_limit": COUNT_OR_ALL,
    "faces_tried": COUNT,
    "faces_used": COUNT,
    # split
    "scheme": one_of(_schemes),
    "against_scheme": one_of(_schemes, blank=True),
    "test": SHARE,
    "validation": SHARE,
    "n_repeats": COUNT,
    "n_folds": number(2, unset=0),
    "seed": number(0, LARGEST_SEED),
    "seeds": each(number(0, LARGEST_SEED), least=1),
    "split_seeds": number(2),
    "training_seeds": COUNT,
    # copies and cleaning
    "max_bits": number(0, 64),
    **dict.fromkeys(("min_cosine", "min_score", "align_min_score"), SHARE),
    **dict.fromkeys(("max_faces", "min_height", "min_size", "min_blur"), COUNT_OR_ALL),
    # network
    "backbone": one_or_each(one_of(_backbones)),
    "weights": one_or_each(file),
    **dict.fromkeys(("tap", "taps", "mirror", "ids", "column", "predicted_pose", "start"), anything),
    "features": one_of(("auto",), blank=True),
    "align": one_of(ALIGNMENTS, blank=True),
    "resolution": COUNT_OR_ALL,
    "no_face": one_of(NO_FACE),
    "descriptors": file,
    "engine": one_of(_engines),
    "precision": one_of(("float32", "tf32", "float16", "bfloat16", "int8")),
    "store": writable_folder,
    "landmarks": one_of(LANDMARKS),
    "target": texts(r"\w*", "the NAME of one of the sets"),
    "source": one_of(("network", "landmarks", "both", "mesh")),
    # small nets
    "classifier": one_of(_classifiers),
    "together": NAMES,
    "fixed": each(OPTION),
    "cluster": one_of(("ray",), blank=True),
    "searched_on": searching.RULE,
    "classifiers": each(one_of(lambda: ["own", *_classifiers()]), least=1),
    "frozen_heads": each(one_of(_classifiers)),
    "classifier_options": each(OPTION),
    **dict.fromkeys(("widths", "hidden"), each(COUNT)),
    **dict.fromkeys(("dropout", "input_dropout"), number(0, 0.99)),
    **dict.fromkeys(("epochs", "members", "batch_size", "n_trials", "brackets"), COUNT),
    **dict.fromkeys(("halve_after", "outer_folds", "at_once"), COUNT_OR_ALL),
    "halve_by": number(2),
    "choose_by": one_of(("metric", "loss")),
    "patience": COUNT_OR_ALL,
    **dict.fromkeys(("learning_rate", "fine_tune_rate"), number(above=0)),
    "weight_decay": number(0),
    "balance": one_of(("none", "class_weights", "group_weights", "oversample")),
    "balance_by": texts(r"(\w+(\+\w+)*)?", "the name of a column, or several joined by +"),
    **training_rules.RULES,
    # judging
    "metric": _metric,
    "margin": number(0, unset=-1),
    "simulations": COUNT,
    "by": NAMES,
    "attributes": NAMES,
    "one_label": texts(r"\w*", "one of the labels joined by +, or nothing"),
    "attribute": texts(r"\w*", "the name of a column, or nothing"),
    "protect": texts(r"\w*", "the name of a column, or nothing"),
    "age_edges": each(number(0, 130), least=1),
    "smallest": COUNT,
    "shown": COUNT,
    "montage": COUNT,
    "faces_in_report": one_of(("all", "errors", "none")),
    "coverage": number(above=0, high=0.9999),
    "samples": COUNT_OR_ALL,
    "shares": each(number(above=0, high=1), least=1),
    "draws": COUNT,
    "corruptions": each(one_of(_corruptions)),
    "pictures": each(_corruption_level, least=1),
    # files of other runs and programs: the step that reads them says what is wrong with one
    "photos": anything,
    "model": anything,
    "which_faces": one_of(("largest", "all", "whole")),
    "runs": anything,
    "independent": each(texts(r"[^:]+: *\S.*", "'MODEL: FOLDER'")),
    "others": anything,
    "never_published": anything,
    "pilot": anything,
    "predicted": anything,
    "predictions": anything,
    "against": anything,
    "faces": file,
    "columns": each(texts(r"(?s)[^=]+=.+", "NAME=COLUMN")),
    "against_columns": each(texts(r"(?s)[^=]+=.+", "NAME=COLUMN")),
    "values": each(texts(r"(?s)[^=]+=.*", "WORD=CLASS")),
    # planning
    "goal": one_of(("difference", "gap", "width")),
    "size": number(above=0),
    "accuracy": SHARE,
    "discordant": SHARE,
    "group_share": number(above=0, high=1),
    "correlation": SHARE,
    "faces_a_person": number(1),
    "power": number(above=0, high=0.9999),
    "variation": number(0),
    "noise": number(0),
    # made-up faces
    "n_identities": COUNT,
    "shots": COUNT,
    "workers": COUNT,
    # true or false, and names that the runner sets
    **dict.fromkeys(
        ("smoke", "one_face", "batch_norm", "both_sides", "xla", "reproducible", "resume"), anything
    ),
    **dict.fromkeys(("out", "experiment"), anything),
    "step": name_of_folder,
}

# In a notebook that searches.
SEARCH_RULES: dict[str, Rule] = {"classifier": one_of(_searched)}

# In a notebook that cuts faces out.
CUT_RULES: dict[str, Rule] = {"margin": number(above=-0.5, high=5, unset=-1)}


# --------------------------------------------------------------------------- one notebook


def check(
    given: Mapping[str, object],
    allowed: Mapping[str, params.Parameter],
    *,
    settled: Mapping[str, object] | None = None,
    registered: Iterable[str] = (),
) -> list[str]:
    """Return what is wrong with the parameters of a notebook, one sentence each.

    Parameters
    ----------
    given : mapping
        All parameters of the notebook, of the right types. The notebook's own defaults are always allowed.
    allowed : mapping of str to Parameter
        The notebook's parameters; one that is not in `RULES` may be anything.
    settled : mapping, optional
        Parameters of the earlier steps of the experiment, which those left blank stand for.
    registered : iterable of str
        Names that a cell or a start-up file registers, beside those that this process knows.
    """
    registered, complaints = set(registered), []
    for name, value in given.items():
        if value == allowed[name].default or (isinstance(value, str) and value in registered):
            continue
        if complaint := rule_of(name, allowed)(_without(value, registered)):
            complaints.append(f"{name}={_shorten(value)}: {complaint}")
    if complaints:
        return complaints
    everything = {**(settled or {}), **{name: value for name, value in given.items() if value != ""}}
    together = (
        _check_shares, _check_options, _check_set_options, _check_label, _check_network,
        describing_rules.check_features, describing_rules.check_device,
    )  # fmt: skip
    return [complaint for rule in together if (complaint := rule(given, everything, registered))]


def cuts_faces(allowed: Mapping) -> bool:
    """Whether the notebook with the parameters `allowed` cuts faces out; its `margin` is around a face then."""
    return "align" in allowed


def rule_of(name: str, allowed: Mapping) -> Rule:
    """Return the rule for the parameter `name` of the notebook with the parameters `allowed`."""
    of_kind = (CUT_RULES if cuts_faces(allowed) else {}) | (SEARCH_RULES if "n_trials" in allowed else {})
    return (RULES | of_kind).get(name, anything)


def _without(value, registered: set[str]):
    return [entry for entry in value if entry not in registered] if isinstance(value, list) else value


def _shorten(value) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]} ..."


def _check_shares(given: Mapping, everything: Mapping, registered: set[str]) -> str:
    if {"test", "validation"} <= set(given) and given["test"] + given["validation"] >= 1:
        return f"test={given['test']} and validation={given['validation']}: no face is left to train on; both together are below 1"
    return ""


def _check_options(given: Mapping, everything: Mapping, registered: set[str]) -> str:
    from faceworkbook import datasets

    if "options" not in given or everything.get("dataset", "") in registered:
        return ""
    try:
        datasets.check_options(everything.get("dataset", ""), params.parse_options(given["options"]))
    except ValueError as error:
        return f"options={_shorten(given['options'])}: {error}"
    return ""


def _check_set_options(given: Mapping, everything: Mapping, registered: set[str]) -> str:
    from faceworkbook import datasets

    sets = {re.split(r"\s*[:=]", text)[0]: {} for text in given.get("sets", [])}
    for name, settings in (sets | params.parse_set_options(given.get("set_options", []))).items():
        try:
            if name not in registered:
                datasets.check_options(name, settings)
        except ValueError as error:
            return f"set_options={_shorten(given['set_options'])}: {error}" if settings else f"sets: {error}"
    return ""


def _check_label(given: Mapping, everything: Mapping, registered: set[str]) -> str:
    import pandas as pd

    from faceworkbook import datasets, tasks

    label, dataset = given.get("label", ""), everything.get("dataset", "")
    if not label or not dataset or dataset in registered:
        return ""
    try:
        names = datasets.label_names(
            dataset,
            project.resolve(everything.get("root", "")),
            params.parse_options(everything.get("options", [])),
        )
    except ValueError as error:
        return f"dataset={dataset!r}, root={everything.get('root')!r}: {error}"
    if names is None:
        return ""
    nothing = pd.DataFrame(columns=["age_group"])
    for name in label.split(tasks.PLUS):
        columns = {name, *tasks.source_columns(nothing, name)}  # pose is read from yaw
        if not columns & {*names, *registered}:
            shown = names if dataset == "csv" else datasets.describe(dataset).labels
            return f"label={label!r}: {dataset} has {', '.join(shown)}{suggest(name.removeprefix('extra_'), names)}"
    return ""


def _check_network(given: Mapping, everything: Mapping, registered: set[str]) -> str:
    from faceworkbook.backbones import several

    names, tap, weights = (given.get(name) or [] for name in ("backbone", "tap", "weights"))
    names = [names] if isinstance(names, str) else names
    uses_network = (
        names and given.get("source", "network") not in ("landmarks", "mesh") and not given.get("descriptors")
    )
    if not uses_network or registered & {*names} or (names == [several.AUTO] and not weights and not tap):
        return ""
    try:
        for net in several.open_networks(names, tap=tap, weights=weights):
            net.check_use(str(everything.get("dataset", "")))
    except ValueError as error:
        return f"backbone={given['backbone']!r}" + (f", tap={tap!r}" if tap else "") + f": {error}"
    return ""


def check_current(step: str, parameters: Mapping[str, object], settled: Mapping[str, object]) -> list[str]:
    """Return what is wrong with the parameters of the running notebook `step`; a notebook of one's own may have any."""
    notebook = project.root() / "notebooks" / f"{step}.ipynb"
    return check(parameters, params.read(notebook), settled=settled) if notebook.exists() else []


# --------------------------------------------------------------------------- all steps of an experiment


def check_steps(steps: Sequence) -> list[str]:
    """Return what is wrong with the parameters of the steps of an experiment, one sentence each, named once.

    Parameters
    ----------
    steps : sequence of Step
        See `faceworkbook.reports.experiments`.
    """
    registered = registered_names(step.notebook for step in steps)
    settled: dict[str, object] = {}
    where: dict[str, list[str]] = {}
    for step in steps:
        allowed = params.read(step.notebook)
        problems = check(step.parameters, allowed, settled=settled, registered=registered)
        for problem in problems:
            where.setdefault(problem, []).append(step.name)
        if not problems:
            settled |= {name: step.parameters[name] for name in SETTLED if step.parameters.get(name)}
    return [f"{problem} ({', '.join(names)})" for problem, names in where.items()]


# --------------------------------------------------------------------------- what is registered elsewhere


def registered_names(notebooks: Iterable[Path]) -> set[str]:
    """Return the names that cells of `notebooks`, or IPython's start-up files, hand to a function ``register``."""
    home = Path(os.environ.get("IPYTHONDIR") or Path.home() / ".ipython")
    sources = [path.read_text(errors="replace") for path in home.glob("profile_default/startup/*.[ip]*")]
    sources += [source for path in notebooks for kind, source, _ in params.read_cells(path) if kind == "code"]
    return {name for source in sources for name in _REGISTERED.findall(source)}


def refuse(problems: Sequence[str], where: str) -> None:
    """Raise one `ParameterError` that lists all `problems`, if there are any."""
    if len(problems) == 1:
        raise ParameterError(f"{where}: {problems[0]}")
    if problems:
        listed = "\n".join(f"- {problem}" for problem in problems)
        raise ParameterError(f"{where}: {len(problems)} values are wrong, nothing was run\n{listed}")
