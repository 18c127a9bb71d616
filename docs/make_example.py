"""Write docs/example_report.ipynb, the executed report of the demo, small enough to be shown by GitHub.

Usage: python docs/make_example.py results/demo/05_report/notebook.ipynb
"""

import base64
import io
import re
import sys
from pathlib import Path

import nbformat
from PIL import Image

from faceworkbook.files import write_beside

TARGET = Path(__file__).with_name("example_report.ipynb")
PNG = "image/png"
LINK = re.compile(r"\]\((?=\w+\.ipynb)")


def shrink(png: str) -> str:
    """Return a base64 PNG with 256 colours."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    small = io.BytesIO()
    picture.quantize(256).save(small, "PNG", optimize=True)
    return min(base64.b64encode(small.getvalue()).decode(), png, key=len)


def main(source: str) -> None:
    """Keep cells and outputs; drop the metadata of papermill, which holds paths of one machine."""
    notebook = nbformat.read(source, as_version=4)
    notebook.metadata = {"language_info": {"name": "python"}}
    for cell in notebook.cells:
        cell.metadata = {}
        cell.source = LINK.sub("](../notebooks/", cell.source)
        for output in cell.get("outputs", []):
            if PNG in output.get("data", {}):
                output["data"][PNG] = shrink(output["data"][PNG])
    write_beside(TARGET, nbformat.writes(notebook) + "\n")
    print(f"{TARGET}: {TARGET.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(sys.argv[1])
