"""What was asked, what it cost, and when to stop: every method asks J through a ledger, and through nothing else.

A method is a deterministic function of the answers that it gets. So a search that was interrupted goes on by asking
everything again: what the file knows is answered from there, to the bit, and J is asked from where that ends.
"""

import hashlib
import time
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from theodolite.errors import RunError
from theodolite.records import Status
from theodolite.search.oracle import Oracle
from theodolite.search.store import Answer, Store

Vector = Float[np.ndarray, "params"]

VALUE_COST, GRADIENT_COST, PRODUCT_COST = 1, 4, 6
"""In forward passes: a backward pass costs about two, so J with its gradient four, and a product two gradients."""

KEPT_BYTES = 64 * 2**20
"""Points are kept up to so many bytes; beyond, the best one alone."""


class Finished(Exception):  # noqa: N818  # no error: it ends a library's loop from within
    """There is no more to ask."""

    def __init__(self, status: Status, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


class Ledger:
    """Questions, answers and their cost.

    Attributes:
        spent: Forward passes spent.
        values: J at each point asked.
        costs: Forward passes spent when each was known.
        seconds: Wall time when each was known.
        points: The points, as long as they fit.
        best_value: Least finite J so far; NaN before the first.
        best_point: θ there; None before.
    """

    def __init__(
        self,
        oracle: Oracle,
        budget: int,
        *,
        target: float = -np.inf,
        store: Store | None = None,
        tick: Callable[[int], object] | None = None,
    ) -> None:
        self._oracle, self._budget, self._target = oracle, budget, target
        self._store, self._known = store, store.read() if store is not None else []
        self._asked, self._tick = 0, tick
        before = self._known[-1].seconds if self._known else 0.0
        self._began = time.perf_counter() - before
        self.spent = 0
        self.values: list[float] = []
        self.costs: list[float] = []
        self.seconds: list[float] = []
        self.points: list[Vector] = []
        self.is_whole = True
        self.best_value: float = np.nan
        self.best_point: Vector | None = None

    @property
    def is_smooth(self) -> bool:
        """Whether gradients may be asked for."""
        return self._oracle.is_smooth

    @property
    def budget(self) -> int:
        """Forward passes that may be spent."""
        return self._budget

    def value(self, point: Vector) -> float:
        """J at a point.

        Args:
            point: θ.

        Returns:
            J.

        Raises:
            Finished: If the budget is spent, or the target reached.
            RunError: If the file answers another question.
        """
        theta = np.array(point, dtype=np.float64)
        answer = self._ask(VALUE_COST, b"value", (theta,), lambda: (self._oracle.value(theta), None))
        self._note(theta, answer)
        return answer.value

    def gradient(self, point: Vector) -> tuple[float, Vector]:
        """J and its gradient at a point.

        Args:
            point: θ.

        Returns:
            J, and its gradient.

        Raises:
            Finished: If the budget is spent, or the target reached.
            RunError: If the file answers another question.
        """
        theta = np.array(point, dtype=np.float64)
        answer = self._ask(GRADIENT_COST, b"gradient", (theta,), lambda: self._oracle.gradient(theta))
        self._note(theta, answer)
        assert answer.vector is not None
        return answer.value, answer.vector.copy()

    def product(self, point: Vector, vector: Vector) -> Vector:
        """The Hessian at a point times a vector.

        Args:
            point: θ.
            vector: What it is applied to.

        Returns:
            The product.

        Raises:
            Finished: If the budget is spent.
            RunError: If the file answers another question.
        """
        theta, along = np.array(point, dtype=np.float64), np.array(vector, dtype=np.float64)
        answer = self._ask(
            PRODUCT_COST, b"product", (theta, along), lambda: (np.nan, self._oracle.product(theta, along))
        )
        assert answer.vector is not None
        return answer.vector.copy()

    def _ask(
        self, cost: int, kind: bytes, vectors: tuple[Vector, ...], ask: Callable[[], tuple[float, Vector | None]]
    ) -> Answer:
        """An answer from the file if that goes so far, else from J, and then into the file."""
        if self.spent + cost > self._budget:
            raise Finished(Status.BUDGET, f"the budget of {self._budget} forward passes is spent")
        question = hashlib.blake2b(kind + b"".join(part.tobytes() for part in vectors), digest_size=16).digest()
        if self._asked < len(self._known):
            answer = self._known[self._asked]
            if answer.question != question:
                raise RunError(
                    f"the file must hold the questions of this search, and differs from question {self._asked} on: the "
                    "objective, or the version of a library, is another. Choose another path."
                )
        else:
            value, vector = ask()
            answer = Answer(question, time.perf_counter() - self._began, value, vector)
            if self._store is not None:
                self._store.write(answer)
        self._asked += 1
        self.spent += cost
        if self._tick is not None:
            self._tick(cost)
        return answer

    def _note(self, point: Vector, answer: Answer) -> None:
        """Count an evaluation, and stop where the target is reached."""
        self.values.append(answer.value)
        self.costs.append(float(self.spent))
        self.seconds.append(answer.seconds)
        if self.is_whole and (len(self.points) + 1) * point.nbytes > KEPT_BYTES:
            self.is_whole = False
            self.points.clear()
        if self.is_whole:
            self.points.append(point)
        if np.isfinite(answer.value) and not answer.value >= self.best_value:
            self.best_value, self.best_point = answer.value, point
        if np.isfinite(answer.value) and answer.value <= self._target:
            raise Finished(Status.CONVERGED, f"the target {self._target:g} is reached")
