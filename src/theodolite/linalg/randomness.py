"""Where do random numbers come from, so that they can be repeated and leave the global state alone?"""

import torch

from theodolite.errors import SettingError
from theodolite.linalg.settings import described


def source(generator: object) -> torch.Generator:
    """The generator given, or one with a fresh seed; the global one is left alone.

    Args:
        generator: Source of randomness, a ``torch.Generator``, or None.

    Returns:
        A generator.

    Raises:
        SettingError: If it is something else, such as a seed.
    """
    if isinstance(generator, torch.Generator):
        return generator
    if generator is not None:
        seed = generator if isinstance(generator, int) else 0
        raise SettingError(
            f"generator must be a torch.Generator or None, got {described(generator)}. Use "
            f"torch.Generator().manual_seed({seed})."
        )
    fresh = torch.Generator()
    fresh.seed()
    return fresh
