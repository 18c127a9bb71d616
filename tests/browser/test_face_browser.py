"""Faces one can look through, in a real browser: filter, sort, region, keyboard, corrections that 01_faces reads."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe

from faceworkbook import datasets
from faceworkbook.evaluation import intervals
from faceworkbook.plots.descriptor_map import DescriptorMapDisplay
from faceworkbook.reports import face_browser, figures
from tests.conftest import REPO
from tests.support import face_pages

ROOT = REPO / "data" / "synthetic"
N = 60


@pytest.fixture(scope="module")
def dataset():
    return datasets.load("synthetic", ROOT)


@pytest.fixture(scope="module")
def faces(dataset):
    return dataset.faces.iloc[::40].head(N).reset_index(drop=True)  # each of another person


@pytest.fixture(scope="module")
def rows(faces):
    return face_pages.make_rows(faces, face_pages.predict(faces))


@pytest.fixture(scope="module")
def path(rows, tmp_path_factory):
    display = DescriptorMapDisplay.nothing()
    png = figures.png_bytes(display.plot(), display.describe())
    return face_pages.write_faces(
        tmp_path_factory.mktemp("faces"), rows, ROOT, static=(png, "A map <of> faces")
    )


@pytest.fixture
def page(browser, path):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page, problems = context.new_page(), []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "request",
        lambda r: problems.append(r.url) if not r.url.startswith(("file:", "data:", "blob:")) else None,
    )
    page.goto(path.as_uri())
    page.wait_for_selector(".face-browser .live tbody tr")
    yield page
    assert problems == []
    context.close()


def figure(page):
    return page.inner_text(".face-browser .figure")


def column(page, label):
    return page.locator(f".face-browser tbody td[data-label='{label}']").all_inner_texts()


def choose(page, label, value):
    page.locator(f"select[aria-label='{label}']").select_option(value)


def test_all_test_faces_are_there_errors_first(page, rows):
    assert f"{N} of {N} test faces" in figure(page)
    results = column(page, "result")
    wrong = int(rows.is_error.sum())
    assert results == (["wrong"] * wrong + ["right"] * (N - wrong))[:30]
    sure = [float(text) for text in column(page, "probability")[:wrong]]
    assert sure == sorted(sure, reverse=True)
    assert page.inner_text(".pager span") == f"rows 1 to 30 of {N}"
    page.click("text=next rows")
    assert page.inner_text(".pager span") == f"rows 31 to {N} of {N}"


def test_a_click_on_a_heading_sorts_and_so_do_enter_and_space(page):
    button = page.locator("th button", has_text="probability")
    button.click()
    low = [float(text) for text in column(page, "probability")]
    assert low == sorted(low, reverse=True)
    button.press("Enter")
    low = [float(text) for text in column(page, "probability")]
    assert low == sorted(low)
    assert page.locator("th[aria-sort=ascending]").inner_text() == "probability"
    button.press("Space")
    assert page.locator("th[aria-sort=descending]").inner_text() == "probability"


def test_a_whole_group_shows_the_figure_that_was_computed_with_its_interval(page, rows):
    (name, known), *_ = rows.record["groups"]["group:race"].items()
    choose(page, "race", str(rows.record["columns"]["group:race"]["names"].index(name)))
    assert f"accuracy {known['value']:.3f}" in figure(page)
    assert f"95 % interval {known['low']:.3f} to {known['high']:.3f} ({known['method']})" in figure(page)


def test_a_choice_of_ones_own_has_wilsons_interval(page, rows):
    choose(page, "race", "0")
    choose(page, "predicted", "1")
    chosen = rows.rows[
        (rows.rows["race"] == rows.record["columns"]["group:race"]["names"][0])
        & (rows.rows["predicted"] == "female")
    ]
    right = int((chosen["truth"] == chosen["predicted"]).sum())
    low, high = intervals.wilson(right, len(chosen))
    assert figure(page).startswith(f"{len(chosen)} of {N} test faces")
    assert f"95 % interval {low:.3f} to {high:.3f} (Wilson" in figure(page)
    page.click("text=show all")
    assert figure(page).startswith(f"{N} of {N}")


def test_a_region_is_dragged_or_drawn_by_keyboard_and_cleared(page, rows):
    box = page.locator(".canvas > canvas").bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 2, steps=4)
    page.mouse.up()
    xs = np.array(rows.record["map"]["x"])
    n = int(figure(page).split()[0])
    assert abs(n - (xs <= 500).sum()) <= 2 and 0 < n < N
    assert "The region was chosen by looking" in figure(page)
    page.locator(".canvas > canvas").press("Escape")
    assert figure(page).startswith(f"{N} of {N}")
    for key in ["ArrowLeft", "Enter", *["ArrowRight"] * 12, *["ArrowDown"] * 12, "Enter"]:
        page.locator(".canvas > canvas").press(key)
    ys = np.array(rows.record["map"]["y"])
    inside = ((xs >= 480) & (xs <= 720) & (ys >= 500) & (ys <= 740)).sum()
    assert figure(page).startswith(f"{inside} of {N}" if inside else "No face")
    page.click("text=clear region")
    assert figure(page).startswith(f"{N} of {N}")


def test_a_face_is_shown_when_the_pointer_is_over_it(page, rows):
    box = page.locator(".canvas > canvas").bounding_box()
    x, y = (12 + rows.record["map"][k][0] / 1000 * 536 for k in "xy")
    page.mouse.move(box["x"] + x * box["width"] / 560, box["y"] + y * box["height"] / 560)
    assert page.is_visible(".tip")
    assert page.inner_text(".tip").startswith("true ")


def test_marks_made_by_keyboard_come_back_as_corrections(page, rows, dataset, tmp_path):
    ids, truth = rows.rows["face_id"].tolist(), rows.rows["truth"].tolist()
    page.locator("tbody button").first.focus()
    for key in ["w", "ArrowDown", "u", "ArrowDown", "k", "ArrowDown", "w", "x"]:
        page.keyboard.press(key)
    marked = column(page, "marked")
    other = {"male": "female", "female": "male"}
    assert marked[:4] == [f"label wrong, now {other[truth[0]]}", "unusable", "label is right", ""]
    assert page.inner_text(".marking span") == "3 marked"
    with page.expect_download() as download:
        page.click("text=save corrections.csv")
    file = tmp_path / "corrections.csv"
    download.value.save_as(file)
    assert download.value.suggested_filename == "corrections.csv"
    corrected = datasets.load("synthetic", ROOT, corrections=file)
    became = corrected.corrections.set_index("face_id")
    assert became["status"].to_dict() == {ids[0]: "corrected", ids[1]: "left out", ids[2]: "confirmed"}
    table = corrected.faces.set_index("face_id")
    assert table.loc[ids[0], "gender"] == other[truth[0]] and ids[1] not in table.index
    assert dataset.faces.set_index("face_id").loc[ids[0], "gender"] == truth[0]


def test_marks_outlive_the_page_and_are_forgotten_on_demand(page):
    page.locator("tbody button").first.focus()
    page.keyboard.press("u")
    page.reload()
    page.wait_for_selector(".face-browser .live tbody tr")
    assert page.inner_text(".marking span") == "1 marked"
    choose(page, "rows", "marked")
    assert figure(page).startswith(f"1 of {N}")
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("text=forget all")
    assert page.inner_text(".marking span") == "none marked yet"


def test_pictures_are_drawn_and_print_shows_a_still_map(page):
    painted = "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].some((v, i) => i % 4 === 3 && v)"
    assert page.locator("tbody canvas").first.evaluate(painted)
    assert not page.is_visible(".still")
    page.emulate_media(media="print")
    assert page.is_visible(".still img") and not page.is_visible(".face-browser .live")
    assert page.get_attribute(".still img", "alt") == "A map <of> faces"


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_has_nothing_to_say(browser, path, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(path.as_uri())
    page.wait_for_selector(".face-browser .live tbody tr")
    page.locator("tbody button").first.press("w")
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()


def test_numbers_show_their_error_and_take_a_value(browser, dataset, tmp_path):
    faces = dataset.faces.iloc[::40].head(20).reset_index(drop=True)
    rows = face_pages.make_rows(faces, face_pages.predict(faces, label="age"), ("gender",))
    page = browser.new_page()
    page.goto(face_pages.write_faces(tmp_path, rows, ROOT).as_uri())
    page.wait_for_selector(".face-browser .live tbody tr")
    off = [float(text) for text in column(page, "off by")]
    assert off == sorted(off, reverse=True)
    page.get_by_label("the right value").fill("33")
    page.get_by_label("the right value").blur()
    assert column(page, "marked")[0] == "label wrong, now 33"
    choose(page, "gender", "0")
    page.get_by_label("file").fill("person")
    assert "mean absolute error" in figure(page) and "years (t, each face by itself)" in figure(page)
    page.close()


def test_without_pictures_none_is_in_the_page(browser, rows, tmp_path):
    path = face_pages.write_faces(tmp_path, rows, ROOT, which="none")
    assert "image/webp" not in path.read_text()
    page = browser.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector(".face-browser .live tbody tr")
    assert page.locator("tbody canvas").first.get_attribute("aria-label") == "no picture on this page"
    page.close()


def test_former_corrections_go_into_the_file_that_is_saved(browser, faces, tmp_path):
    first, second = faces["face_id"][:2]
    earlier = pd.DataFrame(
        {
            "line": [2, 3, 4],
            "face_id": [first, second, "gone"],
            "image": ["a.jpg", "b.jpg", "c.jpg"],
            "column": ["gender", "race", "leave_out"],
            "was": ["male", "White", ""],
            "value": ["female", "Black", "blurred"],
            "status": ["corrected", "corrected", "left out"],
            "detail": "",
        }
    )
    rows = face_pages.make_rows(faces, face_pages.predict(faces), earlier=earlier)
    page = browser.new_page()
    page.goto(face_pages.write_faces(tmp_path, rows, ROOT, which="errors").as_uri())
    page.wait_for_selector(".face-browser .live tbody tr")
    page.locator("tbody button").first.press("u")
    with page.expect_download() as download:
        page.click("text=save corrections.csv")
    download.value.save_as(tmp_path / "corrections.csv")
    saved = pd.read_csv(tmp_path / "corrections.csv", dtype=str, keep_default_na=False)
    assert saved["face_id"].tolist()[-1] == rows.rows["face_id"][0]
    assert {"gone", second} <= set(saved["face_id"])
    assert json.loads(json.dumps(saved.columns.tolist()))[:5] == [
        "face_id",
        "column",
        "value",
        "was",
        "decision",
    ]
    page.close()


def test_a_piece_of_a_page_names_whose_pictures_it_carries(rows):
    n = int(rows.is_error.sum())
    assert face_browser.describe_choice("all", rows) == f"All {N} test faces, with small pictures."
    assert f"{n} of them with a picture (errors alone)" in face_browser.describe_choice("errors", rows)
    assert "without pictures" in face_browser.describe_choice("none", rows)
