"""The table of all runs: whatever a record holds, the page is written, and what is damaged is marked."""

import json
import threading
import time

import numpy as np
import pytest
from bs4 import BeautifulSoup

from faceworkbook import cli
from faceworkbook.reports import finished, index, run_records

GOOD = {
    "metrics": {
        "network": "net",
        "figures": [{"model": "mlp", "metric": "accuracy", "value": 0.9, "low": 0.8, "high": 1.0, "n": 10}],
    },
    "params": {"dataset": "toys", "label": "gender"},
    "environment": {"started": "2026-01-02T03:04:05+00:00"},
}
FOREIGN = [
    "", "{", "null", "3", "[]", '"text"', "[" * 100_000, '{"figures": 3}', '{"figures": [1, null, "x", []]}',
    '{"figures": {"a": 1}}', '{"figures": [{"value": "high", "low": [], "high": {}, "n": null}]}',
    '{"figures": [{"value": NaN, "low": Infinity, "high": -Infinity, "n": 1e999}]}',
    '{"folds": [{}]}', '{"folds": [{"mean": "x", "n_fits": []}]}', '{"started": 5}', '{"started": null}',
    '{"sets": 3, "label": {"a": 1}, "dataset": []}', '{"question": ["a"]}', '{"figures": [{"value": 1' + "0" * 400 + "}]}",
    '{"figures": [{"value": true, "model": "\\ud800"}]}', '{"answer": 3}', "\x00\xff", '{"dataset": "<script>"}',
]  # fmt: skip


def write_run(results, name, **texts):
    folder = results / name / "03_classifier"
    folder.mkdir(parents=True, exist_ok=True)
    for record, content in GOOD.items():
        (folder / f"{record}.json").write_text(json.dumps(content))
    for record, text in texts.items():
        place = results / name if record == "experiment" else folder
        (place / f"{record}.json").write_bytes(text.encode("utf-8", "surrogatepass"))


def rows_of(page, table):
    return page.find_all("table")[table].tbody.find_all("tr")


@pytest.mark.parametrize("record", ["metrics", "params", "environment", "answer", "experiment"])
@pytest.mark.parametrize("text", FOREIGN, ids=range(len(FOREIGN)))
def test_a_foreign_record_never_ends_a_good_run(tmp_path, record, text):
    write_run(tmp_path, "good")
    write_run(tmp_path, "odd", **{record: text})
    page = BeautifulSoup(index.write(tmp_path).read_text(), "html.parser")
    by_name = {row.th.text: row for row in rows_of(page, 0)}
    assert sorted(by_name) == ["good", "odd"]
    assert "0.900 [0.800, 1.000], n 10" in by_name["good"].text
    assert [script.get("type") for script in page.find_all("script")] == ["application/json", None]
    known = json.loads(page.find("script").text)["runs"]
    assert sorted(run["name"] for run in known) == ["good", "odd"]


@pytest.mark.parametrize("record", ["metrics", "params", "environment"])
def test_a_damaged_record_becomes_one_marked_row(tmp_path, record):
    write_run(tmp_path, "odd", **{record: '{"figures": ['})
    page = BeautifulSoup(index.write(tmp_path).read_text(), "html.parser")
    (row,) = rows_of(page, 0)
    assert f"{record}.json damaged; run the step again" in row.find(class_="miss").text


def test_records_with_random_damage_leave_a_page(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(200):
        name = ("metrics", "params", "environment")[number % 3]
        data = bytearray(json.dumps(GOOD[name]).encode())
        for at in rng.integers(0, len(data), 3):
            data[at] = rng.integers(0, 256)
        write_run(tmp_path, f"run{number}")
        (tmp_path / f"run{number}" / "03_classifier" / f"{name}.json").write_bytes(bytes(data))
    page = BeautifulSoup(index.write(tmp_path).read_text(), "html.parser")
    assert len(rows_of(page, 0)) == 200


def test_the_answer_of_the_classifier_stands_beside_the_question(tmp_path):
    write_run(
        tmp_path,
        "demo",
        answer='{"answer": "Read right in 90 % <b>"}',
        experiment='{"question": "How well?"}',
    )
    page = index.write(tmp_path).read_text()
    assert "How well?" in page and "Read right in 90 % &lt;b&gt;" in page


def test_odd_folder_names_make_whole_links(tmp_path):
    write_run(tmp_path, 'a"b#c? d')
    (tmp_path / 'a"b#c? d' / "report.html").write_text("x")
    page = BeautifulSoup(index.write(tmp_path).read_text(), "html.parser")
    assert page.a["href"] == "a%22b%23c%3F%20d/report.html"


def test_an_experiment_answers_by_its_report_its_classifier_or_its_last_step(tmp_path):
    assert index.answer_of(tmp_path) == ""
    for step, answer in (
        ("01_faces", "300 faces."),
        ("14_search", "The best trial."),
        ("16_differences", ""),
    ):
        (tmp_path / step).mkdir()
        (tmp_path / step / "answer.json").write_text(json.dumps({"answer": answer}))
    assert index.answer_of(tmp_path) == "The best trial."
    (tmp_path / "03_classifier").mkdir()
    (tmp_path / "03_classifier" / "answer.json").write_text('{"answer": "Read right."}')
    assert index.answer_of(tmp_path) == "Read right."


def test_a_step_that_was_run_again_by_hand_is_not_called_finished(tmp_path, monkeypatch, capsys):
    """papermill on one notebook: the later steps are still of what it made before."""
    monkeypatch.setenv("FACEWORKBOOK_HOME", str(tmp_path))
    results = tmp_path / "results"
    write_run(results, "one")
    step = results / "one" / "03_classifier"
    finished.mark(step, "fingerprint", 12.0)
    assert "finished" in [cell.text for cell in rows_of(read(results), 0)[0].find_all("td")]
    again = GOOD["environment"] | {"started": "2026-01-03T03:04:05+00:00"}
    (step / "environment.json").write_text(json.dumps(again))
    status = "03_classifier run again since, by hand"
    assert status in [cell.text for cell in rows_of(read(results), 0)[0].find_all("td")]
    assert cli.main(["show", "one"]) == 0
    assert "finished in 12 s, run again since by hand" in capsys.readouterr().out


def read(results):
    return BeautifulSoup(index.write(results).read_text(), "html.parser")


def test_a_run_that_ends_while_another_writes_the_table_is_in_it(tmp_path, monkeypatch, capsys):
    write_run(tmp_path, "first")
    read_all, has_read, written = run_records.read_all, threading.Event(), threading.Event()

    def read_slowly(results):
        records = read_all(results)
        if threading.current_thread() is slow:
            has_read.set()
            while not written.is_set() and "waiting" not in capsys.readouterr().out:
                time.sleep(0.01)
        return records

    monkeypatch.setattr(run_records, "read_all", read_slowly)
    slow = threading.Thread(target=index.write, args=[tmp_path])
    slow.start()
    has_read.wait()
    write_run(tmp_path, "second")
    page = index.write(tmp_path)
    written.set()
    slow.join()
    rows = rows_of(BeautifulSoup(page.read_text(), "html.parser"), 0)
    assert sorted(row.th.text for row in rows) == ["first", "second"]
