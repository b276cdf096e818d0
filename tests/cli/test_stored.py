"""Do the commands on stored runs say what the runs hold?"""

import csv
import json
import math
from io import StringIO

import numpy as np
import pytest

import synthetic
from theodolite.cli import judging, listing, output
from theodolite.diagnosis import diagnose
from theodolite.records import Run, RunWriter


def strict(text: str):
    """JSON without the constants that JSON does not have."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"bare {name}"))


@pytest.fixture
def runs(tmp_path):
    """A folder of runs: two that ended, one that was broken off, one damaged."""
    for kind in ("healthy", "broken", "empty"):
        synthetic.KINDS[kind](tmp_path / kind)
    with RunWriter(tmp_path / "deep" / "judged") as writer:
        writer.scalars(1, {"loss": 2.5})
        writer.result(synthetic.diagnosis("plateau"), 1)
        writer.event("stop", 1)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.db").write_bytes(b"SQLite format 3\x00" + bytes(200))
    return tmp_path


# ls


def test_ls_is_a_table_of_runs(ask, runs):
    answer = ask("ls", runs)
    assert answer.code == 0
    assert answer.err == ""
    lines = {line.split()[0]: line.split() for line in answer.out.splitlines()}
    assert list(lines) == ["run", "broken", "damaged", "deep/judged", "empty", "healthy"]
    assert lines["deep/judged"][1:5] == ["1", "2.5", "plateau", "complete"]
    assert lines["broken"][1:5] == ["400", "nan", "–", "interrupted"]
    assert lines["damaged"][1:5] == ["–", "–", "–", "unreadable"]
    assert lines["healthy"][1] == "3000"
    assert lines["healthy"][4] == "complete"


def test_ls_in_json_is_strict(ask, runs):
    rows = {row["name"]: row for row in strict(ask("ls", runs, "--json").out)}
    assert rows["deep/judged"]["verdict"] == "plateau"
    assert rows["deep/judged"]["loss"] == 2.5
    assert rows["broken"]["loss"] is None
    assert rows["empty"]["loss"] is None
    assert rows["damaged"]["state"] == "unreadable"
    assert rows["damaged"]["error"]


def test_ls_looks_into_runs_and_says_where_nothing_is(ask, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = ask("ls")
    assert (answer.code, answer.out) == (0, "")
    assert "There is no run in ." in answer.err
    assert strict(ask("ls", "--json").out) == []
    synthetic.single(tmp_path / "runs" / "one")
    assert ask("ls").out.splitlines()[1].startswith("one ")


def test_a_run_names_its_state(runs):
    assert output.state(Run(runs / "healthy")) == "complete"
    assert output.state(Run(runs / "broken")) == "interrupted"
    with RunWriter(runs / "now") as writer:
        writer.scalars(1, {"loss": 1.0})
        writer.commit()
        assert output.state(Run(runs / "now")) == "live"
        writer.event("exception", 1, {"type": "KeyboardInterrupt"})
        writer.event("stop", 1)
    assert output.state(Run(runs / "now")) == "interrupted"


def test_a_moment_that_is_none_is_a_dash():
    assert listing._local(None) == listing._local("soon") == "–"


# show


def test_show_tells_facts_series_events_results(ask, real):
    answer = ask("show", real)
    assert answer.code == 0
    for words in ("Facts\n", "optimizer ", "Series\n", "Events\n", "step 0  start", "step 60  stop", "Results\n"):
        assert words in answer.out
    (line,) = (line.split() for line in answer.out.splitlines() if line.startswith("  loss "))
    losses = Run(real).series("loss")
    assert line[1:] == [str(losses.values.size), str(losses.steps[-1]), f"{losses.values[-1]:.4g}"]


def test_show_in_json_is_strict(ask, runs):
    shown = strict(ask("show", runs / "broken", "--json").out)
    assert shown["series"]["loss"] == {"count": 400, "last_step": 400, "last": None}
    assert shown["state"] == "interrupted"
    assert shown["events"][0]["kind"] == "nonfinite"


def test_show_of_an_empty_run(ask, runs):
    answer = ask("show", runs / "empty")
    assert answer.code == 0
    assert "Facts" in answer.out
    assert "Series" not in answer.out


def test_show_leaves_out_the_middle_of_many_events(ask, tmp_path):
    with RunWriter(tmp_path / "run") as writer:
        for step in range(1, 101):
            writer.event("nonfinite", step, {"loss": "nan"})
    answer = ask("show", tmp_path / "run")
    assert "80 more" in answer.out
    assert "step 100" in answer.out
    assert "step 50 " not in answer.out


# diagnose


def test_diagnose_prints_the_page_of_the_record(ask, real):
    answer = ask("diagnose", real)
    assert answer.code == 0
    assert answer.out == f"{diagnose(Run(real))}\n"


def test_diagnose_in_json_is_strict_and_complete(ask, real):
    found, judged = strict(ask("diagnose", real, "--json").out), diagnose(Run(real))
    assert found["obstacle"] == judged.obstacle
    assert found["probabilities"] == judged.probabilities
    assert [one["obstacle"] for one in found["findings"]] == list(judged.findings.keys())
    for one, truth in zip(found["findings"], judged.findings, strict=True):
        assert one["verdict"] == truth.verdict.value
        assert set(one["statistic"]) == {"value", "error", "count"}


@pytest.mark.parametrize(("obstacle", "code"), [("plateau", 2), ("none", 0), ("undetermined", 0)])
def test_an_obstacle_is_an_exit_code_if_asked(ask, runs, monkeypatch, obstacle, code):
    monkeypatch.setattr("theodolite.diagnosis.diagnose", lambda run: synthetic.diagnosis(obstacle))
    assert ask("diagnose", runs / "healthy", "--exit-code").code == code
    assert ask("diagnose", runs / "healthy", "--exit-code", "--json").code == code
    assert ask("diagnose", runs / "healthy").code == 0


# report


def test_report_writes_the_page_and_names_it(ask, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(runs)
    assert ask("report", "healthy").out == "report: healthy/report.html\n"
    assert ask("report", "healthy/run.db").out == "report: healthy/report.html\n"
    assert ask("report", "healthy", "-o", "new/page.html").out == "report: new/page.html\n"
    assert (runs / "new" / "page.html").read_bytes() == (runs / "healthy" / "report.html").read_bytes()


def test_report_opens_a_browser_or_says_that_it_could_not(ask, runs, monkeypatch):
    opened = []
    monkeypatch.setattr(output.webbrowser, "open", lambda address: opened.append(address) or len(opened) < 2)
    page = runs / "page.html"
    assert ask("report", runs / "single", "-o", page, "--open").code == 1
    assert opened == []
    assert ask("report", runs / "healthy", "-o", page, "--open").err == ""
    assert "No browser could be started" in ask("report", runs / "healthy", "-o", page, "--open").err
    assert opened == [page.as_uri()] * 2
    assert judging._inside(page) == runs


# export


def test_csv_gives_back_every_value(ask, runs):
    run = Run(runs / "broken")
    rows = list(csv.DictReader(StringIO(ask("export", run.path, "--series", "loss, grad_norm,promise").out)))
    assert list(rows[0]) == ["step", "loss", "grad_norm", "promise"]
    for name in ("loss", "grad_norm", "promise"):
        kept = [(int(row["step"]), float(row[name])) for row in rows if row[name] != ""]
        series = run.series(name)
        np.testing.assert_array_equal([step for step, _ in kept], series.steps)
        np.testing.assert_array_equal([value for _, value in kept], series.values)
    assert math.isnan(float(rows[-1]["loss"]))
    assert rows[0]["promise"] == ""


def test_json_gives_back_every_value(ask, runs):
    answer = ask("export", runs / "broken", "-o", runs / "new" / "run.json")
    assert (answer.code, answer.out, answer.err) == (0, "", "")
    series = strict((runs / "new" / "run.json").read_text())["series"]
    run = Run(runs / "broken")
    assert tuple(series) == run.names
    for name in run.names:
        known = run.series(name)
        assert series[name]["steps"] == known.steps.tolist()
        values = [math.nan if value is None else float(value) for value in series[name]["values"]]
        np.testing.assert_array_equal(values, known.values)
    assert "Infinity" in series["loss"]["values"]
    assert None in series["loss"]["values"]


def test_a_csv_file_is_what_would_be_printed(ask, runs):
    assert ask("export", runs / "healthy", "-o", runs / "run.CSV").out == ""
    assert (runs / "run.CSV").read_text() == ask("export", runs / "healthy").out


def test_export_of_a_series_that_is_not_there(ask, runs):
    assert (
        "a series must be recorded or documented; 'los' is neither"
        in ask("export", runs / "healthy", "--series", "los").err
    )
    assert "--series must name series, got ','" in ask("export", runs / "healthy", "--series", ",").err
    assert ask("export", runs / "empty").out == "step\n"


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_the_pictures_of_a_run(ask, real, tmp_path, suffix, start):
    answer = ask("export", real, "--figure", tmp_path / f"run.{suffix}")
    assert (answer.code, answer.out, answer.err) == (0, "", "")
    assert (tmp_path / f"run.{suffix}").read_bytes().startswith(start)


def test_a_file_is_put_in_place_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "file"
    output.write_file(path, b"old")

    def refuse(self, target):
        raise OSError("no")

    monkeypatch.setattr("pathlib.Path.replace", refuse)
    with pytest.raises(OSError, match="no"):
        output.write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
