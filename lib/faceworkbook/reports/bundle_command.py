"""``workbook bundle`` and ``workbook verify``: a run to hand on, and a run from elsewhere run again."""

from __future__ import annotations

import argparse
from pathlib import Path

from faceworkbook import project
from faceworkbook.reports import history_command

VERIFIED = "results/verified"


def add(commands) -> None:
    """Add the commands to the sub-parsers of ``workbook``."""
    bundle = commands.add_parser(
        "bundle", help="pack a run into one zip to hand on; pictures never go into it"
    )
    bundle.add_argument("run", help="its name, or its folder")
    bundle.add_argument(
        "--out", default="", help="the zip to write (default: NAME.bundle.zip in the working directory)"
    )
    bundle.add_argument("--results", default="results", help="folder of the results (default: results)")
    bundle.set_defaults(command=_bundle)
    verify = commands.add_parser(
        "verify", help="run a bundle again, and say what is the same and what differs"
    )
    verify.add_argument("bundle", help="the zip that workbook bundle wrote")
    verify.add_argument("--root", required=True, help="folder of the data set on this machine")
    verify.add_argument("--results", default=VERIFIED, help=f"folder to run in (default: {VERIFIED})")
    verify.set_defaults(command=_verify)


def _bundle(options: argparse.Namespace) -> int:
    from faceworkbook.reports import bundles

    folder = history_command.find(options.run, options.results)
    path = Path(options.out or f"{folder.name}.bundle.zip").resolve()
    names = bundles.make(folder, path)
    print(f"{project.shorten(path)}: {len(names)} files, {path.stat().st_size / 1e6:.1f} MB, no picture")
    print(f"to run it again: workbook verify {path.name} --root FOLDER-OF-THE-DATA-SET")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from faceworkbook.reports import bundles, experiments, verifying

    bundle = bundles.read(options.bundle)
    root = experiments.localize({"root": options.root})["root"]
    made = bundle.record["made_with"]
    print(
        f"{bundle.record['name']}: made with faceworkbook {made['faceworkbook']}, code {str(made['commit'])[:12]}",
        flush=True,
    )
    findings = verifying.run(bundle, root=root, results=options.results)
    print(*findings, sep="\n")
    verdict = verifying.judge(findings)
    print(f"verdict: {verdict}")
    return int(verdict == verifying.DIFFERENT)
