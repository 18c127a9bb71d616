"""Fit the kernel classifier: ridge or logistic regression on Nystroem's map of a Gaussian kernel.

Everything is chosen on validation rows: see `Choices`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize_scalar

from faceworkbook import tasks
from faceworkbook.models import kernel as models
from faceworkbook.models import linear
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
        Numbers of training rows that others are compared with; at most all. The smallest serves to choose blocks and
        width quickly.
    widths : sequence of float
        Of the kernel: gamma is one over the median squared distance of landmarks times each.
    alphas : sequence of float
        Of ridge, on Nystroem's map, whose rows have about length 1.
    strengths : sequence of float
        Inverse regularisation of logistic regression on the same map, for classes; empty for ridge alone.
    blocks : sequence of int
        Widths of the blocks that stand side by side in the descriptors; empty for one. Each is rooted by itself, and
        the squared distances of its landmarks count 1 on average. Blocks are taken one after another, always the one that lowers
        the loss on validation rows most, until none lowers it.
    """

    landmarks: Sequence[int] = (500, 2000)
    widths: Sequence[float] = (0.5, 1.0, 2.0)
    alphas: Sequence[float] = (0.1, 0.3, 1.0)
    strengths: Sequence[float] = (1.0, 3.0, 10.0)
    blocks: Sequence[int] = ()

    def __post_init__(self):
        whole = all(isinstance(v, int | np.integer) and v >= 1 for v in self.landmarks)
        if not whole or not len(self.landmarks):
            raise ValueError(
                f"landmarks={list(self.landmarks)}; allowed are whole numbers of 1 or more, such as (500, 2000)"
            )
        for name in ("widths", "alphas", "strengths"):
            values = getattr(self, name)
            if (not len(values) and name != "strengths") or not all(np.isfinite(v) and v > 0 for v in values):
                raise ValueError(f"{name}={list(values)}; allowed are one or more numbers above 0")

    def cut(self, width: int) -> list[models.Block]:
        """Return the blocks of descriptors of `width` columns, each with weight 1."""
        widths = list(self.blocks) or [width]
        if sum(widths) != width or min(widths) < 1:
            raise ValueError(
                f"blocks={widths} have {sum(widths):,} columns together and the descriptors {width:,}; give the width of "
                "each block in their order, or leave blocks out"
            )
        ends = np.cumsum(widths).tolist()
        return [models.Block(end - own, end) for end, own in zip(ends, widths, strict=True)]


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
    """Fit ridge regression, for classes logistic regression too, on Nystroem's map of square-rooted descriptors.

    Landmarks are training rows. Blocks of columns and the kernel's width are chosen with the smallest number of
    landmarks, alpha with the others (and the number, where there are several), all by ridge; logistic regression is fitted on the map that ridge did
    best on, and the better of the two is taken. Class scores become probabilities by one scale (for each yes/no label its own), the best on
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
        ``settings`` holds what was chosen: landmarks, gamma, alpha or strength, and the blocks' positions; ``history`` has a row
        a choice.
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
    held = np.asarray(split.validation)
    search = _Search((matrix[rows], matrix[held]), _Goal(labels, split), weight)
    blocks = chosen.cut(matrix.shape[1])
    place = np.random.default_rng(seed).permutation(np.unique(rows, return_index=True)[1])
    best = search.run(place[: max(chosen.landmarks)], blocks, chosen)
    options = {"balance": balance} | {name: list(getattr(chosen, name)) for name in choices}
    settings = {
        "classifier": "kernel",
        "model": f"{'ridge' if best.strength is None else 'logistic'} regression on a Gaussian kernel (Nystroem)",
        "seed": int(seed),
        **best.settings,
        **({"blocks": list(search.used)} if len(blocks) > 1 else {}),
        "n_train": n_train,
        "n_validation": len(split.validation),
        "options": options,
    }
    features = models.read_blocks(search.blocks, matrix.shape[1])
    model = models.build(labels.task, features, **search.weights(best))
    fitted = Fitted(model, labels.task, search.describe(best), settings)
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
    alpha: float | None
    kernel: np.ndarray
    bias: np.ndarray
    scale: np.ndarray
    loss: float
    strength: float | None = None

    @property
    def settings(self) -> dict:
        """How it was regularised, in plain types."""
        regularised = {"alpha": self.alpha} if self.strength is None else {"strength": self.strength}
        return {"landmarks": self.n_landmarks, "gamma": self.gamma, **regularised}


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
    """Solves for blocks, widths, numbers of landmarks and alphas; keeps the distances between the solves."""

    def __init__(self, rows: tuple[np.ndarray, np.ndarray], goal: _Goal, weight: np.ndarray):
        self._rows, self._goal, self._weight = rows, goal, weight
        self.history: list[dict] = []
        self.blocks: list[models.Block] = []
        self.used: list[int] = []

    def run(self, place: np.ndarray, blocks: Sequence[models.Block], chosen: Choices) -> _Candidate:
        """Return the best candidate for landmarks at `place` among the training rows."""
        numbers = sorted({min(n, len(place)) for n in chosen.landmarks})
        self._choose_blocks(place[: numbers[0]], blocks, chosen.alphas)
        train, held = (models.roots_of(x, self.blocks) for x in self._rows)
        self._landmarks = train[place]
        distances = _Distances.of(train, held, self._landmarks)
        median = distances.first(numbers[0]).median
        gammas = [float(width / max(median, models.TINY)) for width in chosen.widths]
        tried = [self._try(distances, gamma, numbers[:1], chosen.alphas) for gamma in gammas]
        best = min(tried, key=lambda candidate: candidate.loss)
        if len(numbers) > 1:
            # More landmarks are nearer to the whole kernel, which alpha regularises; few may only seem better.
            best = self._try(distances, best.gamma, numbers[1:], chosen.alphas)
        return self._regress(distances, best, chosen.strengths)

    def _choose_blocks(
        self, place: np.ndarray, blocks: Sequence[models.Block], alphas: Sequence[float]
    ) -> None:
        self.used, self.blocks = [0], list(blocks)
        if len(blocks) == 1:
            return
        each, least = {}, np.inf
        for position, block in enumerate(blocks):
            train, held = (models.roots_of(x, [block]) for x in self._rows)
            own = _Distances.of(train, held, train[place])
            # Rows that are all alike, such as the roots of a single column, say nothing.
            if own.mean > models.TINY:
                each[position] = own.times(1 / own.mean)
                blocks = [*blocks]
                blocks[position] = replace(block, weight=1 / own.mean)
        self.used, together = [], None
        while len(self.used) < len(each):
            tried = {}
            for position in each.keys() - set(self.used):
                joined = each[position] if together is None else together.plus(each[position])
                names = {f"block {i}": int(i in (*self.used, position)) for i in range(len(blocks))}
                gamma = 1 / max(joined.median, models.TINY)
                tried[position] = self._try(joined, gamma, [len(place)], alphas, **names).loss
            best = min(tried, key=lambda position: tried[position])
            if tried[best] >= least:
                break
            self.used, least = [*self.used, best], tried[best]
            together = each[best] if together is None else together.plus(each[best])
        self.used = sorted(self.used) or [0]
        self.blocks = [blocks[position] for position in self.used]

    def _try(
        self,
        distances: _Distances,
        gamma: float,
        numbers: Sequence[int],
        alphas: Sequence[float],
        **named: int,
    ) -> _Candidate:
        most = numbers[-1]
        train, held, own = (np.exp(-gamma * of) for of in distances.first(most).each)
        ridge = models.Ridge.of(train, own, self._goal.y, self._weight)
        tried = []
        for n in numbers:
            for alpha in alphas:
                kernel, bias = ridge.solve(n, alpha)
                scale, loss, figure = self._goal.judge(held[:, :n] @ kernel + bias)
                tried.append(_Candidate(n, gamma, float(alpha), kernel, bias, scale, loss))
                name = "val_mae" if self._goal.task.is_number else "val_accuracy"
                self.history.append(
                    {
                        **named,
                        "landmarks": n,
                        "gamma": gamma,
                        "alpha": float(alpha),
                        "val_loss": loss,
                        name: figure,
                    }
                )
        return min(tried, key=lambda candidate: candidate.loss)

    def _regress(self, distances: _Distances, best: _Candidate, strengths: Sequence[float]) -> _Candidate:
        """Return the better of ridge and of logistic regression on the map that ridge did best on."""
        goal = self._goal
        if goal.task.is_number or not strengths:
            return best
        train, held, own = (np.exp(-best.gamma * of) for of in distances.first(best.n_landmarks).each)
        own[np.diag_indices_from(own)] += models.NUGGET
        lower = cholesky(own, lower=True)
        mapped = [solve_triangular(lower, of.T, lower=True).T.astype(np.float32) for of in (train, held)]
        fitted = linear.fit_classes(
            (mapped[0], goal.train.codes),
            (mapped[1], goal.held.codes),
            n_classes=len(goal.task.classes),
            weight=self._weight,
            strengths=strengths,
        )
        kernel = solve_triangular(lower, fitted.kernel, lower=True, trans="T")
        scale, loss, figure = goal.judge(held @ kernel + fitted.bias)
        named = {"landmarks": best.n_landmarks, "gamma": best.gamma, "strength": fitted.chosen}
        self.history.append({**named, "val_loss": loss, "val_accuracy": figure})
        made = replace(
            best, alpha=None, strength=fitted.chosen, kernel=kernel, bias=fitted.bias, scale=scale, loss=loss
        )
        return min(best, made, key=lambda candidate: candidate.loss)

    def describe(self, best: _Candidate) -> pd.DataFrame:
        """Return the history; ``chosen`` is 1 in the row of the best, whose blocks are those that were taken."""
        history = pd.DataFrame(self.history)
        own = history["val_loss"] == best.loss
        for name, value in best.settings.items():
            own &= history[name] == value
        last = history.index == own[own].index[-1]
        for column in (name for name in history if name.startswith("block ")):
            history.loc[last, column] = int(int(column.removeprefix("block ")) in self.used)
        return history.assign(chosen=last.astype(int))

    def weights(self, best: _Candidate) -> dict:
        """Return what `models.kernel.build` takes."""
        return {
            "landmarks": self._landmarks[: best.n_landmarks],
            "gamma": best.gamma,
            "kernel": best.kernel * best.scale,
            "bias": best.bias * best.scale,
            "bounds": self._goal.bounds,
        }


@dataclass(frozen=True, eq=False)
class _Distances:
    """Squared distances of training rows, of validation rows and of landmarks to the landmarks."""

    each: tuple[np.ndarray, np.ndarray, np.ndarray]

    @classmethod
    def of(cls, train: np.ndarray, held: np.ndarray, landmarks: np.ndarray) -> _Distances:
        # In float32 the kernel of many landmarks in few directions is not positive definite any more.
        exact = landmarks.astype(np.float64)
        return cls(
            (
                models.squared_distances(train, landmarks),
                models.squared_distances(held, landmarks),
                models.squared_distances(exact, exact),
            )
        )

    def first(self, n: int) -> _Distances:
        """Return those to the first `n` landmarks."""
        train, held, own = self.each
        return _Distances((train[:, :n], held[:, :n], own[:n, :n]))

    def times(self, weight: float) -> _Distances:
        return _Distances(tuple(of * of.dtype.type(weight) for of in self.each))

    def plus(self, other: _Distances) -> _Distances:
        return _Distances(tuple(a + b for a, b in zip(self.each, other.each, strict=True)))

    @property
    def median(self) -> float:
        """Of two landmarks; 1 where there is a single one."""
        return float(np.median(self._pairs)) if len(self._pairs) else 1.0

    @property
    def mean(self) -> float:
        """Of two landmarks; 1 where there is a single one."""
        return float(np.mean(self._pairs)) if len(self._pairs) else 1.0

    @property
    def _pairs(self) -> np.ndarray:
        own = self.each[2]
        return own[np.triu_indices_from(own, 1)]
