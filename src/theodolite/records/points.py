"""What is known of one point: how J changes from there, what a gradient step gains, whether it is critical."""

import math
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Int

from theodolite.errors import SettingError
from theodolite.records.estimates import MISSING, Estimate
from theodolite.records.obstacles import Status
from theodolite.records.solutions import Inertia

Kind: TypeAlias = Literal["minimum", "maximum", "saddle", "degenerate", "not critical"]
"""What a point is."""


def inertia_of(eigenvalues: Float[np.ndarray, "count"], errors: Float[np.ndarray, "count"]) -> Inertia:
    """How many eigenvalues are negative, zero and positive: a sign is claimed beyond the error only.

    Args:
        eigenvalues: λ.
        errors: The error of each.

    Returns:
        The three counts.

    Example:
        >>> inertia_of(np.array([-2.0, 0.1, 3.0]), np.array([0.5, 0.5, 0.5]))
        Inertia(negative=1, zero=1, positive=1)
    """
    negative, positive = int((eigenvalues < -errors).sum()), int((eigenvalues > errors).sum())
    return Inertia(negative, len(eigenvalues) - negative - positive, positive)


@dataclass(frozen=True, eq=False)
class Taylor:
    """The Taylor series of s ↦ J(θ + s·d) at s = 0.

    Attributes:
        derivatives: dᵏJ/dsᵏ at s = 0 for k = 0, 1, …, in the unit of J; d is not normalised.
        status: CONVERGED; BREAKDOWN if an operation lacks a derivative, which is NaN from that order on; NONFINITE if
            a derivative is not finite.
        reason: Why orders are missing; empty if none is.
    """

    derivatives: Float[np.ndarray, "orders"]
    status: Status = Status.CONVERGED
    reason: str = ""

    def __str__(self) -> str:
        """The derivatives in one line."""
        numbers = ", ".join(f"{derivative:.4g}" for derivative in self.derivatives)
        return f"derivatives of order 0 to {self.order}: {numbers} ({self.status}{self.reason and ': ' + self.reason})"

    @property
    def order(self) -> int:
        """The highest order."""
        return len(self.derivatives) - 1

    def predict(self, s: float, order: int | None = None) -> float:
        """Σ Dₖ sᵏ/k! up to an order: what the series says of J(θ + s·d).

        Args:
            s: How far along d.
            order: The highest order to use; None is all.

        Returns:
            The prediction; NaN if a derivative up to there is missing.

        Raises:
            SettingError: If the order is not among those that were measured.
        """
        highest = self.order if order is None else order
        if not 0 <= highest <= self.order:
            raise SettingError(
                f"order must lie between 0 and {self.order}, got {highest}. Ask taylor for a higher order."
            )
        return float(self._predictions(s)[highest])

    def order_within(self, s: float, value: float, rtol: float, *, atol: float = 0.0) -> int | None:
        """The least order from which on the prediction is right: |J predicted − J| ≤ rtol·|J − J(θ)|.

        A lower order that is right by accident, while a higher one is wrong again, does not count.

        Args:
            s: How far along d.
            value: The real J(θ + s·d).
            rtol: Tolerance, as a share of the real change.
            atol: Tolerance in the unit of J, for example the rounding of its values.

        Returns:
            The order; None if not even the highest known one is right.

        Raises:
            SettingError: If a tolerance is negative.
        """
        if not (rtol >= 0 and atol >= 0):
            raise SettingError(
                f"tolerances must not be negative, got rtol={rtol} and atol={atol}. 0 asks for the real change itself."
            )
        predictions = self._predictions(s)
        known = predictions[: np.argmin(np.append(np.isfinite(predictions), False))]
        if known.size == 0 or not math.isfinite(value):
            return None
        is_right = np.abs(known - value) <= rtol * abs(value - known[0]) + atol
        least = len(known) - int(np.argmin(np.append(is_right[::-1], False)))
        return least if least < len(known) else None

    def _predictions(self, s: float) -> np.ndarray:
        """Partial sums of the series."""
        terms = np.empty(self.order + 1)
        power = 1.0
        for k, derivative in enumerate(self.derivatives):
            terms[k] = derivative * power
            power *= s / (k + 1)
        sums: np.ndarray = np.cumsum(terms)
        return sums


@dataclass(frozen=True, eq=False)
class DirectionalCurvature:
    """Curvature along a direction, and what the eigenvectors contribute: dᵀAd/dᵀd = Σ λᵢ cos²∠(vᵢ, d).

    Attributes:
        curvature: dᵀAd/dᵀd; the error is a bound of the rounding of the product.
        eigenvalues: λᵢ of the eigenvectors that are known; empty if none is.
        squared_cosines: cos²∠(vᵢ, d).
        status: CONVERGED, or NONFINITE if a product is not finite.
        products: How many products A v it took.
        method: How the products were made.
    """

    curvature: Estimate
    eigenvalues: Float[np.ndarray, "count"]
    squared_cosines: Float[np.ndarray, "count"]
    status: Status
    products: int
    method: str

    def __str__(self) -> str:
        """The curvature, and how much of it is explained, in one line."""
        explained = ""
        if len(self.eigenvalues):
            sums = f"{self.value - self.remainder:.4g}, the rest {self.remainder:.2g}"
            explained = f", of which {len(self.eigenvalues)} known eigenvectors give {sums}"
        return f"curvature {self.curvature}{explained} ({self.status}, {self.products} products, {self.method})"

    @property
    def value(self) -> float:
        """dᵀAd/dᵀd."""
        return self.curvature.value

    @property
    def terms(self) -> Float[np.ndarray, "count"]:
        """λᵢ cos²∠(vᵢ, d), in the order of the eigenvalues."""
        product: np.ndarray = self.eigenvalues * self.squared_cosines
        return product

    @property
    def remainder(self) -> float:
        """What the known terms leave: zero to rounding if all eigenvectors are known."""
        return self.value - float(self.terms.sum())


@dataclass(frozen=True, eq=False)
class StepPrediction:
    """A step −εg, predicted and taken.

    Attributes:
        step: Step size ε.
        value: J before the step.
        first_order: J − ε gᵀg.
        second_order: J − ε gᵀg + ½ε² gᵀHg; the error is that of gᵀHg.
        real: J(θ − εg), evaluated.
        worst_case: (ε − ½ε²λmax) gᵀg: the improvement if g were aligned with λmax; the error is that of λmax.
        rounding: Rounding error of a difference of two values of J, a rule of thumb.
    """

    step: float
    value: float
    first_order: float
    second_order: Estimate
    real: float
    worst_case: Estimate
    rounding: float

    def __str__(self) -> str:
        """What was predicted and what happened, in one line."""
        return (
            f"step {self.step:.4g}: J {self.value:.6g} → {self.real:.6g}; predicted {self.first_order:.6g} to first "
            f"order, {self.second_order.value:.6g} ± {self.second_order.error:.2g} to second; in the worst case a gain "
            f"of {self.worst_case}"
        )

    @property
    def improvement(self) -> float:
        """J before minus J after, as it really is; positive is downhill."""
        return self.value - self.real

    @property
    def is_uphill(self) -> bool:
        """Whether the step really goes uphill, by more than rounding; a value that is not finite does."""
        return not self.improvement >= -self.rounding


@dataclass(frozen=True, eq=False)
class StepForecast:
    """How much a gradient step improves.

    Attributes:
        value: J(θ).
        squared_norm: gᵀg.
        curvature: gᵀHg; the error is a bound of its rounding.
        largest_eigenvalue: λmax of H; an eigenvalue of H lies within the error.
        optimal_step: ε* = gᵀg/gᵀHg; infinite where gᵀHg is not positive beyond its error.
        given: The step that was asked for; None if none was.
        optimal: The step ε*; None where it is infinite.
        status: How the search for λmax ended; NONFINITE if J, g or Hg is not finite.
        products: How many products H v it took.
        method: How the products were made.
    """

    value: float
    squared_norm: float
    curvature: Estimate
    largest_eigenvalue: Estimate
    optimal_step: float
    given: StepPrediction | None
    optimal: StepPrediction | None
    status: Status
    products: int
    method: str

    def __str__(self) -> str:
        """The numbers of the model, then a line for each step."""
        model = (
            f"J {self.value:.6g}, gᵀg {self.squared_norm:.4g}, gᵀHg {self.curvature}, λmax {self.largest_eigenvalue}"
        )
        lines = [f"{model} ({self.status}, {self.products} products, {self.method})"]
        lines += [f"given {self.given}"] if self.given else []
        return "\n".join(
            [*lines, f"optimal {self.optimal}" if self.optimal else "no optimal step: gᵀHg is not positive"]
        )

    @property
    def has_positive_curvature(self) -> bool:
        """Whether gᵀHg > 0 beyond its error; if not, the model of second order says that all step sizes improve."""
        return self.curvature.is_above(0.0, errors=1.0)


@dataclass(frozen=True, eq=False)
class CriticalPoint:
    """What a point is, and on what evidence.

    Attributes:
        kind: "minimum", "maximum", "saddle", "degenerate" or "not critical".
        point: θ.
        value: J(θ).
        gradient_norm: ‖g‖.
        distance: Length of the Newton step in the metric |H|/‖H‖: how far off the critical point is.
        tolerance: The distance up to which the point is called critical.
        criterion: Where the tolerance comes from; and why a point within it is not critical, if it is not.
        flatness: ‖Hg‖/(‖H‖‖g‖); near 0 where ‖g‖ is stationary though g is not zero; NaN where g is zero.
        eigenvalues: The eigenvalues of H that are known, ascending.
        errors: An eigenvalue of H lies within this distance of each; a sign is claimed beyond it only.
        is_complete: Whether all eigenvalues are known; if not, the counts are lower bounds.
        status: CONVERGED if what was asked was answered: by ``classify`` what the point is, also where that is "not
            critical"; by ``find_critical_point`` a point that is. BUDGET if the ends of the spectrum are not found to
            their tolerance, or a search ran out of iterations; BREAKDOWN if a search came to rest where J is not
            critical; NONFINITE.
        products: How many products H v it took.
        method: How the products were made.
        gradient_norms: ‖g‖ after each trial of the search that led here, the start first; it repeats where a step was
            not taken; empty without a search.
    """

    kind: Kind
    point: Float[np.ndarray, "params"]
    value: float
    gradient_norm: float
    distance: float
    tolerance: float
    criterion: str
    flatness: float
    eigenvalues: Float[np.ndarray, "count"]
    errors: Float[np.ndarray, "count"]
    is_complete: bool
    status: Status
    products: int
    method: str
    gradient_norms: Float[np.ndarray, "iterates"] = field(default_factory=lambda: np.zeros(0))

    def __str__(self) -> str:
        """The kind, then why, then the spectrum."""
        ends = f"{self.smallest} to {self.largest}"
        signs = f"{self.index} negative, {self.num_zero} zero within their errors, {self.num_positive} positive"
        which = "all" if self.is_complete else "of the known"
        known = f"{which} {len(self.eigenvalues)} eigenvalues, {ends}: {signs}"
        is_broken = self.status is Status.NONFINITE
        kind = f"{self.kind}, as nothing is known: J, g or H is not finite" if is_broken else self.kind
        return (
            f"{kind} ({self.status}, {self.products} products, {self.method})\n"
            f"J {self.value:.6g}, ‖g‖ {self.gradient_norm:.3g}, Newton step {self.distance:.2g}, critical up to "
            f"{self.tolerance:.2g} ({self.criterion})\n"
            f"{known if len(self.eigenvalues) else 'no eigenvalue is known'}"
        )

    @property
    def inertia(self) -> Inertia:
        """How many of the known eigenvalues are negative, zero and positive, as far as their errors tell."""
        return inertia_of(self.eigenvalues, self.errors)

    @property
    def index(self) -> int:
        """Number of eigenvalues that are negative beyond their error."""
        return self.inertia.negative

    @property
    def num_positive(self) -> int:
        """Number of eigenvalues that are positive beyond their error."""
        return self.inertia.positive

    @property
    def num_zero(self) -> int:
        """Number of known eigenvalues that are zero within their error."""
        return self.inertia.zero

    @property
    def smallest(self) -> Estimate:
        """λmin with its error."""
        return self._eigenvalue(0)

    @property
    def largest(self) -> Estimate:
        """λmax with its error."""
        return self._eigenvalue(-1)

    @property
    def iterations(self) -> int:
        """Iterations of the search that led here."""
        return max(0, len(self.gradient_norms) - 1)

    def _eigenvalue(self, place: int) -> Estimate:
        known = len(self.eigenvalues) > 0
        return Estimate(float(self.eigenvalues[place]), float(self.errors[place])) if known else MISSING


@dataclass(frozen=True, eq=False)
class NewtonPath:
    """Where Newton's method went.

    Attributes:
        points: Iterates, one a row, the start first.
        values: J at each.
        gradient_norms: ‖g‖ at each.
        indices: Number of negative eigenvalues at each; a lower bound where H is not written down; −1 where it is not
            finite.
        damping: δ of the steps −(H + δ)⁻¹g.
        end: What the last point is.
        status: CONVERGED if the last point is critical; BUDGET if it is not; BREAKDOWN if H + δ was singular along the
            gradient; NONFINITE.
        products: How many products H v it took, those of the last classification counted.
        method: How the products were made.
    """

    points: Float[np.ndarray, "iterates params"]
    values: Float[np.ndarray, "iterates"]
    gradient_norms: Float[np.ndarray, "iterates"]
    indices: Int[np.ndarray, "iterates"]
    damping: float
    end: CriticalPoint
    status: Status
    products: int
    method: str

    def __len__(self) -> int:
        """How many points it has, the start included."""
        return len(self.points)

    def __str__(self) -> str:
        """Where it began and ended, then what the last point is."""
        return (
            f"{len(self) - 1} Newton steps, damping {self.damping:.4g} ({self.status}, {self.products} products): "
            f"J {self.values[0]:.6g} → {self.values[-1]:.6g}, ‖g‖ {self.gradient_norms[0]:.3g} → "
            f"{self.gradient_norms[-1]:.3g}, index {self.indices[0]} → {self.indices[-1]}\n{self.end}"
        )
