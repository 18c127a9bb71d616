"""Captioned pictures in a grid: the one place that calls `imutils.build_montages`.

That function stretches pictures, takes (columns, rows), fills what is left over with black and
answers an empty list with a black picture; here pictures keep their shape, the last row is filled
with the paper's colour, and an empty list gives a tile that reads "no picture".
"""

from __future__ import annotations

from functools import cache

import cv2
import imutils
import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

PAPER = 255
INK = (32, 32, 32)
FONT_PIXELS = 11
LINE_PIXELS = 14
HEADING_FONT_PIXELS = 14
HEADING_PIXELS = 28
GAP = 3


def grid(
    pictures: list[np.ndarray],
    captions: list[str] | None = None,
    *,
    columns: int,
    tile: tuple[int, int] = (112, 112),
) -> np.ndarray:
    """Lay captioned pictures out in rows.

    Parameters
    ----------
    pictures : list of ndarray of shape (height, width, 3), uint8, RGB
        Any sizes; each is shrunk or enlarged to fit its tile, its aspect kept.
    captions : list of str, optional
        One a picture; lines are parted by a newline, and cut with an ellipsis where too wide.
    columns : int
        Most tiles in a row; fewer pictures make a narrower grid.
    tile : (height, width) in pixels
        Of the picture alone, without caption and gap.

    Returns
    -------
    ndarray of shape (height, width, 3), uint8, RGB
        One tile reading "no picture" for an empty list.

    Raises
    ------
    ValueError
        As many captions as pictures are needed; `columns` must be at least 1.
    """
    captions = [""] * len(pictures) if captions is None else [str(caption) for caption in captions]
    if len(captions) != len(pictures):
        raise ValueError(f"{len(captions)} captions for {len(pictures)} pictures; give one caption each")
    if columns < 1:
        raise ValueError(f"columns={columns}; allowed is 1 or more")
    if not pictures:
        pictures, captions = [np.full((*tile, 3), PAPER, np.uint8)], ["no picture"]
    lines = max(caption.count("\n") + 1 if caption else 0 for caption in captions)
    tiles = [_tile(p, c, tile, lines) for p, c in zip(pictures, captions, strict=True)]
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    tiles += [np.full_like(tiles[0], PAPER)] * (rows * columns - len(tiles))
    height, width = tiles[0].shape[:2]
    return imutils.build_montages(tiles, (width, height), (columns, rows))[0]


def fit(picture: np.ndarray, tile: tuple[int, int]) -> np.ndarray:
    """Resize `picture` (uint8 RGB or grey) to lie centred in `tile` (height, width), its aspect kept."""
    picture = np.atleast_3d(np.asarray(picture, np.uint8))
    picture = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture[..., :3]
    height, width = tile
    factor = min(height / picture.shape[0], width / picture.shape[1])
    h, w = (max(1, round(side * factor)) for side in picture.shape[:2])
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    paper = np.full((height, width, 3), PAPER, np.uint8)
    y, x = (height - h) // 2, (width - w) // 2
    paper[y : y + h, x : x + w] = cv2.resize(picture, (w, h), interpolation=method)
    return paper


def heading(text: str, *, width: int) -> np.ndarray:
    """Return one line of text over a grid: uint8 RGB array of the given width in pixels."""
    strip = Image.new("RGB", (width, HEADING_PIXELS), (PAPER,) * 3)
    line = _shorten(text, width - 2 * GAP, _font(HEADING_FONT_PIXELS))
    ImageDraw.Draw(strip).text((GAP, 8), line, fill=INK, font=_font(HEADING_FONT_PIXELS))
    return np.asarray(strip)


def _tile(picture: np.ndarray, caption: str, tile: tuple[int, int], lines: int) -> np.ndarray:
    picture = fit(picture, tile)
    strip = _caption(caption, tile[1], lines)
    return np.pad(np.vstack([picture, strip]), ((GAP, GAP), (GAP, GAP), (0, 0)), constant_values=PAPER)


def _caption(text: str, width: int, lines: int) -> np.ndarray:
    strip = Image.new("RGB", (width, max(lines, 0) * LINE_PIXELS), (PAPER,) * 3)
    if not lines or not text:
        return np.asarray(strip)
    draw = ImageDraw.Draw(strip)
    for number, line in enumerate(text.split("\n")):
        draw.text((1, number * LINE_PIXELS), _shorten(line, width - 2, _font()), fill=INK, font=_font())
    return np.asarray(strip)


def _shorten(line: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "…") > width:
        line = line[:-1]
    return line + "…"


@cache
def _font(pixels: int = FONT_PIXELS) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), pixels)
