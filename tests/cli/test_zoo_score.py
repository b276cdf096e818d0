"""Does ``zoo score`` train once, judge again from the record, go on where it was stopped, and tell what it cannot?"""

import ast
import json
import math
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from theodolite.cli import scored, scoring
from theodolite.problems import problem
from theodolite.problems.scores import Case
from theodolite.records import OBSTACLES, Finding, Findings, Run, Verdict

NAMES = ("saddle-product", "saddle-product-twin")


@pytest.fixture(scope="module")
def first(outside, tmp_path_factory):
    """A score of one plant and its twin, from outside: what it printed, and the folder that it ran in."""
    folder = tmp_path_factory.mktemp("score")
    words = ("zoo", "score", "--only", "saddle-product", "--seconds", 1, "--calibrate")
    return outside(*words, cwd=folder), folder


@pytest.fixture
def runs(first) -> Path:
    return first[1] / "runs/zoo/score"


def test_a_score_from_outside(first, runs):
    answer, _ = first
    assert answer.code == 0, answer.err
    told = answer.err.splitlines()
    assert len(told) == 2
    assert {line.partition("] ")[2].partition(",")[0] for line in told} == set(NAMES)
    assert told[0].startswith("[1/2] ")
    for title in ("right as first verdict", "Confusion", "By obstacle", "By family", "Calibration", "Every miss"):
        assert f"\n{title}" in f"\n{answer.out}"
    assert all(Run(runs / name / "0").is_complete for name in NAMES)


def test_the_counts_can_be_pasted(first):
    text = first[0].out.partition("CONFIDENCE: Mapping[str, tuple[int, int]] = MappingProxyType(")[2]
    table = ast.literal_eval(text.strip().removesuffix(")").strip())
    assert sum(total for _, total in table.values()) == 2


def test_runs_that_are_there_are_judged_again_without_training(ask, runs):
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("run.db")}
    answer = ask("zoo", "score", "--only", "saddle-product", "--runs", runs, "--json")
    assert answer.code == 0, answer.err
    assert "2 of 2 runs were in" in answer.err
    assert "judged again without training" in answer.err
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("run.db")} == before
    told = json.loads(answer.out)
    assert [one["name"] for one in told["cases"]] == list(NAMES)
    assert [one["obstacle"] for one in told["cases"]] == ["saddle_point", "none"]
    assert all(one["seconds"] > 0 for one in told["cases"])
    assert len(told["confusion"]["counts"]) == 13
    assert told["overview"]["right"]["total"] == 2
    assert told["failures"] == []


def test_a_run_that_is_not_whole_is_not_judged(runs, tmp_path):
    task = scoring.Task(problem("saddle-product"), 0, runs / "saddle-product" / "0")
    stored = scoring.judge_stored(task)
    assert stored is not None
    assert stored.is_stored
    assert stored.case.tried > 0
    assert scoring.judge_stored(replace(task, folder=tmp_path)) is None
    longer = replace(task.problem, steps=task.problem.steps + 1)
    assert scoring.judge_stored(replace(task, problem=longer)) is None


def test_what_failed_is_told_and_the_score_is_not_whole(ask, monkeypatch, tmp_path):
    monkeypatch.setattr(scoring, "trained", lambda work, **_: ((task, "OSError: no") for task in work))
    answer = ask("zoo", "score", "--only", "saddle-product", "--runs", tmp_path)
    assert answer.code == 1
    assert "[1/2] saddle-product, seed 0: failed: OSError: no" in answer.err
    assert "error: 2 of 2 failed: saddle-product, seed 0: OSError: no; saddle-product-twin, seed 0" in answer.err
    assert "right as first verdict" in answer.out


def test_a_training_that_leaves_no_whole_record_has_failed(ask, monkeypatch, tmp_path):
    monkeypatch.setattr(scoring, "trained", lambda work, **_: ((task, None) for task in work))
    answer = ask("zoo", "score", "--only", "saddle-product-twin", "--runs", tmp_path)
    assert "1 of 1 failed: saddle-product-twin, seed 0: its record is not whole." in answer.err


def test_problems_without_their_data_are_left_out(ask, monkeypatch, tmp_path):
    monkeypatch.delenv("THEODOLITE_DATA", raising=False)
    answer = ask("zoo", "score", "--only", "healthy-mnist", "--runs", tmp_path, "--seeds", 3)
    assert answer.code == 0
    assert "healthy-mnist is left out: its data, mnist, are not here (THEODOLITE_DATA)." in answer.err
    assert "right as first verdict                  –" in answer.out


def test_every_seed_is_a_task_of_its_own(tmp_path):
    work, _ = scoring.tasks([problem(name) for name in NAMES], 2, tmp_path)
    assert [str(task.folder.relative_to(tmp_path)) for task in work] == [f"{n}/{s}" for s in range(2) for n in NAMES]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--only", "unheard"), "only must be part of a problem's name, got 'unheard'."),
        (
            ("--family", "saddle-factor"),
            "family must be that of a problem, got 'saddle-factor'. Perhaps one of saddle-f",
        ),
        (("--family", "saddle-factors", "--only", "plateau"), "only must be part of a problem's name, got 'plateau'."),
        (("--seeds", "0"), "--seeds"),
    ],
)
def test_what_is_not_there_is_refused(ask, words, message):
    answer = ask("zoo", "score", *words)
    assert answer.code == 1
    assert message in answer.err


def judged(family: str, *, right: bool, stored: bool = False) -> scoring.Judged:
    findings = Findings(
        tuple(Finding(name, Verdict.PRESENT if name == "cliff" else Verdict.ABSENT) for name in OBSTACLES)
    )
    case = Case(family, family, "cliff" if right else "none", False, 0, "cliff", pattern="one alone", seconds=3.2)
    return scoring.Judged(case, findings, stored)


def test_probabilities_come_from_other_families_alone():
    cases = scoring.left_out([judged("a", right=True), judged("a", right=True), judged("b", right=False)])
    assert [case.probabilities["cliff"] for case in cases] == pytest.approx([1 / 3, 1 / 3, 3 / 4])
    alone = scoring.left_out([judged("a", right=True)])
    assert alone[0].probabilities["cliff"] == 0.5
    assert scoring.left_out([]) == []


def test_lines_of_progress_tell_right_from_wrong():
    assert scored.told(judged("a", right=True)) == "a, seed 0: cliff, 3 s"
    assert scored.told(judged("a", right=False, stored=True)) == "a, seed 0: cliff instead of none, stored"


def test_tables_of_nothing_are_tables():
    text = scored.pages([])
    assert "Every miss\nnone" in text
    assert math.isnan(scored.numbers([], [])["calibration"].error)


@pytest.mark.slow
def test_a_score_that_was_killed_goes_on_where_it_was(outside, tmp_path):
    words = ("zoo", "score", "--family", "saddle-nearly-zero", "--seconds", "2")
    command = [sys.executable, "-m", "theodolite", *words]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        done = process.stderr.readline().decode()
        process.send_signal(signal.SIGKILL)
    time.sleep(3)  # the worker looks once a second whether it is still wanted
    answer = outside(*words, cwd=tmp_path)
    assert answer.code == 0, answer.err
    name = done.partition("] ")[2].partition(",")[0]
    assert f"] {name}, seed 0: " in answer.err.splitlines()[0]
    assert answer.err.splitlines()[0].endswith("stored")
    assert "runs were in runs/zoo/score" in answer.err


@pytest.mark.slow
def test_control_c_ends_the_trainings_too(tmp_path):
    code = (
        "import signal\nfrom theodolite.cli import main\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "if __name__ == '__main__':\n    main(['zoo', 'score', '--family', 'single-examples'])\n"
    )
    (tmp_path / "start.py").write_text(code)
    command = [sys.executable, "start.py"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        until = time.monotonic() + 60
        while time.monotonic() < until and not list(tmp_path.rglob("run.db")):
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 130, told
    assert b"Traceback" not in told
