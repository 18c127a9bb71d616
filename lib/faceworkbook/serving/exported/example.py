"""Answer a picture of one face: python example.py FACE.jpg [TOP LEFT BOTTOM RIGHT]

Without a box FACE.jpg shows one face as the training pictures do (`framing` in preprocessing.json); with the box of a
face detector, in pixels, the face is cut out of a photo so that it does. Needs numpy, Pillow and onnxruntime.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

HERE = Path(__file__).parent
RULES = json.loads((HERE / "preprocessing.json").read_text(encoding="utf-8"))


def cut_out(photo, top, left, bottom, right):
    f = RULES["framing"]
    side = ((bottom - top) * (right - left)) ** 0.5 / f["share"]
    height, width = side / f["aspect"] ** 0.5, side * f["aspect"] ** 0.5
    y, x = (top + bottom) / 2 - f["centre_y"] * height, (left + right) / 2 - f["centre_x"] * width
    return photo.crop(tuple(round(v) for v in (x, y, x + width, y + height)))


def describe(task, answer):
    if not task["classes"]:
        reach = next((r for upto, r in task["bands"] if upto is None or answer <= upto), None)
        return f"{answer:.2f} {task['unit']}" + (f", at most {reach:.2f} off" if reach else "")
    inside = [c for c, p in zip(task["classes"], answer, strict=True) if 1 - p <= task["limits"].get(c, 0)]
    shares = ", ".join(f"{c} {p:.3f}" for c, p in zip(task["classes"], answer, strict=True))
    return shares + (f"; one of: {', '.join(inside)}" if inside else "")


picture = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("RGB")
face = cut_out(picture, *map(float, sys.argv[2:6])) if len(sys.argv) == 6 else picture
given = {each["name"]: face.resize(each["size"][::-1], Image.Resampling.BILINEAR) for each in RULES["inputs"]}
session = onnxruntime.InferenceSession(HERE / RULES["model"], providers=["CPUExecutionProvider"])
answers = session.run(
    [t["name"] for t in RULES["outputs"]], {k: np.asarray(v)[None] for k, v in given.items()}
)
for task, answer in zip(RULES["outputs"], answers, strict=True):
    print(f"{task['name']}: {describe(task, answer[0])}")
