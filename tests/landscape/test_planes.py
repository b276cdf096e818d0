"""Is the loss on a plane the loss at its points, and do projections fall where they should?"""

import numpy as np
import pytest
import torch

from theodolite.errors import SettingError, ShapeError
from theodolite.landscape.planes import beside, grid, plane, project
from theodolite.objective import Objective

CURVATURES = torch.tensor([2.0, 6.0, 1.0], dtype=torch.float64)
ORIGIN = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
BOWL = Objective.from_function(lambda theta: 0.5 * (CURVATURES * theta**2).sum(), ORIGIN)
X, Y = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([1.0, 2.0, 0.0])


def test_a_quadratic_with_skew_directions():
    found = plane(BOWL, ORIGIN, X, Y, points=(7, 5), extent=((-1.0, 2.0), (-0.5, 0.5)))
    a, b = np.meshgrid(found.x, found.y)
    expected = 0.5 * (2 * (1 + a + b) ** 2 + 6 * (-2 + 2 * b) ** 2 + 0.25)
    np.testing.assert_allclose(found.losses, expected, rtol=1e-13)
    assert found.lengths == pytest.approx((1.0, 5**0.5))
    assert found.cosine == pytest.approx(1 / 5**0.5)
    assert found.losses.shape == (5, 7)


@pytest.mark.parametrize("points", [(3, 3), (4, 6), (51, 3)])
def test_the_centre_is_the_loss_there_to_the_bit(points):
    found = plane(BOWL, ORIGIN, X, Y, points=points, extent=(0.3, 7.0))
    row, column = (int(np.flatnonzero(side == 0)[0]) for side in (found.y, found.x))
    assert found.losses[row, column] == BOWL.value(ORIGIN)
    assert (found.x[0], found.x[-1], found.y[0], found.y[-1]) == (-0.3, 0.3, -7.0, 7.0)


def test_the_same_call_gives_the_same_bytes():
    first, second = (plane(BOWL, ORIGIN, X, Y, points=(5, 5)).losses.tobytes() for _ in range(2))
    assert first == second


def test_what_is_not_finite_is_kept():
    cliff = Objective.from_function(lambda theta: theta.log().sum(), torch.ones(2))
    found = plane(cliff, torch.ones(2), torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), points=(3, 3), extent=2.0)
    assert np.isnan(found.losses[0, 1])
    assert np.isfinite(found.losses[1, 1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_precisions(dtype):
    bowl = Objective.from_function(lambda theta: (theta * theta).sum(), torch.ones(3, dtype=dtype))
    assert plane(bowl, torch.zeros(3), X, Y, points=(3, 3)).losses[1, 1] == 0.0


@pytest.mark.parametrize(
    ("x", "y", "settings", "words"),
    [
        (0 * X, Y, {}, "direction x must be finite and not zero"),
        (X, Y * float("nan"), {}, "direction y must be finite"),
        (X, -3 * X, {}, r"cosine is -1\.0"),
        (X, Y, {"points": (1, 5)}, "points must be at least 3"),
        (X, Y, {"extent": 0.0}, "an extent must go from a finite value to a greater one"),
        (X, Y, {"extent": ((0.0, float("inf")), (0.0, 1.0))}, "an extent must go"),
    ],
)
def test_what_spans_no_plane_is_refused(x, y, settings, words):
    with pytest.raises(SettingError, match=words):
        plane(BOWL, ORIGIN, x, y, **settings)


def test_another_shape_is_refused():
    with pytest.raises(ShapeError, match=r"x must have shape \(3,\)"):
        plane(BOWL, ORIGIN, torch.ones(2), Y)


@pytest.mark.parametrize("points", [3, 4, 9, 50])
@pytest.mark.parametrize("ends", [(-1.0, 1.0), (-0.1, 5.0), (-3.0, 0.2), (1.0, 2.0)])
def test_grids_ascend_and_hold_zero(points, ends):
    found = grid(*ends, points)
    assert len(found) == points
    assert (np.diff(found) > 0).all()
    assert (found[0], found[-1]) == ends
    assert (0.0 in found) is (ends[0] < 0 < ends[1])


def test_projections_agree_with_least_squares(generator):
    draw = torch.randn(6, 40, generator=generator(), dtype=torch.float64)
    origin, x, y, points = draw[0], draw[1], draw[2], list(draw[3:])
    found = project(origin, x, y, points, name="points")
    basis = torch.stack([x, y], 1).numpy()
    for place, point in enumerate(points):
        way = (point - origin).numpy()
        at, rest, *_ = np.linalg.lstsq(basis, way, rcond=None)
        np.testing.assert_allclose([found.x[place], found.y[place]], at, rtol=1e-10)
        assert found.outside[place] == pytest.approx(np.sqrt(rest[0]), rel=1e-10)
        assert found.distances[place] == pytest.approx(np.linalg.norm(way), rel=1e-12)
    total = np.sqrt((found.outside**2).sum() / (found.distances**2).sum())
    assert found.outside_share == pytest.approx(total)


def test_a_point_of_the_plane_lies_on_it_and_the_origin_has_no_share():
    on = project(ORIGIN, X.double(), Y.double(), [ORIGIN + 2 * X.double() - 3 * Y.double()], name="on")
    np.testing.assert_allclose([on.x[0], on.y[0], on.outside[0]], [2.0, -3.0, 0.0], atol=1e-12)
    assert np.isnan(project(ORIGIN, X.double(), None, [ORIGIN], name="here").outside_share)


def test_a_line_has_one_coordinate():
    found = project(ORIGIN, X.double(), None, [ORIGIN + torch.tensor([3.0, 4.0, 0.0])], name="beside")
    assert (found.x[0], found.y[0], found.outside[0], found.distances[0]) == pytest.approx((3.0, 0.0, 4.0, 5.0))


def test_beside_is_orthogonal_or_nothing():
    base = X.double()
    np.testing.assert_allclose(beside(Y.double(), base), [0.0, 1.0, 0.0], atol=1e-15)
    for nothing in (base, 0 * base, base * float("nan"), base + 1e-5 * Y.double()):
        assert beside(nothing, base) is None
