"""The server's page in a real browser: photos in, boxes and answers out, no request to anywhere else."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.conftest import REPO
from tests.serving.toys import load_toy, write_toy
from tests.support.serving import Serving

FACES = sorted((REPO / "data" / "synthetic" / "images").glob("*"))


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    server = Serving(load_toy(write_toy(tmp_path_factory.mktemp("toy") / "predictor")))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """Two rendered faces on grey, as a file."""
    canvas = np.full((500, 1000, 3), 127, np.uint8)
    for i in range(2):
        face = cv2.imread(str(FACES[i]))
        canvas[100:400, 100 + 450 * i : 400 + 450 * i] = cv2.resize(face, (300, 300))
    path = tmp_path_factory.mktemp("photos") / "two faces.jpg"
    cv2.imwrite(str(path), canvas)
    return path


def open_page(browser, serving, *, width=1280, scheme="light"):
    """The page, and the list of all requests that it makes."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    requests, problems = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(f"http://127.0.0.1:{serving.port}/")
    return page, requests, problems


def test_a_photo_gives_boxes_and_answers_and_nothing_leaves(browser, serving, photo):
    page, requests, problems = open_page(browser, serving)
    page.set_input_files("#files", photo)
    page.wait_for_selector("article .photo rect")
    assert page.locator("article h2").inner_text() == "two faces.jpg"
    assert page.locator("article .faces > li").count() == 2
    assert page.locator("article rect.line").count() == 2
    assert "colour" in page.locator("article .faces").inner_text()
    assert "test faces like this one" in page.locator("article .faces").inner_text()
    assert "face 1: colour" in page.locator("article img").get_attribute("alt")
    assert "two faces.jpg" in page.locator("#status").inner_text()
    home = f"http://127.0.0.1:{serving.port}/"
    assert [url for url in requests if not url.startswith((home, "blob:", "data:"))] == []
    assert problems == []
    page.close()


def test_what_is_dropped_is_answered(browser, serving, photo):
    page, _, problems = open_page(browser, serving)
    dropped = page.evaluate_handle(
        """async bytes => { const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], 'dropped.jpg', {type: 'image/jpeg'})); return data; }""",
        list(photo.read_bytes()),
    )
    page.dispatch_event("#form", "drop", {"dataTransfer": dropped})
    page.wait_for_selector("article")
    assert page.locator("article h2").inner_text() == "dropped.jpg"
    assert problems == []
    page.close()


def test_the_camera_is_used_from_the_keyboard_alone(browser, serving):
    page, _, problems = open_page(browser, serving)
    page.focus("#camera")
    page.keyboard.press("Enter")
    page.wait_for_selector("#live:not([hidden])")
    while not page.evaluate("document.getElementById('video').videoWidth"):
        page.wait_for_timeout(20)  # not wait_for_function: the page's policy forbids its eval
    assert page.evaluate("document.activeElement.id") == "shoot"
    page.keyboard.press("Space")
    page.wait_for_selector("article")
    assert page.locator("article h2").inner_text() == "camera.jpg"
    page.focus("#stop")
    page.keyboard.press("Enter")
    page.wait_for_selector("#live", state="hidden")
    assert problems == []
    page.close()


def test_a_file_that_is_no_photo_says_so(browser, serving, tmp_path):
    page, _, _ = open_page(browser, serving)
    hostile = tmp_path / "<img src=x onerror=alert(1)>.jpg"
    hostile.write_bytes(b"no picture")
    page.on("dialog", lambda dialog: pytest.fail("a script of a file's name ran"))
    page.set_input_files("#files", hostile)
    page.wait_for_selector("article")
    assert "unreadable" in page.locator("article .faces").inner_text()
    assert page.locator("article h2").inner_text() == hostile.name
    page.close()


def test_a_server_that_is_gone_is_named(browser, serving, photo):
    page, _, _ = open_page(browser, serving)
    page.route("**/predict*", lambda route: route.abort())
    page.set_input_files("#files", photo)
    page.wait_for_selector("#status.warn")
    assert "two faces.jpg" in page.locator("#status").inner_text()
    page.close()


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_has_nothing_to_say(browser, serving, photo, width, scheme):
    page, _, _ = open_page(browser, serving, width=width, scheme=scheme)
    page.set_input_files("#files", photo)
    page.wait_for_selector("article .photo rect")
    page.evaluate("document.querySelector('details.card').open = true")
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.close()
