"""The parameters cell: read without running it, checked before anything runs."""

from __future__ import annotations

import re

import nbformat
import papermill
import pytest

from faceworkbook.reports import html, parameters
from faceworkbook.reports.parameters import ParameterError
from tests.conftest import REPO

NOTEBOOKS = sorted((REPO / "notebooks").glob("*.ipynb"))
RUN_NOTEBOOKS = [p for p in NOTEBOOKS if p.stem != "index"]


def notebook_with(tmp_path, source, tags=("parameters",)):
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": list(tags)})
    path = tmp_path / "n.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    return path


def test_names_defaults_and_comments(tmp_path):
    result = parameters.read(notebook_with(tmp_path, "a: int = 3  # faces\nb = [1, 2]\nc = 'x # y'  # text"))
    assert {n: p.default for n, p in result.items()} == {"a": 3, "b": [1, 2], "c": "x # y"}
    assert result["a"].comment == "faces"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a = open('x')", "not a plain value"),
        ("import os", "only NAME = VALUE"),
        ("a = None", "NoneType"),
        ("a = {'x': 1}", "dict"),
    ],
)
def test_anything_but_plain_values_is_refused(tmp_path, source, message):
    with pytest.raises(ParameterError, match=message):
        parameters.read(notebook_with(tmp_path, source))


def test_no_tagged_cell_is_refused(tmp_path):
    with pytest.raises(ParameterError, match="0 cells are tagged"):
        parameters.read(notebook_with(tmp_path, "a = 1", tags=()))


def test_types_are_checked():
    share = parameters.Parameter("test", 0.25, "share, 0..1")
    assert share.check(1) == 1.0
    for wrong in ("0.2", True, None, [0.2]):
        with pytest.raises(ParameterError, match=r"parameter 'test' got .* takes float: share"):
            share.check(wrong)
    with pytest.raises(ParameterError):
        parameters.Parameter("epochs", 3, "").check(2.5)


def test_a_text_for_true_or_false_is_answered_with_how_they_are_written():
    """papermill reads ``-p smoke true`` as a text."""
    for wrong in ("true", "yes", 1):
        with pytest.raises(
            ParameterError, match=r"it takes bool, true or false \(True or False after papermill's -p"
        ):
            parameters.Parameter("smoke", False, "").check(wrong)


def test_options_of_several_readers_are_kept_apart():
    texts = ["expw: min_confidence: 30", "adience:images: faces", "adience: folds:[0, 1]"]
    assert parameters.parse_set_options(texts) == {
        "expw": {"min_confidence": 30},
        "adience": {"images": "faces", "folds": [0, 1]},
    }


@pytest.mark.parametrize(
    ("given", "read"), [("fc7", ["fc7"]), ("", []), ("[fc6, fc7]", ["fc6", "fc7"]), (["fc6"], ["fc6"])]
)
def test_a_single_text_is_a_list_of_one(given, read):
    """YAML's ``tap: fc7`` and ``tap: [fc6, fc7]``, and papermill's -p, which hands on every list as text."""
    assert parameters.Parameter("tap", [], "").check(given) == read


def test_misspelt_parameter_names_the_near_one():
    with pytest.raises(ParameterError, match="no parameter 'lable'; did you mean 'label'"):
        parameters.refuse_unknown({"lable": 1}, {"label", "seed"}, "x.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [("a=1", 1), ("a=true", True), ("a=0.5", 0.5), ("a=[x, y]", ["x", "y"]), ("a=b=c", "b=c"), ("a=", "")],
)
def test_assignments_on_a_command_line(text, value):
    assert parameters.parse_assignment(text) == ("a", value)


def test_reader_options_are_texts_of_name_and_value():
    assert parameters.parse_options(["disputed: 39_1_1", "margin:0.3"]) == {
        "disputed": "39_1_1",
        "margin": 0.3,
    }


@pytest.mark.parametrize("text", ["a", "=1", "1a=2", ""])
def test_malformed_assignment(text):
    with pytest.raises(ParameterError, match="expected name=value"):
        parameters.parse_assignment(text)


@pytest.mark.parametrize("notebook", RUN_NOTEBOOKS, ids=lambda p: p.stem)
class TestShippedNotebooks:
    def test_parameters_have_comments_and_the_common_ones_exist(self, notebook):
        result = parameters.read(notebook)
        assert {"smoke", "seed"} <= set(result)
        assert all(p.comment for p in result.values())

    def test_papermill_itself_knows_every_parameter(self, notebook):
        assert set(papermill.inspect_notebook(str(notebook))) == set(parameters.read(notebook))

    def test_no_outputs_and_small_cells(self, notebook):
        content = nbformat.read(notebook, as_version=4)
        code = [c for c in content.cells if c.cell_type == "code"]
        assert not any(c.outputs or c.execution_count for c in code)
        ideas = [c for c in code if "parameters" not in c.metadata.get("tags", [])]
        assert max(len(c.source.splitlines()) for c in ideas) <= 25
        assert content.cells[0].source.startswith("# ")

    def test_at_most_twelve_parameters_stand_first(self, notebook):
        (cell,) = [c for c in nbformat.read(notebook, 4).cells if "parameters" in c.metadata.get("tags", [])]
        first, _, more = cell.source.partition(html.MORE)
        assert len(parameters.parse(first, notebook)) <= 12
        assert not more or len(parameters.parse(more, notebook))

    def test_it_links_to_the_next_and_computes_its_answer(self, notebook):
        content = nbformat.read(notebook, 4)
        (link,) = re.findall(r"^Next: \[\w+\]\((\w+\.ipynb)\)", content.cells[-1].source)
        assert (notebook.parent / link).is_file()
        text = "\n".join(cell.source for cell in content.cells)
        assert "Answer, in one line" not in text
        if notebook.stem not in ("05_report", "tools_synthetic_faces"):
            assert text.count("answers.begin(run)") == text.count("answer.show(") == 1


def test_the_index_lists_every_notebook():
    index = nbformat.read(REPO / "notebooks" / "index.ipynb", 4).cells[0].source
    assert set(re.findall(r"\]\((\w+\.ipynb)\)", index)) == {path.name for path in RUN_NOTEBOOKS}


def test_a_list_that_is_not_closed_is_refused():
    with pytest.raises(ParameterError, match=r"'\[a' is no list"):
        parameters.parse_assignment("widths=[a")


class TestRunningNotebook:
    """What a notebook itself refuses when papermill passes whatever it is given."""

    @pytest.fixture
    def values(self):
        defaults = parameters.read(REPO / "notebooks" / "01_faces.ipynb")
        return {name: parameter.default for name, parameter in defaults.items()}

    def test_a_misspelt_name_is_refused(self, values):
        injected = '# Parameters\nlable = "race"\nseed = 1\n'
        with pytest.raises(ParameterError, match="01_faces: no parameter 'lable'; did you mean 'label'"):
            parameters.current("01_faces", values | {"lable": "race"}, ["x = 1", injected])

    @pytest.mark.parametrize(
        ("name", "value"), [("smoke", "false"), ("seed", 1.0), ("limit", "many"), ("options", 0.3)]
    )
    def test_a_value_of_another_type_is_refused(self, values, name, value):
        with pytest.raises(ParameterError, match=f"parameter '{name}' got"):
            parameters.current("01_faces", values | {name: value}, [])

    def test_a_single_text_becomes_a_list_in_the_notebook_too(self, values):
        namespace = values | {"options": "margin: 0.3"}
        assert parameters.current("01_faces", namespace, [])["options"] == ["margin: 0.3"]
        assert namespace["options"] == ["margin: 0.3"]

    def test_a_cell_of_ones_own_that_sets_other_variables_is_none_of_papermill_s(self, values):
        assert parameters.current("01_faces", values | {"lable": 1}, ["lable = 1"]) == values
