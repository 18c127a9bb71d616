import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceworkbook.datasets import text_tables
from faceworkbook.datasets.base import DatasetError, Reasons
from faceworkbook.datasets.text_tables import BLANKS, Format, read_rows

CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\x00\ufeff"), max_size=8)
ROWS = st.lists(st.tuples(CELLS, CELLS, CELLS).filter(lambda row: any(map(str.strip, row))), max_size=6)


def read(path, content, **form):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    left_out, notices = Reasons(), Reasons()
    rows = read_rows(path, left_out, notices, header=(), form=Format(**form))
    return rows, left_out, notices


@given(ROWS, st.sampled_from(",;\t|"), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_what_a_csv_writer_writes_is_read_back(tmp_path_factory, rows, delimiter, end, everything):
    text = io.StringIO(newline="")
    broken = any(
        sign in cell for row in rows for cell in row for sign in "\r\n"
    )  # which the writer may leave bare
    quoting = csv.QUOTE_ALL if everything or broken else csv.QUOTE_MINIMAL
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerows([("a", "b", "c"), *rows])
    path = tmp_path_factory.mktemp("table") / "table.csv"
    table, left_out, _ = read(path, text.getvalue(), delimiter=delimiter)
    assert table.to_numpy().tolist() == [[cell.strip() for cell in row] for row in rows] and not left_out.rows


@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_one_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("table") / "table.csv"
    try:
        table, left_out, _ = read(path, content)
    except DatasetError as error:
        assert str(path) in str(error)
    else:
        assert all(reason == "row malformed" for _, reason, _ in left_out.rows) and len(table) <= 200


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a,b\n1,2\n", [["1", "2"]]),
        ("sep=;\na;b\n1,5;2\n", [["1,5", "2"]]),
        ('"sep=;"\r\na;b\r\n1;2\r\n', [["1", "2"]]),
        ("a,b\n1,2,\n3,4,,\n", [["1", "2"], ["3", "4"]]),
        ("\n\na,b\n,\n1,2\n , \n\n", [["1", "2"]]),
        ("\ufeff\ufeffa,b\n1,2\n", [["1", "2"]]),
        ("a,b\n1,2\x00\n", [["1", "2"]]),
        ("a,b\n1,\u00a02\u2028\n", [["1", "2"]]),
        ('a,b\n1,"two\nlines, with a comma"\n', [["1", "two\nlines, with a comma"]]),
        ("a,b\n1,2\n".encode("utf-16"), [["1", "2"]]),
        ("\ufeffa,b\n1,2\n".encode("utf-16-be"), [["1", "2"]]),
    ],
)
def test_tables_as_programs_write_them(tmp_path, text, rows):
    table, left_out, notices = read(tmp_path / "t.csv", text)
    assert [*table.columns] == ["a", "b"] and table.to_numpy().tolist() == rows
    assert not left_out.rows and not notices.rows


def test_rows_with_too_few_or_too_many_fields_are_listed(tmp_path):
    table, left_out, _ = read(tmp_path / "t.csv", "a,b\n1\n1,2,3\n1,2\n")
    assert table.index.tolist() == [4]
    assert [detail for _, _, detail in left_out.rows] == [
        "line 2 has 1 fields, expected 2",
        "line 3 has 3 fields, expected 2",
    ]


def test_two_stray_quotes_that_swallow_rows_are_named(tmp_path):
    text = 'image,note\n1.jpg,"6 foot\n2.jpg,x\n3.jpg,7 foot"\n4.jpg,x\n'
    with pytest.raises(DatasetError, match="line 2: a quote is opened that is closed in line 4 only"):
        read(tmp_path / "t.csv", text)


def test_an_encoding_is_named_or_an_option(tmp_path):
    text = "a,b\n1,Jos\u00e9\n".encode("cp1252")
    with pytest.raises(DatasetError, match=r"line 2: not a text file in UTF-8.*encoding: cp1252"):
        read(tmp_path / "t.csv", text)
    assert read(tmp_path / "t.csv", text, encoding="cp1252")[0]["b"].tolist() == ["Jos\u00e9"]
    with pytest.raises(DatasetError, match="encoding='klingon'"):
        read(tmp_path / "t.csv", text, encoding="klingon")


def test_columns_split_at_blanks_are_split_nowhere_else(tmp_path):
    path = tmp_path / "label.lst"
    path.write_text("a\u2028b.jpg\t 1\n\nc\u00a0d.jpg 2\n", encoding="utf-8")
    table = read_rows(path, Reasons(), Reasons(), header=("name", "n"), form=BLANKS)
    assert table["name"].tolist() == ["a\u2028b.jpg", "c\u00a0d.jpg"] and table.index.tolist() == [1, 3]


def test_needed_columns_are_known_in_any_case_and_others_may_stand_twice(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("IMAGE NAME,note,note\n1,2,3\n")
    table = read_rows(path, Reasons(), Reasons(), header=("Image name",))
    assert [*table.columns] == ["Image name", "note"] and table["note"].tolist() == ["2"]
    assert text_tables.read_header(path) == ["IMAGE NAME", "note", "note"]
