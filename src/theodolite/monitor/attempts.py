"""What if a measurement fails? It becomes an event and one line in the log, and training goes on."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch

from theodolite.monitor.schedule import Schedule
from theodolite.monitor.tape import measuring

_LOG = logging.getLogger(__name__)

_MAX_FAILURES = 3
"""A measurement that failed so often is not tried again."""

T = TypeVar("T")


class Attempts:
    """Makes measurements, bills them, and contains what goes wrong in them.

    A failure is never a warning: the user may have made warnings errors.
    """

    def __init__(
        self, schedule: Schedule, tell: Callable[[str, Mapping[str, Any]], None], device: torch.device
    ) -> None:
        """Bill to a schedule, and tell failures as events."""
        self._schedule, self._tell = schedule, tell
        self._waits = device if device.type == "cuda" else None
        self._failures: dict[str, int] = {}

    def is_given_up(self, name: str) -> bool:
        """Whether a measurement has failed too often to be tried again."""
        return bool(self._failures) and self._failures.get(name, 0) >= _MAX_FAILURES

    def wait(self) -> None:
        """Let the device finish before a clock is read."""
        if self._waits is not None:
            torch.cuda.synchronize(self._waits)

    def make(self, name: str, measure: Callable[[], T]) -> T | None:
        """Make a measurement that the schedule knows, and bill it.

        Args:
            name: Its name.
            measure: The measurement.

        Returns:
            What it gave; None if it failed.
        """
        started = time.perf_counter()
        try:
            with measuring():
                return measure()
        except Exception as error:  # noqa: BLE001 - whatever a user's model or loss raises in a probe
            self.failed(name, error)
            return None
        finally:
            self.wait()
            self._schedule.pay(name, time.perf_counter() - started)

    def failed(self, name: str, error: Exception) -> None:
        """Take note of a failure."""
        count = self._failures[name] = self._failures.get(name, 0) + 1
        detail: dict[str, Any] = {"probe": name, "type": type(error).__name__, "message": str(error)[:500]}
        if count >= _MAX_FAILURES:
            detail["given_up"] = True
            self._schedule.leave_out(name)
        self._tell("probe_failed", detail)
        if count == 1:
            _LOG.warning("measurement %r failed and training goes on: %s: %s", name, type(error).__name__, error)
