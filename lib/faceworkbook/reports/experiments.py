"""An experiment: a YAML file that names notebooks, their parameters and the result to expect."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from faceworkbook import plain_yaml, project
from faceworkbook.reports import parameters as params
from faceworkbook.reports import values
from faceworkbook.reports.parameters import ParameterError
from faceworkbook.reports.rules import NAME, NAMES

KEYS = {"name", "title", "question", "expected", "final", "parameters", "steps", "sweep"}
STEP_KEYS = {"notebook", "name", "parameters"}
PATHS = (
    *("root", "weights", "store", "corrections", "faces", "predictions", "against"),
    *("descriptors", "ids", "start"),
)
# What a parameter is in the notebooks that cut faces out, and in the others.
MEANINGS = {"margin": ("the share added around a face", "the smallest difference that matters")}
# An expected range that names no pictures (`expected: pictures`) is silent where one of these is another than the file's.
OF_DATA = (
    *(
        "root",
        "sets",
        "options",
        "set_options",
        "corrections",
        "set_corrections",
        "limit",
        "scheme",
        "hide",
        "target",
    ),
    *("labels", "tasks", "min_score", "one_face", "min_size", "min_blur"),
)
PREPARING = ("01_faces", "02_descriptors")  # whose seed draws and splits faces; nothing is trained


class ExperimentError(ValueError):
    """An experiment file that cannot be run; the text names the file, the key and what is allowed."""


@dataclass(frozen=True)
class Step:
    """One notebook with all of its parameters; `name` is its folder in the results."""

    name: str
    notebook: Path
    parameters: dict


@dataclass(frozen=True)
class Experiment:
    """A chain of steps.

    `expected` has ``metric``, ``low``, ``high`` and ``note``, or is empty; `given` are the parameters that
    the command line set, `swept` those of one point of the sweep `sweep`, a name or STEP.NAME each. `final` seals the test
    rows, see `faceworkbook.reports.plans`. `file` is the experiment as ``workbook run`` takes it.
    """

    name: str
    title: str
    question: str
    expected: dict
    steps: tuple[Step, ...]
    given: dict = field(default_factory=dict)
    final: bool = False
    swept: dict = field(default_factory=dict)
    sweep: str = ""
    file: str = ""


def read(
    path: str | Path,
    *,
    given: dict | None = None,
    results: str | Path = "results",
    name: str = "",
    swept: dict | None = None,
) -> Experiment:
    """Read an experiment and settle every parameter of every step, before anything runs.

    Parameters
    ----------
    path : str or Path
        The YAML file; a bare name stands for notebooks/experiments/NAME.yaml.
    given : dict, optional
        Parameters from the command line. They overrule the file's, for all steps that take them.
    results : str or Path
        Folder that the experiment's folder is made in.
    name : str
        Name of the experiment's folder; empty: the file's.
    swept : dict, optional
        Values of one point of a sweep, by a parameter's name or by STEP.NAME. They overrule all others.

    Raises
    ------
    ExperimentError, ParameterError
        Unknown keys or notebooks; parameters that no step has, of the wrong type, or with a value that is not
        allowed (`faceworkbook.reports.values`): all of them in one text.
    """
    experiment, problems = _read(path, given or {}, results, name=name, swept=swept or {})
    values.refuse(problems + values.check_steps(experiment.steps), experiment.name)
    return experiment


def outline(path: str | Path) -> Experiment:
    """Return an experiment as its file has it: names and types are checked, values and paths are not; see `read`."""
    experiment, problems = _read(path, {}, "results")
    values.refuse(problems, experiment.name)
    return experiment


def of_notebook(name: str, notebook: str, parameters: dict, *, results: str | Path = "results") -> Experiment:
    """Return the experiment `name` that runs one notebook of notebooks/ with `parameters`; see `read`."""
    _check_name(name, "name")
    folder = project.shorten(project.resolve(results) / name)
    problems: list[str] = []
    step = _step({"notebook": notebook, "parameters": parameters}, {}, (folder, name), Path(name), problems)
    values.refuse(problems + values.check_steps([step]), name)
    return Experiment(name, name, "", {}, (step,), parameters)


def _read(
    path: str | Path,
    given: dict,
    results: str | Path,
    *,
    name: str = "",
    swept: Mapping = MappingProxyType({}),
) -> tuple[Experiment, list[str]]:
    """Return an experiment, and what is wrong with the names and types of its parameters."""
    path = find(path)
    content = load(path)
    own_name = str(content.get("name", path.stem))
    _check_name(own_name, f"{path}: name")
    _check_name(name or own_name, "--name")
    shared = {**(content.get("parameters") or {}), **given}
    place = (project.shorten(project.resolve(results) / (name or own_name)), name or own_name)
    problems: list[str] = []
    steps = tuple(_step(step, shared, place, path, problems) for step in content["steps"])
    steps = _sweep_steps(steps, swept, problems)
    taken = set().union(*(set(params.read(step.notebook)) for step in steps))
    problems += params.unknown_names(shared, taken - set(params.OF_PLACE))
    problems += _ambiguous(shared, steps, content["steps"])
    twice = sorted({step.name for step in steps if sum(other.name == step.name for other in steps) > 1})
    if twice:
        raise ExperimentError(f"{path}: several steps are called {twice}; give each a 'name' of its own")
    nameless = sorted({step.notebook.stem for step in steps} - {step.name for step in steps})
    if nameless:
        raise ExperimentError(
            f"{path}: no step of {nameless} has its notebook's name, by which other steps read it; leave one 'name' out"
        )
    title, *described = _describe(content, own_name, {**given, **swept})
    values_here = ", ".join(f"{key} {params.format_value(value)}" for key, value in swept.items())
    experiment = Experiment(
        name or own_name,
        f"{title} ({values_here})" if swept else title,
        *described,
        steps,
        dict(given),
        content.get("final", False),
        dict(swept),
        file=own_name if path.parent == project.resolve("notebooks/experiments") else project.shorten(path),
    )
    return experiment, list(dict.fromkeys(problems))


def _sweep_steps(steps: tuple[Step, ...], swept: Mapping, problems: list[str]) -> tuple[Step, ...]:
    """Return the steps with the values of one point; names and types that are wrong are added to `problems`.

    A swept `seed` is that of what is trained: where later steps take one, the faces' draw and split, and so the
    test rows, stay those of the experiment.
    """
    settled = {step.name: dict(step.parameters) for step in steps}
    for key, value in swept.items():
        own, _, name = key.rpartition(".")
        concerned = [step for step in steps if own in ("", step.name) and name in step.parameters]
        later = [step for step in concerned if step.notebook.stem not in PREPARING]
        if name == "seed" and not own and later:
            concerned = later
        if not concerned:
            allowed = {name for step in steps if own in ("", step.name) for name in step.parameters}
            if own and not allowed:
                problems.append(f"sweep: no step '{own}'; there are {', '.join(settled)}")
            problems += (
                [f"sweep: {text}" for text in params.unknown_names([name], allowed)] if allowed else []
            )
        for step in concerned:
            try:
                settled[step.name][name] = params.read(step.notebook)[name].check(value)
            except ParameterError as error:
                problems.append(str(error))
    return tuple(replace(step, parameters=settled[step.name]) for step in steps)


def _ambiguous(shared: dict, steps: tuple[Step, ...], raw: list) -> list[str]:
    """Return a sentence for each shared parameter that means one thing in one step and another in the next."""
    sentences = []
    for name in shared.keys() & MEANINGS.keys():
        meanings: dict[str, list[str]] = {}
        for step, own in zip(steps, raw, strict=True):
            allowed = params.read(step.notebook)
            is_own = isinstance(own, dict) and name in (own.get("parameters") or {})
            if name in allowed and not is_own and shared[name] != allowed[name].default:
                cuts, judges = MEANINGS[name]
                meanings.setdefault(cuts if values.cuts_faces(allowed) else judges, []).append(step.name)
        if len(meanings) > 1:
            listed = " and ".join(f"{meaning} in {', '.join(names)}" for meaning, names in meanings.items())
            first = next(iter(meanings.values()))[0]
            sentences.append(
                f"{name}={shared[name]} would be {listed}: set it under the step in the experiment's YAML file, such as "
                f"{{notebook: {first}, parameters: {{{name}: {shared[name]}}}}}"
            )
    return sentences


def _check_name(name: str, where: str) -> None:
    if not NAME.fullmatch(name):
        raise ExperimentError(f"{where} {shorten_value(name)}; allowed are {NAMES}")


def _describe(content: dict, name: str, given: dict) -> tuple[str, str, dict]:
    """Title, question and expected range; of other faces or labels than its own the file says nothing."""
    own = content.get("parameters") or {}
    others = [
        f"{key} {given[key]}" for key in ("dataset", "label") if key in given and given[key] != own.get(key)
    ]
    if others:
        return f"{name}: {', '.join(others)}", "", {}
    expected = content.get("expected") or {}
    if "pictures" not in expected and any(key in given and given[key] != own.get(key) for key in OF_DATA):
        expected = {}
    return content.get("title", name), content.get("question", ""), expected


def find(path: str | Path) -> Path:
    """The file at `path`, or notebooks/experiments/PATH.yaml for a bare name."""
    path = Path(path)
    folder = project.resolve("notebooks/experiments")
    for candidate in (path, project.resolve(path), folder / f"{path}.yaml"):
        if candidate.is_file():
            return candidate
    names = [p.stem for p in sorted(folder.glob("*.yaml"))]
    near = difflib.get_close_matches(path.stem, names, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ExperimentError(f"no experiment at {path}; {hint}shipped are {', '.join(names)}")


def load(path: Path) -> dict:
    """Return the content of an experiment's file, with keys and kinds of values that are allowed."""
    try:
        content = plain_yaml.load(path.read_text())
    except (plain_yaml.YamlError, UnicodeDecodeError) as error:
        raise ExperimentError(
            f"{path} is no YAML file that can be read: {shorten_value(error, 300)}"
        ) from error
    if not isinstance(content, dict) or not content.get("steps"):
        raise ExperimentError(f"{path}: expected keys {sorted(KEYS)} with at least one step")
    _refuse(content, KEYS, str(path))
    for key, kind, shape in (
        ("steps", list, "a list of notebooks, such as [01_faces, 02_descriptors]"),
        ("parameters", dict, "NAME: VALUE pairs"),
        ("expected", dict, "NAME: VALUE pairs: metric, low, high, note"),
        ("final", bool, "true or false"),
        ("sweep", dict, "grid, zip, list, seeds or metric"),
    ):
        if content.get(key) is not None and not isinstance(content[key], kind):
            raise ExperimentError(f"{path}: '{key}' got {shorten_value(content[key])}; it takes {shape}")
    return content


def shorten_value(value, length: int = 80) -> str:
    """Return a value as a message shows it, cut where it is long."""
    text = value if isinstance(value, Exception) else repr(value)
    text = str(text)
    return text if len(text) <= length else f"{text[:length]} ..."


def _refuse(mapping: dict, allowed: set[str], where: str) -> None:
    unknown = sorted(set(map(str, mapping)) - allowed)
    if unknown:
        raise ExperimentError(
            f"{where}: unknown keys {shorten_value(unknown)}; allowed are {sorted(allowed)}"
        )


def _step(raw: dict | str, shared: dict, place: tuple[str, str], path: Path, problems: list[str]) -> Step:
    """Return a step with all its parameters; names and types that are wrong are added to `problems`."""
    raw = {"notebook": raw} if isinstance(raw, str) else raw
    if not isinstance(raw, dict) or "notebook" not in raw:
        raise ExperimentError(
            f"{path}, a step: got {shorten_value(raw)}; it takes a notebook's name, or keys {sorted(STEP_KEYS)} with notebook"
        )
    _refuse(raw, STEP_KEYS, f"{path}, a step")
    called = str(raw["notebook"]).removesuffix(".ipynb")
    _check_name(called, f"{path}, a step: notebook")
    notebook = project.resolve(f"notebooks/{called}.ipynb")
    _check_name(str(raw.get("name", called)), f"{path}, step {called}: name")
    allowed = params.read(notebook)
    own = raw.get("parameters") or {}
    if not isinstance(own, dict):
        raise ExperimentError(
            f"{path}, step {notebook.stem}: 'parameters' got {shorten_value(own)}; it takes NAME: VALUE pairs"
        )
    problems += [
        f"step {notebook.stem}: {problem}"
        for problem in params.unknown_names(own, set(allowed) - set(params.OF_PLACE))
    ]
    name, (out, experiment) = str(raw.get("name", called)), place
    if name != called and "step" not in allowed:
        raise ExperimentError(
            f"{path}, step {name}: {called} has no parameter 'step', so that it would write into the folder {called}; "
            'add step = "" to its cell of parameters, or leave the name out'
        )
    wanted = {**shared, **own, "out": out, "experiment": experiment, "step": name_step(name, notebook)}
    settled = {key: parameter.default for key, parameter in allowed.items()}
    for key in settled.keys() & wanted.keys():
        try:
            settled[key] = allowed[key].check(wanted[key])
        except ParameterError as error:
            # The same name has another comment in another notebook.
            again = any(problem.startswith(f"parameter '{key}' ") for problem in problems)
            problems += [] if again else [str(error)]
    return Step(name, notebook, settled)


def name_step(name: str, notebook: Path) -> str:
    """Return the parameter `step` of a step called `name`: empty where it is called as its notebook is."""
    return "" if name == notebook.stem else name


def localize(given: dict) -> dict:
    """Read path parameters of a command line relative to the working directory, as a shell user expects.

    A path that is not there is left as it is: it may be relative to the project's root.
    """
    here = {
        name: project.shorten(Path(value).expanduser())
        for name, value in given.items()
        if name in PATHS and isinstance(value, str) and value and Path(value).expanduser().exists()
    }
    return {**given, **here}


__all__ = ["Experiment", "ExperimentError", "ParameterError", "Step", "find", "localize", "outline", "read"]
