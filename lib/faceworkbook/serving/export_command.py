"""``workbook export``: a trained model as an ONNX graph, a Keras file or a folder, for programs without this package."""

from __future__ import annotations

from pathlib import Path

from faceworkbook.serving.checks import PredictorError

RENDERED = "the embedded rendered faces, which are not photos"


def run(options) -> int:
    """Export what the command line names; returns the exit code."""
    if options.int8 and options.to != "onnx":
        raise PredictorError(f"--int8 goes with --to onnx, not with --to {options.to}")
    if (options.dataset or options.root) and not options.int8:
        raise PredictorError("--dataset and --root name the faces for --int8, which is missing")
    if bool(options.dataset) != bool(options.root) and options.dataset != "synthetic":
        raise PredictorError("--dataset and --root go together: the data set's name and its folder")
    from faceworkbook import project
    from faceworkbook.serving import command, export_int8, exporting
    from faceworkbook.serving.predictor import Predictor

    predictor = Predictor.load(options.model or project.resolve(command.DEFAULT), weights=options.weights)
    out = Path(options.out or f"exported_{options.to}")
    faces = _draw_faces(predictor, options) if options.int8 else None
    rules = exporting.export(predictor, out, target=options.to)
    if faces is not None:
        rules = export_int8.add(predictor, out, rules, faces, dataset=options.dataset or RENDERED)
    _report(rules, out)
    return 0


def _report(rules: dict, out: Path) -> None:
    if "checked" in rules:
        checked = rules["checked"]
        print(
            f"{checked['faces']} pictures: exported and own answers differ by at most {checked['largest_difference']:.1e}"
        )
    for line in (*rules.get("int8", {}).get("sentences", ()), *rules["terms"]):
        print(line)
    print(f"{out}: {', '.join(sorted(path.name for path in out.iterdir()))}")


def _draw_faces(predictor, options):
    from faceworkbook import datasets, project
    from faceworkbook.serving import export_int8

    name = options.dataset or "synthetic"
    dataset = datasets.load(name, options.root or project.resolve("data/synthetic")).need_faces()
    return export_int8.draw_faces(predictor, dataset.faces, dataset.root, n=options.faces)
