"""How much of the batch gradient is noise?"""

import math

import numpy as np
import torch

from theodolite.objective import Objective
from theodolite.records import Estimate


def noise_scale(objective: Objective, at: object = None) -> Estimate:
    """Gradient noise scale tr C / ‖G‖², in examples: the batch size at which noise and gradient are equal.

    With K batch gradients of b examples, s² = Σ‖g−ḡ‖²/(K−1) estimates tr C / b, and ‖ḡ‖² − s²/K estimates ‖G‖²
    without bias. The ratio is infinite where the second is not positive: the sample then sees no gradient at all.

    Args:
        objective: A sample of at least two batches.
        at: Point θ, shape (n,); None is the present one.

    Returns:
        The scale, with its jackknife error over batches; NaN with fewer than two batches.

    Cost: one gradient of the sample; holds one gradient a batch.
    Source: McCandlish et al. 2018, appendix A.
    """
    counts, gradients = [], []
    for count, gradient in objective.batch_gradients(at):
        counts.append(count)
        gradients.append(gradient)
    if len(gradients) < 2:
        return Estimate(math.nan, math.nan, len(gradients))
    stack = torch.stack(gradients)
    gram = torch.matmul(stack, stack.T).double().cpu().numpy()
    batch = float(np.mean(counts))
    scale = _from_gram(gram, batch)
    if len(gradients) < 3 or not math.isfinite(scale):
        return Estimate(scale, math.nan, len(gradients))
    keep = ~np.eye(len(gradients), dtype=bool)
    leave_one_out = np.array([_from_gram(gram[np.ix_(rows, rows)], batch) for rows in keep])
    if not np.isfinite(leave_one_out).all():
        return Estimate(scale, math.nan, len(gradients))
    size = len(gradients)
    spread = float(np.sqrt((size - 1) / size * np.sum((leave_one_out - leave_one_out.mean()) ** 2)))
    return Estimate(scale, spread, size)


def _from_gram(gram: np.ndarray, batch: float) -> float:
    """Noise scale from the inner products of batch gradients."""
    size = len(gram)
    mean_square = float(gram.sum()) / size**2
    variance = max(0.0, (float(np.trace(gram)) - size * mean_square) / (size - 1))
    signal = mean_square - variance / size
    if signal > 0:
        return batch * variance / signal
    return math.inf if variance > 0 else math.nan
