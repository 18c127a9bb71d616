"""The history of runs in a real browser: filter, sort, columns, runs beside each other; also where the folder was moved."""

from __future__ import annotations

import json
import shutil

import pytest
from axe_playwright_python.sync_playwright import Axe

from faceworkbook.reports import index
from tests.support.run_folders import write_runs

N = 12


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    results = tmp_path_factory.mktemp("first") / "results"
    write_runs(results, N)
    of = ["2026-01-01T00:04:05+00:00", "2026-01-02T00:04:05+00:00"]
    kept = {"run000 | run001": {"text": "run000 and run001: no significant difference", "of": of}}
    kept["run000 | run002"] = {"text": "of a classifier that was fitted anew since", "of": ["then", "then"]}
    (results / "comparisons.json").write_text(json.dumps(kept))
    index.write(results)
    moved = tmp_path_factory.mktemp("second") / "elsewhere"
    shutil.move(results, moved)
    return moved / "index.html"


@pytest.fixture
def page(browser, path):
    page, problems = browser.new_page(viewport={"width": 1280, "height": 900}), []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.goto(path.as_uri())
    yield page
    assert problems == []
    page.close()


def names(page):
    return page.locator("table.runs tbody tr:visible th").all_inner_texts()


def test_a_row_a_run_the_latest_first(page):
    assert names(page) == [f"run{number:03}" for number in reversed(range(N))]
    first = page.locator("table.runs tbody tr").last.inner_text()
    for text in (
        "finished",
        "2026-01-01 00:04",
        "synthetic",
        "gender",
        "mlp accuracy 0.800 [0.700, 0.950], n 600",
        "#final",
    ):
        assert text in first


def test_a_run_s_page_and_answer_are_reached_without_scrolling_sideways(page):
    """The links stood in the last column, which 1,280 pixels do not show."""
    row = page.locator("table.runs tbody tr").last
    link = row.locator("th a")
    assert link.inner_text() == "run000" and link.get_attribute("href").startswith("run000/")
    assert page.locator("th[data-title=status]").bounding_box()["width"] > 80  # 'finished' is not broken
    answer = page.locator("th[data-title=answer]").bounding_box()
    assert answer["x"] + answer["width"] <= 1280


def test_runs_are_filtered_by_text_state_and_tag(page):
    page.get_by_label("search").fill("utkface")
    assert page.inner_text(".filters [role=status]") == f"6 of {N} runs" and len(names(page)) == 6
    page.locator("select[aria-label=status]").select_option("finished")
    assert names(page) == ["run009", "run005", "run001"]
    page.get_by_label("search").fill("")
    page.locator("select[aria-label=status]").select_option("")
    page.get_by_label("search").fill("labels looked at")
    assert names(page) == ["run000"]


def test_a_heading_sorts_by_key_and_by_click(page):
    button = page.locator("table.runs th button", has_text="first figure")
    button.click()
    assert (
        names(page)[0] == "run000" and page.locator("th[aria-sort=ascending]").inner_text() == "first figure"
    )
    button.press("Space")
    assert names(page)[0] == "run011"


def test_columns_are_chosen_also_parameters_that_differ(page):
    page.click("text=columns")
    labels = page.locator(".boxes label").all_inner_texts()
    assert "03_classifier.seed" in labels and "03_classifier.setting_3" not in labels
    page.locator(".boxes label", has_text="03_classifier.widths").click()
    assert page.locator("td[data-label='03_classifier.widths']").first.inner_text() == "[16, 2]"
    page.locator(".boxes label", has_text="answer").click()
    assert not page.locator("td[data-label=answer]").first.is_visible()


def test_chosen_runs_stand_beside_each_other_with_their_test(page):
    for name in ("run000", "run001", "run002"):
        page.get_by_label(f"compare {name}").check()
    text = page.inner_text(".compared")
    assert "3 runs beside each other" in text and "run000 and run001: no significant difference" in text
    assert "fitted anew" not in text and "workbook diff run000 run002" in text
    assert "03_classifier.seed" in text and "setting_1" not in text and "0.800 [0.700, 0.950], n 600" in text
    page.get_by_label("compare run001").uncheck()
    page.get_by_label("compare run004").check()
    assert "run000 and run004: no test, for they have other test rows" in page.inner_text(".compared")
    page.click("text=choose none")
    assert not page.is_visible(".compared")


def test_links_hold_where_the_folder_was_moved(page):
    page.locator("table.runs tbody tr").last.locator("a").first.click()
    assert page.title() == "a report"


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_has_nothing_to_say(browser, path, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(path.as_uri())
    page.click("text=columns")
    for box in page.locator("table.runs input").all()[:2]:
        box.check()
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()


def test_many_runs_are_laid_out_in_part_and_searched_whole(browser, tmp_path):
    """A filter over 500 rows took 170 ms where one of 100 takes 60."""
    write_runs(tmp_path / "results", 130)
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(index.write(tmp_path / "results").as_uri())
    assert len(names(page)) == 100 and page.inner_text(".filters [role=status]") == "130 of 130 runs"
    page.get_by_label("search").fill("run000")
    assert names(page) == ["run000"] and not page.is_visible(".more")
    page.get_by_label("search").fill("")
    page.locator("table.runs th button", has_text="first figure").click()
    assert len(names(page)) == 100 and names(page)[0] == "run000"
    page.click("text=show the other 30")
    assert len(names(page)) == 130 and names(page)[-1] == "run129"
    page.close()


def test_the_table_fits_the_paper(browser, path):
    page = browser.new_page(viewport={"width": 718, "height": 1000})
    page.emulate_media(media="print")
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()
