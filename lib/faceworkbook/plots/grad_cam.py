"""Where the evidence for each class lies, over the mean face of that class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from faceworkbook.plots import style

COLUMNS = 4


@dataclass
class GradCamDisplay:
    """One panel a class: the mean face, with the averaged map laid over it.

    Attributes
    ----------
    names : tuple of str
    maps : ndarray of shape (n, height, width), range 0..1
    faces : ndarray of shape (n, height, width, 3), uint8, RGB
    counts : ndarray of shape (n,), int
    layer : str
        Where in the network the maps were taken.
    """

    names: tuple[str, ...]
    maps: np.ndarray
    faces: np.ndarray
    counts: np.ndarray
    layer: str

    @classmethod
    def from_maps(cls, maps) -> GradCamDisplay:
        """Take the maps of ``faceworkbook.experiments.grad_cam.class_maps``."""
        return cls(maps.names, maps.maps, maps.faces, maps.counts, maps.layer)

    def plot(self) -> GradCamDisplay:
        """Draw into a new figure (``figure_``, ``axes_``) and return self."""
        n_panels = len(self.names)
        size = (2.4 * min(COLUMNS, n_panels) + 1, 2.6 * -(-n_panels // COLUMNS))
        self.figure_, self.axes_ = style.panels(n_panels, columns=COLUMNS, size=size)
        panels = zip(self.axes_, self.names, self.maps, self.faces, self.counts, strict=True)
        for ax, name, heat, face, n in panels:
            ax.imshow(face)
            drawn = ax.imshow(heat, cmap="inferno", alpha=0.55, vmin=0, vmax=1)
            ax.set_title(f"{name} (n = {n:,})", loc="center")
            ax.axis("off")
        label = "Grad-CAM, share of each face's largest"
        self.figure_.colorbar(drawn, ax=self.axes_, label=label, shrink=0.8)
        return self

    def describe(self) -> str:
        """Return the alt text."""
        return (
            f"Mean Grad-CAM maps at layer {self.layer} over the mean face of each class; "
            + "; ".join(f"{name}: strongest {self._where(i)}" for i, name in enumerate(self.names))
            + "."
        )

    def _where(self, i: int) -> str:
        y, x = np.unravel_index(self.maps[i].argmax(), self.maps[i].shape)
        height, width = self.maps[i].shape
        down = ("at the top", "in the middle", "at the bottom")[min(2, 3 * y // height)]
        across = ("left", "centre", "right")[min(2, 3 * x // width)]
        return f"{down}, {across}"
