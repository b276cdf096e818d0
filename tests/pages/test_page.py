"""Is the page whole, self-contained, the same every time, and safe with any text in the run?"""

import base64
import gzip
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from plotly.offline import get_plotlyjs

import synthetic
from theodolite.pages import page as page_module
from theodolite.pages import report
from theodolite.pages.tables import MOST_ROWS, chart_tables, event_table, facts
from theodolite.plots import Absent, charts
from theodolite.plots.bundle import packed_plotly
from theodolite.plots.marks import Axis, Chart, Marks, Points
from theodolite.plots.plotly_charts import plotly_chart
from theodolite.records.obstacles import OBSTACLES
from theodolite.records.run import Run
from theodolite.records.writer import RunWriter

VOID = {"meta", "br", "hr", "img", "input", "link", "rect", "path", "circle"}
HOSTILE = '"\'></title></script><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>{{ 7919*7907 }}'


class Outline(HTMLParser):
    """The elements of a page, and whether each that was opened is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.ids, self.scripts, self.faults = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append((self.tags[-1][1].get("type"), data))


def outline(text):
    parser = Outline()
    parser.feed(text)
    parser.close()
    return parser


def without_bundle(text):
    return text.replace(packed_plotly(), "")


@pytest.mark.parametrize("kind", synthetic.KINDS)
@pytest.mark.parametrize("obstacle", ["none", "undetermined"])
def test_every_run_has_a_whole_page(runs, tmp_path, kind, obstacle):
    text = report(runs[kind], tmp_path / "page.html", diagnosis=synthetic.diagnosis(obstacle)).read_text()
    found = outline(without_bundle(text))
    assert found.faults == []
    assert found.open == []
    assert text.startswith("<!DOCTYPE html>")
    assert len(found.ids) == len(set(found.ids))
    targets = [attributes["href"][1:] for tag, attributes in found.tags if tag == "a"]
    assert set(targets) <= set(found.ids)


def test_a_recorded_run_is_judged_when_nobody_has(runs, tmp_path):
    assert "<h1" in report(runs["healthy"], tmp_path / "page.html").read_text()


def test_a_folder_will_do_and_the_path_comes_back(runs, tmp_path):
    target = tmp_path / "new" / "page.html"
    assert report(runs["single"].path, target, diagnosis=synthetic.diagnosis()) == target
    assert target.is_file()


def test_the_stored_diagnosis_is_taken(tmp_path):
    with RunWriter(tmp_path / "run") as writer:
        writer.scalars(1, {"loss": 1.0})
        writer.result(synthetic.diagnosis("plateau"))
    assert "It stands on a plateau" in report(tmp_path / "run", tmp_path / "page.html").read_text()


def test_the_verdict_comes_before_the_pictures(page):
    text = page.read_text()
    places = [
        text.index(f'id="{part}"') for part in ("verdict", "picture-budget", "findings", "tried", "pictures", "run")
    ]
    assert places == sorted(places)
    assert "The gradient is mostly noise" in text
    for obstacle in OBSTACLES:
        assert obstacle.replace("_", " ") in text


def test_nothing_is_loaded_from_anywhere(page):
    text = without_bundle(page.read_text())
    for tag, attributes in outline(text).tags:
        assert "src" not in attributes
        assert tag not in {"link", "iframe", "object", "embed", "base", "img"}
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("href", "#").startswith("#")
    assert set(re.findall(r"https?://[^\s\"'<)]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert "url(" not in re.sub(r"url\(#hatch-[a-z-]+\)", "", text)


def test_the_file_is_small_enough_and_holds_plotly_once(page):
    assert page.stat().st_size <= 2.5 * 2**20
    (packed,) = [data for kind, data in outline(page.read_text()).scripts if kind == "text/plain"]
    assert gzip.decompress(base64.b64decode(packed)).decode() == get_plotlyjs()


def test_only_the_scripts_of_the_page_may_run(page):
    found = outline(page.read_text())
    policy = next(a["content"] for tag, a in found.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")
    allowed = re.search(r"script-src ([^;]+);", policy)[1].split()
    code = [get_plotlyjs(), *(data for kind, data in found.scripts if kind is None)]
    sums = [f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in code]
    assert sorted(sums) == sorted(allowed)
    assert len(sums) == 4


def test_the_same_run_gives_the_same_bytes(runs, page, tmp_path):
    again = report(Run(runs["stuck"].path), tmp_path / "again.html", diagnosis=synthetic.diagnosis())
    assert again.read_bytes() == page.read_bytes()


def test_hostile_texts_stay_texts(tmp_path):
    path = synthetic.healthy(tmp_path / "run", steps=30, every=5, metadata={"name": HOSTILE, HOSTILE: HOSTILE})
    with RunWriter(tmp_path / "other", metadata={"name": HOSTILE, HOSTILE: [HOSTILE, {HOSTILE: HOSTILE}]}) as writer:
        writer.event(HOSTILE, 1, {HOSTILE: HOSTILE})
        writer.event("exception", 2, {"message": HOSTILE})
    for run in (path, tmp_path / "other"):
        text = report(run, tmp_path / "page.html", diagnosis=synthetic.diagnosis(words=HOSTILE)).read_text()
        found = outline(without_bundle(text))
        assert found.faults == []
        assert not [tag for tag, _ in found.tags if tag == "img"]
        assert sum(kind is None for kind, _ in found.scripts) <= 3
        assert "<img" not in without_bundle(text)
        assert str(7919 * 7907) not in text


def test_a_reader_never_finds_half_a_page(runs, page, tmp_path, monkeypatch):
    target = tmp_path / "page.html"
    target.write_text("old")

    def fail(self, _):
        raise OSError("disk full")

    monkeypatch.setattr(page_module.Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        report(runs["single"], target, diagnosis=synthetic.diagnosis())
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize("kind", synthetic.KINDS)
def test_figures_are_strict_json_of_all_layers(runs, kind):
    for chart in charts(runs[kind]):
        if isinstance(chart, Absent):
            continue
        figure = plotly_chart(chart)
        json.dumps(figure, allow_nan=False)
        marks = [layer for layer in chart.layers if isinstance(layer, Marks)]
        assert [trace["name"] for trace in figure["data"] if trace.get("yaxis") == "y2"] == [
            one.reason for one in marks
        ]
        for trace in figure["data"]:
            assert len(trace["x"]) == len(trace["y"])


def test_tables_are_twins_of_the_pictures(runs):
    for chart in charts(runs["healthy"]):
        assert isinstance(chart, Chart)
        tables = chart_tables(chart)
        assert tables
        for table in tables:
            assert 0 < len(table.rows) <= MOST_ROWS
            assert all(len(row) == len(table.columns) for row in table.rows)
            assert "All" in table.caption or "rows behind the picture" in table.caption


def test_a_table_keeps_the_extremes(runs):
    loss = next(chart for chart in charts(runs["broken"]) if chart.name == "loss")
    shown = [row[1] for row in chart_tables(loss)[0].rows]
    values = runs["broken"].series("loss").values
    assert f"{max(v for v in values if v < 1e300):.4g}" in shown


def test_facts_tell_length_cost_and_optimizer(runs):
    known = dict(facts(runs["healthy"]))
    assert known["steps"] == "3000"
    assert known["measuring took"] == "0.3 s (4.8 % of the time)"
    assert known["optimizer"] == "SGD, lr 0.05, momentum 0, weight decay 0"
    assert known["state"] == "ended"
    assert dict(facts(runs["broken"]))["state"].startswith("unfinished")


def test_budgets_have_units(tmp_path):
    with RunWriter(tmp_path / "run", metadata={"budget": 0.05, "snapshot_bytes": 2**28}) as writer:
        writer.scalars(1, {"loss": 1.0})
    known = dict(facts(Run(tmp_path / "run")))
    assert known["budget of measuring"] == "5 % of the training time"
    assert known["room for snapshots"] == "256 MiB"


def test_many_events_are_counted(tmp_path):
    with RunWriter(tmp_path / "run") as writer:
        for step in range(150):
            writer.event("nonfinite", step, {"what": "loss"})
    table = event_table(Run(tmp_path / "run").events())
    assert len(table.rows) == 100
    assert "100 of 150" in table.caption
    assert table.rows[3] == ("3", "not finite", "what: loss")


def test_an_unknown_error_has_no_bar_and_one_beyond_zero_ends_at_the_axis():
    axis = Axis("y", "", "log", (0.1, 10.0))
    points = Points("p", np.asarray([1.0, 2, 3]), np.ones(3), np.asarray([np.nan, 0.5, 2.0]))
    bars = plotly_chart(Chart("c", "t", "", "", Axis("x"), axis, (points,)))["data"][0]["error_y"]
    assert bars["arrayminus"] == [None, 0.5, 0.9]
    assert bars["array"] == [None, 0.5, 2.0]
