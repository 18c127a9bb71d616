"""The sections of a report page, shown from a `ReportData`; all texts are escaped here or in `tables`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from faceworkbook import project
from faceworkbook.evaluation import excluded_copies, groups, metrics
from faceworkbook.reports import answers, described, face_browser, face_rows, identity, report_data, tables
from faceworkbook.reports.corrected_runs import Former
from faceworkbook.reports.pages import escape
from faceworkbook.reports.report_data import ReportData
from faceworkbook.reports.runs import Run

TITLES = {
    (
        "04_errors",
        "errors",
    ): "Errors, the most confident first: true > predicted, probability (for numbers: error), file",
    ("04_errors", "error_matrix"): "Which class is taken for which",
    ("04_errors", "sample"): "Predictions drawn at random",
    ("01_faces", "sample"): "Faces drawn at random",
}
RENDERED = (
    "<strong>These faces are rendered, not photographed.</strong> Their labels are exact because they were chosen. "
    "The figures below show that the workbook works; they say nothing about real people."
)
SMOKE = "<strong>A smoke run:</strong> few faces, few epochs. The figures mean nothing."
_EXPECTED_KEYS = ("low", "high", "note", "pictures")


def show_headline(data: ReportData) -> None:
    """Show the first screen: title, question, the answer in one sentence, better than what, for whom worst, of which run."""
    d, answer = data.descriptors, answers.of_headline(data.task, data.figure(data.task.headline))
    parts = [f"<h1>{escape(data.title)}</h1>"]
    parts += [
        f"<blockquote><p>{text}</p></blockquote>"
        for text, holds in (
            (escape(data.run.describe_plan(data.task.name)), data.experiment.get("final")),
            (RENDERED, data.is_synthetic),
            (SMOKE, data.params["smoke"]),
        )
        if holds
    ]
    if data.experiment["question"]:
        parts.append(f"<p>{escape(data.experiment['question'])}</p>")
    parts += [answers.to_html(answer, of=identity.describe(data.run))]
    items = "".join(f"<li>{escape(text)}</li>" for text in report_data.list_findings(data))
    parts.append(f"<ul>{items}</ul>{_expectation_of_headline(data)}")
    parts.append(
        f"<p>{data.faces['used']:,} faces of {escape(data.faces['title'])}, described by "
        f"<strong>{escape(d['described_by'])}</strong> ({d['dim']:,} numbers a face). "
        f"Test rows: {data.classifier['n_test']:,}, split by {escape(report_data.describe_split(data))}.</p>"
    )
    tables.show_html("".join(parts))


def _expectation_of_headline(data: ReportData) -> str:
    expected = data.experiment["expected"]
    if "low" not in expected or data.params["smoke"] or not report_data.is_of_these_faces(data.run, expected):
        return ""
    return _compare_with_range(data.figure(expected["metric"])["value"], expected, expected["metric"])


def show_expectation(run: Run, figures: pd.DataFrame, *, smoke: bool = False) -> None:
    """Show whether the figure that the experiment names lies in its expected range; nothing where it names none.

    Parameters
    ----------
    figures : pandas.DataFrame
        Columns metric, value and others, such as task and strategy: the row that agrees with the experiment's
        ``expected`` in all that both have is judged.
    """
    expected = report_data.experiment_of(run)["expected"]
    if smoke or "low" not in expected or not report_data.is_of_these_faces(run, expected):
        return
    named = {key: value for key, value in expected.items() if key in figures and key not in _EXPECTED_KEYS}
    rows = figures[np.logical_and.reduce([figures[key] == value for key, value in named.items()])]
    if len(rows):
        others = ", ".join(value for key, value in named.items() if key != "metric")
        what = f"{expected['metric']} ({others})" if others else expected["metric"]
        tables.show_html(_compare_with_range(float(rows["value"].iloc[0]), expected, what))


def _compare_with_range(value: float, expected: dict, what: str) -> str:
    is_inside = expected["low"] <= value <= expected["high"]
    mark, text = ("pass", "inside") if is_inside else ("miss", "OUTSIDE")
    note = str(expected.get("note", ""))
    return (
        f'<p class="{mark}">{value:.3f} lies {text} the expected range {escape(expected["low"])} to '
        f"{escape(expected['high'])} of {escape(what)}. {escape(note[:1].upper() + note[1:])}</p>"
    )


def show_caveats(data: ReportData) -> None:
    """Show what data and split do not allow one to conclude."""
    items = "".join(f"<li>{escape(text)}</li>" for text in report_data.list_caveats(data))
    tables.show_html(f"<ul>{items}</ul>")


def show_figures(data: ReportData) -> None:
    """Show every metric of the classifier beside its reference, and how the two differ."""
    reference = report_data.reference_title(data.task)
    caption = (
        f"{data.classifier['n_test']:,} test faces; 95 % intervals; {report_data.REFERENCE}: {reference}"
    )
    tables.show(tables.side_by_side(data.figures), caption=caption)
    tables.show_html("".join(f"<p>{escape(t)}</p>" for t in data.classifier["difference"].splitlines()))


def show_excluded_copies(data: ReportData) -> None:
    """Show how many faces left the test rows because their copies contradict them, and the figures with them."""
    if "excluded_copies" not in data.classifier:  # a run of version 0.1
        return
    excluded = pd.DataFrame(data.classifier["excluded_copies"])
    if excluded.empty:
        tables.show_html(f"<p>{escape(excluded_copies.describe(excluded))}</p>")
    else:
        tables.show(tables.with_intervals(excluded), caption="figures without and with the excluded faces")


def show_groups(data: ReportData) -> None:
    """Show every group with its n and interval, and the largest gap of each attribute."""
    columns = ["attribute", "group", "value", "low", "high", "n", "n_pictures", "small"]
    columns = [column for column in columns if column in data.groups]
    caption = f"{data.measure} of the test faces, by group; small: too few faces to judge"
    tables.show(tables.with_intervals(data.groups[columns]), caption=caption)
    show_gaps(data.run.table("04_errors", "gaps"))


def show_bearers(data: ReportData) -> None:
    """Show which sources and units bear the errors, where 04_errors has written it."""
    step = "04_errors"
    if data.run.has(step, "influence.parquet"):
        texts = data.run.values(step).get("bearers", [])
        tables.show_html("".join(f"<p>{escape(text)}</p>" for text in texts))
        show_influence(data.run.table(step, "sources"), data.run.table(step, "influence"), data.measure)
    if data.run.has(step, "annotators.parquet"):
        beside = data.run.table(step, "annotators")
        if len(beside):
            show_annotators(beside)


def show_influence(sources: pd.DataFrame, units: pd.DataFrame, measure: str) -> None:
    """Show the tables of `evaluation.influence`: figures by source, and without single units."""
    if len(sources):
        caption = f"{measure} of the test faces by source; of faces, of errors: shares of all"
        tables.show(tables.with_intervals(sources), caption=caption)
    if len(units):
        caption = f"{measure} without the units that weigh most, picked on these rows; of ...: shares"
        tables.show(tables.with_intervals(units, of="without"), caption=caption)


def show_annotators(beside: pd.DataFrame) -> None:
    """Show a model's accuracy beside the agreement of one more annotator, where the set has votes."""
    if beside.empty:
        tables.show_html("<p>The set has no votes of several annotators on this label.</p>")
    else:
        caption = (
            "share of the test faces that agree with the majority of votes (of the others, for an annotator)"
        )
        tables.show(tables.with_intervals(beside), caption=caption)


def show_gaps(gaps: pd.DataFrame) -> None:
    """Show the largest gap of each attribute beside the mean gap of groups that are served equally."""
    worst = ["attribute", *(c for c in gaps if c.startswith("worst")), "best", "best_value"]
    caption = "worst and best of the groups that are not small; the interval of the worst holds for all groups together"
    tables.show(tables.with_intervals(gaps[worst]), caption=caption)
    shown = ["attribute", "gap", "low", "high", "null_mean", *(c for c in gaps if c in ("p", "p_holm"))]
    caption = (
        "largest gap, its interval for all pairs together; null mean: that of groups which are served equally"
    )
    tables.show(tables.with_intervals(gaps[shown], of="gap"), caption=caption)
    tables.show_html("".join(f"<p>{escape(text)}</p>" for text in groups.describe_few(gaps)))


def show_saved(data: ReportData, step: str, names: list[str]) -> None:
    """Show those of a step's saved figures that it has, in the order of `names`."""
    for name in names:
        if data.run.has(step, f"figures/{name}.png"):
            if (step, name) in TITLES:
                tables.show_html(f"<h3>{escape(TITLES[step, name])}</h3>")
            data.run.show_saved(step, name)


def show_faces(data: ReportData, which: str) -> None:
    """Show all test faces to look through: a table, the map of 04_errors, corrections to save.

    Parameters
    ----------
    which : {'all', 'errors', 'none'}
        Whose pictures the page carries.
    """
    run, of_errors = data.run, data.run.values("04_errors")
    predicted = run.predictions()
    read = metrics.expectation(predicted) if data.task.headline == "expected_mae" else predicted
    overall = of_errors.get("overall")
    figures = data.groups if overall is None else pd.concat([pd.DataFrame([overall]), data.groups])
    rows = face_rows.make(
        read,
        run.faces(),
        attributes=of_errors["attributes"],
        points=run.table("04_errors", "map") if run.has("04_errors", "map.parquet") else None,
        figures=figures,
        earlier=run.table("01_faces", "corrections") if data.faces.get("corrections") else None,
        key=f"{run.data().fingerprint} {data.task.name}",
    )
    root = project.resolve(data.params["root"])
    tables.show_html(
        f"<p>{escape(face_browser.describe_choice(which, rows))} {escape(report_data.LABELS)}</p>"
    )
    tables.show_html(face_browser.to_html(rows, root, which=which, static=face_browser.static_map(run)))
    command = report_data.corrected_command(run.folder.parent, data.experiment)
    if command:
        tables.show_html(
            f"<p>What marks change: save <code>corrections.csv</code>, put it where you work, and run <code>{escape(command)}</code>. "
            "The same faces train and test there, and its first screen says what the corrected labels changed in the model, "
            "and what in the truth that it is measured against.</p>"
        )


def allowed(names: list[str], which: str) -> list[str]:
    """Return those of the saved figures that a page may carry where it may show all faces, errors alone, or none."""
    hidden = {face_browser.ALL: (), face_browser.ERRORS: ("sample",), face_browser.NONE: ("sample", "errors")}
    return [name for name in names if name not in hidden[which]]


def show_folds(data: ReportData) -> None:
    """Show the section on repeated folds, where 06_cross_validation has run."""
    step = "06_cross_validation"
    if not data.run.has(step, "metrics.json"):
        return
    record = data.run.values(step)
    tables.show_html(
        '<h2 id="Repeated-folds">Repeated folds<a class="anchor-link" href="#Repeated-folds">#</a></h2>'
    )
    caption = (
        f"{record['n_fits']} fits, scheme '{record['scheme']}'; low, high: 95 %, corrected for overlapping "
        "training sets"
    )
    tables.show(pd.DataFrame(record["folds"]), caption=caption)
    other = record["against"]
    if other:
        tables.show_html(
            f"<p>On the {other['n']:,} faces that both test, the scheme <strong>{escape(other['scheme'])}</strong> reaches "
            f"{escape(other['metric'])} {other['first']:.4f} and <strong>{escape(record['scheme'])}</strong> "
            f"{other['second']:.4f}: a difference of {other['difference']:+.4f} (95 % interval {other['low']:+.4f} to "
            f"{other['high']:+.4f}; added up by person){_describe_relevance(other)}.</p>"
        )
    if record.get("excluded"):
        tables.show_html(f"<p>{escape(record['excluded'])}</p>")
    show_saved(data, step, ["folds"])


def _describe_relevance(difference: dict) -> str:
    """Return how a difference stands to its margin, as the end of a sentence; runs of before have none."""
    relevance, margin = difference.get("relevance", ""), difference.get("margin", 0)
    return (
        f", {relevance} of {margin:g}".replace("undecided of", "undecided at the margin of")
        if relevance
        else ""
    )


def show_dataset(data: ReportData) -> None:
    """Show source, terms, and what was left out."""
    tables.show_record(
        {"data set": data.faces["title"], "source": data.faces["source"], "terms of use": data.faces["terms"]}
    )
    tables.show(pd.DataFrame(data.faces["left_out"]), caption="rows by what became of them")
    cleaning = pd.DataFrame(data.faces.get("cleaning", []))
    if len(cleaning):
        tables.show(cleaning, caption="removed by a cleaning pass: by first reason, and concerned by any")
    tables.show_long([data.run.table("01_faces", "left_out")], caption="left out by the reader, and removed")
    if data.faces.get("corrections"):
        corrected = data.run.table("01_faces", "corrections")
        tables.show_long([corrected], caption="corrections of labels, row by row", open_rows=20)
    if data.former:
        show_correction_effect(data.former)
    tables.show_long([data.run.table("01_faces", "notices")], caption="noticed or repaired")
    tables.show_long([data.run.table("02_descriptors", "left_out")], caption="without a descriptor")


def show_correction_effect(former: Former) -> None:
    """Show what corrected labels changed beside the run of before, and what both models say of the corrected faces."""
    effect = former.effect
    caption = f"{effect.metric} beside the run {former.name}, on the test faces of both: the model's change, the labels', and both"
    tables.show(tables.with_intervals(effect.changes, of="difference"), caption=caption, digits=4)
    tables.show_long([effect.rows], caption="what both models say of the corrected test faces", open_rows=20)


def show_split(data: ReportData) -> None:
    """Show the split by subset, and what leaks through it beside a careless one."""
    record = data.run.values("01_faces", "split")
    caption = f"scheme '{data.faces['scheme']}', seed {data.params['seed']}"
    tables.show(pd.DataFrame(record["report"]), caption=caption)
    leaks, careless = data.faces["leakage"], data.faces["careless_leakage"]
    rows = [(name.replace("_", " "), leaks[name], careless.get(name)) for name in leaks]
    tables.show(pd.DataFrame(rows, columns=["test rows that ...", "this split", "careless split"]))


def show_network(data: ReportData) -> None:
    """Show network, tap, weights, preprocessing, engine of each block of descriptors; or the file it was read from."""
    d = data.descriptors
    for record in described.records_of(d):
        tables.show_record(described.to_rows(record))
    tables.show_record(
        {
            "descriptors": f"{d['n']:,} in {d['seconds']:.0f} s",
            "unreadable pictures": d["unreadable"],
            "faces without a descriptor": d["lacking"],
        }
    )


def show_training(data: ReportData) -> None:
    """Show how the classifier was fitted."""
    record = data.classifier
    counts = {f"faces: {subset}": record[f"n_{subset}"] for subset in ("train", "validation", "test")}
    tables.show_record({**counts, **report_data.settings_of(data)})
    evened = pd.DataFrame(record.get("balance", []))
    if len(evened):
        tables.show(evened, caption="training rows before and after they were evened out")


def show_reproduction(data: ReportData) -> None:
    """Show command, seed, versions, commit."""
    made = data.environment
    folder = data.run.folder.parent
    tables.show_record(
        {
            "command": report_data.command_of(folder, data.experiment),
            "seed": str(data.params["seed"])
            if made["seed"] == data.params["seed"]
            else f"{made['seed']} (training), {data.params['seed']} (draw and split)",
            "code": made["commit"] or "not a checkout",
            "python": made["python"],
            "platform": made["platform"],
            "packages": made["versions"],
            "files": project.shorten(folder),
        }
    )
