"""Tiles keep the shape of faces, the order of rows, and their captions."""

import numpy as np
import pytest

from faceworkbook.plots import tiles


def flat(color, shape=(40, 40)):
    return np.full((*shape, 3), color, np.uint8)


def test_pictures_are_not_stretched():
    wide = tiles.fit(flat((200, 0, 0), (20, 80)), (64, 64))
    inked = np.flatnonzero((wide[..., 1] < 128).any(axis=1))
    assert wide.shape == (64, 64, 3)
    assert (inked.min(), inked.max()) == (24, 39)


def test_tiles_run_along_rows_and_the_last_row_is_paper():
    colors = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    sheet = tiles.grid([flat(c) for c in colors], columns=2, tile=(50, 30))
    h, w = sheet.shape[0] // 2, sheet.shape[1] // 2
    centres = [tuple(int(v) for v in sheet[y, x]) for y in (h // 2, h + h // 2) for x in (w // 2, w + w // 2)]
    assert centres == [*colors, (255, 255, 255)]


def test_caption_is_drawn_below_and_cut_to_the_width():
    without = tiles.grid([flat((90, 90, 90))], columns=5, tile=(60, 60))
    sheet = tiles.grid([flat((90, 90, 90))], ["true male\n" + "w" * 200], columns=5, tile=(60, 60))
    assert sheet.shape[1] == without.shape[1]
    strip = sheet[without.shape[0] - tiles.GAP : -tiles.GAP]
    assert strip.shape[0] == 2 * tiles.LINE_PIXELS
    assert (strip[: tiles.LINE_PIXELS] < 128).any() and (strip[tiles.LINE_PIXELS :] < 128).any()
    assert (sheet[:, -tiles.GAP :] == tiles.PAPER).all()


def test_no_picture_says_so_and_is_not_black():
    sheet = tiles.grid([], [], columns=4)
    assert sheet.mean() > 200 and (sheet < 128).any()


def test_grey_pictures_are_shown():
    assert tiles.grid([np.full((20, 20), 77, np.uint8)], columns=1).shape[2] == 3


@pytest.mark.parametrize(("captions", "columns"), [(["a"], 3), (["a", "b"], 0)])
def test_wrong_arguments_are_named(captions, columns):
    with pytest.raises(ValueError, match=r"captions|columns=0"):
        tiles.grid([flat((1, 2, 3))] * 2, captions, columns=columns)
