"""``workbook predict``: photos, folders, lists and videos in; screen, CSV, JSON and drawn photos out."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from faceworkbook import cli
from faceworkbook.serving import PredictorError, csv_file, inputs, predictor
from faceworkbook.serving.csv_file import CsvWriter
from faceworkbook.serving.tracks import Tracker, TrackSummary, overlap
from tests.conftest import REPO
from tests.serving.toys import ColourEngine, load_toy, make_answering, plain_picture, write_toy


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_toy(tmp_path_factory.mktemp("toy") / "predictor")


@pytest.fixture(autouse=True)
def fake_engine(monkeypatch):
    monkeypatch.setattr(
        predictor.Describer, "open", lambda self: self._engines or self._engines.append(ColourEngine())
    )


@pytest.fixture
def album(tmp_path):
    """A folder with seven pictures in two folders, one of them broken, and a file that is none."""
    folder = tmp_path / "album"
    (folder / "b").mkdir(parents=True)
    for number, name in enumerate(["a1.png", "a2.png", "b/c.png", "b/=1+1.png", "b/-x.png", "z.png"]):
        Image.fromarray(plain_picture((40 * number, 0, 200 - 40 * number))).save(folder / name)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 torn")
    (folder / "notes.txt").write_text("none")
    return folder


def run(*arguments):
    return cli.main(["predict", *map(str, arguments)])


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_into_a_csv_file(place, album, tmp_path, capsys):
    out = tmp_path / "new" / "out.csv"
    assert run(album, "--model", place, "--csv", out, "--faces", "whole") == 0
    rows = read(out)
    assert [r["image"] for r in rows] == [
        "a1.png",
        "a2.png",
        "broken.jpg",
        "z.png",
        "b/-x.png",
        "b/=1+1.png",
        "b/c.png",
    ]
    assert [r["status"] for r in rows] == ["ok", "ok", "unreadable", *["ok"] * 4]
    assert (
        rows[2]["colour"] == ""
        and rows[0]["colour"] == "blue"
        and rows[0]["unlike_training"] in ("yes", "no")
    )
    assert "1 unreadable" in capsys.readouterr().err


def test_a_stopped_run_goes_on_where_the_file_ends(place, album, tmp_path, monkeypatch):
    whole, out = tmp_path / "whole.csv", tmp_path / "out.csv"
    run(album, "--model", place, "--csv", whole, "--faces", "whole")
    content = whole.read_bytes()
    seen = []
    cut = predictor.Cutter.cut
    monkeypatch.setattr(
        predictor.Cutter, "cut", lambda self, image, **k: seen.append(image) or cut(self, image, **k)
    )
    ends = [i + 1 for i, byte in enumerate(content) if byte == 10]
    for end in [ends[0], ends[2], ends[2] + 30, ends[-2] - 1, len(content)]:
        out.write_bytes(content[:end])
        seen.clear()
        run(album, "--model", place, "--csv", out, "--faces", "whole")
        assert out.read_bytes() == content
        finished = content[:end].count(b"\n") - 1
        # the photo of the last whole line may have lacked faces, so that it is answered again
        assert len(seen) == 7 - max(finished - 1, 0)


def test_a_file_that_another_process_writes_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    with CsvWriter(path, ["image", "status"], key="k") as first:
        with pytest.raises(PredictorError, match=r"a\.csv is being written by another process; wait"):
            CsvWriter(path, ["image", "status"], key="k")
        first.append(pd.DataFrame({"image": ["a.png"], "status": ["ok"]}))
    CsvWriter(path, ["image", "status"], key="k").close()


@pytest.mark.parametrize("end", [0, 1, 9])
def test_a_file_with_half_a_first_line_is_begun_anew(tmp_path, end):
    path = tmp_path / "x.csv"
    CsvWriter(path, ["image", "status"], key="k").close()
    whole = path.read_bytes()
    path.write_bytes(whole[:end])
    CsvWriter(path, ["image", "status"], key="k").close()
    assert path.read_bytes() == whole


def test_a_photo_counts_as_done_when_it_was_drawn(place, album, tmp_path, monkeypatch):
    given = (
        album,
        "--model",
        place,
        "--csv",
        tmp_path / "a.csv",
        "--draw",
        tmp_path / "drawn",
        "--faces",
        "whole",
    )
    with monkeypatch.context() as patched:
        patched.setattr("faceworkbook.serving.drawing.save", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(*given)
    assert run(*given) == 0
    assert {path.name for path in (tmp_path / "drawn").rglob("*.jpg")} >= {"a1.png.jpg", "z.png.jpg"}


def test_a_file_of_another_predictor_is_refused(place, album, tmp_path, capsys):
    out = tmp_path / "out.csv"
    run(album, "--model", place, "--csv", out, "--faces", "whole")
    before = out.read_bytes()
    assert run(album, "--model", place, "--csv", out, "--faces", "all") == 2
    assert "another predictor or other faces" in capsys.readouterr().err
    other = tmp_path / "mine.csv"
    other.write_text("a,b\n1,2\n")
    assert run(album, "--model", place, "--csv", other) == 2
    assert "other columns" in capsys.readouterr().err
    assert out.read_bytes() == before and other.read_text() == "a,b\n1,2\n"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-x", "@sum", "\tx", "\r=1"])
def test_no_text_is_a_formula(text):
    assert csv_file.escape(text)[0] not in "=+-@\t\r"
    assert csv_file.format_column(pd.Series([text, -1.5, None, True, 3])) == [
        csv_file.escape(text),
        "-1.5",
        "",
        "yes",
        "3",
    ]


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\u2028b", "\udcff", "x\x85y"])
def test_every_row_is_one_line(tmp_path, text):
    path = tmp_path / "x.csv"
    for _ in range(2):
        with CsvWriter(path, ["image"], key="k") as writer:
            left = [name for name in (text, "later") if not writer.is_done(name)]
            writer.append(pd.DataFrame({"image": pd.Series(left, dtype=object)}))
    assert len(path.read_bytes().splitlines()) == 3


def test_names_that_are_no_text_are_answered_and_escaped(place, tmp_path):
    folder = tmp_path / "album"
    folder.mkdir()
    try:
        name = os.fsdecode(b"\xff\xfe=x.png")
        (folder / name).write_bytes(b"none")
    except OSError:
        pytest.skip("this file system takes no such name")
    out = tmp_path / "out.csv"
    for _ in range(2):
        assert run(folder, "--model", place, "--csv", out) == 0
        assert [r["status"] for r in read(out)] == ["unreadable"]


def test_json_is_strict(place, album, capsys):
    assert run(album / "a1.png", album / "broken.jpg", "--model", place, "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["status"] for row in rows] == ["no face", "unreadable"] and rows[0]["colour"] is None


def test_photos_are_drawn_under_their_own_names(place, album, tmp_path):
    drawn = tmp_path / "drawn"
    run(album, "--model", place, "--faces", "whole", "--draw", drawn)
    names = {p.relative_to(drawn).as_posix() for p in drawn.rglob("*.jpg")}
    assert names == {f"{n}.jpg" for n in ("a1.png", "a2.png", "z.png", "b/c.png", "b/=1+1.png", "b/-x.png")}
    with Image.open(drawn / "a1.png.jpg") as picture:
        assert picture.size == (64, 64)


def test_lists_are_read_relative_to_themselves(place, album, tmp_path):
    for text in (
        "image\na1.png\nb/c.png\n",
        "id;path\n1;a1.png\n2;b/c.png\n",
        "\ufefffile,x\na1.png,1\n\nb/c.png,2\n",
    ):
        (album / "list.csv").write_text(text, encoding="utf-8")
        assert [p.name for p in inputs.list_photos(album / "list.csv")] == ["a1.png", "b/c.png"]
    (album / "list.txt").write_text("a1.png\nb/c.png\n")
    assert [p.name for p in inputs.list_photos(album / "list.txt")] == ["a1.png", "b/c.png"]
    (album / "list.csv").write_text("a,b\n1,2\n")
    with pytest.raises(PredictorError, match="in a column image or path or file"):
        list(inputs.list_photos(album / "list.csv"))


def test_drawn_photos_stay_in_their_folder(tmp_path):
    from faceworkbook.serving import drawing

    picture = Image.fromarray(plain_picture((1, 2, 3)))
    for name in ("../../x.png", "/etc/x.png", "a/../../x.png"):
        path = drawing.save(picture, tmp_path / "drawn", name)
        assert (tmp_path / "drawn") in path.resolve().parents


def test_nothing_to_answer_is_a_sentence(place, tmp_path, capsys):
    assert run(tmp_path / "missing.jpg", "--model", place) == 2
    assert "is not there" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "empty", "--model", place) == 2
    assert "no picture" in capsys.readouterr().err
    assert run(tmp_path, "--model", tmp_path) == 2
    assert "holds no predictor.json" in capsys.readouterr().err
    (tmp_path / "x.mp4").write_bytes(b"none")
    assert run(tmp_path / "x.mp4", "--model", place) == 2
    assert "cannot be read as a video" in capsys.readouterr().err


def _boxes(frame, *lefts):
    rows = [
        {"image": f"v.mp4#{frame}", "top": 10.0, "left": x, "bottom": 50.0, "right": x + 40} for x in lefts
    ]
    return pd.DataFrame(
        rows
        or [{"image": f"v.mp4#{frame}", "top": np.nan, "left": np.nan, "bottom": np.nan, "right": np.nan}]
    )


def test_faces_that_move_a_little_are_one_track():
    tracker = Tracker(rate=25)
    first = tracker.add(
        pd.concat([_boxes(0, 0.0, 200.0), _boxes(5, 205.0, 6.0), _boxes(10), _boxes(15, 8.0)])
    )
    assert first["track"].tolist() == [0, 1, 1, 0, pd.NA, 0]
    # gone for longer than a second, or somewhere else: another track
    later = tracker.add(pd.concat([_boxes(100, 8.0), _boxes(105, 300.0)]))
    assert later["track"].tolist() == [2, 3] and later["second"].tolist() == [4.0, 4.2]
    assert overlap((0, 0, 2, 2), (0, 1, 2, 3)) == pytest.approx(1 / 3)


def test_a_track_is_answered_once(place):
    table = load_toy(place).predict([plain_picture((250, 0, 0)), plain_picture((0, 0, 90))], faces="whole")
    table = table.assign(track=pd.array([0, 0], dtype="Int64"), second=[0.0, 0.2])
    summary = TrackSummary(make_answering())
    summary.add(table.iloc[:1])
    summary.add(table.iloc[1:])
    (row,) = summary.table().to_dict("records")
    assert row["frames"] == 2 and row["colour"] == "red" and row["to"] == 0.2
    assert row["light"] == pytest.approx(table["light"].mean())


def test_a_video_gives_frames_with_tracks(place, tmp_path, capsys):
    face = cv2.imread(str(sorted((REPO / "data" / "synthetic" / "images").glob("*"))[0]))
    path = tmp_path / "v.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (320, 320))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no video")
    for step in range(12):
        frame = np.full((320, 320, 3), 127, np.uint8)
        frame[90:218, 60 + step : 188 + step] = face
        writer.write(frame)
    writer.release()
    out = tmp_path / "out.csv"
    for _ in range(2):
        assert run(path, "--model", place, "--csv", out) == 0
        rows = read(out)
        assert [r["frame"] for r in rows] == ["0", "2", "4", "6", "8", "10"]
        assert {r["track"] for r in rows} == {"0"}
    assert [r["frames"] for r in read(tmp_path / "out.tracks.csv")] == ["6"]
    assert "1 tracks" in capsys.readouterr().err


def test_the_command_starts_without_tensorflow(place, album):
    code = (
        "import sys; from faceworkbook import cli; from faceworkbook.serving import predictor;"
        "from tests.serving.toys import ColourEngine;"
        "predictor.Describer.open = lambda self: self._engines or self._engines.append(ColourEngine());"
        f"cli.main(['predict', {str(album / 'a1.png')!r}, '--model', {str(place)!r}]);"
        "print([m for m in ('tensorflow', 'keras', 'sklearn', 'matplotlib') if m in sys.modules])"
    )
    env = {**os.environ, "PYTHONPATH": f"{REPO / 'lib'}{os.pathsep}{REPO}"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
