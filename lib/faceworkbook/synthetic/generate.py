"""Draw who is in a set of synthetic faces, and write the set to a folder."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from faceworkbook.files import write_beside
from faceworkbook.synthetic import people

SEED = 20
N_IDENTITIES, SHOTS = 600, 4
LABELS_FILE, PARAMETERS_FILE, SHEET_FILE = "labels.csv", "parameters.csv", "contact_sheet.jpg"
LABEL_COLUMNS = [
    "face_id", "image", "identity", "gender", "race", "age", "emotion", "yaw", "pitch", "roll",
    "top", "left", "bottom", "right", "split",
]  # fmt: skip

# Of every twenty people of one gender and race, in order of age: who goes where.
SPLIT_PATTERN = ["train", "test", "train", "train", "validation", "train", "train", "test", "train", "train",
                 "test", "train", "validation", "train", "test", "train", "train", "validation", "train", "test"]  # fmt: skip


def draw_people(n_identities: int, *, seed: int = SEED) -> pd.DataFrame:
    """Draw identity, gender, race, age and split of each person; every pair of attributes is independent.

    Each gender and race gets the same number of people (within one), and within each the ages are spread
    evenly over `people.AGE_RANGE`; the splits take turns along the ages.
    """
    rng = np.random.default_rng([seed, 0])
    cells = [(gender, race) for gender in people.GENDERS for race in people.RACES]
    rows = []
    for cell, (gender, race) in enumerate(cells):
        n = len(range(cell, n_identities, len(cells)))
        low, high = people.AGE_RANGE
        ages = low + (np.arange(n) + rng.random(n)) / max(n, 1) * (high - low)
        start = rng.integers(len(SPLIT_PATTERN))
        splits = [SPLIT_PATTERN[(start + i) % len(SPLIT_PATTERN)] for i in range(n)]
        rows += [(gender, race, round(a, 1), s) for a, s in zip(ages, splits, strict=True)]
    table = pd.DataFrame(rows, columns=["gender", "race", "age", "split"])
    table = table.iloc[rng.permutation(len(table))].reset_index(drop=True)
    table.insert(0, "identity", [f"person{i:04d}" for i in range(len(table))])
    return table


def deal_emotions(n_identities: int, shots: int, *, seed: int = SEED) -> list[list[str]]:
    """Draw the emotions of each person's shots from shuffled decks, so that all are equally frequent."""
    rng = np.random.default_rng([seed, 1])
    decks = -(-n_identities * shots // len(people.EMOTIONS))
    dealt = np.concatenate([rng.permutation(people.EMOTIONS) for _ in range(decks)])[: n_identities * shots]
    return dealt.reshape(n_identities, shots).tolist()


def shoot_person(
    number: int, row: dict, emotions: list[str], *, seed: int = SEED, only: int | None = None
) -> Iterator[tuple[np.ndarray, dict, dict]]:
    """Render the shots of one person.

    Parameters
    ----------
    number : int
        The person's number in the table of `draw_people`.
    row : dict
        identity, gender, race, age, split.
    emotions : list of str
        One a shot.
    seed : int
        Seed of the set.
    only : int, optional
        Render only this shot.

    Yields
    ------
    picture : uint8 array of shape (128, 128, 3)
        BGR.
    labels : dict
        A row of labels.csv.
    parameters : dict
        A row of parameters.csv: what was drawn besides the labels.
    """
    from faceworkbook.synthetic import render

    rng = np.random.default_rng([seed, 2, number])
    person = people.draw_person(rng, gender=row["gender"], race=row["race"], age=row["age"])
    head = render.build_head(person, rng)
    traits = {name: person[name] for name in ("tone_place", "hair_style", "beard_style", "bald", "makeup")}
    for shot, emotion in enumerate(emotions):
        if only is not None and shot != only:
            continue
        expression = people.draw_expression(np.random.default_rng([seed, 3, number, shot]), emotion)
        pose = people.draw_pose(np.random.default_rng([seed, 4, number, shot]))
        scene = people.draw_scene(np.random.default_rng([seed, 5, number, shot]))
        picture, box = render.render(head, person, expression, pose, scene)
        name = f"{row['identity']}_{shot}"
        angles = {axis: round(value, 2) for axis, value in pose.items()}
        labels = {"face_id": f"synthetic-{name}", "image": f"images/{name}.jpg", **row, "emotion": emotion}
        parameters = {"face_id": labels["face_id"], "intensity": expression["intensity"], **traits, **scene}
        yield picture, {**labels, **angles, **box}, parameters


def generate(
    out: str | Path,
    *,
    n_identities: int = N_IDENTITIES,
    shots: int = SHOTS,
    seed: int = SEED,
    workers: int = 1,
) -> pd.DataFrame:
    """Render a set into a folder: images/, labels.csv, parameters.csv and a contact sheet.

    The tables are written last, so a folder without labels.csv is an interrupted run.

    Parameters
    ----------
    out : path
        Folder; made when missing.
    n_identities, shots : int
        People, and pictures of each.
    seed : int
        The same seed gives the same labels and, up to rounding, the same pictures.
    workers : int
        Processes.

    Returns
    -------
    pandas.DataFrame
        The rows of labels.csv.

    Raises
    ------
    ModuleNotFoundError
        The extra `[synthetic]` is not installed.
    """
    _require_positive(n_identities=n_identities, shots=shots, workers=workers)
    out = Path(out)
    (out / "images").mkdir(parents=True, exist_ok=True)
    persons = draw_people(n_identities, seed=seed).to_dict("records")
    jobs = list(zip(range(n_identities), persons, deal_emotions(n_identities, shots, seed=seed), strict=True))
    write = partial(_write_person, out=out, seed=seed)
    rows = []
    for written in tqdm(_map(write, jobs, workers), total=len(jobs), unit="person", desc="rendering"):
        rows += written
    labels = pd.DataFrame([label for label, _ in rows])[LABEL_COLUMNS]
    parameters = pd.DataFrame([parameter for _, parameter in rows]).round(4)
    _write_table(parameters, out / PARAMETERS_FILE)
    write_contact_sheet(out, labels)
    _write_table(labels, out / LABELS_FILE)
    return labels


def _map(work, jobs, workers):
    if workers == 1:
        yield from map(work, jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as executor:
        yield from executor.map(work, jobs, chunksize=2)


def _write_person(job, *, out: Path, seed: int) -> list[tuple[dict, dict]]:
    rows = []
    for picture, labels, parameters in shoot_person(*job, seed=seed):
        write_jpeg(out / labels["image"], picture, quality=parameters["quality"])
        rows.append((labels, parameters))
    return rows


def write_jpeg(path: Path, picture: np.ndarray, *, quality: int) -> None:
    """Write a BGR picture."""
    _, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    write_beside(path, encoded.tobytes())


def _write_table(table: pd.DataFrame, path: Path) -> None:
    write_beside(path, table.to_csv(index=False, lineterminator="\n"))


def write_contact_sheet(out: Path, labels: pd.DataFrame, *, columns: int = 12, rows: int = 6) -> Path:
    """Write one picture of each person, sorted by race, gender and age, as one JPEG of `columns` x `rows`."""
    first = labels.drop_duplicates("identity").sort_values(["race", "gender", "age"])
    chosen = first.iloc[np.unique(np.linspace(0, len(first) - 1, columns * rows).astype(int))]
    pictures = [cv2.imread(str(out / image)) for image in chosen["image"]]
    pictures += [np.full_like(pictures[0], 255)] * (-len(pictures) % columns)
    lines = [np.hstack(pictures[i : i + columns]) for i in range(0, len(pictures), columns)]
    write_jpeg(out / SHEET_FILE, np.vstack(lines), quality=85)
    return out / SHEET_FILE


def _require_positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name}: expected 1 or more, received {number}.")
