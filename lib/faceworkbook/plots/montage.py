"""Montages of faces with what a reader asks of each: true, predicted, probability, file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from faceworkbook import faces as face_table
from faceworkbook import images
from faceworkbook.evaluation import predictions as tables
from faceworkbook.plots import tiles

BOX = ["top", "left", "bottom", "right"]


@dataclass
class MontageDisplay:
    """Captioned faces in a grid; a face that cannot be read is a grey tile with a cross.

    Attributes
    ----------
    pictures : list of ndarray (h, w, 3), uint8, RGB
    captions : list of str
    """

    pictures: list[np.ndarray]
    captions: list[str]
    about: str = field(default="faces")

    @classmethod
    def from_errors(
        cls, predictions: pd.DataFrame, faces: pd.DataFrame, root, *, n: int = 24, subset: str = "test"
    ) -> MontageDisplay:
        """Show the errors of `subset`, the most confident (or, for numbers, the largest) first."""
        worst = rank_errors(predictions[predictions["split"] == subset]).head(n)
        sure = "most confident " if tables.task_of(predictions).has_probabilities else ""
        return cls.from_rows(worst, faces, root, about=f"{len(worst)} {sure}errors")

    @classmethod
    def from_sample(
        cls,
        predictions: pd.DataFrame,
        faces: pd.DataFrame,
        root,
        *,
        n: int = 24,
        subset: str = "test",
        seed: int = 0,
    ) -> MontageDisplay:
        """Show a random sample of `subset`, right and wrong ones."""
        rows = predictions[predictions["split"] == subset]
        rows = rows.sample(min(n, len(rows)), random_state=seed)
        return cls.from_rows(with_confidence(rows), faces, root, about=f"{len(rows)} faces drawn at random")

    @classmethod
    def from_rows(
        cls, rows: pd.DataFrame, faces: pd.DataFrame, root, *, about: str = "faces"
    ) -> MontageDisplay:
        """Show the faces of the prediction rows `rows`, in their order; `root` is the data set's folder."""
        table = faces.set_index("face_id").loc[rows["face_id"]]
        pictures = [
            read_face(Path(root), image, box)
            for image, *box in table[["image", *BOX]].itertuples(index=False)
        ]
        captions = [
            caption(row, image) for row, image in zip(rows.to_dict("records"), table["image"], strict=True)
        ]
        return cls(pictures, captions, about)

    @classmethod
    def from_labels(cls, faces: pd.DataFrame, root, *, n: int = 32, seed: int = 0) -> MontageDisplay:
        """Show faces drawn at random, captioned with the labels they bear."""
        rows = faces.sample(min(n, len(faces)), random_state=seed)
        own = [name for name in face_table.label_columns(faces) if name not in face_table.COLUMNS][:2]
        pictures = [
            read_face(Path(root), image, box) for image, *box in rows[["image", *BOX]].itertuples(index=False)
        ]
        return cls(
            pictures,
            [label_caption(row, own) for row in rows.to_dict("records")],
            f"{len(rows)} faces drawn at random",
        )

    def plot(self, *, columns: int = 8, tile: tuple[int, int] = (112, 112)) -> MontageDisplay:
        """Lay the tiles out (``figure_``: uint8 RGB array) and return self."""
        self.figure_ = tiles.grid(self.pictures, self.captions, columns=columns, tile=tile)
        return self

    def describe(self) -> str:
        """Return the alt text."""
        first = "; ".join(c.replace("\n", ", ") for c in self.captions[:3])
        return f"Montage of {self.about}, captioned true, predicted, probability and file. First: {first or 'none'}."


def label_caption(row: dict, own: Sequence[str] = ()) -> str:
    """Return a line or more with the labels of a face, those of one's own by their names."""
    words = [str(row[c]) for c in ("gender", "race", "emotion") if pd.notna(row[c])]
    age = (
        f"{row['age']:.0f} y"
        if pd.notna(row["age"])
        else row["age_group"]
        if pd.notna(row["age_group"])
        else ""
    )
    pose = f"yaw {row['yaw']:.0f}" if pd.notna(row["yaw"]) else ""
    lines = [" ".join(words[:2]), " ".join(filter(None, [*words[2:], age])), pose]
    lines += [f"{name}: {row[name]}" for name in own if pd.notna(row[name])]
    return "\n".join(line for line in lines if line)


def with_confidence(rows: pd.DataFrame) -> pd.DataFrame:
    """Return `rows` with the column ``confidence``: the largest probability; for numbers, the absolute error.

    NaN for classes without probabilities.
    """
    if tables.class_names(rows):
        shares = tables.probabilities(rows)
        return rows.assign(confidence=shares.max(axis=1) if shares.size else np.nan)
    return rows.assign(confidence=(rows["predicted"] - rows["truth"].astype(float)).abs())


def rank_errors(rows: pd.DataFrame) -> pd.DataFrame:
    """Return wrong rows, the most confident first; for numbers all rows, the largest error first."""
    rows = with_confidence(rows)
    wrong = rows[rows["truth"] != rows["predicted"]] if tables.class_names(rows) else rows
    return wrong.sort_values(["confidence", "face_id"], ascending=[False, True]).reset_index(drop=True)


def caption(row: dict, image: str) -> str:
    """Return the lines of a tile's caption."""
    if isinstance(row["predicted"], str):
        lines = [f"{row['truth']} > {row['predicted']}", f"p {row['confidence']:.2f}", Path(image).name]
        return "\n".join(lines if pd.notna(row["confidence"]) else lines[::2])
    return f"{float(row['truth']):.0f} > {float(row['predicted']):.0f}\noff by {row['confidence']:.1f}\n{Path(image).name}"


def read_face(root: Path, image: str, box) -> np.ndarray:
    """Read the face as uint8 RGB; a grey tile with a cross where it cannot be read."""
    try:
        pixels = images.read(root / image)
        return images.crop(pixels, tuple(box)) if pd.notna(box[0]) else pixels
    except images.UnreadableImage:
        tile = np.full((112, 112, 3), 200, np.uint8)
        cv2.line(tile, (0, 0), (111, 111), (120, 120, 120), 2)
        return cv2.line(tile, (0, 111), (111, 0), (120, 120, 120), 2)
