"""``workbook inspect``: what lies in a folder or a table, and the command that runs an experiment on it."""

from __future__ import annotations

import argparse
import json
import shlex
import sys

SHIPPED_FOR = "notebooks/experiments"


def add(commands) -> None:
    """Add the command to the sub-parsers of ``workbook``."""
    inspect = commands.add_parser(
        "inspect",
        help="look at a folder or a table of faces, and print the command that runs on it",
        description=__doc__.split(": ", 1)[1],
    )
    inspect.add_argument("place", metavar="FOLDER_OR_TABLE")
    inspect.add_argument("--label", default="", help="what shall be learned (default: the likeliest label)")
    inspect.add_argument("--json", action="store_true", help="print a JSON record instead of sentences")
    inspect.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Print what lies there; return 0 where it was understood, else 2."""
    from faceworkbook.datasets import inspection

    print(f"looking at {options.place} ...", file=sys.stderr)
    try:
        seen = inspection.inspect(options.place, label=options.label)
    except inspection.NotUnderstoodError as error:
        if options.json:
            print(json.dumps({"understood": False, "reason": str(error)}, ensure_ascii=False, indent=1))
        else:
            print(f"workbook: {error}", file=sys.stderr)
        return 2
    command = command_for(seen)
    if options.json:
        record = {"understood": True, **seen.to_record(), "command": command}
        print(json.dumps(record, ensure_ascii=False, indent=1, default=str))
    else:
        print(describe(seen, command))
    return 0


def command_for(seen) -> str:
    """Return the command, quoted for a shell, that runs an experiment on what was inspected."""
    from faceworkbook.datasets import GENERAL, words

    given = {"root": seen.root}
    experiment = "own" if seen.dataset in GENERAL else _shipped(seen.dataset, seen.label)
    if experiment == "own":
        experiment = "own_number" if seen.label_is_number else "own"
        given = {"dataset": seen.dataset, "root": seen.root, "label": seen.label}
    typed = [f"-p {shlex.quote(f'{name}={value}')}" for name, value in given.items()]
    options = [words.format_options(seen.settings)] if seen.settings else []
    return " ".join([f"workbook run {experiment}", *typed, *options])


def _shipped(dataset: str, label: str) -> str:
    """Return the shipped experiment of a published set and label that ends in a report, else 'own'."""
    from faceworkbook import project
    from faceworkbook.reports import experiments

    for path in sorted((project.root() / SHIPPED_FOR).glob("*.yaml")):
        shipped = experiments.outline(path)
        first = shipped.steps[0].parameters
        fits = (first.get("dataset"), first.get("label")) == (dataset, label)
        if fits and not path.stem.startswith("own") and shipped.steps[-1].name == "05_report":
            return path.stem
    return "own"


def describe(seen, command: str) -> str:
    """Return what was seen in lines for a person."""
    lines = [f"{seen.root}", f"taken for: {seen.taken_for} (dataset={seen.dataset})", ""]
    lines += [
        f"  {name:12} {value:,}" if isinstance(value, int) else f"  {name:12} {value}"
        for name, value in seen.counts.items()
    ]
    pictures = seen.pictures
    lines += [
        "",
        f"pictures: {pictures['decoded']} decoded, {pictures['unreadable']} unreadable; {pictures.get('size', '')}",
    ]
    lines += [f"  {text}" for text in pictures["first unreadable"]]
    if seen.columns:
        lines += ["", "columns:"]
        lines += [_describe_column(column) for column in seen.columns]
    if seen.odd:
        lines += ["", "odd rows and files:"]
        for odd in seen.odd:
            lines += [
                f"  {odd['what']}: {odd['reason']}, {odd['count']:,}",
                *(f"    {text}" for text in odd["first"]),
            ]
    if seen.remarks:
        lines += ["", *(f"- {remark}" for remark in seen.remarks)]
    others = [name for name in seen.labels if name != seen.label]
    if others:
        lines += ["", f"label: {seen.label}; others, with --label: {', '.join(others)}"]
    return "\n".join([*lines, "", "run:", f"  {command}"])


def _describe_column(column) -> str:
    name = "" if column.name in ("", column.written) else f" -> {column.name}"
    samples = ", ".join(column.samples)
    return f"  {column.written}{name}: {column.role}; {column.known:,} known, {column.different:,} different: {samples}"
