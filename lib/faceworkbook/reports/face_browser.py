"""Faces one can look through: table, map and corrections of all test predictions, as one piece of an offline page.

The script is `templates/faces/faces.js`; a page that holds a piece of `to_html` runs it (`reports.html`). Pictures
are small ones in one sprite. Without the script (print, JupyterLab) the picture of the map stands there.
"""

from __future__ import annotations

import base64
import math
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from faceworkbook.plots import tiles
from faceworkbook.plots.montage import BOX, read_face
from faceworkbook.reports import figures, pages
from faceworkbook.reports.face_rows import FaceRows
from faceworkbook.reports.pages import escape, to_json

ALL, ERRORS, NONE = "all", "errors", "none"
CHOICES = (ALL, ERRORS, NONE)
MARK = 'class="face-browser"'
MOST = 10_000  # pictures on a page
SIZES = ((96, 600), (64, 3000), (48, MOST))  # side of a picture in pixels, and up to how many pictures
QUALITY = {96: 62, 64: 60, 48: 55}  # of WebP; a page of 10,000 faces stays below 6 MB
SHOWN_SIDE = 56  # pixels of a screen in the table
_FOLDER = pages.TEMPLATES / "faces"


def script() -> str:
    """Return the script of a page that holds faces to look through."""
    return (_FOLDER / "faces.js").read_text()


def stylesheet() -> str:
    """Return its style."""
    return (_FOLDER / "faces.css").read_text()


def to_html(
    rows: FaceRows, root: str | Path, *, which: str = ALL, static: tuple[bytes, str] | None = None
) -> str:
    """Return the piece of a page in which all test faces can be looked through.

    Parameters
    ----------
    rows : FaceRows
    root : str or Path
        Folder of the pictures.
    which : {'all', 'errors', 'none'}
        Whose pictures the page carries; all rows are in its table either way.
    static : (bytes, str), optional
        PNG and alt text of the map, shown in print and where no script runs.
    """
    sprite, record = _sprite(rows, Path(root), which), dict(rows.record)
    record |= {"sprite": sprite and {k: v for k, v in sprite.items() if k != "webp"}, "side": SHOWN_SIDE}
    picture = ""
    if sprite:
        data = base64.b64encode(sprite["webp"]).decode()
        picture = f'<img class="sprite" alt="the small pictures of all faces, shown one by one in the table and the map" style="display:none" src="data:image/webp;base64,{data}">'
    still = ""
    if static:
        png, alt = static
        body = base64.b64encode(png).decode()
        still = f'<figure><img src="data:image/png;base64,{body}" alt="{escape(alt)}" style="max-width:46rem;width:100%"></figure>'
    return (
        f'<section {MARK} aria-label="Faces one can look through"><div class="still">{still}<p>On a screen, report.html '
        "shows all test faces here: a table to sort and filter, the map with faces, corrections to save.</p></div>"
        f'<div class="live" hidden></div>{picture}'
        f'<script type="application/json" class="face-data">{to_json(record)}</script></section>'
    )


def describe_choice(which: str, rows: FaceRows) -> str:
    """Return in a sentence whose pictures a page carries."""
    n = len(rows.rows)
    if which == NONE:
        return f"All {n:,} test faces are in the table, without pictures (faces_in_report: none)."
    shown = int((_tiles(rows, which) >= 0).sum())
    if shown == n:
        return f"All {n:,} test faces, with small pictures."
    whose = "errors alone" if which == ERRORS else "errors first"
    return f"All {n:,} test faces are in the table, {shown:,} of them with a picture ({whose})."


def _tiles(rows: FaceRows, which: str) -> np.ndarray:
    """Return the place in the sprite of each row, -1 for none; errors come first, so they have the first places."""
    wanted = np.flatnonzero(rows.is_error if which == ERRORS else np.ones(len(rows.rows), bool))[:MOST]
    places = np.full(len(rows.rows), -1)
    places[wanted] = np.arange(len(wanted))
    return places


def _sprite(rows: FaceRows, root: Path, which: str) -> dict | None:
    places = _tiles(rows, which) if which != NONE else np.full(len(rows.rows), -1)
    own = rows.faces[places >= 0]
    if own.empty:
        return None
    size = next(side for side, most in SIZES if len(own) <= most)
    columns = math.ceil(math.sqrt(len(own)))
    return {
        "webp": draw(own, root, size=size, columns=columns),
        "size": size,
        "columns": columns,
        "tiles": places,
    }


def draw(faces: pd.DataFrame, root: Path, *, size: int, columns: int) -> bytes:
    """Return small pictures of the faces, row by row, as one WebP of `columns` tiles of `size` pixels a side."""
    canvas = np.full((size * math.ceil(len(faces) / columns), size * columns, 3), tiles.PAPER, np.uint8)

    def paint(entry) -> None:
        at, (image, *box) = entry
        y, x = (size * place for place in divmod(at, columns))
        canvas[y : y + size, x : x + size] = tiles.fit(read_face(root, image, box), (size, size))

    with ThreadPoolExecutor() as pool:
        list(pool.map(paint, enumerate(faces[["image", *BOX]].itertuples(index=False, name=None))))
    buffer = BytesIO()
    Image.fromarray(canvas).save(buffer, format="webp", quality=QUALITY[size], method=4)
    return buffer.getvalue()


def static_map(run) -> tuple[bytes, str] | None:
    """Return the map that 04_errors drew, as PNG with its alt text; None where there is none."""
    if not run.has("04_errors", "figures/map.png"):
        return None
    data = run.other("04_errors", "figures/map.png").read_bytes()
    return data, figures.alt_text(data)
