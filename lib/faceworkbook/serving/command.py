"""``workbook predict``: photos in, answers out, on the screen, in a CSV file, drawn on the photos."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from faceworkbook import project
from faceworkbook.serving import inputs
from faceworkbook.serving.csv_file import CsvWriter
from faceworkbook.serving.describing import SLOW, has_onnxruntime
from faceworkbook.serving.photos import ALL, LARGEST, NO_FACE, TOO_SMALL, UNREADABLE, WHOLE, read
from faceworkbook.serving.predictor import Photo, Predictor
from faceworkbook.spreadsheet import escape

DEFAULT = "weights/predictor_fairface"
ANNOTATED = "Answers are what annotators would have called the picture, as far as it was measured; not who somebody is."


@dataclass
class Sink:
    """Where answers go, batch by batch."""

    predictor: Predictor
    writer: CsvWriter | None
    draw: str
    as_json: bool
    counts: Counter = field(default_factory=Counter)
    is_first: bool = True

    def take(self, table: pd.DataFrame, photos: dict[str, object]) -> None:
        """Write, draw and print the answers of a batch."""
        self.counts.update(table["status"])
        if self.draw:  # before the row by which a later run knows that the photo is done
            self._draw(table, photos)
        if self.writer:
            self.writer.append(table)
        if self.as_json:
            print("\n".join(to_json(row) for row in table.to_dict("records")), flush=True)
        elif not self.writer:
            print("\n".join(self._describe(table)), flush=True)

    def _draw(self, table: pd.DataFrame, photos: dict[str, object]) -> None:
        from faceworkbook.serving import drawing

        for name, rows in table.groupby("image", sort=False):
            if (rows["status"] != UNREADABLE).all():
                picture = drawing.draw(read(photos[name]), rows, self.predictor.answering)
                drawing.save(picture, self.draw, str(name))

    def _describe(self, table: pd.DataFrame) -> Iterator[str]:
        from faceworkbook.serving import drawing

        for _, row in table.iterrows():
            number = f" face {row['face']}" if row["faces"] > 1 else ""
            detail = f" ({escape(row['detail'])})" if row["detail"] else ""
            answers = drawing.describe_row(row, self.predictor.answering).replace("\n", ", ")
            yield f"{escape(row['image'])}{number}: {answers}{detail}"


def run(options: argparse.Namespace) -> int:
    """Answer what the command line names; returns the exit code."""
    predictor = Predictor.load(options.model or project.resolve(DEFAULT), weights=options.weights)
    if not has_onnxruntime():
        print(f"workbook: {SLOW}", file=sys.stderr)
    videos = [source for source in options.source if inputs.is_video(source) and Path(source).is_file()]
    if videos and len(options.source) > 1:
        raise ValueError(f"{videos[0]} is a video; answer one video at a time, without photos")
    return _run_video(predictor, options) if videos else _run_photos(predictor, options)


def _run_photos(predictor: Predictor, options: argparse.Namespace) -> int:
    faces = options.faces or LARGEST
    photos = _list(options.source)
    # Names are read twice instead of kept: once to count them, once to answer.
    total = sum(1 for _ in photos())
    if not total:
        raise ValueError(
            f"{', '.join(options.source)}: no picture ({', '.join(inputs.PICTURES)}) is there; name a picture, a folder that holds some, a list or a video"
        )
    writer = _open_csv(predictor, options.csv, faces) if options.csv else None
    sink = Sink(predictor, writer, options.draw, options.json)
    wanted = (photo for photo in photos() if writer is None or not writer.is_done(photo.name))
    done = sum(1 for photo in photos() if writer is not None and writer.is_done(photo.name))
    _answer(predictor, wanted, sink, faces=faces, total=total, done=done)
    return 0


def _list(sources: list[str]):
    def photos() -> Iterator[Photo]:
        for source in sources:
            yield from inputs.list_photos(source)

    return photos


def _open_csv(predictor: Predictor, path: str, faces: str, more: tuple[str, ...] = ()) -> CsvWriter:
    columns = [*predictor.predict([]).columns, *more]
    return CsvWriter(path, columns, key=f"{predictor.fingerprint[:12]} {faces}")


def _answer(
    predictor: Predictor,
    photos: Iterable[Photo],
    sink: Sink,
    *,
    faces: str,
    total: int,
    done: int = 0,
    tracker=None,
) -> None:
    waiting: dict[str, object] = {}

    def remembered() -> Iterator[Photo]:
        for photo in photos:
            if sink.draw:
                waiting[photo.name] = photo.image
            yield photo

    try:
        with tqdm(total=total, initial=done, unit=" photos", desc="predict", disable=None) as bar:
            for table in predictor.stream(remembered(), faces=faces):
                answered = table["image"].unique()
                sink.take(table if tracker is None else tracker(table), waiting)
                for name in answered:
                    waiting.pop(name, None)
                bar.update(len(answered))
    finally:
        if sink.writer:
            sink.writer.close()
    _report(sink, faces)


def _report(sink: Sink, faces: str) -> None:
    answered = sum(n for status, n in sink.counts.items() if status not in (NO_FACE, TOO_SMALL, UNREADABLE))
    words = {ALL: "faces", LARGEST: "faces", WHOLE: "pictures"}[faces]
    without = ", ".join(f"{n:,} {status}" for status, n in sorted(sink.counts.items()) if status != "ok")
    place = f" in {sink.writer.path}" if sink.writer else ""
    print(f"{answered:,} {words} answered{place}" + (f"; {without}" if without else ""), file=sys.stderr)
    print(f"{ANNOTATED} Card: {project.shorten(sink.predictor.folder / 'card.md')}", file=sys.stderr)


def _run_video(predictor: Predictor, options: argparse.Namespace) -> int:
    from faceworkbook.serving.tracks import Tracker, TrackSummary

    faces = options.faces or ALL
    if faces == WHOLE:
        raise ValueError("faces=whole goes with pictures of one face each; of a video give all or largest")
    video = inputs.Video.open(Path(options.source[0]))
    writer = None
    if options.csv:
        # Tracks begin anew, so that a file of the same predictor is written anew; any other one is refused.
        more = ("frame", "second", "track")
        _open_csv(predictor, options.csv, faces, more).close()
        Path(options.csv).unlink()
        writer = _open_csv(predictor, options.csv, faces, more)
    tracker, summary = Tracker(video.rate), TrackSummary(predictor.answering)

    def track(table: pd.DataFrame) -> pd.DataFrame:
        tracked = tracker.add(table)
        summary.add(tracked)
        return tracked

    sink = Sink(predictor, writer, options.draw, options.json)
    _answer(predictor, video.photos(), sink, faces=faces, total=video.n, tracker=track)
    tracks = summary.table()
    if options.csv:
        path = Path(options.csv).with_suffix(".tracks.csv")
        path.unlink(missing_ok=True)
        with CsvWriter(path, list(tracks.columns), key=f"{predictor.fingerprint[:12]} tracks") as own:
            own.append(tracks)
    print(f"{len(tracks)} tracks; one track is one person at most once", file=sys.stderr)
    if not options.json and len(tracks):
        print(tracks.to_string(index=False, float_format="{:.2f}".format), file=sys.stderr)
    return 0


def to_json(row: dict) -> str:
    """Return a row as strict JSON: null for what is not known."""
    plain = {
        name: None if pd.isna(value) else getattr(value, "item", lambda v=value: v)()
        for name, value in row.items()
    }
    return json.dumps(plain, ensure_ascii=False, allow_nan=False)
