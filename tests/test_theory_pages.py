"""Do the theory pages say what their examples print, and show what they draw?"""

import re
from importlib import import_module
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
FOLDER = DOCS / "theory"
NAMES = sorted(page.stem for page in FOLDER.glob("*.md") if page.stem != "index")
NUMBER = re.compile(r"[-+]?\d[\d,]*\.?\d*(?:[eE][-+]?\d+)?")
LONGEST, WIDEST = 18, 96
"""Lines of an example without its imports, and columns: what a reader takes in, and what fits beside the contents."""


@pytest.fixture
def pictures(monkeypatch):
    """The script that runs the pages."""
    monkeypatch.syspath_prepend(str(DOCS))
    monkeypatch.setenv("MPLBACKEND", "agg")
    return import_module("pictures")


def unit(number):
    """One unit of the last digit that is written."""
    mantissa, _, exponent = number.lower().replace(",", "").partition("e")
    return 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))


def is_same(said, printed):
    """Whether two texts differ by one unit in the last digit of a number at most: rounding differs between machines."""
    ours, theirs = NUMBER.findall(said), NUMBER.findall(printed)
    if NUMBER.sub("#", said) != NUMBER.sub("#", printed):
        return False
    value = [[float(each.replace(",", "")) for each in numbers] for numbers in (ours, theirs)]
    return all(abs(a - b) <= 1.01 * unit(text) for text, a, b in zip(ours, *value, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_a_page_prints_and_draws_what_it_says(pictures, name, tmp_path):
    examples = pictures.blocks(FOLDER / f"{name}.md")
    assert len(examples) >= 2
    for example, said in zip(examples, pictures.printed(examples, tmp_path), strict=True):
        assert is_same(example.output, said), f"{name}: the page has\n{example.output}but its example prints\n{said}"
        if example.picture:
            assert (tmp_path / example.picture).stat().st_size > 5_000


@pytest.mark.parametrize("name", NAMES)
def test_pictures_come_from_the_examples_of_today(pictures, name):
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    for example in pictures.blocks(FOLDER / f"{name}.md"):
        if example.picture:
            drawn = (FOLDER / example.picture).read_text(encoding="utf-8")
            assert drawn.endswith(example.mark), f"run python docs/pictures.py {name}: {example.picture} is of old code"
            assert re.search(rf"!\[[^]]{{20,}}\]\({re.escape(example.picture)}\)", text), "shown, and told in words"


def test_every_picture_belongs_to_a_page(pictures):
    drawn = {example.picture for page in pictures.pages() for example in pictures.blocks(page)} - {""}
    assert {path.name for path in FOLDER.glob("*.svg")} == drawn


@pytest.mark.parametrize("name", NAMES)
def test_examples_are_short(pictures, name):
    for example in pictures.blocks(FOLDER / f"{name}.md"):
        lines = [line for line in example.code.splitlines() if line.strip() and not re.match("(import|from) ", line)]
        assert len(lines) <= LONGEST, lines
        assert max(map(len, lines)) <= WIDEST, max(lines, key=len)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_teaches(name):
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    questions = re.findall(r"^## .*\?$", text, re.M)
    assert questions
    assert text.count("**Read off it.**") == len(questions)
    assert "## Where it fails for real networks" in text
    assert f"\n{name}\n" in (FOLDER / "index.md").read_text(encoding="utf-8")


def test_every_formula_can_be_drawn(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    drawing = import_module("formulas").drawing
    code = re.compile(r"```.*?```|`[^`]*`", re.S)
    text = " ".join(code.sub("", page.read_text(encoding="utf-8")) for page in FOLDER.glob("*.md"))
    found = {display or inline for display, inline in re.findall(r"\$\$(.+?)\$\$|\$([^$]+)\$", text, re.S)}
    assert len(found) > 50
    for formula in found:
        assert drawing(" ".join(formula.split())).count("<path") == 1


def test_numbers_of_a_page_may_differ_by_one_unit_and_words_not_at_all():
    assert is_same("rate 0.905 of 1,000", "rate 0.906 of 1,000")
    assert is_same("1.2e-05", "1.3e-05")
    assert not is_same("rate 0.905", "rate 0.907")
    assert not is_same("rate 0.905", "limit 0.905")
    assert not is_same("1.2e-05", "1.4e-05")
    assert not is_same("1 2", "1")
