"""``workbook serve``: a predictor behind HTTP, with a page, on this machine."""

from __future__ import annotations

from faceworkbook import project
from faceworkbook.serving import command
from faceworkbook.serving.checks import PredictorError
from faceworkbook.serving.predictor import Predictor


def run(options) -> int:
    """Serve until stopped; returns the exit code."""
    try:
        from faceworkbook.serving import running
    except ModuleNotFoundError as error:
        raise PredictorError(f"{error.name} is not installed; pip install 'faceworkbook[serve]'") from error
    predictor = Predictor.load(options.model or project.resolve(command.DEFAULT), weights=options.weights)
    predictor.describer.open()  # the first answer need not wait for it
    if not running.is_local(options.host):
        print(f"{options.host}: whoever reaches this machine may ask; there is no password")
    running.serve(predictor, host=options.host, port=options.port)
    return 0
