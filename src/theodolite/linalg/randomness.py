"""Where do random numbers come from, so that they can be repeated and leave the global state alone?"""

import torch


def source(generator: torch.Generator | None) -> torch.Generator:
    """The generator given, or one with a fresh seed; the global one is left alone.

    Args:
        generator: Source of randomness, or None.

    Returns:
        A generator.
    """
    if generator is not None:
        return generator
    fresh = torch.Generator()
    fresh.seed()
    return fresh
