"""Twenty-five fits of an MLP: as one program, and one Keras ``fit`` after another.

    python -m benchmarks training [--quick]
    python -m benchmarks.training [--descriptors FILE.npy --labels FILE.npy] [--epochs 15]

Both do the same work in one run: 5 x 5 folds, the same net, batches of 128, so many epochs each, validation loss
after each epoch, best weights kept. Bar: one program is at least 8 times as fast. Without files, random descriptors
of 7,881 x 1024 stand in. Also printed: the largest difference of a probability to single fits by the same program.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pandas as pd

from faceworkbook import faces, splits, tasks
from faceworkbook.models import mlp
from faceworkbook.training import batched


def material(descriptors: str | None, labels: str | None):
    """Descriptors (n, d) and class names (n,), from files or at random."""
    if descriptors:
        return np.load(descriptors, allow_pickle=False), np.load(labels, allow_pickle=False)
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, 7881)
    x = rng.gamma(0.5, 0.8, (7881, 1024)) + 0.25 * codes[:, None] * rng.random(1024)
    return x.astype(np.float32), np.array(["female", "male"])[codes]


def fit_in_keras(x, labels, split, settings: batched.Settings, seed: int) -> float:
    """One plain Keras fit with early stopping, as a notebook would write it; returns its best loss."""
    keras.utils.set_random_seed(seed)
    mean, spread = batched.moments(x[split.train])
    model = mlp.build(
        labels.task,
        mean=mean,
        variance=spread**2,
        widths=settings.widths,
        dropout=settings.dropout,
        seed=seed,
    )
    model.compile(
        keras.optimizers.Adam(settings.learning_rate),
        labels.task.loss,
        metrics=["accuracy"],
    )
    stop = keras.callbacks.EarlyStopping(patience=settings.patience, restore_best_weights=True)
    held = (x[split.validation], labels.codes[split.validation])
    history = model.fit(
        x[split.train],
        labels.codes[split.train],
        validation_data=held,
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        callbacks=[stop],
        verbose=0,
    )
    return min(history.history["val_loss"])


def timed(function, *args, **settings):
    """Seconds by the clock and of the processor, and what `function` returned."""
    begun = np.array([time.perf_counter(), time.process_time()])
    result = function(*args, **settings)
    return np.array([time.perf_counter(), time.process_time()]) - begun, result


def main(quick: bool = False) -> dict[str, pd.DataFrame]:
    """Time both on random descriptors; quick: three epochs, and two Keras fits scaled up."""
    return measure(*material(None, None), epochs=3 if quick else 15, timed_fits=2 if quick else 25)


def measure(x: np.ndarray, names: np.ndarray, *, epochs: int, timed_fits: int) -> dict[str, pd.DataFrame]:
    """Twenty-five fits as one program and in turn, of which `timed_fits` are timed and scaled up."""
    table = faces.build({"image": [f"{i}.jpg" for i in range(len(x))], "gender": names}, dataset="bench")
    labels = tasks.read_labels(table, "gender")
    plan = splits.folds(table, label="gender")
    seeds = [split.repeat for split in plan]
    settings = batched.Settings(epochs=epochs, patience=epochs)
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])(np.zeros((1, 4), "f"))  # start the engine

    together, stack = timed(batched.fit, x, labels, plan, settings, seeds=seeds)
    singly = list(zip(plan, [settings] * len(plan), seeds, strict=True))[:timed_fits]
    times, losses = zip(*[timed(fit_in_keras, x, labels, *fit) for fit in singly], strict=True)
    one_by_one = np.mean(times, axis=0) * len(plan)
    kept = stack.history.groupby("model")["val_loss"].min().to_numpy()[: len(losses)]
    alone = batched.fit(x, labels, [plan[7]], settings, seeds=[seeds[7]]).predict(x)[0]
    summary = pd.DataFrame(
        [(*one_by_one, np.mean(losses)), (*together, kept.mean())],
        columns=["seconds", "CPU seconds", "mean best validation loss"],
        index=pd.Index([f"Keras fits in turn ({len(times)} timed)", "one program"], name="fitted as"),
    )
    summary.insert(1, "times faster (bar: 8)", one_by_one[0] / summary["seconds"])
    summary.attrs["plot"] = "seconds"
    summary.attrs["note"] = (
        "Largest difference of a probability to the same model fitted by itself: "
        f"{np.abs(stack.predict(x)[7] - alone).max():.1e}."
    )
    return {f"{len(plan)} fits of {x.shape[0]:,} x {x.shape[1]}, {epochs} epochs": summary}


def from_command_line() -> None:
    """Time both on the files that the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--descriptors")
    parser.add_argument("--labels")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--fits", type=int, default=25, help="Keras fits to time; fewer are scaled up")
    chosen = parser.parse_args()
    x, names = material(chosen.descriptors, chosen.labels)
    for title, table in measure(x, names, epochs=chosen.epochs, timed_fits=chosen.fits).items():
        print(f"{title}\n{table.to_string()}\n{table.attrs['note']}")


if __name__ == "__main__":
    from_command_line()
