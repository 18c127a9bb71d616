"""Faults planted in the embedded faces: detected in the right group, and nowhere where nothing was planted.

    python -m benchmarks planted_groups

Gender is read with 15 % of one race's labels turned round; race is read with 7 in 10 people of one race taken out
of training. Detected: the verdict 'worse' of `groups.against_rest`. Groups drawn at random show its false alarms.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from faceworkbook import backbones, datasets, descriptors, project, splits
from faceworkbook.evaluation import groups, intervals, predictions
from faceworkbook.tasks import Task
from tests.support import planting

NOISE, KEPT, DRAWS = 0.15, 0.3, 60


def main(*, quick: bool = False) -> dict[str, pd.DataFrame]:
    """Plant each fault in each race, over several splits by identity."""
    faces, matrix = load()
    records = []
    for seed in range(1 if quick else 5):
        split = splits.make(faces, label=("gender", "race"), test=0.4, validation=0.1, seed=seed)
        train = np.concatenate([split.train, split.validation])
        records += trials(faces, matrix, train=train, test=split.test, seed=seed, draws=5 if quick else DRAWS)
    trials_of = pd.DataFrame(records).groupby(["planted", "label"], sort=False)
    table = trials_of.agg(
        trials=("right", "size"), right=("right", "sum"), wrong=("wrong", "sum")
    ).reset_index()
    return {"Faults planted in the embedded faces": describe(table)}


def load() -> tuple[pd.DataFrame, np.ndarray]:
    """The embedded faces and their descriptors by the default network, row by row."""
    dataset = datasets.load("synthetic", project.resolve("data/synthetic"))
    net = backbones.default()
    store = project.resolve(f"results/descriptors/synthetic-{net.name}-{net.tap}")
    described = descriptors.extract(dataset.faces, net, root=dataset.root, store=store)
    order = pd.Index(described.face_id).get_indexer(dataset.faces["face_id"])
    return dataset.faces, described.matrix[order]


def trials(faces, matrix, *, train, test, seed: int, draws: int) -> list[dict]:
    """One record a trial: whether the planted group was detected, and whether others were."""
    records = []
    for label in ("gender", "race"):
        honest = read_label(faces, matrix, label, train, test)
        records.append(judge(honest, "race", planted="nothing", label=label))
        rng = np.random.default_rng(seed)
        for _ in range(draws):
            group = rng.choice(list("abc"), faces["identity"].nunique())
            table = honest.assign(drawn=group[pd.factorize(honest["identity"])[0]])
            records.append(judge(table, "drawn", planted="nothing; groups drawn at random", label=label))
    for race in groups.levels(faces["race"]):
        noisy = planting.plant_group_noise(
            faces, column="gender", group_column="race", group=race, rate=NOISE, seed=seed
        ).faces
        table = read_label(noisy, matrix, "gender", train, test)
        records.append(judge(table, "race", planted="noisier labels", label="gender", group=race))
        inside = pd.Series(np.isin(np.arange(len(faces)), train), index=faces.index)
        gone = planting.plant_underrepresentation(
            faces, column="race", group=race, keep=KEPT, seed=seed, where=inside
        ).planted
        left = train[~faces["face_id"].iloc[train].isin(gone["face_id"]).to_numpy()]
        table = read_label(faces, matrix, "race", left, test)
        records.append(judge(table, "race", planted="few in training", label="race", group=race))
    return records


def read_label(faces, matrix, label: str, train, test) -> pd.DataFrame:
    """Predictions of the test rows by a logistic regression on the training rows, with the race."""
    names = faces[label].astype(str).to_numpy(dtype=object)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=300))
    model.fit(matrix[train], names[train])
    shares = model.predict_proba(matrix[test])
    table = predictions.build(
        faces.iloc[test], Task(label, classes=model.classes_), truth=names[test], output=shares, split="test"
    )
    return groups.attach(table, faces, ["race"])


def judge(table, attribute: str, *, planted: str, label: str, group: str = "") -> dict:
    """Which groups are called worse than the rest."""
    rest = groups.against_rest(table, attribute, n_boot=600)
    worse = set(rest.loc[rest["verdict"] == "worse", "group"])
    return {"planted": planted, "label": label, "right": group in worse, "wrong": bool(worse - {group})}


def describe(table: pd.DataFrame) -> pd.DataFrame:
    """Counts as shares with Wilson intervals."""
    for column in ("right", "wrong"):
        low, high = intervals.wilson(table[column].to_numpy(), table["trials"].to_numpy())
        share = table[column] / table["trials"]
        table[column] = [f"{s:.3f} [{a:.3f}, {b:.3f}]" for s, a, b in zip(share, low, high, strict=True)]
    table.loc[table["planted"].str.startswith("nothing"), "right"] = "-"
    return table.rename(columns={"right": "detected in its group", "wrong": "another group called worse"})


if __name__ == "__main__":
    print(main()["Faults planted in the embedded faces"].to_string(index=False))
