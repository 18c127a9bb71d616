"""``workbook``: run experiments and look at what there is, from a shell."""

from __future__ import annotations

import argparse
import os
import sys
import time
from importlib import metadata
from pathlib import Path

from faceworkbook import files, memory
from faceworkbook.reports import (
    bundle_command,
    completion_command,
    doctor_command,
    history_command,
    inspect_command,
    pdf_command,
    plan_command,
    run_command,
)


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit code (0 done, 1 a notebook failed, 2 wrong input)."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except KeyboardInterrupt:
        print("\nstopped; run the same command again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ValueError as error:
        print(f"workbook: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"workbook: {files.describe(error)}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        print(f"workbook: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        if not memory.is_exhausted(error):
            raise
        print(f"workbook: {memory.USED_UP}; {memory.ADVICE}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="workbook", description="Experiments on face attributes.")
    parser.add_argument(
        "--version", action="version", version=f"faceworkbook {metadata.version('faceworkbook')}"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run_command.add(commands)
    _add_evaluate(commands)
    _add_predict(commands)
    _add_serve(commands)
    _add_export(commands)
    show = commands.add_parser("list", help="list experiments, data sets, networks and classifiers; or runs")
    show.add_argument("what", nargs="?", choices=("runs",), help="list the runs instead, with their answers")
    show.add_argument("--results", default="results", help="folder of the runs (default: results)")
    show.set_defaults(command=_list)
    history_command.add(commands)
    bundle_command.add(commands)
    pdf_command.add(commands)
    page = commands.add_parser("html", help="turn an executed notebook into an offline page")
    page.add_argument("notebook", type=Path)
    page.add_argument("output", type=Path, nargs="?")
    page.set_defaults(command=_html)
    inspect_command.add(commands)
    plan_command.add(commands)
    doctor_command.add(commands)
    index = commands.add_parser("index", help="write results/index.html, the table of all runs")
    index.add_argument("--results", default="results")
    index.set_defaults(command=_index)
    completion_command.add(commands, parser)
    return parser


def _add_evaluate(commands) -> None:
    """Add the command ``evaluate``."""
    evaluate = commands.add_parser(
        "evaluate", help="judge a file of predictions, or a run's saved model, on a data set"
    )
    evaluate.add_argument(
        "predictions", help="CSV, JSON, JSON lines or parquet of any program, or a run folder with a model"
    )
    evaluate.add_argument("--dataset", required=True, help="name of the data set, see workbook list")
    evaluate.add_argument("--root", required=True, help="its folder")
    evaluate.add_argument(
        "--label", default="", help="what is predicted (default: what the file has columns for)"
    )
    for option, metavar, what in (
        (
            "--column",
            "NAME=THEIRS",
            "their column for image, face_id, predicted, or the probability of a class",
        ),
        ("--value", "WORD=CLASS", "what a word of theirs stands for; nothing after the sign: no answer"),
        ("--against-column", "NAME=THEIRS", "the same as --column, of the second file"),
        ("--option", "NAME=VALUE", "an option of the data set's reader"),
    ):
        evaluate.add_argument(option, action="append", default=[], metavar=metavar, help=what)
    evaluate.add_argument(
        "--against", default="", help="a second file or run folder, compared on common faces"
    )
    run_command.add_folder(
        evaluate,
        name="folder below the results (default: file, data set, label)",
        smoke="few resamples, few faces for a saved model",
        force="judge again what was judged before",
    )
    evaluate.set_defaults(command=_evaluate)


def _add_predict(commands) -> None:
    """Add the command ``predict``."""
    predict = commands.add_parser("predict", help="answer photos by a trained model")
    predict.add_argument(
        "source", nargs="+", help="photos, a folder, a CSV file with a column 'image', or a video"
    )
    predict.add_argument(
        "--model", default="", help="a run's folder or a predictor (default: the embedded one, see its card)"
    )
    predict.add_argument(
        "--weights", default=None, help="weights file of the network, where it is not in weights/"
    )
    predict.add_argument("--csv", default="", help="write the answers here; a run that was stopped goes on")
    predict.add_argument(
        "--draw", default="", metavar="FOLDER", help="write photos with boxes and answers here"
    )
    predict.add_argument(
        "--faces",
        choices=("largest", "all", "whole"),
        default="",
        help="the main face (default), all (default of a video), or whole: pictures of one face that was cut out already",
    )
    predict.add_argument("--json", action="store_true", help="print one JSON object a face")
    predict.set_defaults(command=_predict)


def _add_serve(commands) -> None:
    """Add the command ``serve``."""
    serve = commands.add_parser("serve", help="answer photos over HTTP, with a page to drop them on")
    serve.add_argument(
        "--model", default="", help="a run's folder or a predictor (default: the embedded one)"
    )
    serve.add_argument(
        "--weights", default=None, help="weights file of the network, where it is not in weights/"
    )
    serve.add_argument(
        "--host", default="127.0.0.1", help="address (default: this machine alone; 0.0.0.0 lets others in)"
    )
    serve.add_argument("--port", type=int, default=8000, help="port, 0 for a free one (default 8000)")
    serve.set_defaults(command=_serve)


def _serve(options) -> int:
    from faceworkbook.serving import serve_command

    return serve_command.run(options)


def _add_export(commands) -> None:
    """Add the command ``export``."""
    export = commands.add_parser("export", help="write a trained model for other programs")
    export.add_argument(
        "model", nargs="?", default="", help="a run's folder or a predictor (default: the embedded one)"
    )
    export.add_argument(
        "--to",
        choices=("onnx", "keras", "folder"),
        required=True,
        help="one ONNX graph or Keras file from picture to probabilities, or the folder with its weights",
    )
    export.add_argument("--out", default="", help="folder to write into (default: exported_onnx, ...)")
    export.add_argument(
        "--weights", default=None, help="weights file of the network, where it is not in weights/"
    )
    export.add_argument(
        "--int8", action="store_true", help="write a quantised graph too, and measure what it costs"
    )
    export.add_argument("--dataset", default="", help="its faces measure --int8 (default: rendered ones)")
    export.add_argument("--root", default="", help="folder of the data set")
    export.add_argument(
        "--faces", type=int, default=1000, help="faces to measure --int8 on, at most (default 1000)"
    )
    export.set_defaults(command=_export)


def _export(options) -> int:
    from faceworkbook.serving import export_command

    return export_command.run(options)


def _predict(options) -> int:
    from faceworkbook.serving import command

    return command.run(options)


def _evaluate(options) -> int:
    from faceworkbook import project
    from faceworkbook.reports import experiments, index, referee, runner

    given = experiments.localize(
        {
            "predictions": options.predictions,
            "dataset": options.dataset,
            "root": options.root,
            "label": options.label,
            "columns": options.column,
            "values": options.value,
            "against": options.against,
            "against_columns": options.against_column,
            "options": options.option,
            "smoke": options.smoke,
        }
    )
    name = options.name or referee.name_of(given)
    experiment = experiments.of_notebook(name, "13_evaluate", given, results=options.results)
    referee.check(given)
    (done,), page = runner.run(
        experiment, results=options.results, since=time.time() if options.force else 0.0
    )
    index.write(project.resolve(options.results))
    print("\n".join(f"- {sentence}" for sentence in referee.read_verdict(done.folder)))
    print(f"page: {project.shorten(page)}")
    return 0


def _list(options) -> int:
    if options.what == "runs":
        history_command.print_runs(options.results)
        return 0
    from faceworkbook import backbones, datasets, project
    from faceworkbook.reports import experiments
    from faceworkbook.training import registry

    print("experiments")
    for path in sorted(project.resolve("notebooks/experiments").glob("*.yaml")):
        print(f"  {path.stem:24} {_title_of(experiments, path)}")
    print("data sets")
    for row in datasets.list().itertuples():
        print(f"  {row.name:24} {row.title}: {row.labels}")
    print("networks")
    own = backbones.describe_own()
    for name in dict.fromkeys([*backbones.list(), *own]):
        print(f"  {name:24} {own.get(name, '')}".rstrip())
    print("classifiers")
    for name in registry.names():
        print(f"  {name}")
    return 0


def _title_of(experiments, path: Path) -> str:
    try:
        return experiments.outline(path).title
    except ValueError as error:
        return f"cannot be run: {error}"


def _html(options) -> int:
    from faceworkbook.reports import html

    print(html.export(options.notebook, options.output or options.notebook.with_suffix(".html")))
    return 0


def _index(options) -> int:
    from faceworkbook import project
    from faceworkbook.reports import index

    print(project.shorten(index.write(project.resolve(options.results))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
