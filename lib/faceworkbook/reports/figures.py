"""Figures as PNG files that carry their alt text, shown in a notebook at reading size."""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

SAVED_DPI, CSS_DPI = 150, 96


def png_bytes(figure, alt: str = "") -> bytes:
    """A matplotlib figure, a Display or an RGB array as PNG that carries its alt text."""
    figure = getattr(figure, "figure_", figure)
    drawn = not isinstance(figure, np.ndarray)
    picture = _drawn(figure) if drawn else figure
    note, buffer = PngInfo(), BytesIO()
    note.add_itxt("Description", alt)
    dpi = {"dpi": (SAVED_DPI, SAVED_DPI)} if drawn else {}
    Image.fromarray(picture).save(buffer, format="png", pnginfo=note, **dpi)
    return buffer.getvalue()


def _drawn(figure) -> np.ndarray:
    from matplotlib import pyplot as plt

    buffer = BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight", dpi=SAVED_DPI)
    plt.close(figure)
    return np.asarray(Image.open(buffer).convert("RGB"))


def alt_text(data: bytes) -> str:
    """The alt text that a PNG of `png_bytes` carries."""
    return Image.open(BytesIO(data)).info.get("Description", "figure")


def show_png(data: bytes, alt: str) -> None:
    """Show PNG bytes in a notebook, with alt text that reaches the HTML report."""
    from IPython.display import publish_display_data

    with Image.open(BytesIO(data)) as picture:
        scale = CSS_DPI / picture.info["dpi"][0] if "dpi" in picture.info else 1.0
        size = {"width": round(picture.width * scale), "height": round(picture.height * scale)}
    content = {"image/png": base64.b64encode(data).decode(), "text/plain": alt}
    publish_display_data(content, metadata={"image/png": {"alt": alt, **size}})
