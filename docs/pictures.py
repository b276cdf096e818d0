"""Runs the examples of the theory pages: what they print goes into the page, what they draw beside it.

python docs/pictures.py [page ...]      for example: python docs/pictures.py signal
"""

import contextlib
import hashlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

FOLDER = Path(__file__).parent / "theory"

STYLE = {
    "axes.grid": True,
    "axes.prop_cycle": mpl.cycler(color=["#0072B2", "#D55E00", "#008F68", "#B4588E", "#8A9099"]),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10.5,
    "figure.constrained_layout.use": True,
    "figure.figsize": (7.2, 3.1),
    "font.size": 9.5,
    "grid.color": "#E8EAED",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.markersize": 4.5,
    "svg.hashsalt": "theodolite",
}
"""How the pictures look in the pages; the examples draw with whatever style their reader has."""

_BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<output>.*?)^```\n)?", re.M | re.S)
_SAVED = re.compile(r'savefig\("(?P<name>[^"]+)"')


@dataclass(frozen=True)
class Block:
    """An example of a page.

    Attributes:
        code: What is run; the blocks of a page go on in one namespace.
        output: What the page says that it prints.
        picture: Name of the file that it saves; empty if none.
    """

    code: str
    output: str
    picture: str

    @property
    def mark(self) -> str:
        """A line in the picture that tells which code drew it."""
        return f"<!-- drawn by code {hashlib.sha256(self.code.encode()).hexdigest()[:16]} -->\n"


def blocks(page: Path) -> list[Block]:
    """The examples of a page, in order."""
    found = _BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(each["code"], each["output"] or "", _picture(each["code"])) for each in found]


def pages() -> list[Path]:
    """The pages that hold examples."""
    return [page for page in sorted(FOLDER.glob("*.md")) if blocks(page)]


def printed(examples: list[Block], folder: Path) -> Iterator[str]:
    """What each example prints, when they are run one after the other; pictures go into a folder."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    date = {"SOURCE_DATE_EPOCH": "0"}  # of the pictures
    before = {name: os.environ.get(name) for name in date}
    os.environ.update(date)
    try:
        for example in examples:
            said = io.StringIO()
            with contextlib.chdir(folder), mpl.rc_context(STYLE), contextlib.redirect_stdout(said):
                exec(compile(example.code, "example", "exec"), namespace)
                plt.close("all")
            if example.picture:
                _tidy(folder / example.picture, example.mark)
            yield said.getvalue()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def renew(page: Path) -> None:
    """Run a page, and put its pictures beside it and its numbers into it."""
    examples = blocks(page)
    with tempfile.TemporaryDirectory() as folder:
        outputs = iter(list(printed(examples, Path(folder))))
        for picture in Path(folder).glob("*.svg"):
            (FOLDER / picture.name).write_text(picture.read_text(encoding="utf-8"), encoding="utf-8")
    text = page.read_text(encoding="utf-8")
    page.write_text(_BLOCK.sub(lambda each: _block(each["code"], next(outputs)), text), encoding="utf-8")


def _block(code: str, output: str) -> str:
    return f"```python\n{code}```\n" + (f"\n```text\n{output}```\n" if output else "")


def _picture(code: str) -> str:
    found = _SAVED.search(code)
    return found["name"] if found else ""


def _tidy(picture: Path, mark: str) -> None:
    """No spaces at line ends, and the mark of the code at the end."""
    text = re.sub(r"[ \t]+$", "", picture.read_text(encoding="utf-8"), flags=re.M)
    picture.write_text(text.rstrip("\n") + "\n" + mark, encoding="utf-8")


if __name__ == "__main__":
    mpl.use("agg")
    for name in sys.argv[1:] or [page.stem for page in pages()]:
        renew(FOLDER / f"{name}.md")
