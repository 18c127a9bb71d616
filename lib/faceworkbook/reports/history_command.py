"""``workbook show``, ``diff``, ``note``, ``params`` and ``list runs``: what is there, asked from a shell."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from faceworkbook import files, project
from faceworkbook.reports import finished, index, parameters, run_records
from faceworkbook.reports.parameters import format_value


class HistoryError(ValueError):
    """A run that is not there; the text names those that are near."""


def add(commands) -> None:
    """Add the commands to the sub-parsers of ``workbook``."""
    show = commands.add_parser("show", help="show a run: its answer, steps, parameters, figures and notes")
    show.add_argument("run", help="its name, or its folder")
    show.set_defaults(command=_show)
    diff = commands.add_parser(
        "diff",
        help="show in what two runs differ: parameters, code, figures, and the test on the same test rows",
    )
    diff.add_argument("first", help="its name, or its folder")
    diff.add_argument("second")
    diff.set_defaults(command=_diff)
    note = commands.add_parser(
        "note",
        help="keep a remark with a run, with #tags if you like; show, list and the history's page have it",
    )
    note.add_argument("run", help="its name, or its folder")
    note.add_argument("text")
    note.set_defaults(command=_note)
    params = commands.add_parser("params", help="list a notebook's parameters: type, default, meaning")
    params.add_argument("notebook", help="its name, such as 03_classifier, or its path")
    params.set_defaults(command=_params)
    export = commands.add_parser(
        "export-runs",
        help="write the runs' figures, parameters and curves for a spreadsheet, MLflow or TensorBoard",
    )
    export.add_argument("runs", nargs="*", metavar="RUN", help="names (default: all runs)")
    export.add_argument(
        "--to", choices=("csv", "mlflow", "tensorboard"), required=True, help="what shall read them"
    )
    export.add_argument(
        "--out", default="", help="file or folder to write (default: runs.csv, mlruns, runs_tensorboard)"
    )
    export.set_defaults(command=_export_runs)
    schema = commands.add_parser(
        "schema", help="write the JSON schema of experiment files, by which editors check them"
    )
    schema.add_argument(
        "output", nargs="?", default="", help="file to write (default: where the experiments look for it)"
    )
    schema.set_defaults(command=_schema)
    for each in (show, diff, note, export):
        each.add_argument("--results", default="results", help="folder of the results (default: results)")


def find(run: str, results: str | Path) -> Path:
    """Return the folder of a run that is given by name or by path.

    Raises
    ------
    HistoryError
    """
    root = project.resolve(results)
    for folder in (Path(run), project.resolve(run), root / run):
        if folder.is_dir() and _step_folders(folder):
            return folder.resolve()
    names = [folder.name for folder in run_folders(root)]
    near = [name for name in names if run.lower() in name.lower()] or names
    there = f"there are {', '.join(near[:8])}{' ...' if len(near) > 8 else ''}" if near else "there are none"
    raise HistoryError(f"no run {run!r} in {project.shorten(root)}; {there}")


def run_folders(results: Path) -> list[Path]:
    """Return the folders of all runs."""
    folders = sorted(results.iterdir()) if results.is_dir() else []
    return [folder for folder in folders if folder.is_dir() and _step_folders(folder)]


def print_runs(results: str | Path) -> None:
    """Print one line a run: name, when it began, how many steps are finished, its answer."""
    for folder in run_folders(project.resolve(results)):
        steps = _step_folders(folder)
        done = sum((step / finished.DONE).is_file() for step in steps)
        started = max((_started(step) for step in steps), default="")
        notes = "".join(f" [{note['text']}]" for note in _read_notes(folder))
        print(f"{folder.name:32} {started:16} {done}/{len(steps)}  {index.answer_of(folder)}{notes}".rstrip())


def _step_folders(folder: Path) -> list[Path]:
    return sorted(
        {path.parent for name in ("params", "environment") for path in folder.glob(f"*/{name}.json")}
    )


def _started(step: Path) -> str:
    return str(files.read_record(step / "environment.json").get("started", ""))[:16].replace("T", " ")


def _read_notes(folder: Path) -> list[dict]:
    notes = files.read_record(folder / run_records.NOTES).get("notes", [])
    return [note for note in notes if isinstance(note, dict) and "text" in note and "when" in note]


def _figures(folder: Path) -> dict[str, str]:
    """Return the figures of a run's steps as text, by step, model and metric."""
    out = {}
    for step in _step_folders(folder):
        for figure in files.read_record(step / "metrics.json").get("figures") or []:
            if not isinstance(figure, dict) or not isinstance(figure.get("value"), int | float):
                continue
            model = figure.get("model", figure.get("run", figure.get("strategy", "")))
            low, high, n = (figure.get(key) for key in ("low", "high", "n"))
            text = f"{figure['value']:.3f}"
            if isinstance(low, int | float) and isinstance(high, int | float):
                text += f" [{low:.3f}, {high:.3f}]"
            text += f", n {n:,}" if isinstance(n, int) else ""
            out[" ".join(filter(None, (step.name, str(model), str(figure.get("metric", "")))))] = text
    return out


def _show(options: argparse.Namespace) -> int:
    folder = find(options.run, options.results)
    experiment = files.read_record(folder / "experiment.json")
    print(f"{folder.name}: {experiment.get('title', 'notebooks run by hand')}")
    print(f"answer: {index.answer_of(folder) or 'none of its notebooks gives one'}")
    for name in ("swept", "given"):
        values = experiment.get(name) or {}
        if values:
            print(f"{name}: {', '.join(f'{key}={format_value(value)}' for key, value in values.items())}")
    for step in _step_folders(folder):
        record = files.read_record(step / finished.DONE)
        state = f"finished in {record.get('seconds', 0):.0f} s" if record else "not finished"
        state += f", copied from {record['copied_from']}" if "copied_from" in record else ""
        state += ", run again since by hand" if finished.was_run_again(step) else ""
        state = "failed" if (step / "failed.html").exists() else state
        print(f"  {step.name:24} {_started(step):16} {state}")
    for name, text in _figures(folder).items():
        print(f"  {name}: {text}")
    for note in _read_notes(folder):
        print(f"note, {note['when'][:16].replace('T', ' ')}: {note['text']}")
    report = folder / "report.html"
    print(f"report: {report.as_uri()}" if report.exists() else "report: none yet")
    return 0


def _diff(options: argparse.Namespace) -> int:
    folders = [find(run, options.results) for run in (options.first, options.second)]
    steps = [{step.name: step for step in _step_folders(folder)} for folder in folders]
    for name, own, other in ((0, steps[0], steps[1]), (1, steps[1], steps[0])):
        for step in own.keys() - other.keys():
            print(f"{step}: only in {folders[name].name}")
    lines = []
    for step in sorted(steps[0].keys() & steps[1].keys()):
        params = [files.read_record(own[step] / "params.json") for own in steps]
        for key in sorted(params[0].keys() | params[1].keys()):
            values = [format_value(own[key]) if key in own else "(none)" for own in params]
            if values[0] != values[1] and key not in parameters.OF_PLACE:
                lines.append(f"{step}: {key} {values[0]} | {values[1]}")
        commits = [str(files.read_record(own[step] / "environment.json").get("commit", "")) for own in steps]
        if commits[0] != commits[1]:
            lines.append(f"{step}: code {commits[0] or 'unknown'} | {commits[1] or 'unknown'}")
    print("\n".join(lines) if lines else "the same parameters and code in the steps that both have")
    figures = [_figures(folder) for folder in folders]
    for key in [*figures[0], *(figures[1].keys() - figures[0].keys())]:
        first, second = (own.get(key, "–") for own in figures)
        if first != second:
            print(f"{key}: {first} | {second}")
    print(_compare(folders))
    return 0


def _compare(folders: list[Path]) -> str:
    """Return what the test says of two runs' classifiers on the same test rows; it is kept for the history's page."""
    paths = [folder / "03_classifier" / "predictions.parquet" for folder in folders]
    names = [folder.name for folder in folders]
    if folders[0] == folders[1] or not all(path.is_file() for path in paths):
        return "no test: it takes predictions of 03_classifier in two runs; others compares 07_compare, -p runs=[FOLDER, FOLDER]"
    from faceworkbook.evaluation import comparison, predictions
    from faceworkbook.reports import corrected_runs

    of = [corrected_runs.corrections_of(folder).get("hash", "") for folder in folders]
    if of[0] != of[1]:
        return _compare_corrected(folders, of)
    tables = [predictions.read(path) for path in paths]
    metric = predictions.task_of(tables[0]).headline
    try:
        text = str(comparison.compare(dict(zip(names, tables, strict=True)), metric=metric))
    except comparison.ComparisonError as error:
        return f"no test: {error}"
    _keep_comparison(folders, text)
    return text


def _compare_corrected(folders: list[Path], of: list[str]) -> str:
    """Return what corrected labels changed; the run without corrections is that of before, else the first."""
    from faceworkbook.reports import corrected_runs

    before, after = folders if of[1] else reversed(folders)
    try:
        text = " ".join(corrected_runs.Former(before.name, corrected_runs.measure(before, after)).describe())
    except corrected_runs.UNREADABLE as error:
        return f"no test: {error}"
    if not corrected_runs.differ_in_corrections_alone(before, after):
        text += " The runs differ in more than the corrections: what changed is not theirs alone."
    _keep_comparison(folders, text)
    return text


def _keep_comparison(folders: list[Path], text: str) -> None:
    results = folders[0].parent
    if folders[1].parent == results:
        kept = run_records.read_record(results / run_records.COMPARISONS) or {}
        of = [run_records.trained_at(folder) for folder in folders]
        kept[" | ".join(folder.name for folder in folders)] = {"text": text, "of": of}
        files.write_json(results / run_records.COMPARISONS, kept)
        index.write(results)


def _note(options: argparse.Namespace) -> int:
    folder = find(options.run, options.results)
    if not options.text.strip():
        raise HistoryError("the note is empty; write it behind the run's name, in quotes")
    notes = _read_notes(folder)
    notes.append({"when": datetime.now(UTC).isoformat(timespec="seconds"), "text": options.text.strip()})
    files.write_json(folder / run_records.NOTES, {"notes": notes})
    index.write(folder.parent)
    print(f"{folder.name}: {len(notes)} {'note' if len(notes) == 1 else 'notes'}")
    return 0


def _params(options: argparse.Namespace) -> int:
    given = Path(options.notebook)
    own = project.resolve(f"notebooks/{options.notebook.removesuffix('.ipynb')}.ipynb")
    for name, parameter in parameters.read(given if given.is_file() else own).items():
        kind = type(parameter.default).__name__
        print(f"{name:20} {kind:6} {format_value(parameter.default):28} {parameter.comment}".rstrip())
    return 0


def _schema(options: argparse.Namespace) -> int:
    from faceworkbook.reports import schema

    print(project.shorten(schema.write(options.output)))
    return 0


def _export_runs(options: argparse.Namespace) -> int:
    from faceworkbook.reports import export_runs

    results = project.resolve(options.results)
    records = export_runs.choose(run_records.read_all(results), options.runs)
    out = Path(options.out or export_runs.USUAL[options.to])
    export_runs.write(records, results, options.to, out)
    print(
        f"{len(records):,} {'run' if len(records) == 1 else 'runs'}: {out}{export_runs.READERS[options.to].format(out=out)}"
    )
    return 0
