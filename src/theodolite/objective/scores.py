"""What does the model itself expect of its labels: which likelihood is the loss, and scores drawn from it.

The likelihood is not told by the name of a loss but by its second derivative, which is checked: −log p of a categorical
variable has w(diag p − ppᵀ) over the classes, that of independent variables a diagonal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from theodolite.errors import ObjectiveError
from theodolite.objective.batchwise import Parts
from theodolite.objective.outer import LossHessian, Pair, each, require_separate
from theodolite.objective.split import Split

_ROUNDING = 1000
"""A second derivative has the form of a likelihood up to so many roundings."""


_NOTHING = 100
"""A second derivative below so many roundings is none: of predictions that are sure, no form can be told any more."""

_NATURAL = ("categorical", "bernoulli", "gaussian")
"""Likelihoods of which ∇²ℓ by the outputs is the Fisher information, whatever the labels."""


@dataclass(frozen=True, eq=False)
class Likelihood:
    """The second derivative of the loss by one output, in the form of a likelihood.

    Attributes:
        name: "categorical", "bernoulli", "gaussian", or "independent" for any other diagonal.
        dim: Where the classes are, for a categorical one.
        output: z.
        weights: Weight of each row (categorical), or the diagonal.
    """

    name: str
    dim: int
    output: Tensor
    weights: Tensor

    def draw(self, generator: torch.Generator) -> Tensor:
        """Scores s with E[s] = 0 and E[ssᵀ] = ∇²ℓ, row by row."""
        if self.name != "categorical":
            noise = torch.randn(self.output.shape, generator=generator, dtype=torch.float64)
            return self.weights.clamp_min(0).sqrt() * noise.to(self.weights)
        p = torch.softmax(self.output.double(), self.dim).movedim(self.dim, -1)
        rows = p.reshape(-1, p.shape[-1])
        labels = torch.multinomial(rows.cpu(), 1, generator=generator).to(rows.device)
        scores = (torch.zeros_like(rows).scatter_(1, labels, 1.0) - rows).reshape(p.shape).movedim(-1, self.dim)
        return self.weights.clamp_min(0).sqrt() * scores


def likelihood_of(output: Tensor, hessian: LossHessian, place: int) -> Likelihood | None:
    """The likelihood whose second derivative the loss has, by one output.

    Args:
        output: z.
        hessian: ∇²ℓ.
        place: Which output it is.

    Returns:
        The likelihood; None if the second derivative has no such form.
    """
    gradient = hessian.gradient[place]
    if gradient is None or not gradient.requires_grad:
        return None  # a loss that is linear in z

    draw = torch.Generator().manual_seed(0)
    directions = [torch.randn(output.shape, generator=draw, dtype=torch.float64).to(output.device) for _ in range(2)]
    images = [_image(hessian, place, direction) for direction in directions]
    pairs = list(zip(directions, images, strict=True))
    epsilon = torch.finfo(output.dtype).eps
    close = _ROUNDING * epsilon
    diagonal = _image(hessian, place, torch.ones_like(directions[0]))
    if not bool(images[0].any() or diagonal.any()):
        # Of sure predictions nothing is left but gradients that sum to zero over the classes; other losses are linear.
        return Likelihood("gaussian", -1, output, diagonal) if _sums_to_zero(gradient, close) else None
    if all(_is_close(diagonal * direction, image, close) for direction, image in pairs):
        return Likelihood(_independent(output, diagonal, close), -1, output, diagonal)
    found = _categorical(output, pairs, close)
    if found is None and images[0].norm() <= _NOTHING * epsilon * directions[0].norm():
        return Likelihood("gaussian", -1, output, diagonal)
    return found


def _image(hessian: LossHessian, place: int, direction: Tensor) -> Tensor:
    """∇²ℓ by one output, along a direction, in float64."""
    weights: list[Tensor | None] = [None] * len(hessian.inputs)
    weights[place] = direction.to(hessian.inputs[place])
    found, _ = hessian.apply(weights[: hessian.outputs], weights[hessian.outputs :], is_block=False)
    image = found[place]
    return torch.zeros_like(direction) if image is None else image.double()


def _categorical(output: Tensor, pairs: Sequence[tuple[Tensor, Tensor]], close: float) -> Likelihood | None:
    """The likelihood with w(diag p − ppᵀ) over the classes, which cross entropy wants last or second."""
    for dim in (-1, 1):
        if -output.ndim <= dim < output.ndim and output.shape[dim] > 1:
            p = torch.softmax(output.double(), dim)
            shapes = [p * (x - (p * x).sum(dim, keepdim=True)) for x, _ in pairs]
            square = (shapes[0] ** 2).sum(dim, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
            weights = (shapes[0] * pairs[0][1]).sum(dim, keepdim=True) / square
            if all(_is_close(weights * shape, image, close) for shape, (_, image) in zip(shapes, pairs, strict=True)):
                return Likelihood("categorical", dim, output, weights)
    return None


def _sums_to_zero(gradient: Tensor, close: float) -> bool:
    """Whether a gradient sums to zero over the classes, wherever these are."""
    dims = {dim for dim in (-1, 1) if -gradient.ndim <= dim < gradient.ndim}
    bound = close * float(gradient.detach().abs().max())
    return any(float(gradient.detach().sum(dim).abs().max()) <= bound for dim in dims)


def _independent(output: Tensor, diagonal: Tensor, close: float) -> str:
    """Which likelihood of independent variables a diagonal belongs to."""
    if _is_close(diagonal, diagonal.flatten()[:1].expand_as(diagonal), close):
        return "gaussian"
    p = torch.sigmoid(output.double())
    variance = p * (1 - p)
    weight = (diagonal * variance).sum() / (variance**2).sum()
    return "bernoulli" if _is_close(diagonal, weight * variance, close) else "independent"


def _is_close(found: Tensor, expected: Tensor, close: float) -> bool:
    return bool((found - expected).norm() <= close * expected.norm())


@dataclass(frozen=True, eq=False)
class SampledScores:
    """S = Σ ssᵀ / M, row by row, over M scores drawn from the model's own predictions; its mean is ∇²ℓ.

    Attributes:
        scores: M scores for each output, stacked first; None where the loss does not depend on one.
        dims: Where the components of a row are; None if each entry is a row by itself.
        hessian: ∇²ℓ, for what the loss reaches past the outputs; None leaves that out.
    """

    scores: Parts
    dims: tuple[int | None, ...]
    hessian: LossHessian | None

    @classmethod
    def of(
        cls, count: int, split: Split, params: Sequence[Tensor], *, samples: int, seed: int, is_fisher: bool = False
    ) -> Self:
        """Draw scores for a batch, the same each time: the seed is mixed with the pinned randomness of the batch.

        Args:
            count: Number of examples.
            split: The loss of the batch.
            params: The parameters.
            samples: M.
            seed: Seed.
            is_fisher: Whether the loss must be a likelihood of which ∇²ℓ is the Fisher information, and what it
                reaches past the outputs is left out.

        Returns:
            The map.

        Raises:
            ObjectiveError: If the loss is no likelihood that scores can be drawn from.
        """
        hessian = LossHessian.of(count, split, params)
        require_separate(hessian)
        if sum(gradient is not None for gradient in hessian.gradient[: hessian.outputs]) > 1:
            raise ObjectiveError(
                "scores are drawn for one output at a time, but the loss uses several, which may belong together. Put "
                "them out as one tensor, or use ggn(objective) without samples."
            )
        generator = torch.Generator().manual_seed((seed + int(torch.randint(2**31, ()))) % 2**32)
        scores: list[Tensor | None] = []
        dims: list[int | None] = []
        for place, leaf in enumerate(split.leaves):
            if hessian.gradient[place] is None:
                scores.append(None)
                dims.append(None)
                continue
            likelihood = require_likelihood(leaf, hessian, place, names=_NATURAL if is_fisher else ())
            scores.append(torch.stack([likelihood.draw(generator) for _ in range(samples)]).to(leaf))
            # Samples stand in front, which moves places counted from there. One number an example is a row by itself.
            is_row = leaf.ndim > 1 or likelihood.name == "categorical"
            dims.append(likelihood.dim + (likelihood.dim >= 0) if is_row else None)
        return cls(scores, tuple(dims), None if is_fisher else hessian)

    def apply(self, w: Parts, v: Parts, *, is_block: bool) -> Pair:
        """S on a pair or a block."""
        image, direct = each(self._apply, w, v) if is_block else self._apply(w, v)
        if self.hessian is not None:
            _, direct = self.hessian.apply([None] * len(self.scores), v, is_block=is_block)
        return image, direct

    def _apply(self, w: Parts, v: Parts) -> Pair:
        """Each score, times its product with a change of the outputs, row by row."""
        image = [
            None if s is None or x is None else (_rows(s * x, dim) * s).mean(0)
            for s, x, dim in zip(self.scores, w, self.dims, strict=True)
        ]
        return image, [None] * len(v)


def _rows(products: Tensor, dim: int | None) -> Tensor:
    """Sums over the components of each row."""
    return products if dim is None else products.sum(dim, keepdim=True)


@dataclass(frozen=True, eq=False)
class PredictiveScores:
    """S = E[ssᵀ] over labels drawn from the model's own predictions, in closed form: ∇²ℓ by the outputs alone.

    Attributes:
        hessian: ∇²ℓ.
    """

    hessian: LossHessian

    @classmethod
    def of(cls, count: int, split: Split, params: Sequence[Tensor]) -> Self:
        """The map of a batch.

        Args:
            count: Number of examples.
            split: The loss of the batch.
            params: The parameters.

        Returns:
            The map.

        Raises:
            ObjectiveError: If the loss is no likelihood of which the second derivative is the Fisher information.
        """
        hessian = LossHessian.of(count, split, params)
        require_separate(hessian)
        for place, leaf in enumerate(split.leaves):
            if hessian.gradient[place] is not None:
                require_likelihood(leaf, hessian, place, names=_NATURAL)
        return cls(hessian)

    def apply(self, w: Parts, v: Parts, *, is_block: bool) -> Pair:
        """S on a pair or a block."""
        nothing: Parts = [None] * len(v)
        image, _ = self.hessian.apply(w, nothing, is_block=is_block)
        return image, nothing


def require_likelihood(output: Tensor, hessian: LossHessian, place: int, *, names: Sequence[str] = ()) -> Likelihood:
    """The likelihood of one output, or an error.

    Args:
        output: z.
        hessian: ∇²ℓ.
        place: Which output it is.
        names: Likelihoods that will do; empty takes any.

    Returns:
        The likelihood.

    Raises:
        ObjectiveError: If the loss is none of these.
    """
    found = likelihood_of(output, hessian, place)
    if found is None or (names and found.name not in names):
        wanted = ", ".join(names) or "categorical, or of independent variables"
        raise ObjectiveError(
            f"the loss must be the negative log likelihood of labels that are {wanted}, and its second derivative by "
            f"the output of shape {tuple(output.shape)} is that of {'none' if found is None else found.name}. "
            "Use ggn(objective) without samples, or empirical_fisher(objective)."
        )
    return found
