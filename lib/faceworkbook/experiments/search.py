"""How good searched settings are on faces that did not choose them, and how optimistic the choice is.

The best of many trials is in part the luckiest one: its figure on the rows that chose it is too good. Nested, each
outer fold searches by its own training and validation rows; its test rows are read once, by the best trial.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from tqdm.auto import tqdm

from faceworkbook import backbones, files
from faceworkbook.evaluation import cross_validation, metrics
from faceworkbook.experiments.prepared import PreparedData
from faceworkbook.landmarks import align_faces
from faceworkbook.tasks import Labels, read_labels
from faceworkbook.training import balancing
from faceworkbook.training.registry import NETWORKS

# Parameters that 03_classifier and 06_cross_validation have by the same name; what else there is goes into a list.
_OWN = ("balance", "batch_size", "dropout", "epochs", "input_dropout", "learning_rate", "patience", "weight_decay", "widths")  # fmt: skip
_OF_ALL = ("balance", "epochs", "patience")
MULTITASK = NETWORKS[0]
CHOSE, TESTED, OPTIMISM = "validation rows, which chose", "test rows, read once", "optimism"


@dataclass(frozen=True, eq=False)
class Nested:
    """Searches of all outer folds.

    Attributes
    ----------
    fits : faceworkbook.training.folds.FoldFits
        The best trial of each fold, trained again; `evaluation.cross_validation` judges them.
    searched : tuple of faceworkbook.training.search.Searched
        One a fold.
    """

    fits: Any
    searched: tuple

    def optimism(self, faces: pd.DataFrame, *, metric: str) -> pd.DataFrame:
        """Return the figure of the rows that chose, that of test rows, and their difference.

        Returns
        -------
        pandas.DataFrame
            Rows `CHOSE`, `TESTED`, `OPTIMISM`; columns mean, low, high (95 %,
            corrected for overlapping training sets), folds.
        """
        scored = cross_validation.scores(self.fits, faces, names=[metric])
        chose, tested = (scored[f"{subset}_{metric}"].to_numpy(float) for subset in ("validation", "test"))
        rows = [
            {
                "figure": name,
                **cross_validation.summary(scored, subset=subset).iloc[0][["mean", "low", "high"]],
            }
            for name, subset in ((CHOSE, "validation"), (TESTED, "test"))
        ]
        optimism = _sign(metric, self.fits.labels.task) * (chose - tested)
        sizes = {"n_train": scored["n_train"].mean(), "n_test": scored["n_test"].mean()}
        low, high = cross_validation.corrected_interval(optimism, **sizes)
        rows.append({"figure": OPTIMISM, "mean": optimism.mean(), "low": low, "high": high})
        return pd.DataFrame(rows).assign(folds=len(scored))


def open_learner(
    classifier: str,
    data: PreparedData,
    *,
    together: Sequence[str] = (),
    backbone: str = "auto",
    root: str | Path = "",
    landmarks: Path | None = None,
    memory: str = "high",
) -> tuple[Any, Any]:
    """Return what is searched, and what it reads.

    Parameters
    ----------
    classifier : str
    data : PreparedData
    together : sequence of str
        Further labels that 'multitask' and 'fine_tune' learn with that of `data`; missing ones are masked.
    backbone : str
        The network that 'fine_tune' trains, see `faceworkbook.backbones.load`.
    root : path
        Folder of the pictures.
    landmarks : Path, optional
        Where the points of faces are kept that an aligning network needs, see `faceworkbook.landmarks.detect`.
    memory : {'high', 'low'}
        See `faceworkbook.training.pictures.open_faces`.

    Returns
    -------
    (str, ndarray) or (one of `faceworkbook.training.networks`, descriptors or PictureRows)
        As `search` and `training.fit` take them.

    Raises
    ------
    ValueError
        Further labels for a classifier that learns one.
    """
    if classifier not in NETWORKS:
        if together:
            raise ValueError(
                f"together={list(together)} and classifier={classifier!r}: that learns one label; leave together empty, or "
                f"choose one of {list(NETWORKS)}"
            )
        return classifier, data.matrix
    from faceworkbook.training import networks, pictures

    others = {name: _grouped_like(read_labels(data.faces, name), data.labels) for name in together}
    if classifier == MULTITASK:
        return networks.Multitask(others), data.matrix
    start = backbones.default() if backbone == "auto" else backbones.load(backbone)
    points = align_faces(data.faces, root, start.preprocessing, path=landmarks).points
    opened = {"points": points, "memory": memory}
    source, unreadable = pictures.open_faces(data.faces, root, start.preprocessing, **opened)
    if len(unreadable):
        raise ValueError(
            f"{len(unreadable)} pictures cannot be read any more, the first is face {unreadable['face_id'].iloc[0]!r}; run "
            "02_descriptors again"
        )
    return networks.FineTune(start, others), networks.PictureRows(source)


def _grouped_like(labels: Labels, other: Labels) -> Labels:
    """Return labels with the groups of others of the same faces, where those have any."""
    if not isinstance(other, balancing.GroupedLabels):
        return labels
    return balancing.GroupedLabels(labels.task, labels.codes, labels.values, other.groups)


def nested(
    classifier,
    matrix,
    labels: Labels,
    splits: Sequence,
    *,
    space=None,
    plan=None,
    folder: str | Path | None = None,
) -> Nested:
    """Search within each outer fold, and let the best trial predict.

    Parameters
    ----------
    classifier, matrix, labels, space
        See `faceworkbook.training.search.search`.
    splits : sequence of Split
        Outer folds with training, validation and test rows, such as ``training.plan(...)``.
    plan : Plan, optional
        Its seed, and the number of the repeat, make that of each search.
    folder : path, optional
        Journals are kept there: a run that was stopped goes on.
    """
    from faceworkbook import training
    from faceworkbook.training.folds import FoldFits
    from faceworkbook.training.search import Plan, search

    plan = plan or Plan()
    searched, outputs, histories = [], [], []
    for split in tqdm(splits, unit="outer fold", disable=len(splits) < 2):
        keys = {"repeat": getattr(split, "repeat", 0), "fold": getattr(split, "fold", 0)}
        own = replace(plan, seed=plan.seed + keys["repeat"])
        result = search(classifier, matrix, labels, split, space=space, plan=own, folder=folder)
        fitted = training.fit(classifier, matrix, labels, split, seed=own.seed, **result.options)
        searched.append(result)
        outputs.append(np.asarray(fitted.predict(matrix), np.float32))
        histories.append(fitted.history.assign(**keys))
    history = pd.concat(histories, ignore_index=True)
    fits = FoldFits(labels, tuple(splits), np.stack(outputs), history, classifier)
    return Nested(fits, tuple(searched))


def settings_by_fold(made: Nested) -> pd.DataFrame:
    """Return one row an outer fold: its validation figure, and the settings that it has chosen."""
    rows = [
        {
            "repeat": getattr(split, "repeat", 0),
            "fold": getattr(split, "fold", 0),
            one.column: one.row["value"],
            **{name: _shorten(value) for name, value in one.options.items()},
        }
        for split, one in zip(made.fits.splits, made.searched, strict=True)
    ]
    return pd.DataFrame(rows)


def compare_subsets(
    predicted: pd.DataFrame, *, metric: str, n_boot: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Return one figure on the validation rows that chose the settings, and on the test rows.

    Returns
    -------
    pandas.DataFrame
        figure, value, low, high, n, and in the last row the optimism with its interval: the rows are different
        faces, so that the squares of both half-widths add up.
    """
    given = {"names": [metric], "n_boot": n_boot, "seed": seed}
    chose, tested = (
        metrics.summary(predicted, subset=subset, **given).iloc[0] for subset in ("validation", "test")
    )
    optimism = _sign(metric, metrics.rows_of(predicted).task) * (chose["value"] - tested["value"])
    half = float(np.hypot(*((row["high"] - row["low"]) / 2 for row in (chose, tested))))
    rows = [
        {"figure": name, **row[["value", "low", "high", "n"]]}
        for name, row in ((CHOSE, chose), (TESTED, tested))
    ]
    rows.append({"figure": OPTIMISM, "value": optimism, "low": optimism - half, "high": optimism + half})
    return pd.DataFrame(rows).astype({"n": "Int64"})


def _sign(metric: str, task) -> int:
    """1 where higher values of a metric are better, so that optimism is positive; else -1."""
    return -1 if metrics.pick(metric, task).better == "lower" else 1


def parameters(
    classifier, options: dict, labels: Labels, *, balance_by: str = "", searched_on: str = ""
) -> dict:
    """Return settings as parameters of the notebooks that train with them.

    Those are 03_classifier and 06_cross_validation; 09_multitask for 'multitask', 10_fine_tune for 'fine_tune'.

    Parameters
    ----------
    classifier : str, or one of `faceworkbook.training.networks`
    options : dict
        Of the best trial's fit.
    balance_by : str
        Columns whose groups the settings even out.
    searched_on : str
        Which faces chose them.
    """
    from faceworkbook.training import batched

    given: dict[str, Any] = {"balance_by": balance_by, "searched_on": searched_on}
    if not isinstance(classifier, str):
        return {**_of_network(classifier, options, labels), **given}
    settled = dict(options)
    if classifier == "mlp":  # the notebooks' own defaults differ from each other
        settled = asdict(batched.with_settings(batched.defaults(labels.task), **options))
        given["lr_multipliers"] = [f"{group}: {value}" for group, value in settled.pop("lr_multipliers")]
    own = {name: settled.pop(name) for name in (_OWN if classifier == "mlp" else _OF_ALL) if name in settled}
    own = {name: list(value) if isinstance(value, tuple) else value for name, value in own.items()}
    further = [f"{name}: {_as_text(value)}" for name, value in sorted(settled.items())]
    return {"classifier": classifier, **own, **given, "classifier_options": further}


def _of_network(learner, options: dict, labels: Labels) -> dict:
    from faceworkbook.training import networks

    is_multitask = isinstance(learner, networks.Multitask)
    kind = networks.MultitaskOptions if is_multitask else networks.FineTuneOptions
    settled = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(kind(**options)).items()}
    if is_multitask:
        return settled
    trunk = {"lr_multipliers": [f"trunk: {settled.pop('trunk')}"]}
    return {"labels": [labels.name, *learner.others], "backbone": learner.start.name, **settled, **trunk}


def save_parameters(path: str | Path, chosen: dict, *, comment: str) -> Path:
    """Write parameters as YAML, for ``workbook run NAME -f FILE`` and ``papermill -f FILE``."""
    text = "".join(f"# {line}\n" for line in comment.splitlines())
    return files.write_beside(path, text + yaml.safe_dump(chosen, sort_keys=False))


def _shorten(value):
    return f"{value:.3g}" if isinstance(value, float) else _as_text(value)


def _as_text(value) -> str:
    if isinstance(value, tuple | list):
        return str(list(value))
    return str(value).lower() if isinstance(value, bool) else str(value)
