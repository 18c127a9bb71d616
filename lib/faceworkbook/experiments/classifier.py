"""The experiment's own classifier: what an experiment fits again and again, by name and settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faceworkbook.experiments.prepared import PreparedData

REFERENCE = "reference"


@dataclass(frozen=True)
class Classifier:
    """A classifier that can be fitted anew.

    Attributes
    ----------
    kind : str, callable, estimator or keras.Model
        See `faceworkbook.training.fit`.
    settings : mapping
        Its options.
    seed : int, optional
        Of the fit that it stands for; where None, that of the experiment.
    notice : str
        Why this is not the classifier that was asked for, else empty.
    """

    kind: Any = "mlp"
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    notice: str = ""

    @classmethod
    def of(cls, fitted, *, notice: str = "") -> Classifier:
        """Return the classifier that `fitted` (`faceworkbook.training.Fitted`) is one fit of."""
        return cls(fitted.classifier, fitted.options, fitted.settings.get("seed"), notice)

    def fit(self, matrix, labels, split, *, seed: int = 0):
        """Fit on the training rows of `split`; validation rows decide when it stops.

        `seed` holds where the classifier has none of its own.
        """
        from faceworkbook import training

        settings = dict(self.settings)
        if sum(settings.get("blocks", ())) != matrix.shape[1]:
            # Other descriptors than it was fitted on, such as another layer's, have other blocks.
            settings.pop("blocks", None)
        return training.fit(self.kind, matrix, labels, split, seed=self.choose_seed(seed), **settings)

    def choose_seed(self, seed: int) -> int:
        """Return the seed of fits: its own, else `seed`."""
        return seed if self.seed is None else self.seed

    def describe(self) -> str:
        """Return what it is, in words: its name, or the class of a model."""
        return self.kind if isinstance(self.kind, str) else type(self.kind).__name__


def read(folder: str | Path, data: PreparedData) -> tuple[Any, Classifier]:
    """Read the classifier that was saved in `folder`, to predict with and to fit anew.

    Where it cannot be fitted again, the linear reference that was saved with it takes its place, and the
    classifier's ``notice`` names both.

    Parameters
    ----------
    folder : path
        Of the step that fitted it.
    data : PreparedData
        What it was fitted on.

    Returns
    -------
    fitted : faceworkbook.training.Fitted
        The saved one; the reference where the saved one cannot even be read in this process.
    classifier : Classifier

    Raises
    ------
    faceworkbook.training.fitted.ModelFileError
        A file is missing or damaged, or the model was fitted on other rows.
    """
    from faceworkbook import training
    from faceworkbook.training.fitted import RecipeError

    given = {"matrix": data.matrix, "labels": data.labels, "split": data.split}
    try:
        fitted, problem = training.load(folder, **given), ""
        problem = fitted.not_refitted
    except RecipeError as error:
        fitted, problem = None, str(error)
    if not problem:
        return fitted, Classifier.of(fitted)
    reference = training.load(Path(folder) / REFERENCE, **given)
    notice = (
        f"The experiment's own classifier cannot be fitted again here: {problem}. What trains on this page is its "
        f"linear reference ({reference.settings['model']})."
    )
    return fitted or reference, Classifier.of(reference, notice=notice)
