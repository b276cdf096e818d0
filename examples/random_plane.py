"""Does a plane of random directions show where a training went?

What to see. Left: on a plane of two random directions through the end, as wide as the path is seen on it, J hardly
changes: nearly all of the way lies off the plane. Right: the plane of the first two principal components shows the
fall. Points are drawn smaller the farther they lie off the plane; how far J there differs from the surface below is
told.

    python examples/random_plane.py [picture.png]

Source: the control of Goodfellow, Vinyals & Saxe 2015; Li et al. 2018, section 7.1. Takes half a minute.
"""

import sys

import numpy as np
import torch
from trajectory_3d import trained

from theodolite import pca_plane, plane, save_figure, track
from theodolite.plots import figure_multiples, marks_plane


def main(picture: str = "random_plane.png", steps: int = 600, size: int = 25) -> dict[str, float]:
    """Draw both planes; return the range of the loss on each, and what the second leaves out."""
    objective, path = trained(steps)
    end = path.point(-1)
    fall = objective.value(path.point(0)) - objective.value(end)

    source = torch.Generator().manual_seed(1)
    pair = torch.linalg.qr(torch.randn(end.numel(), 2, generator=source))[0].T
    seen = track(path, end, *pair)
    extent = float(max(np.abs(seen.x).max(), np.abs(seen.y).max()))
    blank = plane(objective, end, *pair, points=(size, size), extent=extent, tracks=(seen,))
    found = pca_plane(path, objective=objective)
    wide = 1.1 * float((path.point(0) - end).norm())
    shown = plane(objective, *found.frame, points=(size, size), extent=wide, tracks=(found.track,))
    panels = {"Two random directions": blank, "Two principal components": shown}
    save_figure(figure_multiples({name: marks_plane(one, scale="linear") for name, one in panels.items()}), picture)

    gaps = np.abs(found.components.losses - found.feet)
    numbers = {
        "share of the way that the random plane sees": extent / float((path.point(0) - end).norm()),
        "range on the random plane / fall of the training": float(np.ptp(blank.losses) / fall),
        "range on the principal plane / fall of the training": float(np.ptp(shown.losses) / fall),
        "variance that the principal plane holds": float(found.components.shares[:2].sum()),
        "greatest gap between path and surface / fall": float(gaps.max() / fall),
    }
    for what, value in numbers.items():
        print(f"{what}: {value:.3g}")
    return numbers


if __name__ == "__main__":
    main(*sys.argv[1:2])
