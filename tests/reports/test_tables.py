"""Tables as a reader wants them."""

import pandas as pd
import pytest

from faceworkbook.reports import tables


def test_no_p_value_is_nought():
    table = pd.DataFrame({"gap_p": [0.0004, 0.5, None], "p_holm": [1, 0.0212, 0], "share": [0.0004, 1, 2]})
    page = tables.to_html(table)
    assert page.count("&lt;&nbsp;0.001") == 2
    assert "0.021" in page and "–" in page and '<td class="number">0.000</td>' in page


def test_no_dictionary_and_no_list_reaches_a_reader_raw(capsys):
    settings = {"widths": [16, 16], "decay": {"factor": 0.5, "every_epochs": 10}, "xla": False, "cut": None}
    text = tables.describe(settings)
    assert text == "widths 16, 16, decay factor 0.5, every epochs 10, xla no, cut none"
    page = tables.to_html(pd.DataFrame({"what": [settings, ["a", "b"]]}))
    assert "{" not in page and "[" not in page and "a, b" in page


def test_preprocessing_is_put_in_words_and_nothing_is_lost():
    record = {
        "size": [224, 160],
        "channels": "BGR",
        "mean": [103.9, 116.8, 123.7],
        "scale": 1.0,
        "interpolation": "bilinear",
        "crop_margin": 0.25,
        "alignment": "five points",
    }
    assert tables.describe_preprocessing(record) == (
        "160 x 224 pixels, BGR; mean 103.9, 116.8, 123.7 subtracted; bilinear interpolation; margin around the box 25%; "
        "alignment five points"
    )


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        ({"align": "five_points", "template": "arcface", "crop_margin": 0.2}, "aligned by five points; margin around the arcface template 20%"),
        ({"align": "upright", "crop_margin": 0.0}, "eye line level; no margin around the box"),
    ],
)  # fmt: skip
def test_alignment_is_put_in_words(cut, words):
    assert tables.describe_preprocessing({"size": [8, 8], **cut}) == f"8 x 8 pixels, RGB; {words}"


def test_a_scale_for_each_channel_and_prewhitening_are_put_in_words():
    record = {"size": [8, 8], "mean": [1.0, 2.0, 3.0], "scale": [0.5, 0.25, 0.125]}
    assert tables.describe_preprocessing(record).endswith("mean 1, 2, 3 subtracted; times 0.5, 0.25, 0.125")
    record = {"size": [8, 8], "mean": [0.0] * 3, "prewhiten": True}
    assert tables.describe_preprocessing(record).endswith("each picture brought to mean 0 and deviation 1")


def test_tables_bring_their_alignment_and_their_caption_to_any_notebook(monkeypatch):
    from IPython import display

    shown = []
    monkeypatch.setattr(display, "display", shown.append)
    tables.show(pd.DataFrame({"group": ["a"], "n": [3]}), caption="<b>n</b> by group")
    body = shown[0].data
    assert ".workbook .number{text-align:right}" in body and 'class="workbook"' in body
    assert "&lt;b&gt;n" in body and "<b>" not in body


def test_infinite_and_missing_numbers_are_shown():
    page = tables.to_html(pd.DataFrame({"value": [float("inf"), -float("inf"), None, 1234.0]}))
    assert "∞" in page and "−∞" in page and "–" in page and "1,234" in page


def test_seconds_have_one_decimal():
    page = tables.to_html(pd.DataFrame({"seconds": [251.4071], "value": [0.12345]}))
    assert ">251.4<" in page and ">0.123<" in page
