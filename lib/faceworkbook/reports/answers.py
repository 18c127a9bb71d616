"""The answer of a notebook in one computed sentence, shown at the top of its page.

A notebook begins with ``answer = answers.begin(run)`` and ends with ``answer.show(answers.of_...(...))``. The
functions ``of_...`` return plain text, made of the figures of that run alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from faceworkbook.evaluation.comparison import Comparison
from faceworkbook.evaluation.comparison_tables import CHOSEN, DIFFER, TOO_FEW
from faceworkbook.evaluation.equivalence import EQUIVALENT
from faceworkbook.experiments.transfer import PRE_TRAINED, RANDOM
from faceworkbook.reports import identity
from faceworkbook.reports.pages import escape
from faceworkbook.reports.runs import Run
from faceworkbook.tasks import Task

RECORD = "answer"
WARNING = " Warning: "  # begins a warning behind the answer, which a page shows below it
UNFINISHED = "No answer yet: the run has not come to its end."
LOWER_IS_BETTER = {"mae", "expected_mae", "rmse", "error", "log_loss", "brier", "ece"}


@dataclass(frozen=True)
class Answer:
    """The place at the top of a page that is filled when the run has come to its end."""

    run: Run
    handle: object

    def show(self, sentence: str) -> None:
        """Fill the place with `sentence` (plain text), and write it to ``answer.json``."""
        from IPython.display import HTML

        self.run.save_values({"answer": sentence}, RECORD)
        if self.handle is None:  # the cells run as a program, which has no page to fill
            print(sentence)
        else:
            self.handle.update(HTML(to_html(sentence, of=identity.describe(self.run))))


def begin(run: Run) -> Answer:
    """Show the place of the answer here, still empty."""
    from IPython.display import HTML, display

    run.path(f"{RECORD}.json").unlink(missing_ok=True)
    return Answer(run, display(HTML(to_html(UNFINISHED)), display_id=True))


def to_html(sentence: str, *, of: str = "") -> str:
    """Return the answer as a paragraph that stands out, with a page's style and without.

    Parameters
    ----------
    sentence : str
    of : str
        Which run it is of, see `identity.describe`; a smaller line below.
    """
    line = f'<p class="identity" style="font-size:85%">{escape(of)}</p>' if of else ""
    answer, *warnings = sentence.split(WARNING)
    warned = "".join(f'<p class="warning"><strong>Warning.</strong> {escape(text)}</p>' for text in warnings)
    return f'<p class="answer" style="font-size:115%"><strong>Answer.</strong> {escape(answer)}</p>{warned}{line}'


def with_warnings(sentence: str, warnings: Sequence[str]) -> str:
    """Return an answer with what must be known before anything is trained, see `faceworkbook.datasets.Dataset`."""
    return sentence + "".join(f"{WARNING}{text.rstrip('.')}." for text in warnings)


# --------------------------------------------------------------------------- one sentence a notebook


def of_audit(n_faces: int, verdict: pd.DataFrame) -> str:
    """Return how many findings of which severity there are, and the first of them (01_audit)."""
    counts = verdict["severity"].value_counts(sort=False)
    listed = ", ".join(f"{n} {severity}" for severity, n in counts.items())
    first = verdict.iloc[0]
    return f"{n_faces:,} faces, {len(verdict)} findings ({listed}); the gravest: {first['finding']}, {first['count']:,}."


def of_faces(faces: pd.DataFrame, split, *, excluded: int) -> str:
    """Return what the set holds and how it is split (01_faces)."""
    people = faces["identity"].nunique()
    who = f"{people:,} known people" if people else "no identities known"
    leaked = split.leakage.get("leaked", 0)
    leaks = f"{leaked:,} test rows leak" if leaked else "no test row leaks"
    return (
        f"{len(faces):,} faces ({who}; {excluded:,} rows of the set are not in it), split by '{split.name}' into "
        f"{len(split.train):,} to train, {len(split.validation):,} to choose, {len(split.test):,} to test; {leaks}."
    )


def of_descriptors(values: Mapping, *, seconds: float) -> str:
    """Return how many descriptors there are and from what, and how long they took (02_descriptors).

    Parameters
    ----------
    values : mapping
        See `faceworkbook.reports.described.summarise`.
    """
    lost = [
        f"{values[name]:,} {what}"
        for name, what in (
            ("unreadable", "pictures could not be read"),
            ("lacking", "of the faces have none"),
        )
        if values[name]
    ]
    precisions = dict.fromkeys(block.get("precision", "float32") for block in values.get("blocks", []))
    lower = [name for name in precisions if name != "float32"]
    computed = f", computed in {' and '.join(lower)}," if lower else ""
    return (
        f"{values['n']:,} descriptors of {values['dim']:,} numbers{computed} from {values['described_by']} in "
        f"{seconds:.1f} s; "
        f"{' and '.join(lost) or 'every face has one'}."
    )


def row_of(figures: pd.DataFrame, metric: str) -> pd.Series:
    """Return the first model's row of one metric in a table of figures."""
    return figures[figures["metric"] == metric].iloc[0]


def of_headline(task: Task, row: pd.Series, *, compared: str = "") -> str:
    """Return a task's headline figure with its interval, and how it compares (03_classifier, 05_report, 10).

    Parameters
    ----------
    row : pandas.Series
        value, low, high, n, n_pictures where copies are known, and n_identities where people are.
    compared : str
        Of `difference`; the sentence goes on with it.
    """
    spread, size = _interval(task.headline, row, task.unit), _size(row)
    start = f"The {task.title} is off by {_figure(task.headline, row['value'], task.unit)} on average (mean absolute error"
    if task.headline not in LOWER_IS_BETTER:
        share, name = f"{100 * row['value']:.1f} %", _name(task.headline)
        what = "all labels of a face, taken one by one," if task.is_multilabel else "the test faces"
        start = f"The {task.title} is read right in {share} of {what} ({name} {row['value']:.3f}"
    return f"{start}, {spread}, {size})" + (f"; {compared}." if compared else ".")


def _size(row: pd.Series) -> str:
    size = f"n = {int(row['n']):,}"
    if row.get("n_pictures", row["n"]) < row["n"]:
        size += f" faces, {int(row['n_pictures']):,} of them different pictures"
    if pd.notna(row.get("n_identities")):
        of = ", of" if "faces" in size else " faces of"
        size += f"{of} {int(row['n_identities']):,} people"
    return size


def of_gaps(gaps: pd.DataFrame, *, metric: str, unit: str = "") -> str:
    """Return for whom a model is worst, where groups differ at all (05_report).

    Parameters
    ----------
    gaps : pandas.DataFrame
        One row an attribute, see `evaluation.groups.gaps`; adjusted over the attributes where p_holm is there.
    """
    judged = gaps[gaps["p"].notna()]
    if judged.empty:
        return "For whom it is worst cannot be judged: no two groups of an attribute are large enough."
    p = "p_holm" if "p_holm" in judged else "p"
    row = judged.sort_values([p, "gap"], ascending=[True, False]).iloc[0]
    figures = (
        f"{row['attribute'].replace('_', ' ')} {row['worst']} with {_name(metric)} {_figure(metric, row['worst_value'], unit)} against "
        f"{_figure(metric, row['best_value'], unit)} for {row['best']} (gap {_figure(metric, row['gap'], unit)}, {_interval(metric, row, unit)})"
    )
    over = f"{len(judged)} attribute{'s' * (len(judged) > 1)}"
    if row[p] < 0.05:
        return f"Worst for {figures}, significant over {over}."
    return f"No significant difference between groups, over {over}; the clearest: {figures}."


def of_difference(compared: Comparison, *, to: str, unit: str = "") -> str:
    """Return how the first of two compared models stands to the other, as part of a sentence.

    Parameters
    ----------
    compared : Comparison
        The verdict is that of the test that the design asks for.
    to : str
        The other model, as a reader says it.
    unit : str
    """
    pair = compared.chosen.iloc[0]
    spread = _interval(compared.metric, pair, unit, signed=True)
    if pair["verdict"] == TOO_FEW:
        return f"{pair['n']:,} {pair['counted']} are too few to judge the difference to the {to} by"
    relevance = (
        f", {pair['relevance']} of {compared.margin:g} (its 90 % interval lies inside)"
        if pair["relevance"] == EQUIVALENT
        else ""
    )
    if pair["verdict"] != DIFFER:
        return f"no significant difference to the {to}{relevance}, {spread}"
    better = (pair["difference"] > 0) != (compared.metric in LOWER_IS_BETTER)
    amount = _figure(compared.metric, abs(pair["difference"]), unit)
    return f"{'better' if better else 'worse'} than the {to} by {amount}{relevance}, {spread}"


def of_search(
    task: Task, row: pd.Series, *, n_trials: int, compared: str, optimism: Mapping, nested: Mapping | None
) -> str:
    """Return what searched settings reach, and how much of their choice was luck (14_search).

    Parameters
    ----------
    row : pandas.Series
        The best trial's headline figure on test rows.
    compared : str
        Of `of_difference`, to the defaults.
    optimism : mapping
        value, low, high: by how much it looks better on the rows that chose it.
    nested : mapping, optional
        mean, low, high: of test rows of outer folds, each with a search of its own.
    """
    amount = _figure(task.headline, abs(optimism["value"]), task.unit)
    luck = (
        f"On the rows that chose it, the best of {n_trials:,} trials looks {amount} "
        f"{'better' if optimism['value'] >= 0 else 'worse'} ({_interval(task.headline, optimism, task.unit, signed=True)})."
    )
    sentence = f"{of_headline(task, row, compared=compared)} {luck}"
    if nested is None:
        return sentence
    mean = _figure(task.headline, nested["mean"], task.unit)
    return f"{sentence} Over outer folds, each with its own search, it is {mean} ({_interval(task.headline, nested, task.unit)})."


def of_errors(task: Task, figures: Mapping, by_group: pd.DataFrame) -> str:
    """Return the error and the worst group that is large enough to judge (04_errors).

    Parameters
    ----------
    figures : mapping
        metric, value, n over all test faces.
    by_group : pandas.DataFrame
        attribute, group, value, low, high, n, small.
    """
    metric = figures["metric"]
    overall = (
        f"{_name(metric)} {_figure(metric, figures['value'], task.unit)} on {int(figures['n']):,} test faces"
    )
    judged = by_group[~by_group["small"]]
    if judged.empty:
        return f"{_capitalise(overall)}; no group is large enough to judge."
    ordered = judged.sort_values("value", ascending=metric not in LOWER_IS_BETTER)
    worst = ordered.iloc[0]
    return (
        f"{_capitalise(overall)}; worst group: {worst['attribute']} {worst['group']} with "
        f"{_figure(metric, worst['value'], task.unit)} ({_interval(metric, worst, task.unit)}, n = {int(worst['n']):,})."
    )


def of_folds(row: Mapping, *, metric: str, unit: str = "") -> str:
    """Return the mean over repeated folds with its interval and the spreads that are known (06_cross_validation)."""
    spreads = [
        f"{row[f'sd_{of}']:.4f} between {of}" for of in ("folds", "seeds") if pd.notna(row[f"sd_{of}"])
    ]
    return (
        f"Mean {_name(metric)} {_figure(metric, row['mean'], unit)} ({_interval(metric, row, unit)}, corrected for "
        f"overlapping training sets) over {int(row['n_fits'])} fits"
        f"{'; standard deviation ' if spreads else ''}{', '.join(spreads)}."
    )


def of_comparison(pairs: pd.DataFrame) -> str:
    """Return the sentence of the pair, or how many pairs differ and the clearest of them (07_compare)."""
    each = pairs[pairs["role"] == CHOSEN]
    clearest = each.sort_values("p_holm").iloc[0]["sentence"]
    if len(each) == 1:
        return clearest
    return f"{int((each['verdict'] == 'differ').sum())} of {len(each)} pairs differ; the clearest: {clearest}"


def of_groups(rest: pd.DataFrame, *, metric: str, unit: str = "") -> str:
    """Return the group that is served worst, or that none is (08_groups).

    Parameters
    ----------
    rest : pandas.DataFrame
        attribute, group, value, rest, difference, low, high, p_holm, n, small, verdict (``groups.against_rest``).
    """
    judged = rest[~rest["small"]]
    worse = judged[judged["verdict"] == "worse"]
    if judged.empty:
        return "No group is large enough to judge."
    sign = 1 if metric in LOWER_IS_BETTER else -1
    shown = worse if len(worse) else judged
    row = shown.loc[(sign * shown["difference"]).idxmax()]
    figures = (
        f"{row['attribute']} {row['group']}, {_name(metric)} {_figure(metric, row['value'], unit)} against "
        f"{_figure(metric, row['rest'], unit)} for the rest (difference {row['difference']:+.3f}, "
        f"{_interval(metric, row, '', signed=True)}, n = {int(row['n']):,})"
    )
    if worse.empty:
        return f"None of {len(judged)} groups is served significantly worse than the rest; the largest difference: {figures}."
    return f"{len(worse)} of {len(judged)} groups are served worse than the rest; the worst: {figures}."


def of_strategies(figures: pd.DataFrame, differences: pd.DataFrame) -> str:
    """Return the clearest difference between two strategies (09_multitask).

    Parameters
    ----------
    figures : pandas.DataFrame
        task, metric, strategy, value.
    differences : pandas.DataFrame
        task, metric, first, second, difference, low, high, p_holm, repeats; empty where there was one seed.
    """
    if differences.empty:
        best = figures.iloc[0]
        return (
            f"{'One seed' if len(figures.drop_duplicates('strategy')) > 1 else 'One strategy'}, nothing to compare; "
            f"{best['strategy']} reaches {_name(best['metric'])} {best['value']:.3f} on {best['task']}."
        )
    row = differences.sort_values("p_holm").iloc[0]
    if row["p_holm"] >= 0.05:
        return (
            f"None of {len(differences)} differences between strategies is significant over {int(row['repeats'])} seeds; the "
            f"clearest: {row['task']}, {row['first']} minus {row['second']} {row['difference']:+.3f} "
            f"({_interval('', row, '', signed=True)})."
        )
    first_wins = (row["difference"] > 0) != (row["metric"] in LOWER_IS_BETTER)
    better, other = (row["first"], row["second"]) if first_wins else (row["second"], row["first"])
    return (
        f"On {row['task']}, {better} is better than {other} by {abs(row['difference']):.3f} {_name(row['metric'])} "
        f"(95 % interval of {row['first']} minus {row['second']} {row['low']:+.3f} to {row['high']:+.3f}, "
        f"{int(row['repeats'])} seeds)."
    )


def of_transfer(differences: pd.DataFrame) -> str:
    """Return what pre-training changes, figure by figure (18_transfer).

    Parameters
    ----------
    differences : pandas.DataFrame
        See `faceworkbook.experiments.transfer.Transfer`.
    """
    own = differences[(differences["first"] == RANDOM) & (differences["second"] == PRE_TRAINED)]
    changes = [
        f"{row['task']} {_name(row['metric'])} {-row['difference']:+.3f} "
        f"({_interval('', {'low': -row['high'], 'high': -row['low']}, '', signed=True)})"
        for row in own.to_dict("records")
    ]
    better = (own["p_holm"] < 0.05) & (own["difference"] < 0)
    worse = (own["p_holm"] < 0.05) & (own["difference"] > 0)
    return (
        f"Against a random start, pre-training is significantly better in {int(better.sum())} and worse in "
        f"{int(worse.sum())} of {len(own)} figures: {'; '.join(changes)}."
    )


def of_calibration(row: Mapping) -> str:
    """Return the calibration error beside what a calibrated model would show (11_confidence, ``calibration.summary``)."""
    sure = "too sure" if row["overconfidence"] > 0 else "not sure enough"
    # Without an interval nothing is known but the figure itself.
    if row["overconfidence_low"] <= 0 <= row["overconfidence_high"] or abs(row["overconfidence"]) < 0.0005:
        sure = "as sure as it is right"
    return (
        f"Calibration error (ECE) {row['ece']:.3f} where a calibrated model would show {row['ece_if_calibrated']:.3f}; in "
        f"the population {row['ece_corrected']:.3f}, {_interval('', row, '', of='ece_corrected')} "
        f"(p = {row['p_calibrated']:.3f}, n = {int(row['n']):,} test faces); on average the model is {sure} (mean confidence less "
        f"accuracy {row['overconfidence']:+.3f}, {_interval('', row, '', of='overconfidence', signed=True)})."
    )


def of_learning_curve(curve: pd.DataFrame, *, unit: str = "") -> str:
    """Return how much the last step to all training faces brought (12_stress, ``learning_curve.summary``)."""
    own = curve[curve["by"] == curve["by"].iloc[0]].sort_values("n_train")
    last, metric = own.iloc[-1], str(own["metric"].iloc[-1])
    reached = (
        f"{_name(metric)} {_figure(metric, last['mean'], unit)} with {last['n_train']:,.0f} training faces"
    )
    if last["draws"] > 1:
        reached += f" (mean of {last['draws']} fits that differ by seed; the first, that of 03_classifier, "
        reached += f"{_figure(metric, last['first'], unit)})"
    if len(own) < 2:
        return f"{_capitalise(reached)}."
    before = own.iloc[-2]
    gain, low, high = -before["short"], -before["short_high"], -before["short_low"]
    helps = (low > 0 or high < 0) and (gain > 0) != (metric in LOWER_IS_BETTER)
    return (
        f"{_capitalise(reached)}, {gain:+.3f} from {before['n_train']:,.0f} (95 % interval {low:+.3f} to {high:+.3f}): "
        + ("more faces help." if helps else "no significant gain from the last step.")
    )


# --------------------------------------------------------------------------- figures in words


def _figure(metric: str, value: float, unit: str) -> str:
    return f"{value:.2f} {unit}".rstrip() if unit and metric in LOWER_IS_BETTER else f"{value:.3f}"


def _interval(metric: str, row: Mapping, unit: str, *, of: str = "", signed: bool = False) -> str:
    low, high = (row[f"{of}_{end}" if of else end] for end in ("low", "high"))
    if pd.isna(low) or pd.isna(high):
        return "no 95 % interval: too few people or faces, or nothing varies"
    digits, plus = (2 if unit and metric in LOWER_IS_BETTER else 3), ("+" if signed else "")
    return f"95 % interval {low:{plus}.{digits}f} to {high:{plus}.{digits}f}"


def _name(metric: str) -> str:
    return metric.replace("_", " ")


def _capitalise(text: str) -> str:
    return text[:1].upper() + text[1:]
