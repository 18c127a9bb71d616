"""Write a predictor for programs that do not have this package: an ONNX graph, a Keras file, or the folder with its weights.

Beside the model lie ``preprocessing.json`` (what pictures it takes, what its outputs are, when a class enters a set),
``README.md``, ``card.md`` and, for ONNX, ``example.py``. What was written is read again and its answers are compared with the
predictor's own.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from faceworkbook import files, project
from faceworkbook.backbones import own_files
from faceworkbook.images import Preprocessing
from faceworkbook.serving import card, export_graph
from faceworkbook.serving import folder as folders
from faceworkbook.serving.answers import Answering
from faceworkbook.serving.checks import PredictorError
from faceworkbook.serving.photos import WHOLE
from faceworkbook.serving.predictor import Predictor

TARGETS = ("onnx", "keras", "folder")
ONNX, KERAS, RULES, EXAMPLE, README = (
    "model.onnx",
    "model.keras",
    "preprocessing.json",
    "example.py",
    "README.md",
)
FORMAT = 1
AGREES = 1e-4  # largest difference of a probability, and of a number relative to itself
CHECKED = 32  # faces
ROOM = 2**31 - 2**20  # bytes of one protobuf message
_EXAMPLE = Path(__file__).parent / "exported" / EXAMPLE
Run = Callable[[Sequence[np.ndarray]], Mapping[str, np.ndarray]]


def export(
    predictor: Predictor, out: str | Path, *, target: str, pixels: Sequence[np.ndarray] | None = None
) -> dict:
    """Write a predictor.

    Parameters
    ----------
    predictor : Predictor
    out : path
        Folder to write into; empty, or that of an earlier export.
    target : {'onnx', 'keras', 'folder'}
    pixels : sequence of ndarray of shape (n, height, width, 3), uint8, RGB, optional
        Faces to check on, one array for each of the describer's preprocessings; rendered ones where None.

    Returns
    -------
    dict
        What ``preprocessing.json`` holds; of a folder ``files`` and ``terms``.

    Raises
    ------
    PredictorError
        A model that cannot be written so, a folder with other files, or answers that are not the predictor's own.
    """
    if target not in TARGETS:
        raise PredictorError(f"to={target!r}; allowed are {', '.join(TARGETS)}")
    out = _empty(Path(out), {"onnx": ONNX, "keras": KERAS, "folder": folders.RECORD}[target])
    if target == "folder":
        return copy_folder(predictor, out)
    pixels = check_faces(predictor) if pixels is None else pixels
    name, run = (_write_onnx if target == "onnx" else _write_keras)(predictor, out)
    rules = describe(predictor, name)
    try:
        rules["checked"] = check(predictor, run, pixels)
    except PredictorError:
        (out / name).unlink()
        raise
    if target == "onnx":
        files.write_beside(out / EXAMPLE, _EXAMPLE.read_text(encoding="utf-8"))
    write_texts(predictor, out, rules)
    return rules


def _empty(out: Path, model: str) -> Path:
    if out.exists() and not out.is_dir():
        raise PredictorError(f"{out} is a file; name a folder as --out")
    if out.is_dir() and any(out.iterdir()) and not (out / model).is_file():
        raise PredictorError(f"{out} holds other files; name an empty or new folder as --out")
    out.mkdir(parents=True, exist_ok=True)
    return out


def write_texts(predictor: Predictor, out: Path, rules: Mapping) -> None:
    """Write ``preprocessing.json``, ``README.md`` and ``card.md``."""
    files.write_json(out / RULES, rules)
    files.write_beside(out / "card.md", predictor.card)
    files.write_beside(out / README, make_readme(rules))


def _write_onnx(predictor: Predictor, out: Path) -> tuple[str, Run]:
    save_graph(export_graph.build(predictor), out / ONNX)
    return ONNX, open_graph(out / ONNX)


def save_graph(model, path: Path) -> None:
    """Write a graph as one file; weights of more than 2 GB as a file beside it."""
    import onnx

    if model.ByteSize() < ROOM:
        onnx.checker.check_model(model)
        files.write_beside(path, model.SerializeToString())
        return
    path.with_suffix(".bin").unlink(missing_ok=True)
    onnx.save(model, path, save_as_external_data=True, location=f"{path.stem}.bin")


def open_graph(path: Path) -> Run:
    """Return a function from pixels to outputs by name, run by ONNX Runtime alone."""
    try:
        import onnxruntime
    except ImportError as error:
        raise PredictorError("onnxruntime is missing: pip install 'faceworkbook[fast]'") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs, outputs = (
        [each.name for each in values] for values in (session.get_inputs(), session.get_outputs())
    )

    def run(pixels: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        answers = session.run(outputs, dict(zip(inputs, pixels, strict=True)))
        return dict(zip(outputs, answers, strict=True))

    return run


def _write_keras(predictor: Predictor, out: Path) -> tuple[str, Run]:
    from faceworkbook import backbones
    from faceworkbook.serving import export_keras

    with files.open_beside(out / KERAS) as beside:
        export_keras.build(predictor).save(beside)
    model = backbones.import_keras().saving.load_model(out / KERAS, safe_mode=True)
    return KERAS, lambda pixels: {k: np.asarray(v) for k, v in model(list(pixels), training=False).items()}


# --------------------------------------------------------------------------- the folder


def copy_folder(predictor: Predictor, out: Path) -> dict:
    """Copy a predictor's folder and put the weights of its networks beside, so that it is whole on another machine.

    Returns
    -------
    dict
        ``files`` (names), ``terms`` (whose licence must permit passing them on).
    """
    if out.resolve() == predictor.folder.resolve():
        raise PredictorError(f"{out} is the predictor's own folder; name another one as --out")
    names = [name for name in folders.read_names(predictor.folder) if name != folders.RECORD]
    # The record comes last, so that no reader takes half of a folder for whole.
    sources = [predictor.folder / name for name in names] + _weights(predictor)
    sources.append(predictor.folder / folders.RECORD)
    taken = [path.name for path in sources]
    if len(set(taken)) < len(taken):
        raise PredictorError(
            f"several files are called the same ({', '.join(sorted(taken))}); rename a weights file"
        )
    for source in sources:
        with files.open_beside(out / source.name) as beside:
            shutil.copyfile(source, beside)
    Predictor.load(out)
    return {"files": taken, "terms": describe_terms(predictor)}


def _weights(predictor: Predictor) -> list[Path]:
    paths: dict[Path, None] = {}
    for network, path in zip(predictor.describer.networks, predictor.describer.weights, strict=True):
        if network.is_graph:
            continue
        paths[path] = None
        for suffix in own_files.SIDECAR_SUFFIXES:
            if path.with_suffix(suffix).is_file():
                paths[path.with_suffix(suffix)] = None
        if path.suffix == ".onnx":
            from faceworkbook.backbones import onnx_file

            paths |= {
                path.parent / name: None for name in onnx_file.external_files(onnx_file.read_model(path))
            }
    return list(paths)


def describe_terms(predictor: Predictor) -> list[str]:
    """Return on whose terms the export may be passed on."""
    networks = [
        f"Weights of {network.name}: {network.source or 'source not stated'}. Whoever passes them on needs their licence's leave."
        for network in predictor.describer.networks
    ]
    data = [f"Data: {line}" for line in predictor.record["made"].get("data", [])]
    return [*networks, *data, "Code of the export: MIT, see faceworkbook."]


# --------------------------------------------------------------------------- what it is, in JSON and in words


def describe(predictor: Predictor, model: str) -> dict:
    """Return ``preprocessing.json`` without the check."""
    inputs = zip(export_graph.input_names(predictor), predictor.describer.preprocessings, strict=True)
    return {
        "format": FORMAT,
        "title": str(predictor.record["title"]),
        "predictor": predictor.fingerprint,
        "model": model,
        "inputs": [_describe_input(name, each) for name, each in inputs],
        "inside": [
            {
                "network": each.name,
                "tap": each.tap,
                "mirror": each.mirror,
                "preprocessing": each.preprocessing.to_dict(),
                "framing": predictor.record["framing"] if each.framing is None else each.framing.to_record(),
            }
            for each in predictor.describer.networks
        ],
        "framing": predictor.record["framing"],
        "detection": predictor.record["detection"],
        "outputs": [output for one in predictor.answering for output in _describe_outputs(one)],
        "terms": describe_terms(predictor),
        "limits": list(card.LIMITS),
    }


def _describe_input(name: str, preprocessing: Preprocessing) -> dict:
    return {
        "name": name,
        "dtype": "uint8",
        "layout": "NHWC",
        "channels": "RGB",
        "size": list(preprocessing.size),
        "interpolation": preprocessing.interpolation,
        "crop_margin": preprocessing.crop_margin,
        "align": preprocessing.align,
        "template": preprocessing.template if preprocessing.align == "five_points" else "",
    }


def _describe_outputs(one: Answering) -> list[dict]:
    task = one.task
    bands = one.to_record()["bands"]
    number = {"classes": [], "unit": task.unit, "coverage": one.coverage, "limits": {}, "bands": bands}
    if task.is_number:
        return [{"name": task.name, "kind": task.kind, **number}]
    # Above 1 nothing is excluded, so 1 stands for a class that enters every set.
    limits = {name: min(limit, 1.0) for name, limit in one.limits.items()}
    classes = {
        "classes": list(task.classes),
        "unit": "",
        "coverage": one.coverage,
        "limits": limits,
        "bands": [],
    }
    shares = {"name": task.name, "kind": task.kind, "temperature": one.temperature, **classes}
    value = {"name": export_graph.VALUE.format(task.name), "kind": "number", **number}
    return [shares, value] if task.class_values else [shares]


def make_readme(rules: Mapping) -> str:
    """Return the text that lies beside the model."""
    shapes = [
        f"`{each['name']}`: uint8 RGB, (n, {each['size'][0]}, {each['size'][1]}, 3)"
        for each in rules["inputs"]
    ]
    outputs = [
        f"`{each['name']}`: "
        + (
            f"probabilities of {', '.join(each['classes'])}"
            if each["classes"]
            else f"a number ({each['unit'] or 'no unit'})"
        )
        for each in rules["outputs"]
    ]
    checked = rules["checked"]
    exact = (
        f"On {checked['faces']} pictures its answers differ from the predictor's own by at most "
        f"{checked['largest_difference']:.1e}. Resizing by another library than OpenCV makes other pixels, and so slightly "
        "other answers."
    )
    chapters = {
        "": [
            f"`{rules['model']}` is a face-attribute model in one file: pictures in, calibrated probabilities out."
        ],
        "Run it": ["`pip install numpy pillow onnxruntime`, then `python example.py FACE.jpg`."]
        if rules["model"].endswith(".onnx")
        else [
            f'`keras.saving.load_model("{rules["model"]}")({rules["inputs"][0]["name"]})` returns a dict by task.'
        ],
        "Inputs and outputs": [*shapes, *outputs],
        "What pictures": [
            "A face as in training: `framing` in `preprocessing.json` says which share of a picture's side the detector's box "
            "takes and where its middle lies; `level`: turned until the eyes are level. Mean, scale and channel order are in "
            "the model.",
            "A class is in the set where 1 - probability is at most its limit; a number's interval reaches as far as its band.",
            exact,
        ],
        **({"int8": rules["int8"]["sentences"]} if "int8" in rules else {}),
        "What it is not": list(rules["limits"]),
        "Terms": rules["terms"],
    }
    lines = [f"# {rules['title']}", ""]
    for title, sentences in chapters.items():
        lines += [*([f"## {title}", ""] if title else []), *(f"- {text}" for text in sentences), ""]
    return "\n".join([*lines, "`card.md` has the figures by group, with intervals.", ""])


# --------------------------------------------------------------------------- own and exported answers


def own_answers(predictor: Predictor, pixels: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Return what the predictor answers on pixels, under the names of the export's outputs."""
    outputs = predictor.head.run(predictor.describer.run(pixels))
    made = {}
    for one in predictor.answering:
        name = one.task.name
        made[name] = one.calibrate(one.task.decode(outputs[name]))
        if one.task.class_values:
            made[export_graph.VALUE.format(name)] = one.values(made[name])
    return made


def check(predictor: Predictor, run: Run, pixels: Sequence[np.ndarray]) -> dict:
    """Compare exported and own answers; `PredictorError` where they differ by more than `AGREES`."""
    own, other = own_answers(predictor, pixels), run(pixels)
    differences = {name: _difference(own[name], other[name]) for name in own}
    worst = max(differences, key=lambda name: differences[name])
    if not differences[worst] <= AGREES:
        raise PredictorError(
            f"the exported answers for {worst} differ by {differences[worst]:.1e} from the predictor's own (at most {AGREES:g}): "
            "nothing is written; export the folder with --to folder"
        )
    return {
        "faces": len(pixels[0]),
        "largest_difference": float(f"{differences[worst]:.2g}"),
        "allowed": AGREES,
    }


def _difference(own: np.ndarray, other: np.ndarray) -> float:
    if own.shape != other.shape or not np.isfinite(other).all():
        return float("inf")
    return float((np.abs(own - other) / np.maximum(np.abs(own), 1)).max(initial=0))


def check_faces(predictor: Predictor, n: int = CHECKED) -> list[np.ndarray]:
    """Return rendered faces, and pictures of one colour and of noise, at the networks' sizes."""
    paths = sorted(project.resolve("data/synthetic/images").glob("*.jpg"))
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    plain = [np.full((64, 64, 3), shade, np.uint8) for shade in (0, 255)]
    pictures = [*paths[:: max(len(paths) // n, 1)][:n], noise, *plain]
    return stack([predictor.cutter.cut(picture, faces=WHOLE)[0].pixels for picture in pictures])


def stack(cuts: Sequence[tuple[np.ndarray, ...] | None]) -> list[np.ndarray]:
    """Return one array (n, height, width, 3) for each preprocessing; pictures that could not be cut are left out."""
    return [np.stack(each) for each in zip(*(cut for cut in cuts if cut is not None), strict=True)]
