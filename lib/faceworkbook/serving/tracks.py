"""Faces of a video joined to tracks by where they are: one track counts as one person in any statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from faceworkbook.serving.answers import Answering

OVERLAP = 0.3  # least intersection over union of two boxes of one track
GAP = 1.0  # seconds that a face may be gone
_BOX = ["top", "left", "bottom", "right"]


@dataclass
class Tracker:
    """Numbers the faces of a video, frame by frame.

    Attributes
    ----------
    rate : float
        Frames a second of the file; rows are named FILE#FRAME.
    """

    rate: float
    _last: dict[int, tuple[int, np.ndarray]] = field(default_factory=dict, repr=False)
    _n: int = 0

    def add(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return a table of answers with ``frame``, ``second`` and ``track`` (NA where there is no face)."""
        frames = table["image"].str.rpartition("#")[2].astype(int).to_numpy()
        track = pd.array([pd.NA] * len(table), dtype="Int64")
        boxes = table[_BOX].to_numpy(dtype=float)
        for frame in dict.fromkeys(frames.tolist()):
            rows = np.flatnonzero((frames == frame) & np.isfinite(boxes[:, 0]))
            for row, number in zip(rows, self._number(frame, boxes[rows]), strict=True):
                track[row] = number
        return table.assign(frame=frames, second=np.round(frames / self.rate, 3), track=track)

    def _number(self, frame: int, boxes: np.ndarray) -> list[int]:
        reach = GAP * self.rate
        self._last = {n: seen for n, seen in self._last.items() if frame - seen[0] <= reach}
        numbers, taken = [-1] * len(boxes), set()
        pairs = [
            (overlap(box, was), row, number)
            for row, box in enumerate(boxes)
            for number, (_, was) in self._last.items()
        ]
        for share, row, number in sorted(pairs, key=lambda pair: -pair[0]):
            if share >= OVERLAP and numbers[row] < 0 and number not in taken:
                numbers[row] = number
                taken.add(number)
        for row, box in enumerate(boxes):
            if numbers[row] < 0:
                numbers[row], self._n = self._n, self._n + 1
            self._last[numbers[row]] = (frame, box)
        return numbers


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Return intersection over union of two boxes (top, left, bottom, right)."""
    height = min(one[2], other[2]) - max(one[0], other[0])
    width = min(one[3], other[3]) - max(one[1], other[1])
    both = max(height, 0.0) * max(width, 0.0)
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)]
    return float(both / max(sum(areas) - both, 1e-9))


class TrackSummary:
    """Adds up the answers of each track: means of probabilities and numbers over its frames."""

    def __init__(self, answering: Sequence[Answering]):
        self._answering = answering
        self._sums: dict[int, pd.Series] = {}
        self._ends: dict[int, list[float]] = {}

    def add(self, table: pd.DataFrame) -> None:
        """Add answered frames with their tracks."""
        answered = table[table["track"].notna() & table["unlike_training"].notna()]
        names = [n for n in table if n.startswith("p:")]
        names += [one.task.name for one in self._answering if one.is_value]
        for number, rows in answered.groupby("track"):
            values = rows[names].astype(float).sum()
            values["frames"], values["unlike"] = float(len(rows)), float(rows["unlike_training"].sum())
            self._sums[int(number)] = values + self._sums.get(int(number), 0.0)
            first, last = self._ends.get(int(number), [np.inf, -np.inf])
            self._ends[int(number)] = [min(first, rows["second"].min()), max(last, rows["second"].max())]

    def table(self) -> pd.DataFrame:
        """Return one row a track: from, to (seconds), frames, unlike_training (share of frames), each task's answer."""
        records = []
        for number, sums in sorted(self._sums.items()):
            mean = sums / sums["frames"]
            record = {"track": number, "from": self._ends[number][0], "to": self._ends[number][1]}
            record |= {"frames": int(sums["frames"]), "unlike_training": mean["unlike"]}
            for one in self._answering:
                record |= _mean_answer(one, mean)
            records.append(record)
        return pd.DataFrame(records)


def _mean_answer(one: Answering, mean: pd.Series) -> dict:
    name = one.task.name
    if one.is_value:
        return {name: float(mean[name])}
    shares = np.array([mean[f"p:{name}={c}"] for c in one.task.classes])
    answer = {name: one.predicted(shares[None])[0]}
    return answer | ({f"{name}_probability": float(shares.max())} if one.task.is_exclusive else {})
