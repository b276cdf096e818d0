"""Do ``demo`` and ``zoo run`` train, tell what they do, and leave a readable run however they end?"""

import json
import signal
import subprocess
import sys
import time

import pytest

from theodolite.cli import demo as demonstration
from theodolite.cli.demo import OBSTACLES
from theodolite.records import Run


def test_the_demo_from_outside(demonstrated):
    answer, folder = demonstrated
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert lines[-1] == "report: runs/demo/report.html"
    assert (folder / "runs/demo/report.html").read_text().startswith("<!DOCTYPE html>")
    first, page, truth = answer.out.partition("\n\n")[0], *answer.out.partition("What had been planted:")[::2]
    assert "4,810 parameters on 1,500 real examples, 60 steps of SGD" in " ".join(first.split())
    assert "saddle" not in first
    assert "Findings" in page
    assert truth.startswith(" saddle_point. All weights started at exactly 0.")
    assert "Theodolite's verdict" in truth
    assert "This was made for" in truth


def test_the_demo_leaves_a_complete_run(real):
    run = Run(real)
    assert run.is_complete
    assert run.num_steps == 60
    assert run.result("Diagnosis") is not None
    assert run.result("Survey") is not None


def test_the_obstacles_on_offer_are_those_of_the_demo():
    from theodolite.problems.demo import DEFAULT, DEMOS

    assert tuple(one.obstacle for one in DEMOS) == OBSTACLES
    assert demonstration._DEFAULT == DEFAULT


@pytest.mark.parametrize(
    ("obstacle", "clean", "words"),
    [
        ("plateau", False, "What had been planted: plateau. Eight sigmoid layers"),
        ("plateau", True, "nothing. This was the healthy twin of the training with plateau."),
        ("none", True, "What had been planted: nothing. This training is healthy."),
    ],
)
def test_the_truth_is_told(obstacle, clean, words):
    from theodolite.problems.demo import demo

    assert words in demonstration._truth(demo(obstacle), clean=clean)


def test_a_wrong_verdict_is_admitted():
    assert demonstration._comparison("plateau", "plateau") == "Theodolite's verdict agrees."
    assert "does not agree: it says plateau, where the truth is none" in demonstration._comparison("plateau", "none")


def test_without_scikit_learn_the_demo_says_what_to_install(ask, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    answer = ask("demo", "--run", tmp_path / "run")
    assert answer.code == 1
    assert answer.out == ""
    assert not (tmp_path / "run").exists()
    assert "sklearn.datasets must be installed" in answer.err
    assert "pip install 'theodolite[demo]'" in answer.err


def test_a_folder_of_others_is_left_alone(ask, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    answer = ask("demo", "--run", tmp_path, "--steps", 1)
    assert answer.code == 1
    assert "holds other files (thesis.tex)" in answer.err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_zoo_list_names_every_problem(ask):
    from theodolite.problems import PROBLEMS

    answer = ask("zoo", "list")
    assert [line.split()[0] for line in answer.out.splitlines()[1:]] == [one.name for one in PROBLEMS]
    told = json.loads(ask("zoo", "list", "--json").out)
    assert [one["obstacle"] for one in told] == [one.obstacle for one in PROBLEMS]


def test_zoo_run_trains_and_compares(outside, tmp_path):
    answer = outside("zoo", "run", "saddle-product", "--seconds", 2, cwd=tmp_path)
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[-1] == "run: runs/zoo/saddle-product"
    assert "The truth is saddle_point: " in answer.out
    assert "The verdict " in answer.out
    assert Run(tmp_path / "runs/zoo/saddle-product").is_complete


LONG = """
import signal
from theodolite.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test may run where it is ignored
main(["demo", "--steps", "1000000"])
"""


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_demo_that_is_stopped_leaves_a_readable_run(tmp_path, name, code):
    command = [sys.executable, "-c", LONG]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            _wait_for_steps(tmp_path / "runs/demo", process)
            process.send_signal(getattr(signal, name))
            _, told = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == code, told
    assert "Stopped. What was recorded is readable: theodolite diagnose runs/demo" in told
    assert "Traceback" not in told
    run = Run(tmp_path / "runs/demo")
    assert run.num_steps > 20
    assert not run.is_live
    assert run.events("exception")[0].detail["type"] in {"KeyboardInterrupt", "SystemExit"}
    assert run.snapshot_steps[-1] == run.num_steps


def _wait_for_steps(folder, process) -> None:
    until = time.monotonic() + 100
    while time.monotonic() < until and process.poll() is None:
        if (folder / "run.db").exists():
            try:
                if Run(folder).num_steps > 20:
                    return
            except ValueError:  # its tables are being made
                pass
        time.sleep(0.1)
    pytest.fail(f"no steps were recorded; the process says {process.poll()}")


TRAININGS = [(name, clean) for name in OBSTACLES for clean in (False, True) if name != "none" or not clean]


@pytest.mark.slow
@pytest.mark.parametrize(("obstacle", "clean"), TRAININGS)
def test_the_verdict_of_the_full_demo_is_what_was_planted(outside, tmp_path, obstacle, clean):
    answer = outside("demo", "--obstacle", obstacle, *(["--clean"] if clean else []), cwd=tmp_path)
    assert answer.code == 0, answer.err
    assert "Theodolite's verdict agrees." in answer.out, answer.out
