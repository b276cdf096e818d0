"""How is the whole zoo trained and judged, so that what was trained once is only judged again?"""

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from theodolite.problems import Problem
    from theodolite.problems.scores import Case
    from theodolite.records import Diagnosis, Findings, Run

_LOOK_SECONDS = 1.0
"""How often a process looks whether the one that it works for is still there."""


@dataclass(frozen=True, eq=False)
class Task:
    """One problem with one seed.

    Attributes:
        problem: The problem.
        seed: Seed of weights, batches and monitor.
        folder: Where its run is, or will be.
    """

    problem: "Problem"
    seed: int
    folder: Path

    def __str__(self) -> str:
        """For lines of progress."""
        return f"{self.problem.name}, seed {self.seed}"


@dataclass(frozen=True)
class Judged:
    """A task with what was said of it.

    Attributes:
        case: The verdict beside the truth.
        findings: What was found on every obstacle.
        is_stored: Whether the run was there, and was judged from its record.
    """

    case: "Case"
    findings: "Findings"
    is_stored: bool = False


@dataclass(frozen=True)
class Failure:
    """A task that could not be trained or judged."""

    task: Task
    reason: str

    def __str__(self) -> str:
        """For people."""
        return f"{self.task}: {self.reason}"


def tasks(problems: Iterable["Problem"], seeds: int, folder: Path) -> tuple[list[Task], list["Problem"]]:
    """What is to be scored.

    Args:
        problems: The problems.
        seeds: How many seeds each, from 0.
        folder: Where the runs are kept.

    Returns:
        The tasks, and the problems whose data are not on this machine.
    """
    from theodolite.problems.datasets import is_there

    kept = [one for one in problems if is_there(one.needs)]
    left = [one for one in problems if not is_there(one.needs)]
    return [Task(one, seed, folder / one.name / str(seed)) for seed in range(seeds) for one in kept], left


def judge_stored(task: Task) -> Judged | None:
    """Judge a run from its record, if it came to its end and was surveyed.

    Args:
        task: The task.

    Returns:
        What is said of it; None if there is no such run, or one of another length.
    """
    from theodolite.errors import RunError
    from theodolite.records import Run

    try:
        run = Run(task.folder)
        is_whole = run.is_complete and run.result("Diagnosis") is not None and run.num_steps == task.problem.steps
        return _judged(task, run) if is_whole else None
    except RunError:  # none there, or killed before its tables were made
        return None


def _judged(task: Task, run: "Run") -> Judged:
    """The judgement of a recorded run as a case."""
    from theodolite.diagnosis import diagnose

    diagnosis = diagnose(run)
    times = [event.time for event in run.events() if event.kind in ("start", "stop")]
    return Judged(_case(task, diagnosis, times[-1] - times[0]), diagnosis.findings, is_stored=True)


def _case(task: Task, diagnosis: "Diagnosis", seconds: float) -> "Case":
    from theodolite.diagnosis.calibration import pattern
    from theodolite.problems.scores import Case
    from theodolite.records import MISSING

    problem = task.problem
    best = next((remedy for remedy in diagnosis.remedies if remedy.helped), None)
    return Case(
        problem.name,
        problem.family,
        problem.obstacle,
        problem.twin,
        task.seed,
        verdict=diagnosis.obstacle,
        secondary=diagnosis.secondary,
        probabilities=diagnosis.probabilities,
        pattern=pattern(diagnosis.findings, diagnosis.obstacle),
        seconds=seconds,
        tried=len(diagnosis.remedies),
        remedy="" if best is None else best.name,
        gain=MISSING if best is None else best.gain,
    )


def train(name: str, seed: int, folder: Path, seconds: float) -> None:
    """Train one problem under a monitor at its defaults, and diagnose it; all that remains is the run.

    Args:
        name: Name of the problem.
        seed: Seed of weights, batches and monitor.
        folder: Folder of the run; one that is there is moved aside.
        seconds: About how long the diagnosis may take.
    """
    from theodolite.monitor import Monitor
    from theodolite.problems import problem

    training = problem(name).build(seed)
    model, optimizer, loss = training.model, training.optimizer, training.loss
    with Monitor(
        model, optimizer, loss, run=folder, validation=training.validation, floor=training.floor, seed=seed
    ) as monitor:
        for batch in monitor(training.batches):
            optimizer.zero_grad()
            loss(model, batch).backward()
            optimizer.step()
        monitor.diagnose(seconds=seconds)


def score(
    work: Sequence[Task], *, seconds: float, jobs: int, tell: Callable[[Judged | Failure], None]
) -> tuple[list[Judged], list[Failure]]:
    """Judge every task: those whose run is there from its record, the others after training them.

    Args:
        work: The tasks.
        seconds: About how long one diagnosis may take.
        jobs: How many processes train at once, with one thread each.
        tell: Called with each result as it comes.

    Returns:
        What was said, in the order of the tasks, and what failed.
    """
    found: dict[Task, Judged | Failure] = {}
    for task in work:
        stored = judge_stored(task)
        if stored is not None:
            found[task] = stored
            tell(stored)
    for task, reason in trained([task for task in work if task not in found], seconds=seconds, jobs=jobs):
        fresh = judge_stored(task) if reason is None else None
        result = (
            Failure(task, reason or "its record is not whole") if fresh is None else replace(fresh, is_stored=False)
        )
        found[task] = result
        tell(result)
    results = [found[task] for task in work]
    return [one for one in results if isinstance(one, Judged)], [one for one in results if isinstance(one, Failure)]


def trained(work: Sequence[Task], *, seconds: float, jobs: int) -> Iterator[tuple[Task, str | None]]:
    """Train tasks in processes of their own, at most ``jobs`` at once.

    Args:
        work: The tasks.
        seconds: About how long one diagnosis may take.
        jobs: How many processes.

    Yields:
        Each task when it is done, with what went wrong; None if nothing did.
    """
    if not work:
        return
    with _workers(min(jobs, len(work))) as pool:
        waiting: dict[Future[None], Task] = {
            pool.submit(train, task.problem.name, task.seed, task.folder, seconds): task for task in work
        }
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                error = future.exception()
                reason = None if error is None else f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
                yield waiting.pop(future), reason


@contextmanager
def _workers(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that end with this one, however it ends."""
    others = set(multiprocessing.active_children())
    # Spawned, not forked: autograd's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=_prepare, initargs=(os.getpid(),)) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in set(multiprocessing.active_children()) - others:
                child.terminate()
            raise


def _prepare(parent: int) -> None:
    """A process of its own: one thread, no progress bars, and no life of its own."""
    import torch

    torch.set_num_threads(1)
    sys.stderr = _silent()
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _silent() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


def _leave_with(parent: int) -> None:
    """End when the parent was killed: a run that nobody waits for would keep its folder locked."""
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os._exit(1)


def left_out(judged: Sequence[Judged]) -> list["Case"]:
    """The cases with probabilities that were calibrated on all families but their own.

    Args:
        judged: What was said of each case.

    Returns:
        The cases.
    """
    from theodolite.diagnosis.calibration import confidences, probabilities

    cases = [one.case for one in judged]
    tables = {name: confidences(cases, without=name) for name in {case.family for case in cases}}
    return [
        replace(one.case, probabilities=probabilities(one.findings, one.case.verdict, tables[one.case.family]))
        for one in judged
    ]
