"""Faces a second on a GPU: every engine, precision and batch; from memory and from JPEG files; training; memory.

    python -m benchmarks gpu [--quick]
    python -m benchmarks.gpu [--networks vgg_face faceres_deep] [--engines gpu] [--precisions float16] [--seconds 3]

One command fills the whole table; on an H100 three precisions of VGG-Face by Keras at three batch sizes took three minutes.
Each engine runs in a process of its own. "Kernels" leaves faces and descriptors on the device, "memory" copies them there and
back, "store" reads JPEG files and writes the store. The limit is the card's arithmetic over the network's operations, which
no network reaches; without a card it is NumPy's sgemm.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import extraction, fresh_process
from benchmarks.from_files import face_files, read_pixels
from benchmarks.loading import vgg_face_file

HERE = Path(__file__).parent
NETWORKS = ("vgg_face", "faceres_deep")
ON_GPU = ("gpu", "tensorrt", "keras")
ON_CPU = ("keras", "onnx", "winograd", "separable")
LOWER = ("float32", "tf32", "float16", "bfloat16")
BATCHES, FILES, SECONDS = (1, 8, 32, 128, 512), 100_000, 2.0
# Dense peaks in TFLOP/s by the makers' data sheets, by a word of the card's name
PEAKS = {
    "H200": {"float16": 989.4, "bfloat16": 989.4, "tf32": 494.7, "float32": 66.9},
    "H100 PCIe": {"float16": 756.0, "bfloat16": 756.0, "tf32": 378.0, "float32": 51.0},
    "H100": {"float16": 989.4, "bfloat16": 989.4, "tf32": 494.7, "float32": 66.9},
    "A100": {"float16": 312.0, "bfloat16": 312.0, "tf32": 156.0, "float32": 19.5},
    "T4": {"float16": 65.0, "float32": 8.1},
}
UNKNOWN = float("nan")
ROWS, STEPS, FINE_TUNED = 20_000, 10, "faceres_deep"
REFERENCE = (("small_nets", "float32", ROWS), ("fine_tuning", "float32", FINE_TUNED, False, 0.0))


def main(quick: bool = False) -> dict[str, pd.DataFrame]:
    """Measure on the card that is there; on the CPU the embedded network alone."""
    from faceworkbook.descriptors.engines import devices

    card = devices.find_gpu()
    seconds = SECONDS if card and not quick else 0.2
    measured = speeds(
        NETWORKS if card else NETWORKS[1:],
        precisions=LOWER if card else ("float32", "bfloat16"),
        batches=BATCHES[1:3] if quick or not card else BATCHES,
        n_files=FILES if card and not quick else 64,
        seconds=seconds,
    )
    return measured | training(seconds)


def speeds(
    networks,
    *,
    engines=(),
    precisions=LOWER,
    batches=BATCHES,
    n_files: int = FILES,
    seconds: float = SECONDS,
) -> dict[str, pd.DataFrame]:
    """Return a table of each network: lines of each engine and precision."""
    from faceworkbook.descriptors.engines import COMPUTES, devices

    result, on_gpu = {}, devices.find_gpu() is not None
    for name in networks:
        weights = str(vgg_face_file()) if name == "vgg_face" else ""
        rows = []
        for engine in engines or (ON_GPU if on_gpu else ON_CPU):
            for precision in (one for one in precisions if one in COMPUTES[engine]):
                given = (name, weights, engine, precision, list(batches), n_files, seconds)
                measured = attempt(
                    lambda given=given: measure_apart(*given), engine=engine, precision=precision, batch=0
                )
                for row in measured:
                    print(f"  {name}", *map(format_cell, row.values()), flush=True)
                rows += measured
        table = pd.DataFrame(rows).set_index(["engine", "precision", "batch"])
        result[f"{name} on {place()}"] = table
    return result


def training(seconds: float = SECONDS) -> dict[str, pd.DataFrame]:
    """Return a table of training: faces a second, and what it comes to beside the same in float32 on the CPU."""
    from faceworkbook.descriptors.engines import devices

    on_gpu = devices.find_gpu() is not None
    rows = []
    for job in trainings(on_gpu, seconds):
        rows += attempt(lambda job=job: [train_apart(*job)], what=job[0], precision=job[1])
        print("  training", *map(format_cell, rows[-1].values()), flush=True)
    table = pd.DataFrame(rows)
    if on_gpu:
        no_card = {"CUDA_VISIBLE_DEVICES": "-1"}
        reference = [train_apart(*job, environment=no_card) for job in REFERENCE]
        table["by the CPU in float32"] = table["what"].map({row["what"]: row["result"] for row in reference})
    return {f"training on {place()}": table.set_index(["what", "precision"])}


def trainings(on_gpu: bool, seconds: float) -> list[tuple]:
    """What is trained, each a function of this module and its arguments."""
    n, name = (ROWS, FINE_TUNED) if on_gpu else (400, "mini_xception")
    jobs: list[tuple] = []
    for policy in ("float32", "mixed_bfloat16"):
        jobs.append(("small_nets", policy, n))
        jobs += [("fine_tuning", policy, name, xla, seconds) for xla in sorted({False, on_gpu})]
    return jobs


def train_apart(function: str, *given, environment: dict[str, str] | None = None) -> dict:
    """What a function of training returns, computed in a process of its own."""
    return fresh_process.call("benchmarks.gpu", function, *given, environment=environment)


def place() -> str:
    """The name of the card, or that there is none."""
    from faceworkbook.descriptors.engines import devices

    card = devices.find_gpu()
    return card.name if card else "the CPU, without a card"


def measure_apart(*given) -> list[dict]:
    """What `measure` returns, computed in a process of its own."""
    return fresh_process.call("benchmarks.gpu", "measure", *given)["rows"]


def attempt(action: Callable[[], list[dict]], **asked) -> list[dict]:
    """Return the rows that are measured, or one that says why there are none of what was asked for."""
    try:
        return action()
    except (subprocess.SubprocessError, RuntimeError) as error:
        text = getattr(error, "stderr", None) or str(error)
        lines = [line for line in str(text).splitlines() if line.strip()] or ["no reason given"]
        return [{**asked, "note": lines[-1][:200]}]


def measure(
    name: str,
    weights: str,
    engine: str,
    precision: str,
    batches: list[int],
    n_files: int,
    seconds: float,
) -> dict:
    """Measure one engine in one precision at every batch size."""
    from faceworkbook import backbones
    from faceworkbook.descriptors import engines

    backbone = backbones.load(name, weights=weights or None)
    root, names = face_files(max(*batches, 32))
    pixels = read_pixels(root, names, backbone.preprocessing)
    runner = engines.choose(backbone, engine=engine, precision=precision, check_pixels=pixels[:16])
    if runner.name != engine:
        return {
            "rows": [{"engine": engine, "precision": precision, "batch": 0, "note": f"{runner.name} ran"}]
        }
    operations = 2 * sum(extraction.multiplications(one) for one in backbone.model.layers if one.weights)
    limit = peak(precision) / operations
    rows = []
    for batch in batches:
        faces = np.resize(pixels, (batch, *pixels.shape[1:]))
        memory = from_memory(runner, faces, seconds)
        rows.append(
            {
                "engine": engine,
                "precision": precision,
                "batch": batch,
                "kernels, faces/s": kernels_alone(runner, faces, seconds),
                "memory, faces/s": memory,
                "store, faces/s": UNKNOWN,
                "limit, faces/s": limit,
                "share of the limit": memory / limit,
                "relative error": runner.settings.get("relative_error", UNKNOWN),
            }
        )
    rows[-1]["store, faces/s"] = from_files(backbone, runner, precision, n_files)
    for row in rows:
        row["GB on the card"], row["GB"] = card_memory(), fresh_process.peak_memory()
    return {"rows": rows}


def speed(run: Callable[[], int], seconds: float) -> float:
    """Faces a second over at least so many seconds, after a first call that compiles."""
    run()
    n, begun = 0, time.perf_counter()
    while (taken := time.perf_counter() - begun) < seconds or not n:
        n += run()
    return n / taken


def from_memory(runner, faces: np.ndarray, seconds: float) -> float:
    """Faces a second with copies to the device and back, so many batches at once as extraction gives it."""
    from faceworkbook.descriptors.engines.base import AT_ONCE, is_on_gpu

    runner.run(faces)
    begun, at_once = time.perf_counter(), AT_ONCE if is_on_gpu(runner) else 1

    def run_on(_) -> int:
        n = 0
        while not n or time.perf_counter() - begun < seconds:
            n += len(runner.run(faces))
        return n

    with ThreadPoolExecutor(at_once) as executor:
        return sum(executor.map(run_on, range(at_once))) / (time.perf_counter() - begun)


def kernels_alone(runner, faces: np.ndarray, seconds: float) -> float:
    """Faces a second with faces and descriptors left on the device; unknown for engines of the CPU."""
    if runner.settings.get("device") == "gpu":
        return _keras_alone(runner, faces, seconds)
    if "provider" not in runner.settings:
        return UNKNOWN
    import onnxruntime

    session, device = runner._session, ("cuda" if runner.settings["card"] else "cpu")
    binding = session.io_binding()
    there = onnxruntime.OrtValue.ortvalue_from_numpy(faces, device, 0)
    binding.bind_ortvalue_input(session.get_inputs()[0].name, there)
    binding.bind_output(session.get_outputs()[0].name, device)

    def run() -> int:
        session.run_with_iobinding(binding)
        return len(faces)

    return speed(run, seconds)


def _keras_alone(runner, faces: np.ndarray, seconds: float) -> float:
    import tensorflow as tf

    with tf.device(runner._device):
        there = tf.constant(faces)

    def run() -> int:
        for _ in range(8):
            result = runner._function(there)
        result[0, 0].numpy()  # waits for all of them
        return 8 * len(faces)

    with runner.allowing_tf32():
        return speed(run, seconds)


def from_files(backbone, runner, precision: str, n: int) -> float:
    """Faces a second from JPEG files to the finished store."""
    from faceworkbook import descriptors, faces

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", descriptors.PrecisionWarning)
        root, names = copied_files(n, Path(folder) / "pictures")
        table = faces.build({"image": names}, dataset="files")
        options = {"root": root, "store": Path(folder) / "store", "engine": runner, "precision": precision}
        begun = time.perf_counter()
        descriptors.extract(table, backbone, progress=False, **options)
        return len(names) / (time.perf_counter() - begun)


def copied_files(n: int, folder: Path) -> tuple[Path, list[str]]:
    """A folder of `n` faces, some of them copies of others where there are fewer."""
    root, names = face_files(n)
    if len(names) >= n:
        return root, names
    folder.mkdir()
    pictures, copies = [(root / name).read_bytes() for name in names], [f"{i:06}.jpg" for i in range(n)]
    for i, copy in enumerate(copies):
        (folder / copy).write_bytes(pictures[i % len(pictures)])
    return folder, copies


def peak(precision: str) -> float:
    """Operations a second that the maker of the card states for a precision; without a card, of NumPy's sgemm."""
    from faceworkbook.descriptors.engines import devices

    card = devices.find_gpu()
    if card is None:
        return extraction.sgemm_flops(1024)
    known = next((peaks for word, peaks in PEAKS.items() if word in card.name), {})
    return known.get(precision, UNKNOWN) * 1e12


def card_memory() -> float:
    """GB of the card's memory that are taken."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
        return float(done.stdout.split()[0]) / 1024
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return UNKNOWN


# --------------------------------------------------------------------------- training


def small_nets(policy: str, n: int, *, d: int = 1024, fits: int = 25, epochs: int = 3) -> dict:
    """So many MLPs as one program, on random descriptors; their result is the mean accuracy on validation rows."""
    from types import SimpleNamespace

    from faceworkbook import tasks
    from faceworkbook.training import batched

    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, d)).astype(np.float32)
    side = x @ rng.normal(size=d) + rng.normal(scale=np.sqrt(d), size=n) > 0
    labels = tasks.labels_of_classes(np.array(["no", "yes"])[side.astype(int)], name="label")
    orders = [np.random.default_rng(seed).permutation(n) for seed in range(fits)]
    splits = [
        SimpleNamespace(train=np.sort(o[: n * 3 // 4]), validation=np.sort(o[n * 3 // 4 :])) for o in orders
    ]
    settings = batched.Settings(epochs=epochs, patience=epochs, dtype_policy=policy)
    batched.fit(x, labels, splits, batched.with_settings(settings, epochs=1), seeds=range(fits))
    begun = time.perf_counter()
    stack = batched.fit(x, labels, splits, settings, seeds=range(fits))
    trained = fits * epochs * (n * 3 // 4)
    last = stack.history[stack.history["epoch"] == epochs]
    return {
        "what": f"{fits} MLPs at once, {d} inputs: accuracy",
        "precision": policy,
        "faces/s": trained / (time.perf_counter() - begun),
        "result": float(last["val_accuracy"].mean()),
    }


def fine_tuning(policy: str, name: str, xla: bool, seconds: float, *, batch: int = 64) -> dict:
    """A step of fine-tuning a whole network; the result is its loss after some steps with the same faces."""
    import tensorflow as tf

    from faceworkbook import backbones, images
    from faceworkbook.models.multitask import Head
    from faceworkbook.tasks import Task
    from faceworkbook.training import cutting, fine_tune, loop

    tf.keras.utils.set_random_seed(0)
    backbone = backbones.load(name)
    root, names = face_files(batch)
    pixels = np.resize(
        read_pixels(root, names, backbone.preprocessing), (batch, *backbone.preprocessing.size, 3)
    )
    heads = [Head(Task("gender", classes=("male", "female")))]
    network = cutting.assemble(backbone, heads, precision=policy)
    learner = fine_tune.make_learner(network, fine_tune.Settings(xla=xla))
    x = tf.constant(images.network_input(pixels, backbone.preprocessing))
    is_bright = pixels.mean(axis=(1, 2, 3)) > np.median(pixels.mean(axis=(1, 2, 3)))
    target = tf.constant(np.eye(2, dtype=np.float32)[is_bright.astype(int)])
    rows = loop.Batch(x, {"gender": (target, tf.ones(batch))})
    losses = [learner.step(rows, 2e-5) for _ in range(STEPS)]

    def run() -> int:
        learner.step(rows, 1e-4)
        return batch

    return {
        "what": f"fine-tuning {name}: loss after {STEPS} steps",
        "XLA": "yes" if xla else "no",
        "precision": policy,
        "faces/s": speed(run, seconds),
        "result": losses[-1],
    }


def from_command_line() -> None:
    """Measure what the command line names and print it as Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument(
        "--engines", nargs="+", default=[], help="all that there are for the device by default"
    )
    parser.add_argument("--precisions", nargs="+", default=list(LOWER))
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES))
    parser.add_argument("--files", type=int, default=FILES, help="JPEG files of the way to the store")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each measurement")
    parser.add_argument("--no-training", action="store_true")
    chosen = parser.parse_args()
    options = {"engines": chosen.engines, "precisions": chosen.precisions, "batches": chosen.batches}
    made = speeds(chosen.networks, n_files=chosen.files, seconds=chosen.seconds, **options)
    made |= {} if chosen.no_training else training(chosen.seconds)
    for title, table in made.items():
        print(f"\n{title}\n\n{as_markdown(table.reset_index())}")


def as_markdown(table: pd.DataFrame) -> str:
    """Format a table for a README."""
    cells = [[format_cell(value) for value in row] for row in table.itertuples(index=False, name=None)]
    lines = [list(table.columns), ["---"] * table.shape[1], *cells]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def format_cell(value) -> str:
    """Return a number with three digits, an unknown one as nothing."""
    if not isinstance(value, float):
        return str(value)
    return "" if np.isnan(value) else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    from_command_line()
