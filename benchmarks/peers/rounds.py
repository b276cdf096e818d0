"""Who of the doctors is asked about which problems, resumably, and how their answers are counted."""

import contextlib
import io
import json
import logging
import multiprocessing
import os
import signal
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import zip_longest
from pathlib import Path

import torch
from peers.candidates import optional
from peers.doctors import DOCTORS, Doctor

from theodolite.problems import PROBLEMS, Problem, problem
from theodolite.problems.scores import Share

LIMIT = 120
"""Seconds after which a doctor's training is ended."""


@dataclass(frozen=True)
class Answer:
    """What one doctor said of one run; ``failure`` is why it said nothing, in its own words."""

    doctor: str
    version: str
    problem: str
    seed: int
    words: tuple[str, ...] = ()
    seconds: float = 0.0
    failure: str = ""


def subset(problems: Sequence[Problem]) -> list[Problem]:
    """Of each family the shortest plant that has a twin, and that twin; healthy families as they are.

    Obstacles come in turn, so that the first few are of many kinds.
    """
    twins = {one.twin_of: one for one in problems if one.twin}
    chosen: dict[str, list[tuple[Problem, ...]]] = {}
    for family in dict.fromkeys(one.family for one in problems):
        plants = [one for one in problems if one.family == family and one.name in twins]
        well = [one for one in problems if one.family == family and one.obstacle == "none" and not one.twin]
        pairs = [min(((one, twins[one.name]) for one in plants), key=lambda pair: pair[0].steps)] if plants else []
        for group in pairs or [(one,) for one in well]:
            chosen.setdefault(group[0].obstacle, []).append(group)
    turns = zip_longest(*chosen.values(), fillvalue=())
    return [one for turn in turns for group in turn for one in group]


def installed(doctor: Doctor) -> str:
    """The version of a doctor; "" where it cannot be imported."""
    try:
        return version(doctor.distribution) if optional(doctor.module) is not None else ""
    except PackageNotFoundError:
        return ""


def place(folder: Path, doctor: str, name: str, seed: int) -> Path:
    return folder / doctor / f"{name}-{seed}.json"


def answers(folder: Path, problems: Iterable[Problem], seeds: int) -> list[Answer]:
    """All answers that are stored."""
    paths = [place(folder, d.name, one.name, seed) for d in DOCTORS for one in problems for seed in range(seeds)]
    read = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]
    return [Answer(**(row | {"words": tuple(row["words"])})) for row in read]


def consult(problems: Sequence[Problem], seeds: int, jobs: int, folder: Path) -> Iterator[str]:
    """Ask every doctor that is installed about every run that it has not seen; a line for each run."""
    names = [doctor.name for doctor in DOCTORS if installed(doctor)]
    work = [
        (one.name, seed, [name for name in names if not place(folder, name, one.name, seed).exists()])
        for seed in range(seeds)
        for one in problems
    ]
    open_work = [item for item in work if item[2]]
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(visit, *item, folder.absolute()): item for item in open_work}
        for count, future in enumerate(as_completed(futures), 1):
            name, seed, _ = futures[future]
            yield f"[{count}/{len(open_work)}] {name}, seed {seed}: {future.exception() or future.result()}"


def visit(name: str, seed: int, doctors: Sequence[str], folder: Path) -> str:
    """One run with one doctor after the other; each answer is a file as soon as it is there."""
    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)
    told = []
    for doctor in DOCTORS:
        if doctor.name in doctors:
            answer = asked(doctor, name, seed)
            path = place(folder, doctor.name, name, seed)
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(f".{os.getpid()}")
            part.write_text(json.dumps(asdict(answer)), encoding="utf-8")
            part.replace(path)
            told.append(f"{doctor.name} {'failed' if answer.failure else ', '.join(answer.words) or 'nothing'}")
    return "; ".join(told)


def asked(doctor: Doctor, name: str, seed: int) -> Answer:
    """Train a problem under a doctor."""
    training, started = problem(name).build(seed), time.perf_counter()
    words: list[str] = []
    failure = ""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), quiet(), limited(LIMIT):
        try:
            words = doctor.says(training, Path(folder))
        except Exception as error:
            failure = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    seconds = time.perf_counter() - started
    return Answer(doctor.name, installed(doctor), name, seed, tuple(words), seconds, failure)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What is printed and warned goes nowhere."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def limited(seconds: int) -> Iterator[None]:
    """A TimeoutError after so many seconds."""

    def stop(number: int, frame: object) -> None:
        raise TimeoutError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@dataclass(frozen=True)
class Tally:
    """How a doctor's answers compare with the truth.

    Attributes:
        first: The first word may be read as what was planted.
        among: Any word may.
        alarms: Healthy runs on which it said anything at all.
        failed: Runs of which it said nothing because it failed; they count as silence.
        seconds: Seconds of all its runs.
    """

    first: Share
    among: Share
    alarms: Share
    failed: int
    seconds: float


def tally(doctor: Doctor, found: Sequence[Answer]) -> Tally:
    """Count a doctor's answers, its words read as generously as they allow."""
    truths = {one.name: one.obstacle for one in PROBLEMS}
    ill = [one for one in found if truths[one.problem] != "none"]
    well = [one for one in found if truths[one.problem] == "none"]

    def is_meant(answer: Answer, words: Iterable[str]) -> bool:
        return any(truths[answer.problem] in doctor.means.get(word, ()) for word in words)

    return Tally(
        first=Share(sum(is_meant(one, one.words[:1]) for one in ill), len(ill)),
        among=Share(sum(is_meant(one, one.words) for one in ill), len(ill)),
        alarms=Share(sum(bool(one.words) for one in well), len(well)),
        failed=sum(bool(one.failure) for one in found),
        seconds=sum(one.seconds for one in found),
    )
