"""Photos with their faces' boxes and answers drawn on them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from faceworkbook.files import write_beside
from faceworkbook.images import UnreadableImage
from faceworkbook.serving.answers import Answering
from faceworkbook.serving.photos import read

_SURE, _UNLIKE, _NONE = (20, 120, 220), (200, 80, 0), (120, 120, 120)
_QUALITY = 88


def draw(photo: np.ndarray, rows: pd.DataFrame, answering: Sequence[Answering]) -> Image.Image:
    """Return a photo with a box and a label a face.

    Parameters
    ----------
    photo : ndarray of shape (height, width, 3), uint8, RGB
    rows : pandas.DataFrame
        Its rows of the predictor's table.
    answering : sequence of Answering
    """
    picture = Image.fromarray(photo)
    pen, side = ImageDraw.Draw(picture), max(photo.shape[:2])
    font, line = ImageFont.load_default(max(10, side // 45)), max(2, side // 300)
    for _, row in rows.iterrows():
        colour = _NONE if pd.isna(row["unlike_training"]) else _UNLIKE if row["unlike_training"] else _SURE
        corner = (0.0, 0.0)
        if pd.notna(row["top"]):
            pen.rectangle((row["left"], row["top"], row["right"], row["bottom"]), outline=colour, width=line)
            corner = (max(row["left"], 0.0), max(row["bottom"], 0.0) + line)
        _label(pen, corner, describe_row(row, answering), font, colour, picture.size)
    return picture


def _label(pen, corner, text: str, font, colour, size) -> None:
    left, top, right, bottom = pen.multiline_textbbox((0, 0), text, font=font)
    x = min(corner[0], max(size[0] - (right - left), 0))
    y = min(corner[1], max(size[1] - (bottom - top) - 4, 0))
    pen.rectangle((x, y, x + right - left + 4, y + bottom - top + 6), fill=colour)
    pen.multiline_text((x + 2 - left, y + 2 - top), text, font=font, fill=(255, 255, 255))


def describe_row(row: pd.Series, answering: Sequence[Answering]) -> str:
    """Return the answers of one face in short lines: class and probability, number and interval, the flag."""
    if pd.isna(row["unlike_training"]):
        return str(row["status"])
    lines = [_describe_answer(row, one) for one in answering]
    return "\n".join([*lines, *(["unlike the training faces"] if row["unlike_training"] else [])])


def _describe_answer(row: pd.Series, one: Answering) -> str:
    name = one.task.name
    if one.is_value:
        ends = f" ({row[f'{name}_low']:.0f} to {row[f'{name}_high']:.0f})" if one.bands else ""
        return f"{one.task.title} {row[name]:.0f}{ends} {one.task.unit}".strip()
    sure = f" {row[f'{name}_probability']:.2f}" if one.task.is_exclusive else ""
    return f"{row[name]}{sure}"


def save(picture: Image.Image, folder: str | Path, name: str) -> Path:
    """Write a drawn photo as JPEG into `folder`, under its own name; a path that leads out of it keeps its last part."""
    kept = [part for part in Path(name).parts if part not in ("..", "/", "\\") and not part.endswith(":")]
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=_QUALITY)
    place = Path(folder).joinpath(*(kept if not Path(name).is_absolute() else kept[-1:]))
    return write_beside(place.with_name(f"{place.name}.jpg"), content.getvalue())


def main_columns(table: pd.DataFrame, answering: Sequence[Answering]) -> list[str]:
    """Return the columns that a reader looks at first: photo, face, status, answers, the flag."""
    names = ["image", "face", "status"]
    for one in answering:
        own = one.task.name
        names += [own, *(f"{own}_{more}" for more in ("probability", "set", "low", "high"))]
    return [name for name in (*names, "unlike_training") if name in table]


def sheet(
    photos: Sequence, table: pd.DataFrame, answering: Sequence[Answering], *, side: int = 320
) -> np.ndarray:
    """Return photos with their answers drawn on them, side by side, as one picture (height, width, 3) uint8 RGB.

    Parameters
    ----------
    photos : sequence of Photo
        Those that cannot be read are left out.
    table : pandas.DataFrame
        The predictor's table.
    answering : sequence of Answering
    side : int
        Pixels of a photo's longer side.
    """
    drawn = []
    for name, image in photos:
        rows = table[table["image"] == name]
        try:
            pixels = read(image)
        except UnreadableImage:
            continue
        factor = side / max(pixels.shape[:2])
        size = tuple(max(1, round(n * factor)) for n in pixels.shape[1::-1])
        scaled = rows.assign(**{edge: rows[edge] * factor for edge in ("top", "left", "bottom", "right")})
        small = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
        drawn.append(draw(small, scaled, answering))
    columns = min(4, max(1, len(drawn)))
    whole = Image.new("RGB", (columns * side, -(-max(1, len(drawn)) // columns) * side), (255, 255, 255))
    for number, picture in enumerate(drawn):
        whole.paste(picture, (number % columns * side, number // columns * side))
    return np.asarray(whole)
