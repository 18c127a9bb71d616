"""A search of 100 trials: as one program, as Keras fits in turn, on Ray Tune; killed five times; on noise.

    python -m benchmarks search [--quick]
    python -m benchmarks.search [speed] [tune] [kills] [noise] [--trials 100] [--keras 100] [--epochs 30] [--no-whole]

Speed: the trials that TPE proposes on 7,881 x 1024 random descriptors, at most so many epochs, the worse half stopped
after 4, 8, 16 epochs. Keras fits them one after another as a notebook would (best epoch kept, nothing stopped early).
Bar: one program takes at most a sixth of Keras's time. "Nothing stopped" trains the same trials as one program to their last epoch.

Tune: the same trials and the same pruning (its ASHA) on Ray Tune, a trial a core, processes used again; its start is not
counted. Each trial is trained by the program of one MLP, which is quicker than a Keras fit. Needs `pip install 'ray[tune]'`.
Bar: one program takes at most half of Ray Tune's time.

Kills: a search in a process of its own, killed by SIGKILL at moments drawn at random, is compared with one that nobody
disturbed. Noise: labels that know nothing of the descriptors; how often the best trial's figure on the rows that chose
it says more than chance, and how often the nested interval holds chance.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd

from benchmarks.training import fit_in_keras, material, timed
from faceworkbook import faces, ray_cluster, splits, tasks, training
from faceworkbook.experiments import search as nested_search
from faceworkbook.training import batched, spaces, trials
from faceworkbook.training.halving import Halving
from faceworkbook.training.search import Plan, search
from faceworkbook.training.spaces import Choice, Range

HERE = Path(__file__).parent
PLAN = Plan(epochs=30, patience=30, at_once=20, halving=Halving(4, 2))
KILLS = 5
TOY_PLAN = Plan(n_trials=60, at_once=10, epochs=20, patience=20, startup=10, halving=Halving(2, 2))


def main(quick: bool = False) -> dict[str, pd.DataFrame]:
    """Measure speed, kills and noise; quick: few trials, two kills, two draws."""
    n = 6 if quick else 100
    plan = replace(PLAN, n_trials=n, epochs=4 if quick else PLAN.epochs)
    return {
        **measure_speed(plan, keras_fits=2 if quick else n),
        **measure_kills(2 if quick else KILLS),
        **measure_noise(2 if quick else 10, n_trials=20 if quick else 100),
    }


# --------------------------------------------------------------------------- speed


def problem():
    """Random descriptors of 7,881 x 1024 with labels that can be learned, and a split."""
    x, names = material(None, None)
    table = faces.build({"image": [f"{i}.jpg" for i in range(len(x))], "gender": names}, dataset="bench")
    return x, tasks.read_labels(table, "gender"), splits.make(table, label="gender")


def measure_speed(plan: Plan, *, keras_fits: int, whole: bool = True) -> dict[str, pd.DataFrame]:
    """Time the search, and its trials elsewhere; `keras_fits` of them are timed and scaled up; `whole`: also unstopped."""
    x, labels, split = problem()
    warm = replace(plan, n_trials=2, at_once=2, epochs=1)  # start the engine, read the code
    search("mlp", x[:, :8].copy(), labels, split, plan=warm)
    space = spaces.of("mlp", labels.task)
    (seconds, cpu), done = timed(search, "mlp", x, labels, split, space=space, plan=plan)
    drawn = [spaces.options("mlp", space, row) for row in done.table[list(space)].to_dict("records")]
    rows = {"as one program": (seconds, cpu, len(drawn), done.row["value"])}
    goal = trials.Goal(x, labels, split, plan.epochs, plan.patience, plan.choose_by, None, plan.seed)
    if whole:
        (seconds, cpu), ended = timed(trials.train, "mlp", goal, drawn, known={})
        rows["as one program, nothing stopped"] = (seconds, cpu, len(drawn), max(one.value for one in ended))
    rows[f"Keras fits in turn ({keras_fits} timed)"] = time_keras(goal, drawn, keras_fits)
    columns = ["seconds", "CPU seconds", "trials", "best validation accuracy"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("trained")
    table.insert(1, "times the first", table["seconds"] / table["seconds"].iloc[0])
    table.attrs["plot"] = "seconds"
    return {f"{len(drawn)} trials on {len(x):,} x {x.shape[1]}, {plan.epochs} epochs at most": table}


def time_keras(goal: trials.Goal, drawn: list[dict], n: int) -> tuple:
    """Fit `n` trials, spread over all, one after another; scale their time up to all."""
    chosen = [drawn[i] for i in np.linspace(0, len(drawn) - 1, n).astype(int)]
    plain = batched.Settings(epochs=goal.epochs, patience=goal.patience)
    used = ("widths", "dropout", "learning_rate")  # decay, weights and dropped inputs cost Keras nothing here
    times = [
        timed(
            fit_in_keras, goal.matrix, goal.labels, goal.split,
            replace(plain, **{name: one[name] for name in used}), goal.seed,
        )[0]
        for one in chosen
    ]  # fmt: skip
    seconds, cpu = np.mean(times, axis=0) * len(drawn)
    return seconds, cpu, n, np.nan


# --------------------------------------------------------------------------- Ray Tune


def measure_tune(plan: Plan) -> dict[str, pd.DataFrame]:
    """Time the search as one program, and its trials on Ray Tune."""
    x, labels, split = problem()
    search("mlp", x[:, :8].copy(), labels, split, plan=replace(plan, n_trials=2, at_once=2, epochs=1))
    space = spaces.of("mlp", labels.task)
    (seconds, _), done = timed(search, "mlp", x, labels, split, space=space, plan=plan)
    drawn = [spaces.options("mlp", space, row) for row in done.table[list(space)].to_dict("records")]
    goal = trials.Goal(x, labels, split, plan.epochs, plan.patience, plan.choose_by, None, plan.seed)
    own = {"seconds": seconds, "epochs": int(done.table["epochs"].sum()), "best": done.row["value"]}
    table = pd.DataFrame({"as one program": own, "Ray Tune, a trial a core": time_tune(goal, drawn, plan)}).T
    table.insert(1, "times the first", table["seconds"] / table["seconds"].iloc[0])
    table.attrs["plot"] = "seconds"
    return {f"{len(drawn)} trials on {len(x):,} x {x.shape[1]}, pruned alike": table.rename_axis("trained")}


def time_tune(goal: trials.Goal, drawn: list[dict], plan: Plan) -> dict:
    """Train the trials on Ray Tune; return its seconds, the epochs trained and the best validation figure."""
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    rungs = {
        "grace_period": plan.halving.first,
        "reduction_factor": plan.halving.factor,
        "max_t": goal.epochs,
    }
    judged = {"metric": goal.column, "mode": "max" if goal.sign == 1 else "min"}
    with ray_cluster.connected(SystemExit, "benchmarks.search tune"), tempfile.TemporaryDirectory() as place:
        tuner = tune.Tuner(
            tune.with_parameters(train_on_tune, goal=goal, drawn=drawn),
            param_space={"number": tune.grid_search(list(range(len(drawn))))},
            tune_config=tune.TuneConfig(
                scheduler=ASHAScheduler(time_attr="epoch", **rungs, **judged), reuse_actors=True
            ),
            run_config=tune.RunConfig(storage_path=place, verbose=0),
        )
        (seconds, _), results = timed(tuner.fit)
        if results.errors:
            raise RuntimeError(f"a trial on Ray Tune has failed: {results.errors[0]}")
        reported = results.get_dataframe()
    whole = (
        reported[reported["epoch"] == goal.epochs] if (reported["epoch"] == goal.epochs).any() else reported
    )
    best = whole[goal.column].max() if goal.sign == 1 else whole[goal.column].min()
    return {"seconds": seconds, "epochs": int(reported["epoch"].sum()), "best": best}


def train_on_tune(config: dict, goal: trials.Goal, drawn: list[dict]) -> None:
    """What a process of Ray Tune does: one trial, reported epoch by epoch."""
    from ray import tune

    def watch(history: pd.DataFrame) -> bool:
        tune.report({name: float(value) for name, value in history.iloc[-1].items()})
        return True

    trials.train_one("mlp", goal, drawn[config["number"]], watch)


# --------------------------------------------------------------------------- kills


def run_once(folder: str) -> None:
    """What a process does that is killed: one search; its table as a file once it has ended."""
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 2, 1500)
    x = (rng.normal(0, 1, (1500, 256)) + 0.25 * codes[:, None]).astype(np.float32)
    table = faces.build(
        {"image": [f"{i}.jpg" for i in range(1500)], "gender": np.array(["female", "male"])[codes]},
        dataset="toy",
    )
    labels, split = tasks.read_labels(table, "gender"), splits.make(table, label="gender")
    (Path(folder) / "begun").touch()
    done = search("mlp", x, labels, split, plan=TOY_PLAN, folder=Path(folder) / "search")
    done.table.assign(best=done.table["number"] == done.best).to_parquet(Path(folder) / "trials.parquet")


def measure_kills(kills: int) -> dict[str, pd.DataFrame]:
    """Kill a search `kills` times, let it end, and compare it with an undisturbed one."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as place:
        straight, killed = (Path(place) / name for name in ("straight", "killed"))
        for folder in (straight, killed):
            folder.mkdir()
        begun = time.perf_counter()
        start(straight).wait()
        seconds = seconds_of(straight, begun)
        landed = []
        while len(landed) < kills:
            (killed / "begun").unlink(missing_ok=True)
            process = start(killed)
            # In the midst of one round after the other.
            due = len(landed) * TOY_PLAN.n_trials // kills
            while (trials_in(killed) < due or not (killed / "begun").exists()) and process.poll() is None:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, seconds * TOY_PLAN.at_once / TOY_PLAN.n_trials))
            process.send_signal(signal.SIGKILL)
            process.wait()
            landed.append(trials_in(killed))
        if start(killed).wait():
            raise RuntimeError("the last run of the killed search failed")
        tables = [pd.read_parquet(folder / "trials.parquet") for folder in (straight, killed)]
    row = {
        "kills": kills,
        "trials in the journal at each kill": ", ".join(map(str, landed)),
        "trials": len(tables[1]),
        "same best trial": "yes" if tables[0]["best"].equals(tables[1]["best"]) else "no",
        "all trials identical": "yes" if tables[0].equals(tables[1]) else "no",
    }
    return {f"{kills} kills by SIGKILL, {TOY_PLAN.n_trials} trials": pd.DataFrame([row]).set_index("kills")}


def start(folder: Path) -> subprocess.Popen:
    """A search in a process of its own."""
    code = f"from benchmarks import search; search.run_once({str(folder)!r})"
    return subprocess.Popen([sys.executable, "-c", code], cwd=HERE.parent, stderr=subprocess.DEVNULL)


def seconds_of(folder: Path, begun: float) -> float:
    """How long the search itself took, without its process's start."""
    waited = (folder / "begun").stat().st_mtime - (time.time() - (time.perf_counter() - begun))
    return time.perf_counter() - begun - waited


def trials_in(folder: Path) -> int:
    """Number of trials that stand in the journal."""
    return sum(path.read_text().count('"op_code":4') for path in folder.rglob("journal.log"))


# --------------------------------------------------------------------------- noise


def measure_noise(draws: int, *, n_trials: int) -> dict[str, pd.DataFrame]:
    """Search on labels drawn at random; 400 faces x 20 directions, five outer folds, each draw anew."""
    space = {
        "learning_rate": Range(1e-2, 3e-1, log=True),
        "widths": Choice(((32,),)),
        "dropout": Range(0.0, 0.5),
        "input_dropout": Range(0.0, 0.5),
    }
    plan = Plan(n_trials=n_trials, at_once=n_trials, epochs=8, patience=8, startup=5, halving=None)
    rows = []
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        x = rng.normal(0, 1, (400, 20)).astype(np.float32)
        names = np.array(["female", "male"])[rng.permutation(np.arange(400) % 2)]
        table = faces.build({"image": [f"{i}.jpg" for i in range(400)], "gender": names}, dataset="toy")
        outer = training.plan(table, label="gender", n_repeats=1, n_folds=5, validation=0.25, seed=draw)
        labels = tasks.read_labels(table, "gender")
        made = nested_search.nested("mlp", x, labels, outer, space=space, plan=plan)
        figures = made.optimism(table, metric="accuracy").set_index("figure")
        for name in (nested_search.CHOSE, nested_search.TESTED):
            row = figures.loc[name]
            rows.append({"figure": name, "mean": row["mean"], "above": row["low"] > 0.5,
                         "holds": row["low"] <= 0.5 <= row["high"]})  # fmt: skip
    counted = pd.DataFrame(rows).groupby("figure", sort=False)
    summary = pd.DataFrame(
        {
            "mean accuracy (chance: .5)": counted["mean"].mean(),
            "interval above chance": counted["above"].sum(),
            "interval holds chance": counted["holds"].sum(),
            "draws": counted.size(),
        }
    )
    return {f"Labels at random, {n_trials} trials in each of five outer folds": summary}


def from_command_line() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "what",
        nargs="*",
        choices=["speed", "tune", "kills", "noise"],
        help="all but tune where nothing is named",
    )
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--keras", type=int, default=100, help="Keras fits to time; fewer are scaled up")
    parser.add_argument("--epochs", type=int, default=PLAN.epochs)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--no-whole", action="store_true", help="leave out the trials that nothing stops")
    chosen = parser.parse_args()
    plan = replace(PLAN, n_trials=chosen.trials, epochs=chosen.epochs, patience=chosen.epochs)
    measures = {
        "speed": lambda: measure_speed(plan, keras_fits=chosen.keras, whole=not chosen.no_whole),
        "tune": lambda: measure_tune(plan),
        "kills": lambda: measure_kills(KILLS),
        "noise": lambda: measure_noise(chosen.draws, n_trials=chosen.trials),
    }
    for name in chosen.what or ["speed", "kills", "noise"]:
        for title, table in measures[name]().items():
            print(f"{title}\n{table.to_string()}\n", flush=True)


if __name__ == "__main__":
    from_command_line()
