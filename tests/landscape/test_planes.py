"""Is the loss on a plane the loss at its points, and do projections fall where they should?"""

from inspect import unwrap

import numpy as np
import pytest
import torch

from families import BY_NAME
from objective.test_traces import lived
from objective.traces import traces
from theodolite.errors import SettingError, ShapeError
from theodolite.landscape.directions import orthogonal_pair
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


def test_rows_are_not_shifted():
    """A peer's rows alternate by one cell."""
    slope = Objective.from_function(lambda theta: theta[0] + 10 * theta[1], torch.zeros(2, dtype=torch.float64))
    for settings in ({}, {"tolerance": 0.01}):
        found = plane(slope, torch.zeros(2), torch.eye(2)[0], torch.eye(2)[1], points=(13, 11), **settings)
        np.testing.assert_allclose(found.losses, found.x + 10 * found.y[:, None], atol=1e-13)


def test_rosenbrock():
    valley = Objective.from_function(
        lambda t: (1 - t[0]) ** 2 + 100 * (t[1] - t[0] ** 2) ** 2, torch.zeros(2, dtype=torch.float64)
    )
    found = plane(valley, torch.ones(2), torch.eye(2)[0], torch.eye(2)[1], points=(21, 21), extent=2.0)
    a, b = np.meshgrid(1 + found.x, 1 + found.y)
    np.testing.assert_allclose(found.losses, (1 - a) ** 2 + 100 * (b - a**2) ** 2, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_a_deep_linear_net(generator, dtype, rtol):
    """Five layers of one unit on whitened data: J = ½(1 − Π w)²."""
    model = torch.nn.Sequential(*(torch.nn.Linear(1, 1, bias=False) for _ in range(5))).to(dtype)
    data = torch.tensor([[1.0], [-1.0]], dtype=dtype)
    objective = Objective(model, lambda net, x: 0.5 * ((x - net(x)) ** 2).mean(), data)
    origin, x, y = torch.randn(3, 5, generator=generator()).to(dtype)
    found = plane(objective, origin, x, y, points=(9, 7))
    w = [v.double().numpy() for v in (origin, x, y)]
    at = w[0] + found.x[None, :, None] * w[1] + found.y[:, None, None] * w[2]
    truth = 0.5 * (1 - at.prod(-1)) ** 2
    np.testing.assert_allclose(found.losses, truth, rtol=rtol, atol=rtol * truth.max())


def wide_net(generator):
    """A perceptron on separable clouds, half trained."""
    model = torch.nn.Sequential(torch.nn.Linear(10, 30), torch.nn.ReLU(), torch.nn.Linear(30, 4))
    for part in model.parameters():
        part.data = 0.3 * torch.randn(part.shape, generator=generator)
    labels = torch.arange(200) % 4
    centres = 2 * torch.randn(4, 10, generator=generator)
    data = centres[labels] + torch.randn(200, 10, generator=generator), labels
    objective = Objective(model, lambda net, batch: torch.nn.functional.cross_entropy(net(batch[0]), batch[1]), data)
    optimizer = torch.optim.SGD(model.parameters(), 0.2, momentum=0.9)
    for _ in range(30):
        for part, gradient in zip(model.parameters(), objective.params.unflatten(objective.gradient()), strict=True):
            part.grad = gradient
        optimizer.step()
    optimizer.zero_grad()
    return objective


def test_a_net_within_a_hundredth_for_a_fifth(generator):
    objective = wide_net(generator())
    x, y = orthogonal_pair(objective, generator=generator(1), normalize="filter")
    before = traces(objective.source.model)
    whole = plane(objective, objective.point(), x, y)
    found = plane(objective, objective.point(), x, y, tolerance=0.01)
    assert traces(objective.source.model) == before
    spread = np.ptp(whole.losses)
    assert found.measured.size >= 5 * found.measured.sum()
    assert np.abs(found.losses - whole.losses).max() <= found.interpolation_error <= 0.01 * spread
    np.testing.assert_allclose(found.losses[found.measured], whole.losses[found.measured], rtol=1e-5)
    assert found.notes[0].startswith("What fits between the points where J was measured, at most ")
    assert "points wide, may have been missed" in found.notes[0]
    assert whole.measured.size == 0
    assert (whole.interpolation_error, whole.notes) == (0.0, ())
    again = plane(objective, objective.point(), x, y, tolerance=0.01)
    assert again.measured.tobytes() == found.measured.tobytes()
    centre = found.losses[25, 25]
    assert found.measured[25, 25]
    assert centre == pytest.approx(objective.value(), rel=1e-6)


@pytest.mark.slow
def test_the_expected_error_is_honest(generator):
    """On pictures of nets the true error exceeds the expected one in one of ten at most, and then by little."""
    shares = []
    for seed in range(20):
        objective = wide_net(generator(seed))
        x, y = orthogonal_pair(objective, generator=generator(seed), normalize="filter")
        whole, found = (plane(objective, objective.point(), x, y, tolerance=t) for t in (None, 0.01))
        shares.append(np.abs(found.losses - whole.losses).max() / found.interpolation_error)
    assert np.mean(np.array(shares) > 1) <= 0.1
    assert max(shares) < 2


def test_a_budget_is_kept_and_told():
    steep = Objective.from_function(lambda theta: (8 * theta.square().sum()).exp(), torch.zeros(2).double())
    found = plane(steep, torch.zeros(2), torch.eye(2)[0], torch.eye(2)[1], budget=200)
    assert found.measured.sum() == 200
    assert found.notes[-1] == "The budget of 200 points was spent."
    assert found.interpolation_error > 0
    with pytest.raises(SettingError, match="budget must be at least 130 to look at all parts .* got 129"):
        plane(steep, torch.zeros(2), torch.eye(2)[0], torch.eye(2)[1], budget=129)
    for wrong in (-0.1, float("nan")):
        with pytest.raises(SettingError, match="tolerance must be finite and not negative"):
            plane(steep, torch.zeros(2), torch.eye(2)[0], torch.eye(2)[1], tolerance=wrong)


def test_few_points_are_all_measured():
    found = plane(BOWL, ORIGIN, X, Y, points=(5, 7), tolerance=0.1)
    assert found.measured.size == 0
    assert np.array_equal(found.losses, plane(BOWL, ORIGIN, X, Y, points=(5, 7)).losses)


def test_nothing_finite():
    nowhere = Objective.from_function(lambda theta: theta.sum() * float("nan"), torch.zeros(2))
    found = plane(nowhere, torch.zeros(2), torch.eye(2)[0], torch.eye(2)[1], tolerance=0.01)
    assert np.isnan(found.losses).all()
    assert found.interpolation_error == 0


def test_what_is_not_finite_is_kept_between_measured_points():
    cliff = Objective.from_function(lambda theta: theta[0].log() + theta[1], torch.ones(2).double())
    ends = torch.ones(2), torch.eye(2)[0], torch.eye(2)[1]
    whole, found = (plane(cliff, *ends, extent=1.7, tolerance=tolerance) for tolerance in (None, 0.01))
    assert np.array_equal(np.isfinite(whole.losses), np.isfinite(found.losses))
    assert found.measured.sum() < found.measured.size / 2


def test_names_and_points_by_name():
    found = plane(BOWL, {"theta": ORIGIN}, X, Y, points=(3, 3), names=("‖θ‖", "steps"))
    assert (found.x_name, found.y_name) == ("‖θ‖", "steps")
    assert found.losses[1, 1] == BOWL.value(ORIGIN)
    assert found.method


@pytest.mark.parametrize("name", ["conv batchnorm train", "dropout", "three batches"])
def test_nothing_is_touched(name):
    problem = lived(BY_NAME[name](torch.float64))
    objective = Objective(problem.model, problem.loss, problem.data)
    before = traces(problem.model)
    x, y = orthogonal_pair(objective, generator=torch.Generator().manual_seed(0))
    found = plane(objective, objective.point(), x, y, points=(3, 3))
    assert traces(problem.model) == before
    assert found.losses[1, 1] == pytest.approx(objective.value(), rel=1e-12)


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


@pytest.mark.parametrize("extent", [1.0, 2.0])
def test_nothing_is_lowest_that_was_not_measured(extent):
    """A valley of a function that is never negative: cubics would go 2.76 below 0 beside it."""
    valley = Objective.from_function(lambda t: (1 - t[0]) ** 2 + 100 * (t[1] - t[0] ** 2) ** 2, torch.zeros(2).double())
    full, part = (plane(valley, torch.zeros(2), *torch.eye(2), extent=extent, tolerance=one) for one in (None, 0.01))
    assert part.measured.sum() < 0.2 * full.losses.size
    assert part.losses.min() == full.losses.min()
    assert part.measured[np.unravel_index(part.losses.argmin(), part.losses.shape)]
    few = plane(valley, torch.zeros(2), *torch.eye(2), extent=extent, tolerance=0.01, budget=130)
    assert few.measured.sum() == 130


def test_what_is_the_same_everywhere_is_measured_at_few_points():
    """Rounding of the interpolation is not taken for a lower place."""
    level = Objective.from_function(lambda t: 0 * t.sum() + 0.1, torch.zeros(2))
    assert plane(level, torch.zeros(2), *torch.eye(2), tolerance=0.01).measured.sum() < 200


@pytest.mark.parametrize("points", [4, (4, 4), np.int64(4)])
@pytest.mark.parametrize("extent", [((-1, 2), (-1, 2)), [[-1, 2], (-1, 2)], np.array([[-1, 2], [-1, 2]])])
def test_one_number_of_points_and_any_pair_will_do(points, extent):
    bowl = Objective.from_function(lambda t: t @ t, torch.zeros(2))
    found = unwrap(plane)(bowl, torch.zeros(2), *torch.eye(2), points=points, extent=extent)
    assert found.x.tolist() == found.y.tolist() == [-1, 0, 1, 2]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"extent": (1, 2, 3)}, r"extent must be two, .* got \(1, 2, 3\)"),
        ({"extent": None, "names": ("x",)}, r"names must be two, .* got \('x',\)"),
        ({"points": 2.5}, "points must be two, .* got 2.5"),
        ({"points": (5, 5, 5)}, "points must be two"),
        ({"extent": ((-1, 1), (1,))}, "extent must be two"),
    ],
)
def test_what_is_no_pair_is_refused_before_anything_is_measured(settings, words):
    never = Objective.from_function(lambda t: 1 / 0, torch.zeros(2))
    with pytest.raises(SettingError, match=words):
        unwrap(plane)(never, torch.zeros(2), *torch.eye(2), **settings)
