"""Draws the pictures of the gallery: each script of examples/, its picture with 256 colours beside this file.

    THEODOLITE_DATA=<folder of the data sets> python docs/gallery.py [name ...]

Without the data two scripts are left out, and their pictures stay as they are. Takes about two minutes.
"""

import runpy
import sys
import tempfile
from pathlib import Path

from PIL import Image

SCRIPTS = Path(__file__).parents[1] / "examples"
PICTURES = Path(__file__).parent / "gallery"
WIDTH = 1600


def main(names: list[str]) -> None:
    """Draw the named pictures, or all."""
    sys.path.insert(0, str(SCRIPTS))
    for script in sorted(SCRIPTS.glob("*.py")):
        if names and script.stem not in names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            drawn = Path(folder) / "picture.png"
            sys.argv = [str(script), str(drawn)]
            try:
                runpy.run_path(str(script), run_name="__main__")
            except SystemExit as left_out:
                sys.stderr.write(f"{script.stem}: {left_out}\n")
                continue
            picture = Image.open(drawn).convert("RGB")
            picture.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
            picture.quantize(256).save(PICTURES / f"{script.stem}.png", optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
