"""Does the loop zero its gradients? Told from one parameter, in the first steps."""

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from theodolite.objective import Params

_LOG = logging.getLogger(__name__)

_CHECKS, _MOST_STEPS = 8, 20
"""Steps made from one backward pass each that are looked at, and steps after which nothing is looked at any more."""

_FEWEST_ENTRIES = 8
"""A gradient of fewer numbers is like another one by chance."""

_UNLIKE = 1e-2
"""A gradient that was kept changes the next one by more than a hundredth, or it does not matter."""

KEPT = (
    "gradients are not zeroed: each step is made from the sum of all gradients so far. Call optimizer.zero_grad() "
    "before every backward pass. Branches do zero them"
)


class Zeroing:
    """Compares the gradients that an optimizer is given with those that the backward passes brought.

    Where the given one is the last given one plus the new one, perhaps clipped, and not the new one, the loop has not
    zeroed it. Steps made from several backward passes are not judged. After a few steps nothing is looked at any more.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        params: Params,
        *,
        kept: Callable[[], None],
        charge: Callable[[float], None],
    ) -> None:
        """Hook the smallest parameter that is not tiny, and the optimizer.

        Args:
            optimizer: The optimizer of the run.
            params: What it steps.
            kept: Called once, if gradients are not zeroed.
            charge: Told the seconds that looking took.
        """
        large = [tensor for tensor in params.tensors if tensor.numel() >= _FEWEST_ENTRIES]
        self._tensor = min(large or params.tensors, key=lambda tensor: tensor.numel())
        self._kept, self._charge = kept, charge
        self._last: Tensor | None = None
        self._new: Tensor | None = None
        self._passes = self._steps = 0
        self._found: list[Tensor] = []
        self._is_over = False
        self._arrival = self._tensor.register_hook(_Arrived(self))
        self._hooks = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        ]

    def stop(self) -> None:
        """Take all hooks off."""
        self._rest()
        for hook in self._hooks:
            hook.remove()

    def _rest(self) -> None:
        """Look no more. Hooks of the optimizer stay: none may be removed while it goes through them, as it does now."""
        self._is_over = True
        self._arrival.remove()
        self._last = self._new = None

    def arrive(self, gradient: Tensor) -> None:
        """A backward pass has brought a gradient."""
        self._look(partial(self._note, gradient))

    def _before_step(self, *_: Any) -> None:
        self._look(self._compare)

    def _after_step(self, *_: Any) -> None:
        self._look(self._remember)

    def _look(self, look: Callable[[], None]) -> None:
        """Look, and tell how long it took; nothing of it may end the training."""
        if self._is_over:
            return
        started = time.perf_counter()
        try:
            look()
        except Exception as error:  # noqa: BLE001 - whatever a tensor of the user's raises
            self._rest()
            _LOG.warning("whether gradients are zeroed could not be told: %s", error)
        self._charge(time.perf_counter() - started)

    def _note(self, gradient: Tensor) -> None:
        self._passes += 1
        self._new = gradient.detach().clone()

    def _compare(self) -> None:
        given, is_plain = self._tensor.grad, self._passes == 1
        if is_plain and self._last is not None and self._new is not None and given is not None and not given.is_sparse:
            self._found.append(_is_kept(given.detach(), self._new, self._last))

    def _remember(self) -> None:
        given = self._tensor.grad
        self._last = None if given is None or given.is_sparse else given.detach().clone()
        self._passes, self._steps = 0, self._steps + 1
        if len(self._found) >= _CHECKS or self._steps >= _MOST_STEPS:
            self._rest()
            if len(self._found) >= _CHECKS and float(torch.stack(self._found).double().mean()) > 0.5:
                self._kept()


class _Arrived:
    """The hook on the parameter; a model that is saved meanwhile is saved without it, and without a warning."""

    __torch_unserializable__ = True

    def __init__(self, zeroing: Zeroing) -> None:
        """Tell whom?"""
        self._zeroing = zeroing

    def __call__(self, gradient: Tensor) -> None:
        """A gradient has arrived; it is left as it is."""
        self._zeroing.arrive(gradient)


def _is_kept(
    given: Float[Tensor, "*shape"], new: Float[Tensor, "*shape"], last: Float[Tensor, "*shape"]
) -> Float[Tensor, ""]:
    """1 where what was given is the sum of last and new, to rounding and a factor of at most 1, and not the new one."""
    rounding = 16 * torch.finfo(given.dtype).eps
    given, new, last = (part.flatten().double() for part in (given, new, last))
    total, size = new + last, torch.linalg.vector_norm(given)
    factor = (size / torch.linalg.vector_norm(total)).clamp(max=1.0)
    is_sum = torch.linalg.vector_norm(given - factor * total) <= rounding * size
    shorter = (size / torch.linalg.vector_norm(new)).clamp(max=1.0)
    is_new = torch.linalg.vector_norm(given - shorter * new) <= _UNLIKE * size
    found: Tensor = is_sum & ~is_new & (size > 0)
    return found.double()
