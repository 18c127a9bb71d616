"""A contact sheet: faces by group, so that a person sees what the names mean."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from faceworkbook.plots import tiles
from faceworkbook.plots.montage import BOX, read_face

COLUMNS = 8
MIN_WIDTH = 360  # pixels, so that a heading over one face can be read


@dataclass
class ContactSheetDisplay:
    """Rows of faces, one heading a row.

    Attributes
    ----------
    rows : list of (str, list of ndarray, list of str)
        Heading, pictures (uint8 RGB), captions.
    about : str
    """

    rows: list[tuple[str, list[np.ndarray], list[str]]]
    about: str

    @classmethod
    def from_groups(
        cls, faces: pd.DataFrame, root, *, groups: pd.Series, n: int = 8, seed: int = 0
    ) -> ContactSheetDisplay:
        """Show `n` faces drawn at random from each of the `groups` (a categorical, a value a face)."""
        by = groups.name
        rng = np.random.default_rng(seed)
        rows = []
        for name in groups.cat.categories:
            inside = np.flatnonzero((groups == name).to_numpy())
            chosen = faces.iloc[np.sort(rng.permutation(inside)[:n])]
            heading = f"{by}: {name} (n = {len(inside):,})"
            rows.append((heading, read_faces(chosen, root), [Path(image).name for image in chosen["image"]]))
        return cls(rows, f"{by}, {n} faces drawn at random from each of {len(rows)} groups")

    @classmethod
    def from_duplicates(cls, duplicates, faces: pd.DataFrame, root, *, column: str = "", n: int = 8):
        """Show groups of copies side by side, those that contradict each other in `column` first.

        Parameters
        ----------
        duplicates : faceworkbook.audit.Duplicates
        faces : pandas.DataFrame
            The table in which they were searched.
        root : str or Path
        column : str
            Label in the captions; only groups with contradicting values are shown.
        n : int
            Groups shown.
        """
        members = duplicates.conflicts(column) if column else duplicates.members
        shown = members[members["group"].isin(members["group"].unique()[:n])]
        table, rows = faces.set_index("face_id", drop=False), []
        for packed in _pack(shown["group"], COLUMNS):
            chosen = shown[shown["group"].isin(packed)]
            lines = [f"#{row.group} {getattr(row, column) if column else ''}" for row in chosen.itertuples()]
            files = ["/".join(image.split("/")[-2:]) for image in chosen["image"]]
            captions = [f"{line}\n{file}" for line, file in zip(lines, files, strict=True)]
            heading = f"groups {', '.join(f'#{group}' for group in packed)}"
            rows.append((heading, read_faces(table.loc[chosen["face_id"]], root), captions))
        what = f"with contradicting {column}" if column else "of copies"
        total = members["group"].nunique()
        return cls(rows, f"{min(n, total)} of {total:,} groups {what} ({duplicates.how})")

    @classmethod
    def from_removed(cls, cleaned, faces: pd.DataFrame, root, *, n: int = 8, seed: int = 0):
        """Show samples of what a cleaning pass removed, by reason.

        Parameters
        ----------
        cleaned : faceworkbook.audit.Cleaned
        faces : pandas.DataFrame
            The table before cleaning.
        """
        rows, table = [], faces.set_index("face_id", drop=False)
        for reason, gone in cleaned.removed.groupby("reason", sort=False):
            chosen = gone.sample(min(n, len(gone)), random_state=seed).sort_index()
            captions = [_measures(row) for row in chosen.to_dict("records")]
            pictures = read_faces(table.loc[chosen["face_id"]], root)
            rows.append((f"{reason} ({len(gone):,} removed)", pictures, captions))
        return cls(rows, f"samples of {len(cleaned.removed):,} removed faces by reason")

    @classmethod
    def from_label_errors(cls, errors, faces: pd.DataFrame, root, *, n: int = 24):
        """Show the `n` most doubtful labels, captioned given > suggested, probability, file."""
        top = errors.table.head(n)
        table = faces.set_index("face_id", drop=False).loc[top["face_id"]]
        captions = [
            f"{row.given} > {row.suggested}\np {row.p_suggested:.2f}\n{Path(row.image).name}"
            for row in top.itertuples()
        ]
        rows = _in_rows(read_faces(table, root), captions, f"{errors.column}: rank", of=len(errors.table))
        return cls(rows, f"the {len(top)} most doubtful labels of {errors.column}, given > suggested")

    @classmethod
    def from_corrections(cls, effect, faces: pd.DataFrame, root, *, n: int = 24):
        """Show the first `n` faces whose label was corrected, captioned was > value, file.

        Parameters
        ----------
        effect : faceworkbook.experiments.correction_effect.CorrectionEffect
        faces : pandas.DataFrame
            Face table that holds them.
        """
        top = effect.rows.head(n)
        table = faces.set_index("face_id", drop=False).loc[top["face_id"]]
        values = top["value"].where(top["value"].notna(), "left out")
        captions = [
            f"{was} > {value}\n{Path(image).name}"
            for was, value, image in zip(top["was"], values, top["image"], strict=True)
        ]
        rows = _in_rows(read_faces(table, root), captions, f"{effect.label}: face", of=len(effect.rows))
        return cls(rows, f"{len(top)} faces whose {effect.label} was corrected, was > value")

    def plot(self, *, tile: tuple[int, int] = (96, 96)) -> ContactSheetDisplay:
        """Lay the rows out (``figure_``: uint8 RGB array) and return self."""
        columns = max([len(pictures) for _, pictures, _ in self.rows], default=1)
        blocks = []
        for heading, pictures, captions in self.rows:
            strip = tiles.grid(pictures, captions, columns=columns, tile=tile)
            blocks += [tiles.heading(heading, width=max(strip.shape[1], MIN_WIDTH)), strip]
        blocks = blocks or [tiles.grid([], [], columns=1, tile=tile)]
        width = max(block.shape[1] for block in blocks)
        padding = [((0, 0), (0, width - block.shape[1]), (0, 0)) for block in blocks]
        self.figure_ = np.vstack(
            [np.pad(b, p, constant_values=tiles.PAPER) for b, p in zip(blocks, padding, strict=True)]
        )
        return self

    def describe(self) -> str:
        """Return the alt text."""
        headings = "; ".join(heading for heading, _, _ in self.rows[:6])
        return f"Contact sheet of {self.about}. Rows: {headings or 'none'}."


def _in_rows(pictures: list, captions: list[str], heading: str, *, of: int) -> list[tuple]:
    """Return rows of `COLUMNS` pictures, each headed by the places of the first and the last."""
    starts = range(0, len(pictures), COLUMNS)
    ends = [min(start + COLUMNS, len(pictures)) for start in starts]
    return [
        (f"{heading} {start + 1} to {end} of {of:,}", pictures[start:end], captions[start:end])
        for start, end in zip(starts, ends, strict=True)
    ]


def _pack(groups: pd.Series, columns: int) -> list[list[int]]:
    """Return groups in order, as many to a row as fit into `columns` tiles; a larger group has a row of its own."""
    rows, free = [], 0
    for group, size in groups.value_counts(sort=False).items():
        if size > free:
            rows.append([])
            free = columns
        rows[-1].append(group)
        free -= size
    return rows


def read_faces(faces: pd.DataFrame, root) -> list[np.ndarray]:
    """Read the faces of the rows, uint8 RGB; a grey tile for one that cannot be read."""
    rows = faces[["image", *BOX]].itertuples(index=False)
    return [read_face(Path(root), image, box) for image, *box in rows]


def _measures(row: dict) -> str:
    score = "no face" if pd.isna(row["score"]) else f"score {row['score']:.2f}"
    return f"{score}\n{Path(row['image']).name}"
