"""Fit the kernel classifier: ridge on Nystroem's map of a Gaussian kernel, everything chosen on validation rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar

from faceworkbook import tasks
from faceworkbook.models import kernel as models
from faceworkbook.training import balancing, batched
from faceworkbook.training.fitted import Fitted

# A steeper scale than this says no more than that the validation rows are few and all right.
SCALES = (0.1, 30.0)
HELD_OUT = 0.2


@dataclass(frozen=True)
class Choices:
    """What validation rows choose among.

    Attributes
    ----------
    landmarks : sequence of int
        Numbers of training rows that others are compared with; at most all.
    widths : sequence of float
        Of the kernel: gamma is one over the median squared distance of landmarks times each.
    alphas : sequence of float
        Of ridge, on Nystroem's map, whose rows have about length 1.
    """

    landmarks: Sequence[int] = (500, 2000)
    widths: Sequence[float] = (0.5, 1.0, 2.0)
    alphas: Sequence[float] = (0.1, 0.3, 1.0)

    def __post_init__(self):
        whole = all(isinstance(v, int | np.integer) and v >= 1 for v in self.landmarks)
        if not whole or not len(self.landmarks):
            raise ValueError(
                f"landmarks={list(self.landmarks)}; allowed are whole numbers of 1 or more, such as (500, 2000)"
            )
        for name in ("widths", "alphas"):
            values = getattr(self, name)
            if not len(values) or not all(np.isfinite(v) and v > 0 for v in values):
                raise ValueError(f"{name}={list(values)}; allowed are one or more numbers above 0")


def fit_kernel(
    matrix: np.ndarray,
    labels: tasks.Labels,
    split,
    *,
    seed: int = 0,
    folder: str | Path | None = None,
    balance: str = "none",
    **choices,
) -> Fitted:
    """Fit ridge regression on Nystroem's map of square-rooted descriptors of length 1.

    Landmarks are training rows. The kernel's width is chosen with the smallest number of landmarks, then their
    number with alpha. Class scores become probabilities by one scale (for each yes/no label its own), the best on
    validation rows. Numbers stay within those of the training rows.

    Parameters
    ----------
    matrix, labels, split, folder
        As for `fit_mlp`. Without validation rows a fifth of the training rows stands in, which then trains nothing.
    seed : int
        Of the landmarks.
    balance : {'none', 'class_weights', 'group_weights', 'oversample'}
        See `faceworkbook.training.balancing`.
    **choices
        Fields of `Choices`.

    Returns
    -------
    Fitted
        ``settings`` holds what was chosen: landmarks, gamma, alpha; ``history`` has a row a choice.
    """
    chosen = Choices(**choices)
    batched.check_rows(matrix, labels, [split])
    balancing.check(balance)
    split = split if len(split.validation) else _hold_out(split, seed)
    weight = balancing.weights(labels, split.train, balance)
    n_train = len(split.train)
    split = balancing.repeat(labels, split, balance, seed=seed)
    rows = np.asarray(split.train)
    weight = weight[rows] if balance in balancing.WEIGHTS else np.ones(len(rows))
    search = _Search(
        models.root(matrix[rows]), models.root(matrix[split.validation]), _Goal(labels, split), weight
    )
    place = np.random.default_rng(seed).permutation(np.unique(rows, return_index=True)[1])
    best = search.run(place[: max(chosen.landmarks)], chosen)
    options = {"balance": balance} | {name: list(getattr(chosen, name)) for name in choices}
    settings = {
        "classifier": "kernel",
        "model": "ridge on a Gaussian kernel (Nystroem)",
        "seed": int(seed),
        "landmarks": best.n_landmarks,
        "gamma": best.gamma,
        "alpha": best.alpha,
        "n_train": n_train,
        "n_validation": len(split.validation),
        "options": options,
    }
    model = models.build(labels.task, **search.weights(best))
    fitted = Fitted(model, labels.task, pd.DataFrame(search.history), settings)
    return fitted if folder is None else Fitted.load(fitted.save(folder))


@dataclass(frozen=True, eq=False)
class _Rows:
    train: np.ndarray
    validation: np.ndarray


def _hold_out(split, seed: int) -> _Rows:
    rows = np.random.default_rng(seed).permutation(np.asarray(split.train))
    n = max(1, int(HELD_OUT * len(rows)))
    return _Rows(np.sort(rows[n:]), np.sort(rows[:n]))


@dataclass(frozen=True, eq=False)
class _Candidate:
    n_landmarks: int
    gamma: float
    alpha: float
    kernel: np.ndarray
    bias: np.ndarray
    scale: np.ndarray
    loss: float


class _Goal:
    """What is to be put out for training and validation rows, and how far off scores are."""

    def __init__(self, labels: tasks.Labels, split):
        self.task = labels.task
        self.train, self.held = (labels.take(np.asarray(rows)) for rows in (split.train, split.validation))
        self.y = self._targets(self.train)
        self._truth = self._targets(self.held)
        self.bounds = (self.y.min(), self.y.max()) if self.task.is_number else None

    def _targets(self, labels: tasks.Labels) -> np.ndarray:
        """Return numbers, 1 and -1 for yes and no (and for two classes), or one column a class: (n, n_outputs)."""
        if self.task.is_number:
            return labels.values[:, None].astype(np.float64)
        if self.task.is_exclusive and not self.task.is_binary:
            return np.eye(len(self.task.classes))[labels.codes]
        return 2.0 * labels.codes.reshape(len(labels), -1) - 1

    def judge(self, scores: np.ndarray) -> tuple[np.ndarray, float, float]:
        """Return the scale of validation scores (n_outputs,), the loss that it leaves, and accuracy or mae."""
        width = scores.shape[1]
        if self.task.is_number:
            missed = np.abs(np.clip(scores, *self.bounds) - self._truth).mean()
            return np.ones(width), float(missed), float(missed)
        if self.task.activation == "softmax":
            right = self._truth.argmax(axis=1)
            scale, loss = _best_scale(lambda a: _cross_entropy(a * scores, right))
            return np.full(width, scale), loss, float((scores.argmax(axis=1) == right).mean())
        # log(1 + e^-z): the log loss of a sigmoid, with z above 0 where the score is on the right side.
        each = [
            _best_scale(lambda a, z=column: np.logaddexp(0, -a * z).mean())
            for column in (scores * self._truth).T
        ]
        accuracy = float((scores * self._truth > 0).mean())
        return np.array([scale for scale, _ in each]), float(np.mean([loss for _, loss in each])), accuracy


def _best_scale(loss) -> tuple[float, float]:
    best = minimize_scalar(lambda t: loss(np.exp(t)), bounds=np.log(SCALES), method="bounded")
    return float(np.exp(best.x)), float(best.fun)


def _cross_entropy(logits: np.ndarray, right: np.ndarray) -> float:
    shifted = logits - logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(shifted).sum(axis=1))
    return float((total - shifted[np.arange(len(right)), right]).mean())


class _Search:
    """Solves for widths, numbers of landmarks and alphas; keeps the distances between the solves."""

    def __init__(self, train: np.ndarray, held: np.ndarray, goal: _Goal, weight: np.ndarray):
        self._train, self._held, self._goal, self._weight = train, held, goal, weight
        self.history: list[dict] = []

    def run(self, place: np.ndarray, chosen: Choices) -> _Candidate:
        """Return the best candidate for landmarks at `place` among the training rows."""
        self._landmarks = self._train[place]
        numbers = sorted({min(n, len(place)) for n in chosen.landmarks})
        self._distances = [models.squared_distances(x, self._landmarks) for x in (self._train, self._held)]
        # In float32 the kernel of many landmarks in few directions is not positive definite any more.
        exact = self._landmarks.astype(np.float64)
        self._distances.append(models.squared_distances(exact, exact))
        few = self._distances[2][: numbers[0], : numbers[0]]
        median = np.median(few[np.triu_indices_from(few, 1)]) if len(few) > 1 else 1.0
        gammas = [float(width / max(median, models.TINY)) for width in chosen.widths]
        tried = [self._try(gamma, numbers[:1], chosen.alphas) for gamma in gammas]
        best = min(tried, key=lambda candidate: candidate.loss)
        if len(numbers) == 1:
            return best
        return min(best, self._try(best.gamma, numbers[1:], chosen.alphas), key=lambda c: c.loss)

    def _try(self, gamma: float, numbers: Sequence[int], alphas: Sequence[float]) -> _Candidate:
        most = numbers[-1]
        train, held, own = (np.exp(-gamma * distances[:, :most]) for distances in self._distances)
        ridge = models.Ridge.of(train, own[:most], self._goal.y, self._weight)
        tried = []
        for n in numbers:
            for alpha in alphas:
                kernel, bias = ridge.solve(n, alpha)
                scale, loss, figure = self._goal.judge(held[:, :n] @ kernel + bias)
                tried.append(_Candidate(n, gamma, float(alpha), kernel, bias, scale, loss))
                name = "val_mae" if self._goal.task.is_number else "val_accuracy"
                self.history.append(
                    {"landmarks": n, "gamma": gamma, "alpha": float(alpha), "val_loss": loss, name: figure}
                )
        return min(tried, key=lambda candidate: candidate.loss)

    def weights(self, best: _Candidate) -> dict:
        """Return what `models.kernel.build` takes."""
        return {
            "landmarks": self._landmarks[: best.n_landmarks],
            "gamma": best.gamma,
            "kernel": best.kernel * best.scale,
            "bias": best.bias * best.scale,
            "bounds": self._goal.bounds,
        }
