"""Does every command start fast and light, and end as a shell expects?"""

import os
import resource
import subprocess
import sys

import pytest

import synthetic
from theodolite.cli import output

HELP = ["", "demo", "diagnose", "report", "ls", "show", "export", "zoo", "zoo list", "zoo run"]
HEAVY = {"torch", "matplotlib", "plotly", "scipy", "numpy", "sklearn", "jinja2", "tqdm"}

MODULES = """
import json, sys
from theodolite.cli import main
for words in json.loads(sys.argv[1]):
    try:
        main(words)
    except SystemExit as left:
        assert left.code == 0, (words, left.code)
print("modules:", *{name.partition(".")[0] for name in sys.modules})
"""


def modules_after(outside, *calls, **settings) -> set[str]:
    import json

    answer = outside(json.dumps([list(map(str, call)) for call in calls]), code=MODULES, **settings)
    assert answer.code == 0, answer.err
    return set(answer.out.rpartition("modules:")[2].split())


def test_help_loads_nothing_heavy(outside):
    calls = [(*words.split(), "--help") for words in HELP]
    assert modules_after(outside, *calls, ("--version",), ()) & HEAVY == set()


def test_help_takes_half_a_second_of_a_processor_at_most():
    """Processor time: the clock on the wall counts what the neighbours do as well."""
    used = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "theodolite", "demo", "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(used) < 0.5


def test_stored_runs_are_served_without_torch(outside, real, tmp_path):
    calls = [
        ("ls", real.parent), ("ls", real.parent, "--json"), ("show", real), ("show", real, "--json"),
        ("diagnose", real), ("diagnose", real, "--json"), ("report", real, "-o", tmp_path / "page.html"),
        ("export", real), ("export", real, "-o", tmp_path / "run.json"),
        ("export", real, "--figure", tmp_path / "run.png"),
    ]  # fmt: skip
    assert "torch" not in modules_after(outside, *calls)


def test_help_names_every_command(ask):
    answer = ask("--help")
    assert answer.code == 0
    for command in ("demo", "diagnose", "report", "ls", "show", "export", "zoo"):
        assert f"\n  {command} " in answer.out
    assert "..." not in answer.out.partition("Commands:")[2]
    assert ask().out == answer.out
    assert "list" in ask("zoo").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("dmo",), "No such command 'dmo'"),
        (("demo", "--obstacle", "boogeyman"), "'boogeyman' is not one of 'none', 'step_too_small'"),
        (("demo", "--steps", "0"), "0 is not in the range x>=1"),
        (("diagnose",), "Missing argument 'RUN'"),
        (("zoo", "run", "saddle-digit"), "Perhaps one of saddle-digits"),
        (("diagnose", "nowhere"), "a run must exist; nowhere does not"),
        (("report", "nowhere"), "a run must exist; nowhere does not"),
        (("show", "nowhere"), "a run must exist; nowhere does not"),
        (("export", "nowhere"), "a run must exist; nowhere does not"),
        (("ls", "nowhere"), "runs must lie in a folder; nowhere is none"),
        (("export", "nowhere", "-o", "a.txt"), "--output must end in .csv, .json, got 'a.txt'"),
        (("export", "nowhere", "--figure", "a.gif"), "--figure must end in .png, .svg, .pdf, got 'a.gif'"),
        (("export", "nowhere", "--figure", "a.png", "-o", "a.csv"), "--figure must stand alone"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_1(ask, words, message):
    answer = ask(*words)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("error: ")
    assert answer.err.count("\n") == 1
    assert message in answer.err


def test_what_the_system_refuses_is_one_line_too(ask, real, tmp_path):
    (tmp_path / "file").write_text("")
    answer = ask("report", real, "-o", tmp_path / "file" / "page.html")
    assert answer.code == 1
    assert answer.err.startswith("error: ")
    assert answer.err.count("\n") == 1


def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    run = synthetic.healthy(tmp_path / "run")
    command = [sys.executable, "-m", "theodolite", "export", str(run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().startswith("step,loss")
        process.stdout.close()
        assert process.stderr.read() == ""


def test_a_terminal_without_unicode_still_gets_the_page(outside, real):
    answer = outside("diagnose", real, env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert answer.code == 0
    assert "Findings" in answer.out


class Terminal:
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("settings", "is_bold"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_style_is_for_terminals_that_want_it(monkeypatch, settings, is_bold):
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert output.bold("word") == "word"  # captured: not a terminal
    monkeypatch.setattr(output.sys, "stdout", Terminal())
    assert (output.bold("word") == "\x1b[1mword\x1b[0m") is is_bold
