"""Where does a trajectory fall on any plane, and by how much is J at its points another than what is drawn there?"""

from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from theodolite.errors import ShapeError
from theodolite.landscape.planes import project
from theodolite.landscape.trajectories import Trajectory
from theodolite.objective import Objective
from theodolite.records.planes import Track


def track(
    trajectory: Trajectory,
    origin: Float[Tensor, "params"],
    x: Float[Tensor, "params"],
    y: Float[Tensor, "params"],
    *,
    objective: Objective | None = None,
    name: str = "path",
) -> Track:
    """The feet of a trajectory on the plane origin + a·x + b·y: ``plane(objective, *frame, tracks=(found,))``.

    Args:
        trajectory: The points.
        origin: The point at (0, 0), shape (n,).
        x: First direction, shape (n,).
        y: Second direction, not parallel to x.
        objective: Measures J at the points themselves; None leaves it out.
        name: What to call them in the picture.

    Returns:
        For each point its foot in multiples of x and y, its distance from the plane, and J.

    Raises:
        ShapeError: If a vector has another shape than the points, or the objective is one of another θ.

    Cost: reads each point once, and once more with an objective, which needs a forward pass over its data a point.

    Example:
        >>> import torch
        >>> way = Trajectory.from_points([torch.tensor([1.0, 2.0, 2.0]), torch.zeros(3)])
        >>> found = track(way, torch.zeros(3), torch.tensor([2.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0]))
        >>> found.x, found.y, found.outside
        (array([0.5, 0. ]), array([2., 0.]), array([2., 0.]))
    """
    trajectory.check(objective)
    for what, vector in (("origin", origin), ("x", x), ("y", y)):
        if vector.shape != (trajectory.dimension,):
            raise ShapeError(
                f"{what} must have shape ({trajectory.dimension},), as the points of the trajectory have, got "
                f"{tuple(vector.shape)}. Take a plane of the same parameters."
            )
    found = replace(project(origin, x, y, trajectory.points(), name=name), steps=trajectory.steps)
    if objective is None:
        return found
    return replace(found, losses=objective.values(trajectory.points()).numpy())
