"""Texts that a spreadsheet would run are shown by it, and read back as they were."""

from __future__ import annotations

import csv
import io

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceworkbook import spreadsheet
from faceworkbook.training import logs

RUN = ["=1+1", "=cmd|' /C calc'!A0", "+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "'=1", "\n=1", "-x"]


@pytest.mark.parametrize("text", RUN)
def test_no_spreadsheet_takes_the_text_for_a_formula(text):
    shown = spreadsheet.escape(text)
    assert shown.startswith("'") and "\n" not in shown and "\r" not in shown
    assert spreadsheet.escape(shown).startswith("''")


@pytest.mark.parametrize("text", ["-1", "-1.5", "-2e3", "male", "it's", "a-b", "", "'quoted'"])
def test_other_texts_stay_as_they_are(text):
    assert spreadsheet.escape(text) == text == spreadsheet.unescape(text)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(RUN))
def test_what_is_written_is_read_back(text):
    written = spreadsheet.to_csv(pd.DataFrame({text + "_": [text, None, 1.5], "n": [1, 2, 3]}))
    header, first, second, third = csv.reader(io.StringIO(written, newline=""))
    assert spreadsheet.unescape(first[0]) == text and (second[0], third[0]) == ("", "1.5")
    assert not first[0].lstrip(" \n").startswith(("=", "+", "@", "\t", "\r")) and first[1] == "1"
    assert header[1] == "n"


def test_a_history_with_a_hostile_task_is_safe(tmp_path):
    logs.write_csv(tmp_path / "history.csv", [{"epoch": 0, "=1+1 loss": 0.5}])
    assert (tmp_path / "history.csv").read_text() == "epoch,'=1+1 loss\n0,0.5\n"
