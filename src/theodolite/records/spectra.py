"""What is known of a whole spectrum: its density, its moments, its trace, its diagonal, each with its error."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from theodolite.records.estimates import MISSING, Estimate
from theodolite.records.obstacles import Status
from theodolite.records.results import ending

_GRID = 512
"""Points of the default grid: five a kernel width of 1 % of the range, so that straight lines between them do."""

_TAILS = 5
"""Kernel widths that the default grid reaches beyond the ends; 6e-7 of an end's mass lies further out."""

_FILLING = 0.4
"""Share of its residual that a node is blurred by. Of evenly spread spectra it takes the L1 error of 20 products from
0.7 to 0.1 or 0.2, and adds nothing to that of spectra heaped at one place (measured)."""


@dataclass(frozen=True, eq=False)
class TraceEstimate:
    """The trace of an operator.

    Attributes:
        value: The trace; NaN if a product was not finite.
        error: Standard error: value ± 1.96·error holds the trace in about 95 of 100 measurements. 0 if exact.
        count: How many probe vectors stand behind it; the size of the operator if exact.
        products: How many products A v it took, a pilot included.
        status: CONVERGED if the products asked for were made, or error ≤ rtol·|value| where an rtol was given; BUDGET
            if that was not reached; NONFINITE if a product was not finite.
        method: "xtrace", "hutch++", "hutchinson", or "exact" where the budget bought every column.
    """

    value: float
    error: float
    count: int
    products: int
    status: Status
    method: str

    @property
    def estimate(self) -> Estimate:
        """Value, error and count alone."""
        return Estimate(self.value, self.error, self.count)

    def __str__(self) -> str:
        """Value ± error."""
        return str(self.estimate)


@dataclass(frozen=True, eq=False)
class NormEstimate:
    """The Frobenius norm of an operator.

    Attributes:
        value: The norm; NaN if a product was not finite.
        error: Standard error: value ± 1.96·error holds the norm in about 95 of 100 measurements. 0 if exact.
        count: How many probe vectors stand behind it; the size of the operator if exact.
        products: How many products A v it took.
        status: CONVERGED if the products asked for were made, NONFINITE if one was not finite.
        method: "xtrace" for its sketch, or "exact" where the budget bought every column.
    """

    value: float
    error: float
    count: int
    products: int
    status: Status
    method: str

    @property
    def estimate(self) -> Estimate:
        """Value, error and count alone."""
        return Estimate(self.value, self.error, self.count)

    def __str__(self) -> str:
        """Value ± error."""
        return str(self.estimate)


@dataclass(frozen=True, eq=False, repr=False)
class DiagonalEstimate:
    """The diagonal of an operator.

    Attributes:
        values: A_ii; NaN if a product was not finite.
        errors: Standard error of each, scaled by Student's factor: ± 1.96·error holds about 95 % of the entries. 0 if
            exact, NaN from a single probe.
        products: How many products A v it took.
        status: CONVERGED if the products asked for were made, NONFINITE if one was not finite.
    """

    values: Float[np.ndarray, "params"]
    errors: Float[np.ndarray, "params"]
    products: int
    status: Status

    def __repr__(self) -> str:
        """Range of the entries, and the greatest error."""
        error = float(self.errors.max())
        how = "exact" if error == 0 else "errors unknown" if math.isnan(error) else f"errors up to {error:.2g}"
        return (
            f"DiagonalEstimate(n = {len(self.values)} from {self.values.min():.4g} to {self.values.max():.4g}, {how}; "
            f"{ending(self.status, self.products)})"
        )


@dataclass(frozen=True, eq=False, repr=False)
class SpectralDensity:
    """How the eigenvalues of a symmetric operator A on ℝⁿ are spread, from Gauss quadratures of random directions.

    Of each probe v, a direction uniform on the sphere, nodes θ and weights w stand for its spectral measure:
    v·f(A)v = Σ w f(θ) for polynomials f of degree up to twice the nodes, less one. The mean over directions is
    tr f(A)/n.

    Attributes:
        dimension: n.
        nodes: θ, ascending, one row a probe. A space that is exhausted early is padded with copies of weight 0.
        weights: w ≥ 0; each row sums to 1.
        residuals: ‖Ay − θy‖ of the Ritz vector y behind each node: an eigenvalue lies within this distance.
        rounding: What is zero to rounding: products are not able to tell an eigenvalue of this modulus from 0.
        is_exact: Whether the nodes are all eigenvalues, of weight 1/n; errors are then 0.
        status: CONVERGED if every product asked for was made, or the spaces were exhausted; NONFINITE, and no probes,
            if one was not finite.
        products: How many products A v it took.
        method: How the products were made.
    """

    dimension: int
    nodes: Float[np.ndarray, "probes nodes"]
    weights: Float[np.ndarray, "probes nodes"]
    residuals: Float[np.ndarray, "probes nodes"]
    rounding: float
    is_exact: bool
    status: Status
    products: int
    method: str = "double backward"

    def __repr__(self) -> str:
        """Both ends, and how many probes and nodes tell of them."""
        probes = f"{self.probes} probe{'' if self.probes == 1 else 's'} of {self.nodes.shape[1]} nodes"
        count = "exact" if self.is_exact else probes if self.probes else "no probes"
        return (
            f"SpectralDensity(n = {self.dimension} from {self.smallest} to {self.largest}, {count}; "
            f"{ending(self.status, self.products)})"
        )

    @property
    def probes(self) -> int:
        """How many independent directions; 1 for an exact density."""
        return len(self.nodes)

    @property
    def width(self) -> float:
        """Default width σ of the kernel: 1 % of the range; of the value itself where all are the same; 1 for zero."""
        if not self.probes:
            return math.nan
        lowest, highest = float(self.nodes.min()), float(self.nodes.max())
        size = max(abs(lowest), abs(highest))
        extent = highest - lowest if highest - lowest > self.rounding else size
        return 0.01 * extent if extent > 0 else 1.0

    @property
    def grid(self) -> Float[np.ndarray, "points"]:
        """Points from end to end, with room for the kernel's tails."""
        if not self.probes:
            return np.zeros(0)
        reach = _TAILS * self.width
        return np.linspace(self.nodes.min() - reach, self.nodes.max() + reach, _GRID)

    @property
    def values(self) -> Float[np.ndarray, "points"]:
        """Density on the grid, of integral 1."""
        return self.density(self.grid)[0]

    @property
    def errors(self) -> Float[np.ndarray, "points"]:
        """Standard error of the values."""
        return self.density(self.grid)[1]

    def density(
        self, at: Float[np.ndarray, "points"], width: float | None = None
    ) -> tuple[Float[np.ndarray, "points"], Float[np.ndarray, "points"]]:
        """The density smoothed by a Gaussian kernel, (1/n) Σ N(t; λ, σ²), and its standard error.

        Where nodes stand for many eigenvalues that they do not resolve, they are drawn wider, to fill the gaps: by a
        share of the residual, times the least weight of the neighbours over their own. Where they are eigenvalues,
        or tower over their neighbours, that does nothing. What twice as much would change is counted into the error.

        Args:
            at: Points t.
            width: σ > 0, in the unit of A; None is the default width.

        Returns:
            Values and standard errors; the errors are 0 if exact.
        """
        sigma = self.width if width is None else width
        if not self.probes:
            return np.full(len(at), math.nan), np.full(len(at), math.nan)
        beside = np.pad(self.weights, ((0, 0), (1, 1)), mode="edge")
        least = np.minimum(np.minimum(beside[:, :-2], beside[:, 2:]), self.weights)
        evenness = np.divide(least, self.weights, out=np.zeros_like(least), where=self.weights > 0)
        filling = _FILLING * evenness * self.residuals
        values, errors = self._smoothed(at, np.hypot(sigma, filling))
        if not self.is_exact:
            twice, _ = self._smoothed(at, np.hypot(sigma, 2 * filling))
            errors = np.hypot(errors, twice - values)
        return values, errors

    def _smoothed(
        self, at: Float[np.ndarray, "points"], widths: Float[np.ndarray, "probes nodes"]
    ) -> tuple[Float[np.ndarray, "points"], Float[np.ndarray, "points"]]:
        """Mean over the probes of Σ w N(t; θ, width²), with its sampling error."""
        mean, spread = np.zeros(len(at)), np.zeros(len(at))
        for nodes, weights, sigma in zip(self.nodes, self.weights, widths, strict=True):
            kernel = np.exp(-0.5 * ((at[:, None] - nodes) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
            value = kernel @ weights
            mean += value / self.probes
            spread += ((kernel - value[:, None]) ** 2 @ weights) / self.probes
        return mean, self._error(spread)

    def moment(self, order: int) -> Estimate:
        """The moment tr(Aᵏ)/n with its standard error.

        Args:
            order: k ≥ 0. The value is exact to the probes up to twice the nodes less one, the error up to half of that.

        Returns:
            The moment.
        """
        found = self._mean(self.nodes**order)
        size = float(np.abs(self.nodes).max(initial=0.0))
        rounding = 0.0 if self.is_exact or order == 0 else order * self.rounding * size ** (order - 1)
        return Estimate(found.value, math.hypot(found.error, rounding), found.count)

    @property
    def trace(self) -> Estimate:
        """The trace tr A; ``trace`` of an operator gives it better for as many products."""
        return _scaled(self.moment(1), self.dimension)

    @property
    def frobenius_norm(self) -> Estimate:
        """The Frobenius norm ‖A‖ = √tr(A²), its error by the delta method."""
        return root(_scaled(self.moment(2), self.dimension))

    @property
    def effective_rank(self) -> Estimate:
        """Participation ratio (tr A)²/tr(A²): how many eigenvalues of one size would give the same; delta method.

        It is meant for spectra of one sign, where it lies between 1 and n. NaN for the zero operator.
        """
        first, second = self.moment(1).value, self.moment(2).value
        if not second > 0:
            return Estimate(math.nan, math.nan, self.probes)
        value = self.dimension * first**2 / second
        # The logarithm of the ratio moves by 2 dm₁/m₁ − dm₂/m₂; written so that m₁ = 0 is allowed.
        slope = self.dimension * first / second * (2 * self.nodes - first / second * self.nodes**2)
        curved = self.dimension * self.moment(1).error ** 2 / second
        return Estimate(value, math.hypot(self._mean(slope).error, curved), self.probes)

    @property
    def negative_fraction(self) -> Estimate:
        """Share of the eigenvalues below zero, that is below −``rounding``: zero to rounding does not count.

        A node that is less far from zero than its residual stands for eigenvalues on both sides. Its weight is divided
        as if they were spread evenly over θ ± residual, and the smaller part of it is added to the error: what is at
        stake if all of them were on one side. A spectrum heaped around zero has the error that it deserves.
        """
        offsets = self.nodes + self.rounding
        sure = np.where(offsets < 0, 1.0, 0.0)
        shares = 0.5 - np.divide(offsets, 2 * self.residuals, out=0.5 - sure, where=np.abs(offsets) < self.residuals)
        found, at_stake = self._mean(shares), self._mean(np.minimum(shares, 1 - shares))
        return Estimate(found.value, math.hypot(found.error, at_stake.value), found.count)

    @property
    def largest(self) -> Estimate:
        """The largest node; an eigenvalue lies within its error, which is a bound, and none is known to lie above."""
        return self._end(self.nodes.argmax()) if self.probes else MISSING

    @property
    def smallest(self) -> Estimate:
        """The smallest node, as ``largest``."""
        return self._end(self.nodes.argmin()) if self.probes else MISSING

    def _end(self, place: np.intp) -> Estimate:
        """The node at a flat index, with its residual."""
        return Estimate(float(self.nodes.flat[place]), float(self.residuals.flat[place]) + self.rounding, self.probes)

    def _mean(self, function: Float[np.ndarray, "probes nodes"]) -> Estimate:
        """The mean tr f(A)/n from the values of f at the nodes."""
        if not self.probes:
            return MISSING
        means = (self.weights * function).sum(axis=1, keepdims=True)
        spread = (self.weights * (function - means) ** 2).sum(axis=1).mean(keepdims=True)
        return Estimate(float(means.mean()), float(self._error(spread)[0]), self.probes)

    def _error(self, spread: Float[np.ndarray, "points"]) -> Float[np.ndarray, "points"]:
        """Standard error of a mean over the probes, from the variance of f under the quadratures."""
        # A quadratic form v·Bv varies over the unit sphere by 2/(n + 2) times the variance of B's eigenvalues, and
        # (2/n)(v·B²v − (v·Bv)²) is an estimate of that without bias: one probe is enough to tell its own error.
        errors: np.ndarray = np.sqrt(0.0 if self.is_exact else 2 / self.dimension) * np.sqrt(spread / self.probes)
        return errors


def _scaled(estimate: Estimate, factor: float) -> Estimate:
    """A multiple of an estimate."""
    return Estimate(factor * estimate.value, factor * estimate.error, estimate.count)


def root(square: Estimate) -> Estimate:
    """Square root of an estimate, its error by the delta method: error of the square / (2·root).

    Args:
        square: Estimate of a quantity that is not negative.

    Returns:
        The root; where the square is not positive, 0 with the root of its error.
    """
    if not square.value > 0:
        return Estimate(0.0 if square.value <= 0 else math.nan, math.sqrt(square.error), square.count)
    value = math.sqrt(square.value)
    return Estimate(value, square.error / (2 * value), square.count)


def student_factor(count: int) -> float:
    """What a standard error s/√n of few values is widened by, so that ± 1.96 of it covers 95 %: t(0.975, n − 1)/1.96.

    Args:
        count: n ≥ 1, how many values gave s; NaN for one.

    Returns:
        The factor, to 0.12 % (at n = 4; from n = 6 on to 0.02 %): 6.48 for two values, 1.15 for ten, 1.04 for thirty.

    Source: Abramowitz & Stegun 1964, 26.7.5 (expansion in 1/(n − 1)); closed forms for n = 2 and 3.
    """
    if count <= 3:
        return {2: 12.7062 / 1.96, 3: 4.3027 / 1.96}.get(count, math.nan)
    z, v = 1.959964, count - 1.0
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return (z + sum(term / v ** (power + 1) for power, term in enumerate(terms))) / 1.96
