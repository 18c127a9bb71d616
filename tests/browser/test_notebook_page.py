"""The page of a notebook in a real browser: nothing is cut or wider than a phone, and axe has nothing to say."""

from __future__ import annotations

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe

from faceworkbook.reports import html, tables

LONG = "f81b8620db16ab001da7f9a90cff0d03" * 4


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A page with tables of one caption and of none, long words in all that shows text, and code that stands open."""
    new = nbformat.v4
    frame = tables.pd.DataFrame({"file": [LONG], "right": [True], "n": [3]})
    shown = [tables.to_html(frame), tables.to_html(frame), *[tables.to_html(frame, caption="answers")] * 2]
    outputs = [new.new_output("display_data", {"text/html": table}) for table in shown]
    outputs += [
        new.new_output("stream", name="stdout", text=f"written to {LONG}\n"),
        new.new_output("execute_result", {"text/plain": f"'{LONG}'"}, execution_count=1),
        new.new_output("display_data", {"text/markdown": f"- weights: {LONG}"}),
    ]
    source = (
        f"from sklearn.neighbors import KNeighborsClassifier  # {LONG}\nclassifier = KNeighborsClassifier(5)"
    )
    parameters = new.new_code_cell('label = ""  # empty: that of 01_faces', metadata={"tags": ["parameters"]})
    cells = [
        new.new_markdown_cell("# A page\n\n**Question.** Does it fit?"),
        parameters,
        new.new_code_cell(source, outputs=outputs),
    ]
    place = tmp_path_factory.mktemp("page")
    nbformat.write(new.new_notebook(cells=cells), place / "notebook.ipynb")
    return html.export(place / "notebook.ipynb", place / "page.html")


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_has_nothing_to_say_and_nothing_is_wider_than_the_screen(browser, path, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(path.as_uri())
    for details in page.locator("details").all():
        details.evaluate("element => { element.open = true; }")
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    names = page.locator(".scroll").evaluate_all("boxes => boxes.map(box => box.getAttribute('aria-label'))")
    assert len(set(names)) == len(names) == page.locator("main table").count() and "answers (2)" in names
    page.close()


def test_no_value_is_blank_and_truths_are_words(browser, path):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(path.as_uri())
    for details in page.locator("details").all():
        details.evaluate("element => { element.open = true; }")
    text = page.inner_text("main")
    assert "(empty)" in text and "yes" in text and "True" not in text
    page.close()


def test_tables_of_long_words_fit_the_paper(browser, path):
    page = browser.new_page(viewport={"width": 718, "height": 1000})
    page.emulate_media(media="print")
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()
