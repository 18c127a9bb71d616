"""Pages made of hostile names, in a real browser: no script of theirs runs, no request leaves, no element is theirs."""

from __future__ import annotations

import json
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest

from faceworkbook.evaluation import predictions
from faceworkbook.reports import answers, html, index, model_card, sweep_page, tables
from faceworkbook.reports.jobs import FAILED, Outcome
from faceworkbook.reports.runs import Run
from faceworkbook.reports.sweeps import Point, Sweep
from faceworkbook.serving import card, folder
from faceworkbook.serving.answers import Answering, Cell
from faceworkbook.tasks import Task
from tests.serving.toys import load_toy, make_record
from tests.support import face_pages
from tests.support.serving import Serving

RUNS = "window.hostile=1"
HOSTILE = [
    f"<script>{RUNS}</script>", f"</script><script>{RUNS}</script>", f"<img src=x onerror={RUNS}>",
    f'"><svg onload="{RUNS}">', f"' onmouseover='{RUNS}", f"</title></style><script>{RUNS}</script>",
    "<iframe src=http://evil.invalid></iframe>", "<link rel=stylesheet href=http://evil.invalid/a.css>",
    "<meta http-equiv=refresh content='0;url=http://evil.invalid'>", "<base href=http://evil.invalid/>",
    "![x](http://evil.invalid/x.png)", f"[x](javascript:{RUNS})", "[x](http://evil.invalid)", "<http://evil.invalid>",
    "<style>body{background:url(http://evil.invalid)}</style>", "{{ 7 * 7 }}", "{root.__class__}", "%(name)s", "$x_{y}$",
    "two\nlines", "a|b", "# heading", "`code`", "\u202egnp.exe", "\x1b[31m<b>red</b>", "\x00",
]  # fmt: skip
# What such a name would leave behind in the page.
THEIRS = (
    "iframe, object, embed, base, form, link, svg, b, meta[http-equiv=refresh], img:not([src^='data:']), "
    "a[href^='javascript'], a[href^='http'], [onload], [onerror], [onmouseover], body style, body script ~ script"
)


def report(place):
    """A page as a notebook leaves it, with a hostile text wherever a name can stand."""
    table = pd.DataFrame({name: HOSTILE for name in HOSTILE[:4]})
    title = nbformat.v4.new_markdown_cell("# A report\n\n## Part")
    given = "\n".join(f"p{i} = {text!r}" for i, text in enumerate(HOSTILE))
    cells = [title, nbformat.v4.new_code_cell(f"{given}\n", metadata={"tags": ["parameters"]})]
    outputs = [
        nbformat.v4.new_output("display_data", {"text/html": answers.to_html(" ".join(HOSTILE))}),
        nbformat.v4.new_output(
            "display_data", {"text/html": tables.to_html(table, caption=" ".join(HOSTILE))}
        ),
        nbformat.v4.new_output("stream", name="stdout", text="\n".join(HOSTILE)),
        nbformat.v4.new_output("stream", name="stderr", text="\n".join(HOSTILE)),
        nbformat.v4.new_output("execute_result", {"text/plain": "\n".join(HOSTILE)}),
        *(
            nbformat.v4.new_output(
                "display_data", {"image/png": "aGk="}, metadata={"image/png": {"alt": text}}
            )
            for text in HOSTILE
        ),
        nbformat.v4.new_output("error", ename=HOSTILE[0], evalue=HOSTILE[2], traceback=HOSTILE),
    ]
    cells.append(nbformat.v4.new_code_cell(f"names = {HOSTILE!r}", outputs=outputs))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), place / "notebook.ipynb")
    return html.export(place / "notebook.ipynb", place / "report.html", title=HOSTILE[5])


def networks_card(place):
    n, classes = 4 * len(HOSTILE), tuple(HOSTILE[:2])
    truth = np.resize(np.array(classes, object), n)
    faces = pd.DataFrame({"face_id": [f"f{i}" for i in range(n)], "gender": pd.Categorical(truth)})
    faces["identity"] = pd.array([pd.NA] * n, dtype="string")
    faces["age"] = 30.0
    faces["race"] = pd.Categorical(np.repeat(np.array(HOSTILE, object), 4))
    output = (truth == classes[1]).astype(float) * 0.8 + 0.1
    rows = predictions.build(faces, Task("gender", classes=classes), truth=truth, output=output, split="test")
    experiment = {"name": "x", "title": HOSTILE[0], "given": {name: name for name in HOSTILE}}
    (place / "experiment.json").write_text(json.dumps(experiment))
    run = Run(place / "10_fine_tune", "10_fine_tune")
    run.folder.mkdir()
    run.save_values({"commit": HOSTILE[2], "started": "now", "python": HOSTILE[3], "seed": 4}, "environment")
    model_card.write_networks(run, {HOSTILE[2]: rows}, faces, network=HOSTILE[0], model=HOSTILE, data=HOSTILE)
    return run.folder / "model_card.html"


def predictor_card(place):
    task = Task("mood", classes=tuple(sorted(set(HOSTILE) - {"two\nlines", "\x00"})))
    limits = dict.fromkeys(task.classes, 0.5)
    cells = tuple(Cell({"predicted": name}, 0.6, 0.5, 0.7, 40, 20) for name in task.classes)
    answering = [Answering(task, 2.0, 0.9, limits, cells=(Cell({}, 0.8, 0.7, 0.9, 100), *cells))]
    record, _ = make_record()
    record |= {
        "title": HOSTILE[0],
        "made": {"data": HOSTILE, "limits": HOSTILE, "made_by": HOSTILE, "more": HOSTILE},
    }
    (place / "card.html").write_text(card.write(record, answering)["card.html"])
    return place / "card.html"


def index_page(place):
    for number, text in enumerate(HOSTILE):
        run = place / (text.replace("/", "-").replace("\x00", "0")[:60] + str(number)) / "03_classifier"
        run.mkdir(parents=True)
        figure = {"model": text, "metric": text, "value": 0.5, "low": 0.4, "high": 0.6, "n": 9, "task": text}
        (run / "metrics.json").write_text(json.dumps({"network": text, "figures": [figure]}))
        (run / "params.json").write_text(json.dumps({"dataset": text, "label": text}))
        (run / "answer.json").write_text(json.dumps({"answer": text}))
        (run / "environment.json").write_text(json.dumps({"started": text}))
        (run / "report.html").write_text("a page")
        (run.parent / "experiment.json").write_text(json.dumps({"question": text}))
    return index.write(place)


def faces_page(place):
    """Faces whose files, classes and groups have hostile names; none has a picture."""
    n, classes = 2 * len(HOSTILE), tuple(HOSTILE[:2])
    truth = np.resize(np.array(classes, object), n)
    faces = pd.DataFrame(
        {"face_id": [f"{text}{i}" for i, text in enumerate(HOSTILE * 2)], "image": HOSTILE * 2}
    )
    faces = faces.assign(identity=pd.array([pd.NA] * n, dtype="string"), mood=pd.Categorical(truth))
    faces = faces.assign(**dict.fromkeys(("top", "left", "bottom", "right"), np.nan))
    faces["race"] = pd.Categorical(np.array(HOSTILE * 2, object))
    output = np.resize([0.1, 0.8, 0.7], n)
    rows = predictions.build(faces, Task("mood", classes=classes), truth=truth, output=output, split="test")
    return face_pages.write_faces(place, face_pages.make_rows(faces, rows, ("race",)), place)


def comparison_page(place):
    """A sweep whose texts are hostile and whose points all failed, with errors that are."""
    points = [Point({"seed": i}, SimpleNamespace(name=f"x.seed-{i}", steps=[])) for i in range(len(HOSTILE))]
    outcomes = [Outcome(point.name, FAILED, error=text) for point, text in zip(points, HOSTILE, strict=True)]
    sweep = Sweep("x", HOSTILE[0], " ".join(HOSTILE), "", tuple(points))
    return sweep_page.write(sweep, outcomes, place)[0]


@pytest.mark.parametrize(
    "make", [report, networks_card, predictor_card, index_page, faces_page, comparison_page]
)
def test_a_page_of_hostile_names_runs_nothing_and_asks_for_nothing(browser, tmp_path, make):
    path = make(tmp_path)
    page, requests = browser.new_page(), []
    page.on("request", lambda request: requests.append(request.url))
    page.on("dialog", lambda dialog: pytest.fail(f"a dialog: {dialog.message}"))
    page.goto(path.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("typeof window.hostile") == "undefined"
    assert [url for url in requests if not url.startswith(("data:", path.as_uri()))] == []
    theirs = page.evaluate(
        "s => [...document.querySelectorAll(s)].map(e => e.outerHTML.slice(0, 200))", THEIRS
    )
    assert theirs == []
    assert "evil.invalid" in page.locator("body").inner_text()  # shown, not obeyed
    page.close()


def test_the_servers_page_shows_hostile_classes_and_file_names(browser, tmp_path):
    record, arrays = make_record()
    tasks = json.dumps(record["tasks"])
    for name, text in zip(("red", "green", "blue", "shades"), HOSTILE[:4], strict=True):
        tasks = tasks.replace(json.dumps(name), json.dumps(text))
    record |= {"tasks": json.loads(tasks), "title": HOSTILE[5]}
    content = {"card.md": " ".join(HOSTILE), "head.keras": b"keras"}
    server = Serving(load_toy(folder.write(tmp_path / "predictor", record, arrays, content)))
    page, requests = browser.new_page(), []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"http://127.0.0.1:{server.port}/")
    names = [text for text in HOSTILE if "\x00" not in text]
    page.set_input_files(
        "#files", [{"name": name, "mimeType": "image/png", "buffer": b"x"} for name in names]
    )
    page.wait_for_function("n => document.querySelectorAll('article').length >= n", arg=len(names))
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("typeof window.hostile") == "undefined"
    home = f"http://127.0.0.1:{server.port}/"
    assert [url for url in requests if not url.startswith((home, "blob:", "data:"))] == []
    assert page.locator("img[src='x'], article script, article iframe, article b, base").count() == 0
    page.close()
    server.stop()
