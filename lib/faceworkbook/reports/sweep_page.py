"""``results/NAME.sweep/``: the page that compares the points of a sweep, and the same as tables."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from faceworkbook import files, project, spreadsheet
from faceworkbook.evaluation.comparison_tables import DIFFER, EQUIVALENT
from faceworkbook.reports import figures, finished, jobs, looks, sweep_comparison, tables
from faceworkbook.reports.pages import escape, page
from faceworkbook.reports.parameters import format_value
from faceworkbook.reports.sweep_comparison import Group, Result
from faceworkbook.reports.sweeps import Sweep, is_replicate

RECORD, PAGE = "sweep.json", "report.html"
FEW_PAIRS, MOST_DRAWN = 3, 28
SORTING = """
for (const th of document.querySelectorAll("th")) th.addEventListener("click", () => {
  const table = th.closest("table"), at = [...th.parentNode.children].indexOf(th), body = table.tBodies[0];
  const up = th.getAttribute("aria-sort") !== "ascending";
  const key = row => { const c = row.children[at], v = c.dataset.value ?? c.textContent; return isNaN(v) || v === "" ? v : +v; };
  const order = (a, b) => (typeof a === "number" && typeof b === "number") ? a - b : String(a).localeCompare(String(b));
  for (const other of th.parentNode.children) other.removeAttribute("aria-sort");
  th.setAttribute("aria-sort", up ? "ascending" : "descending");
  body.append(...[...body.rows].sort((a, b) => (up ? 1 : -1) * order(key(a), key(b))));
});
for (const th of document.querySelectorAll("th")) th.addEventListener("keydown", e => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); th.click(); } });
"""
STYLE = "th{cursor:pointer}"


class SweepError(ValueError):
    """A comparison of another sweep that would be lost; the text says how to keep it."""


def check_kept(sweep: Sweep, results: str | Path) -> None:
    """Refuse to replace the page of a sweep by one that lacks points of it.

    Raises
    ------
    SweepError
    """
    folder = project.resolve(results) / sweep.folder
    if not (folder / RECORD).is_file():
        return
    record = files.read_json(folder / RECORD, SweepError, advice="delete it, or give another --name")
    known = {point.get("point") for point in record.get("points", [])}
    lost = sorted(known - {point.name for point in sweep.points})
    if lost:
        raise SweepError(
            f"{project.shorten(folder)} compares {len(known)} points, and {lost[0]} is none of this sweep. Keep it and run "
            f"this one beside it: --name {sweep.name}_2; or replace it: --replace"
        )


def write(sweep: Sweep, outcomes: Sequence[jobs.Outcome], results: str | Path) -> tuple[Path, str]:
    """Write page, tables and record of a sweep.

    Parameters
    ----------
    outcomes : sequence of jobs.Outcome
        Of this run; a point without one was not reached.

    Returns
    -------
    page : Path
    answer : str
        The page's first sentence.
    """
    root = project.resolve(results)
    folder = root / sweep.folder
    known = {outcome.name: outcome for outcome in outcomes}
    done = [name for name, outcome in known.items() if outcome.state != jobs.FAILED]
    compared = sweep_comparison.compare(sweep, results, done)
    points = _points_table(sweep, known, compared)
    answer = describe(sweep, points, compared)
    record = {
        "name": sweep.name,
        "title": sweep.title,
        "answer": answer,
        "keys": sweep.keys,
        "points": files.parse_json(points.to_json(orient="records")),
    }
    body = "".join(
        [
            f"<h1>{escape(sweep.title)}: {len(sweep.points)} points</h1>",
            f"<p>{escape(sweep.question)}</p>" if sweep.question else "",
            f'<p class="answer">{escape(answer)}</p>',
            *(_group_html(group, len(compared.groups), at) for at, group in enumerate(compared.groups, 1)),
            _apart(compared),
            _points_html(points, sweep, root),
            _shared_html(sweep, root),
        ]
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in (("points", points), *_group_tables(compared)):
        files.write_beside(folder / f"{name}.csv", spreadsheet.to_csv(table))
    files.write_json(folder / RECORD, record)
    title = f"{sweep.title}: sweep"
    path = files.write_beside(folder / PAGE, page(title, _number_regions(body), style=STYLE, script=SORTING))
    return path, answer


def _number_regions(body: str) -> str:
    """Return the body with a name of its own for each region: groups share their tables' captions."""
    known: Counter[str] = Counter()

    def name(match: re.Match) -> str:
        known[match[2]] += 1
        again = f" ({known[match[2]]})" if known[match[2]] > 1 else ""
        return f"{match[1]}{match[2]}{again}"

    return re.sub(r'(role="region" aria-label=")([^"]*)', name, body)


# --------------------------------------------------------------------------- the answer


def describe(sweep: Sweep, points: pd.DataFrame, compared: Result) -> str:
    """Return in a few sentences how many points there are, what they show, and what they do not."""
    states = points["state"].value_counts()
    failed = int(states.get(jobs.FAILED, 0))
    missing = int(states.get("", 0))
    ended = f"{failed} of {len(points)} points failed" if failed else f"All {len(points)} points are finished"
    if missing:
        ended = f"{len(points) - failed - missing} of {len(points)} points are finished, {failed} failed, {missing} were not reached"
    sentences = [f"{ended}."]
    if len(compared.groups) > 1:
        sentences.append(
            f"They fall into {len(compared.groups)} groups with other test rows or labels, which are not compared with each other."
        )
    several = len({group.task for group in compared.groups}) > 1
    for group in compared.groups:
        first, *others = _describe_group(group) or [""]
        sentences += [f"{group.task}: {first}" if several else first, *others]
    return " ".join(sentences)


def _describe_group(group: Group) -> list[str]:
    settings, pairs = group.settings, group.pairs
    sentences = []
    if len(settings) == 1:
        row = settings.iloc[0]
        spread = f", standard deviation {row['sd_seeds']:.4f}" if pd.notna(row["sd_seeds"]) else ""
        fits = "One fit" if row["seeds"] == 1 else f"Over {int(row['seeds'])} fits"
        sentences.append(f"{fits}: {_figure(row, group.metric)}{spread}.")
    elif len(pairs) and len(pairs) <= FEW_PAIRS:
        sentences += map(_without_test, pairs["sentence"])
    elif len(pairs):
        counts = pairs["verdict"].value_counts()
        differ, equal = int(counts.get(DIFFER, 0)), int((pairs["relevance"] == EQUIVALENT).sum())
        sentences.append(
            f"{differ} of {len(pairs)} pairs of settings differ in {group.metric} (Holm over the pairs)"
            + (f", {equal} are equivalent within {group.margin:g}." if group.margin else ".")
        )
    chosen = settings[settings["chosen"]]
    if len(chosen):
        sentences.append(
            f"Validation rows choose {chosen.iloc[0]['setting']}: {_figure(chosen.iloc[0], group.metric)}."
        )
    return sentences


def _without_test(sentence: str) -> str:
    """Return a pair's sentence up to its interval; test, margin and probabilities stand under Pair by pair."""
    short = re.match(r".*?95 % interval [^;)]+", sentence)
    return f"{short[0]})." if short else sentence


def _figure(row: pd.Series, metric: str) -> str:
    text = f"{metric.replace('_', ' ')} {row['value']:.3f}"
    return text + (f" [{row['low']:.3f}, {row['high']:.3f}]" if pd.notna(row["low"]) else "")


# --------------------------------------------------------------------------- pieces of the page


def _group_html(group: Group, n: int, at: int) -> str:
    title = "Settings" + (f", group {at} of {n}: {group.task}" if n > 1 else "")
    shown = tables.with_intervals(group.settings.drop(columns=["chosen"]), of="value")
    shown = shown.drop(
        columns=[
            name
            for name in ("n_pictures", "n_identities")
            if shown.get(name) is not None and shown[name].isna().all()
        ]
    )
    shown.insert(0, "chosen", ["yes" if chosen else "" for chosen in group.settings["chosen"]])
    caption = f"test {group.metric}; sd seeds: standard deviation between fits; chosen: by validation rows"
    pieces = [f"<h2>{escape(title)}</h2><p>{escape(group.design)}</p>", _scroll(shown, caption)]
    if 1 < len(group.settings) <= MOST_DRAWN:
        from faceworkbook.plots.settings import SettingsDisplay

        pieces.append(_picture(SettingsDisplay(group.settings, group.metric).plot()))
    pieces.append(f"<p>{escape(_flattery(group))}</p>" if len(group.settings) > 1 else "")
    if len(group.pairs):
        pieces.append(_pairs_html(group))
    return "".join(pieces)


def _flattery(group: Group) -> str:
    """Say what it costs to keep the best setting by test rows."""
    settings = group.settings
    start = f"The test rows are the same for all settings: whoever keeps the best of {len(settings)} by them reads it too well"
    finite = settings[settings["low"].notna()]
    choose = " The column validation chooses without them." if settings["validation"].notna().all() else ""
    if finite.empty:
        return f"{start}.{choose}"
    widest = finite.loc[(finite["high"] - finite["low"]).idxmax()]
    most = looks.flattery(len(settings), widest["low"], widest["high"])
    return f"{start}: were all equally good, by up to {most:.3f} of {group.metric.replace('_', ' ')} on average.{choose}"


def _pairs_html(group: Group) -> str:
    pairs = group.pairs
    every = tables.with_intervals(
        pairs.assign(counted=[f"{r.n:,} {r.counted}" for r in pairs.itertuples()]), of="difference", digits=4
    )
    names = [
        "first",
        "second",
        "verdict",
        "relevance",
        "difference [95 % interval]",
        "p",
        "p_holm",
        "test",
        "counted",
    ]
    caption = f"difference of {group.metric}; margin {group.margin:g}"
    pieces = ["<h3>Pair by pair</h3>", _scroll(every[names], caption)]
    if len(pairs) <= FEW_PAIRS:
        pieces.append(f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in pairs['sentence'])}</ul>")
    if len(pairs) <= MOST_DRAWN:
        from faceworkbook.plots.comparison import ComparisonDisplay

        pieces.append(_picture(ComparisonDisplay(pairs, group.metric, group.margin).plot()))
    return "".join(pieces)


def _apart(compared: Result) -> str:
    if not compared.without:
        return ""
    listed = "".join(
        f"<li>{escape(name)}: {escape(why)}</li>" for name, why in list(compared.without.items())[:20]
    )
    return f"<h2>Points without predictions</h2><p>They are in no comparison.</p><ul>{listed}</ul>"


def _points_table(sweep: Sweep, known: dict[str, jobs.Outcome], compared: Result) -> pd.DataFrame:
    rows = []
    for point in sweep.points:
        outcome = known.get(point.name)
        values = {key: format_value(point.swept[key]) if key in point.swept else "" for key in sweep.keys}
        rows.append(
            {
                "point": point.name,
                **values,
                "state": outcome.state if outcome else "",
                "metric": compared.metrics.get(point.name, ""),
                "value": compared.values.get(point.name),
                "seconds": round(outcome.seconds, 1) if outcome else None,
                "error": outcome.error if outcome else "",
            }
        )
    return pd.DataFrame(rows)


def _points_html(points: pd.DataFrame, sweep: Sweep, root: Path) -> str:
    heads = ["point", *sweep.keys, "state", "value", "seconds"]
    kinds = ["number" if name in ("value", "seconds") or is_replicate(name) else "text" for name in heads]
    head = "".join(
        f'<th scope="col" class="{kind}" tabindex="0">{escape(name)}</th>'
        for name, kind in zip(heads, kinds, strict=True)
    )
    body = "".join(_point_row(row, sweep.keys, kinds, root) for row in points.to_dict("records"))
    return (
        "<h2>Points</h2><p>Each point is a run of its own. A click on a heading sorts by it. Seconds are those of the steps that it "
        'ran itself, in this command.</p><div class="scroll" tabindex="0" role="region" aria-label="points"><table><thead><tr>'
        f"{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _point_row(row: dict, keys: Sequence[str], kinds: Sequence[str], root: Path) -> str:
    folder = root / row["point"]
    report = folder / PAGE
    link = escape(row["point"])
    if report.is_file() and row["state"] != jobs.FAILED:
        link = f'<a href="../{escape(quote(row["point"]))}/{PAGE}">{link}</a>'
    state = escape(row["state"] or "not reached")
    if row["state"] == jobs.FAILED:
        failed = next(iter(sorted(folder.glob("*/failed.html"))), None)
        where = f"../{quote(failed.relative_to(root).as_posix())}#error" if failed else ""
        why = escape(row["error"].splitlines()[0] if row["error"] else "")
        state = f'<span class="miss">failed: {why}</span>' + (
            f' <a href="{escape(where)}">the error</a>' if where else ""
        )
    value, seconds = row["value"], row["seconds"]
    cells = [link, *(escape(row[key]) for key in keys), state]
    cells += ["–" if pd.isna(value) else f"{value:.3f}", "–" if pd.isna(seconds) else f"{seconds:,.0f}"]
    return (
        "<tr>"
        + "".join(f'<td class="{kind}">{cell}</td>' for kind, cell in zip(kinds, cells, strict=True))
        + "</tr>"
    )


def _shared_html(sweep: Sweep, root: Path) -> str:
    """Show how often each step ran and how often it was taken from another run."""
    rows: dict[str, dict] = {}
    for point in sweep.points:
        for step in point.experiment.steps:
            place = root / point.name / step.name
            try:
                record = files.parse_json((place / finished.DONE).read_bytes())
            except (OSError, ValueError):
                continue
            copied = "copied_from" in record
            row = rows.setdefault(step.name, {"step": step.name, "ran": 0, "copied": 0, "seconds each": []})
            row["copied" if copied else "ran"] += 1
            row["seconds each"] += [] if copied else [record.get("seconds", 0.0)]
    for row in rows.values():
        each = row["seconds each"]
        row["seconds each"] = sum(each) / len(each) if each else None
    if not rows:
        return ""
    caption = "ran: by a point of this sweep; copied: from a run with the same parameters, code and inputs"
    return f"<h2>Steps</h2>{_scroll(pd.DataFrame([*rows.values()]), caption, digits=1)}"


def _group_tables(compared: Result) -> list[tuple[str, pd.DataFrame]]:
    out = []
    for kind in ("settings", "pairs"):
        each = [
            getattr(group, kind).assign(group=at, metric=group.metric)
            for at, group in enumerate(compared.groups, 1)
            if len(getattr(group, kind))
        ]
        if each:
            out.append((kind, pd.concat(each, ignore_index=True)))
    return out


def _scroll(table: pd.DataFrame, caption: str, *, digits: int = 3) -> str:
    body = tables.to_html(table, caption=caption, digits=digits)
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">{body}</div>'


def _picture(display) -> str:
    alt = display.describe()
    data = base64.b64encode(figures.png_bytes(display, alt)).decode()
    return f'<figure><img src="data:image/png;base64,{data}" alt="{escape(alt)}" style="max-width:46rem;width:100%"></figure>'


__all__ = ["SweepError", "check_kept", "describe", "write"]
