"""``workbook run``: one experiment, or a sweep of it."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from faceworkbook import project
from faceworkbook.reports import experiments, keeping, parameters, sweeps


def add(commands) -> None:
    """Add the command to the sub-parsers of ``workbook``."""
    run = commands.add_parser(
        "run",
        help="run an experiment, or a sweep of it, and print where its report is",
        description="Run an experiment. Finished steps are not run again while parameters, code and inputs are the same; "
        "a finished run with other parameters is kept unless --replace is given.",
    )
    run.add_argument("experiment", help="a YAML file, or the name of one in notebooks/experiments")
    run.add_argument(
        "-p", action="append", default=[], metavar="NAME=VALUE", dest="given", help="set a parameter"
    )
    run.add_argument(
        "-f", "--parameters", default="", metavar="FILE",
        help="parameters from a YAML file, such as best.yaml of 14_search",
    )  # fmt: skip
    run.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE,VALUE", dest="axes",
        help="sweep a parameter (STEP.NAME: of one step); several of them are crossed. A swept seed is that of training, "
        "01_faces.seed that of the split",
    )  # fmt: skip
    run.add_argument(
        "--jobs", type=int, default=0, metavar="N",
        help="points of a sweep at once, which share the cores (default 1; on Ray one a core)",
    )  # fmt: skip
    run.add_argument(
        "--cluster", choices=("ray",), default="", help="run each point of a sweep as a task on Ray"
    )
    add_folder(
        run,
        name="folder below the results, to keep an earlier run (default: the file's)",
        smoke="a run of seconds on few rows (same as -p smoke=true)",
        force="run finished steps again",
    )
    run.add_argument(
        "--replace", action="store_true", help="replace a finished run that has other parameters"
    )
    run.add_argument(
        "--cold", action="store_true",
        help="start each kernel from nothing; else it is forked from a process that has made the imports",
    )  # fmt: skip
    run.add_argument("--dry-run", action="store_true", help="print what would run, and run nothing")
    run.set_defaults(command=run_experiment)


def add_folder(command, *, name: str, smoke: str, force: str) -> None:
    """Add what every command takes that writes a run's folder; the texts are their help."""
    command.add_argument("--name", default="", help=name)
    command.add_argument("--smoke", action="store_true", help=smoke)
    command.add_argument("--results", default="results", help="folder for the results (default: results)")
    command.add_argument("--force", action="store_true", help=force)


def run_experiment(options: argparse.Namespace) -> int:
    """Run what the command line asks for; return the exit code."""
    given = experiments.localize(
        {**parameters.read_file(options.parameters), **dict(map(parameters.parse_assignment, options.given))}
    )
    if options.smoke:
        given["smoke"] = True
    read = {"given": given, "results": options.results, "name": options.name}
    sweep = sweeps.read(options.experiment, [_axis(text) for text in options.axes], **read)
    if sweep is not None:
        return _run_sweep(sweep, options)
    if options.cluster or options.jobs:
        raise ValueError(
            f"{'--cluster' if options.cluster else '--jobs'} is for a sweep; name values, such as --set seed=0,1,2"
        )
    experiment = experiments.read(options.experiment, **read)
    if not options.replace:
        keeping.check([experiment], options.results)
    if options.dry_run:
        return _print_plan([sweeps.Point({}, experiment)], options)
    from faceworkbook.reports import index, runner  # a second, which a refusal need not wait for

    since = time.time() if options.force else 0.0
    try:
        done, report = runner.run(experiment, results=options.results, since=since, cold=options.cold)
    except (runner.RunFailed, KeyboardInterrupt):
        index.write(project.resolve(options.results))
        raise
    index.write(project.resolve(options.results))
    seconds = sum(result.seconds for result in done)
    print(f"{experiment.title}: {len(done)} notebooks, {seconds:.0f} s")
    answer = index.answer_of(report.parent)
    print(f"answer: {answer}" if answer else "answer: none of its notebooks gives one")
    _print_report(report)
    return 0


def _axis(text: str) -> tuple[str, list]:
    key, listed = sweeps.parse_axis(text)
    name = key.rpartition(".")[2]
    return key, [experiments.localize({name: value})[name] for value in listed]


def _print_report(report: Path) -> None:
    print(f"report: {project.shorten(report)}")
    print(report.resolve().as_uri())


def _run_sweep(sweep: sweeps.Sweep, options: argparse.Namespace) -> int:
    from faceworkbook.reports import index, jobs, progress, runner, sweep_page

    if options.jobs < 0:
        raise ValueError(f"--jobs {options.jobs}; allowed are 1 and more")
    if not options.replace:
        keeping.check([point.experiment for point in sweep.points], options.results)
        sweep_page.check_kept(sweep, options.results)
    if options.dry_run:
        return _print_plan(sweep.points, options)
    since, results = time.time() if options.force else 0.0, project.resolve(options.results)
    runner.make_folder(results / sweep.folder)
    plan = jobs.plan(sweep.points, results, since=since)
    machines = _make_runner(options)
    shown = progress.Progress(plan, machines.jobs, results, write=lambda line: print(line, flush=True))
    print(
        f"{sweep.title}: {len(sweep.points)} points, {machines.jobs} at once; {shown.describe()}",
        flush=True,
    )
    specs = {point.name: jobs.specify(point, results, since, cold=options.cold) for point in sweep.points}
    outcomes: list[jobs.Outcome] = []

    def notice(name: str, event) -> None:
        if isinstance(event, jobs.Outcome):
            outcomes.append(event)
        shown(name, event)

    try:
        jobs.run(sweep.points, plan, machines, specs=specs, notice=notice)
    finally:
        page, answer = sweep_page.write(sweep, outcomes, results)
        index.write(results)
    print(f"answer: {answer}")
    _print_report(page)
    failed = [outcome.name for outcome in outcomes if outcome.state == jobs.FAILED]
    if failed:
        raise RuntimeError(
            f"{len(failed)} of {len(sweep.points)} points failed: {', '.join(failed[:5])}"
            + (" ..." if len(failed) > 5 else "")
            + "; the page says why. The same command runs them again, and nothing else"
        )
    return 0


def _make_runner(options: argparse.Namespace):
    from faceworkbook.reports import jobs

    if options.cluster == "ray":
        from faceworkbook.reports.ray_jobs import Cluster

        return Cluster(options.jobs)
    return jobs.Local(options.jobs or 1)


def _print_plan(points, options: argparse.Namespace) -> int:
    """Print each point's steps and what would become of them."""
    from faceworkbook.reports import jobs

    since = time.time() if options.force else 0.0
    plan, taken = jobs.plan(points, options.results, since=since), set()
    counts = {"runs": 0, "settled": 0}
    for point in points:
        print(f"{point.name}: {sweeps.describe(point.swept)}".removesuffix(": "))
        for step, key in plan.steps[point.name]:
            if key in plan.settled:
                state = "finished before, nothing changed"
            else:
                state = "copied from a point above" if key in taken else "would run"
            taken.add(key)
            counts["runs" if state == "would run" else "settled"] += 1
            print(f"  {step:24} {state}")
    print(
        f"{len(points)} points, {counts['runs']} steps would run, {counts['settled']} would not; nothing was run"
    )
    return 0
