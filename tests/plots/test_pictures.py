"""Is every record drawn and saved through one door, in every format, the same bytes each time, with its words?"""

import base64
import gzip
import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from plotly.offline import get_plotlyjs

from theodolite.errors import SettingError
from theodolite.plots import (
    Absent,
    Chart,
    Interactive,
    Picture,
    Scene,
    alike,
    describe,
    figure,
    figure_multiples,
    marks_line,
    save_figure,
    scene_plane,
)
from theodolite.records import Status
from theodolite.records.archive import load, save
from theodolite.records.spectra import SpectralDensity

KINDS = ("line", "plane", "projection", "components", "winding", "curve")
COUNTS = {"line": 2, "plane": 2, "projection": 2, "components": 2, "winding": 1, "curve": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_every_record_has_pictures_in_both_styles(made, kind, tmp_path):
    record, before = made[kind](), dict(mpl.rcParams)
    pictures = describe(record)
    assert len(pictures) == COUNTS[kind]
    assert all(isinstance(one, Chart | Scene) for one in pictures)
    drawn, page = figure(record), figure(record, style="plotly")
    assert isinstance(drawn, Picture)
    assert page.pictures[0].title == pictures[0].title
    with Image.open(save_figure(record, tmp_path / "a.png")) as image:
        assert image.text["Description"] == drawn.alt
    assert pictures[0].title in drawn.alt
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("kind", ["line", "plane", "projection", "curve"])
@pytest.mark.parametrize("scale", ["linear", "log"])
def test_the_scale_of_the_loss_may_be_chosen(made, kind, scale, tmp_path):
    main, *others = describe(made[kind](), scale=scale)
    scenes = [one for one in others if isinstance(one, Scene)]
    assert all(scene.z.scale == scale for scene in scenes)
    assert scenes or main.y.scale == scale
    save_figure(made[kind](), tmp_path / "a.svg", scale=scale)


def density(**changes):
    """Eigenvalues −1, 0, 0 and 3, exactly."""
    nodes = np.array([[-1.0, 0.0, 0.0, 3.0]])
    exact = SpectralDensity(4, nodes, np.full((1, 4), 0.25), np.zeros((1, 4)), 1e-7, True, Status.CONVERGED, 4)
    return replace(exact, **changes)


def test_a_density_is_drawn_with_both_ends(tmp_path):
    (chart,) = describe(density())
    assert chart.takeaway == "The eigenvalues reach from −1 to 3."
    curve = next(layer for layer in chart.layers if layer.name == "density")
    known = np.isfinite(curve.y)
    assert np.where(known, curve.y, 0).sum() * (curve.x[1] - curve.x[0]) == pytest.approx(1, abs=1e-3)
    assert [layer.text for layer in chart.layers[-2:]] == ["−1", "3"]
    save_figure(density(), tmp_path / "a.png")
    scattered = density(nodes=np.array([[-1.0, 2.0], [-0.9, 2.1]]), weights=np.full((2, 2), 0.5),
                        residuals=np.zeros((2, 2)), is_exact=False)  # fmt: skip
    assert "one standard error over the directions" in describe(scattered)[0].notes[0]
    nothing = density(nodes=np.zeros((0, 0)), weights=np.zeros((0, 0)), residuals=np.zeros((0, 0)))
    assert isinstance(describe(nothing)[0], Absent)


def test_a_run_and_several_records_have_theirs(runs, made):
    assert len(describe(runs["healthy"])) > 5
    assert len(describe([made["line"](), made["curve"]()])) == 3
    assert describe(Absent("a", "T", "R.")) == (Absent("a", "T", "R."),)


@pytest.mark.parametrize("ending", ["png", "svg", "pdf", "html", "gif", "vts", "vtp"])
def test_the_same_record_gives_the_same_bytes(made, ending, tmp_path):
    record = describe(made["plane"]())[ending in {"vts", "vtp"}]
    first, second = (save_figure(record, tmp_path / f"{name}.{ending}").read_bytes() for name in "ab")
    assert first == second
    assert len(first) > 1000


def test_a_saved_record_is_redrawn_to_the_same_picture_without_torch(made, tmp_path):
    record = save(made["plane"](), tmp_path / "plane.npz")
    direct = save_figure(made["plane"](), tmp_path / "direct.svg")
    code = (
        "import sys; from theodolite.records.archive import load; from theodolite.plots import save_figure; "
        "save_figure(load(sys.argv[1]), sys.argv[2]); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(record), str(tmp_path / "again.svg")], check=True)
    assert (tmp_path / "again.svg").read_bytes() == direct.read_bytes()
    assert describe(load(record))[0].takeaway == describe(made["plane"]())[0].takeaway


def test_still_files_say_in_words_what_they_show(made, tmp_path):
    alt = figure(made["curve"]()).alt
    svg = save_figure(made["curve"](), tmp_path / "a.svg").read_text(encoding="utf-8")
    ElementTree.fromstring(svg)
    assert alt in svg
    assert b"/Subject" in save_figure(made["curve"](), tmp_path / "a.pdf").read_bytes()


def test_a_figure_shows_itself_in_a_notebook_with_its_words(made):
    shown = figure(made["line"](start='<"a">'))._repr_html_()
    assert shown.startswith('<img src="data:image/png;base64,')
    assert base64.b64decode(shown.split("base64,")[1].split('"')[0]).startswith(b"\x89PNG")
    assert "&lt;&quot;a&quot;&gt;" in shown
    page = figure(made["line"](), style="plotly")._repr_html_()
    assert page.startswith("<iframe")
    assert "srcdoc=" in page


def test_what_a_picture_leaves_out_stands_below_it(made):
    record = made["plane"]()
    foot = figure(record).subfigs[1].texts[0].get_text().replace("\n  ", " ")
    for picture in describe(record):
        assert all(note in foot for note in picture.notes)
    assert len(set(foot.split("\n"))) == len(foot.split("\n"))  # each once


def test_several_runs_stand_side_by_side(made):
    charts = alike({"run a": marks_line(made["line"]()), "run b": marks_line(made["line"](start="there"))})
    drawn = figure_multiples(charts, columns=2)
    assert [ax.get_title(loc="left") for ax in drawn.axes] == ["run a", "run b"]
    assert drawn.axes[0].get_ylim() == drawn.axes[1].get_ylim()
    assert "run b: " in drawn.alt
    assert len(figure_multiples(alike({"a": scene_plane(made["plane"]())})).axes) == 1
    assert figure_multiples({}).axes == []


def test_what_has_no_picture_is_refused(made, tmp_path):
    with pytest.raises(SettingError, match="must have a picture, as .*Plane.* have; got dict"):
        describe({})
    with pytest.raises(SettingError, match="style must be 'matplotlib' or 'plotly', got 'ascii'"):
        figure(made["line"](), style="ascii")
    with pytest.raises(SettingError, match=r"must be saved as .png, .*; got 'a.bmp'"):
        save_figure(made["line"](), tmp_path / "a.bmp")
    with pytest.raises(SettingError, match="needs a picture with a way that grows"):
        save_figure(made["line"](), tmp_path / "a.gif")
    with pytest.raises(SettingError, match=r"a .vts file needs a picture in space"):
        save_figure(made["line"](), tmp_path / "a.vts")
    with pytest.raises(SettingError, match="a matplotlib figure is saved as"):
        save_figure(Figure(), tmp_path / "a.html")


# The page


def figures_of(page):
    return json.loads(re.search(r'id="figures">(.*?)</script>', page, re.DOTALL).group(1))


def test_the_page_is_whole_and_asks_for_nothing(made):
    page = figure(made["plane"](), style="plotly").html
    body = page.partition("<script>")[0]
    assert not re.search(r"(?:src|href)=|https?:", body)
    assert len(figures_of(page)) == 2
    assert 'role="img" aria-label="The loss on a plane through end. The loss is 1 at end' in page
    for note in describe(made["plane"]())[0].notes:
        assert note in page


def test_a_page_holds_plotly_itself_and_is_small(made):
    page = figure(made["plane"](), style="plotly").html
    packed = re.search(r'id="plotly">(.*?)</script>', page).group(1)
    assert gzip.decompress(base64.b64decode(packed)).decode() == get_plotlyjs()
    assert len(page) < 2_200_000
    policy = re.search(r"script-src ([^;]*);", page).group(1)
    for code in (get_plotlyjs(), page.rpartition("<script>")[2].partition("</script>")[0]):
        assert base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() in policy


def test_hostile_words_stay_words(made):
    hostile = '</script><script>alert("x")</script>'
    page = figure(made["line"](start=hostile, notes=(hostile,)), style="plotly").html
    assert 'alert("x")' not in page.replace('\\"', "")
    absent = Interactive((Absent("a", hostile, hostile),)).html
    assert 'alert("x")' not in absent


def test_a_moving_page_has_frames_where_there_is_a_way(made):
    plane, line = figures_of(Interactive(describe([made["plane"](), made["winding"]()]), is_moving=True).html)[::2]
    assert len(plane["frames"]) == 3
    assert "frames" not in line


@pytest.mark.slow
def test_a_page_in_a_browser_draws_in_both_themes_without_a_fault(made, tmp_path, chromium):
    from playwright.sync_api import sync_playwright

    losses = made["plane"]().losses.copy()
    losses[0, :2] = np.nan
    path = tmp_path / "a.html"
    path.write_text(Interactive(describe(made["plane"](losses=losses)), is_moving=True).html, encoding="utf-8")
    arguments = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-first-run"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        for scheme, ink in (("light", "rgb(51, 56, 63)"), ("dark", "rgb(213, 217, 222)")):
            tab = browser.new_context(color_scheme=scheme).new_page()
            faults = []
            tab.on("pageerror", lambda error, faults=faults: faults.append(str(error)))
            tab.on("request", lambda one, faults=faults: faults.append(one.url) if one.url != path.as_uri() else None)
            tab.on("console", lambda one, faults=faults: faults.append(one.text) if one.type == "error" else None)
            tab.goto(path.as_uri())
            tab.wait_for_selector("html[data-ready]", state="attached", timeout=60_000)
            assert tab.locator(".main-svg").count() >= 2
            assert tab.locator("canvas").count() >= 1
            assert tab.evaluate("getComputedStyle(document.querySelector('.xtick text')).fill") == ink
            assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert faults == []
        browser.close()
