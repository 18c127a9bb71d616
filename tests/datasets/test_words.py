import shlex

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from faceworkbook import faces
from faceworkbook.datasets import words
from faceworkbook.reports import parameters

FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
KNOWN = [
    (column, classes, name)
    for column, vocabularies in faces.KNOWN_VOCABULARIES.items()
    for classes in vocabularies
    for name in classes
] + [("split", faces.SPLITS, name) for name in faces.SPLITS]
DRESSED = st.sampled_from(
    [
        str.upper,
        str.title,
        lambda word: f" {word}\u00a0",
        lambda word: f"\ufeff{word}\u200b",
        lambda word: f"{word}\u2028",
        lambda word: f"'{word}'",
        lambda word: f"\u201c{word}\u201d",
        lambda word: word.translate(FULL_WIDTH),
        lambda word: word.replace(" ", "_"),
        lambda word: word.replace("_", " "),
        lambda word: word.replace("-", "\u2013"),
    ]
)


@given(st.sampled_from(KNOWN), st.lists(DRESSED, max_size=4))
def test_a_class_is_read_in_every_dress(known, dresses):
    column, classes, name = known
    written = name
    for dress in dresses:
        written = dress(written)
    assert words.classes_of(column, [written], classes) == {written: name}


@given(st.sampled_from(sorted(words.MISSING)), st.lists(DRESSED, max_size=4))
def test_a_word_for_missing_is_read_in_every_dress(word, dresses):
    for dress in dresses:
        word = dress(word)
    assert words.is_missing(word)


@given(st.text(max_size=20))
def test_folding_twice_changes_nothing(text):
    assert words.fold(words.fold(text)) == words.fold(text)


@pytest.mark.parametrize(
    ("column", "classes", "written", "name"),
    [
        ("race", faces.RACES_FAIRFACE, "EastAsian", "East Asian"),
        ("race", faces.RACES_FAIRFACE, "latino / hispanic", "Latino_Hispanic"),
        ("race", faces.RACES_FAIRFACE, "South-East Asian", "Southeast Asian"),
        ("race", faces.RACES_UTKFACE, "caucasian", "White"),
        ("race", faces.RACES_UTKFACE, "Martian", None),
        ("gender", faces.GENDERS, "Boys", "male"),
        ("gender", faces.GENDERS, "x", None),
        ("gender", faces.GENDERS, "1", None),
        ("emotion", faces.EMOTIONS, "Joyful.", "happiness"),
        ("emotion", faces.EMOTIONS, "bored", None),
        ("age_group", faces.AGE_GROUPS_ADIENCE, "[25; 32]", "25-32"),
        ("age_group", faces.AGE_GROUPS_ADIENCE, "04-06 years", "4-6"),
        ("age_group", faces.AGE_GROUPS_ADIENCE, "25-30", None),
        ("age_group", faces.AGE_GROUPS_FAIRFACE, "70 plus", "more than 70"),
        ("age_group", faces.AGE_GROUPS_FAIRFACE, "70", None),
        ("split", faces.SPLITS, "Training_set", "train"),
    ],
)
def test_other_words_of_a_class(column, classes, written, name):
    assert words.classes_of(column, [written], classes) == {written: name}


@pytest.mark.parametrize(
    ("date", "text"),
    [
        *(("03-Sep", "3-9"), ("3-sep", "3-9"), ("03. Sept", "3-9"), ("03-Sep-25", "3-9"), ("Mar-09", "3-9")),
        *(
            ("2025-09-03", "3-9"),
            ("2025-09-03 00:00:00", "3-9"),
            ("Oct-19", "10-19"),
            ("2019-10-01", "10-19"),
        ),
        *(("04-Jun", "4-6"), ("9-Mar", "9-3"), ("10-19", None), ("maybe", None), ("2025-13-03", None)),
    ],
)
def test_a_range_that_a_spreadsheet_made_a_date_is_read_again(date, text):
    assert words.undo_date(date) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_plain_number_is_read_back(value):
    assert words.numbers(pd.Series([repr(value)]))[0] == value


@given(st.text(max_size=8))
def test_other_texts_are_no_numbers(text):
    parsed = words.numbers(pd.Series([text]))[0]
    assert pd.isna(parsed) or parsed == float(words.plain(text).replace(",", "."))


@pytest.mark.parametrize(
    ("column", "text", "value"),
    [
        ("age", "25 years", 25),
        ("age", "25yrs. old", 25),
        ("age", "25,5", 25.5),
        ("age", "\uff12\uff15", 25),
        ("age", "25 months", None),
        ("age", "25-30", None),
        ("age", "1,234", None),
        ("yaw", "\u221212.5\u00b0", -12.5),
        ("yaw", "12 deg", 12),
        ("top", "12 px", 12),
        ("score", "12 px", None),
    ],
)
def test_a_number_may_have_the_columns_unit(column, text, value):
    parsed = words.numbers(pd.Series([text], name=column))[0]
    assert (None if pd.isna(parsed) else parsed) == value


ENTRIES = st.lists(
    st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1), min_size=1
)


@given(ENTRIES)
def test_an_option_is_read_as_it_is_written(entries):
    flag, text = shlex.split(words.format_option("values", entries))
    name, _, value = text.partition("=")
    assert (flag, name) == ("-p", "options")
    assert parameters.parse_options(yaml.safe_load(value)) == {"values": entries}


def test_a_plain_option_is_short():
    option = words.format_option("values", ["gender:0=male", "gender:1=female"])
    assert option == """-p 'options=["values: [gender:0=male, gender:1=female]"]'"""
    assert words.format_option("delimiter", "\t") == """-p 'options=["delimiter: tab"]'"""
