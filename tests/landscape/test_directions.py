"""Do directions point where they say, and are they as long as they say?"""

from inspect import unwrap

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from objective.traces import traces
from theodolite.errors import SettingError, ShapeError
from theodolite.landscape.directions import (
    eigen_directions,
    gradient_direction,
    orthogonal_pair,
    orthogonalised,
    random_direction,
    three_points,
    zero_filters,
)
from theodolite.landscape.planes import plane
from theodolite.linalg import hessian
from theodolite.linalg.matrices import dense
from theodolite.objective import Objective

SADDLE = torch.diag(torch.tensor([-3.0, 0.5, 1.0, 7.0], dtype=torch.float64))
START = torch.tensor([0.1, -0.2, 0.3, 0.4], dtype=torch.float64)
QUADRATIC = Objective.from_function(lambda theta: 0.5 * theta @ SADDLE @ theta, START)


def squares(model, batch):
    return functional.mse_loss(model(batch[0]), batch[1])


def net(seed=0, dtype=torch.float64):
    """Two layers with biases, and data; drawn without the global generator."""
    draw = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)).to(dtype)
    for part in model.parameters():
        part.data = torch.randn(part.shape, generator=draw, dtype=dtype)
    data = torch.randn(40, 5, generator=draw, dtype=dtype), torch.randn(40, 3, generator=draw, dtype=dtype)
    return Objective(model, squares, data)


def image_net():
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ConvTranspose2d(4, 6, 3, groups=2), nn.Flatten(), nn.Linear(96, 3))
    return Objective(model.double(), squares, (torch.ones(2, 2, 4, 4).double(), torch.ones(2, 3).double()))


def cosine(x, y):
    x, y = x.double(), y.double()
    return float(x @ y / (x.norm() * y.norm()))


def test_entries_are_standard_normal(generator):
    """The mean over 100,000 entries lies within 4.4 standard errors of 0; that of uniform ones (a peer's) does not."""
    size = 100_000
    wide = Objective.from_function(lambda theta: theta @ theta, torch.zeros(size))
    found = random_direction(wide, generator=generator()).double()
    assert abs(found.mean()) < 4.4 / size**0.5
    assert float(found.std()) == pytest.approx(1, abs=4.4 / (2 * size) ** 0.5)
    biased = torch.rand(size, generator=generator())
    assert abs(biased.mean()) > 4.4 / size**0.5


def test_the_same_seed_gives_the_same_bytes_and_the_global_generator_stays(generator):
    objective = net()
    before = traces(objective.source.model)
    first, second = (random_direction(objective, generator=generator(3), normalize="filter") for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, random_direction(objective, generator=generator(4), normalize="filter"))
    random_direction(objective)
    assert traces(objective.source.model) == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_filters_are_as_long_as_their_weights(generator, dtype):
    objective = net(dtype=dtype)
    found = objective.params.unflatten(random_direction(objective, generator=generator(), normalize="filter"))
    for way, weight in zip(found, objective.params.tensors, strict=True):
        assert way.dtype == dtype
        if weight.ndim < 2:
            assert not way.any()
        else:
            rtol = 1e-2 if dtype == torch.bfloat16 else 1e-5
            torch.testing.assert_close(way.double().norm(dim=1), weight.double().norm(dim=1), rtol=rtol, atol=0)


def test_filters_of_convolutions(generator):
    objective = image_net()
    objective.params.tensors[0].data[2] = 0
    found = objective.params.unflatten(random_direction(objective, generator=generator(), normalize="filter"))
    conv, transposed = objective.source.model[0].weight, objective.source.model[1].weight
    np.testing.assert_allclose(found[0].flatten(1).norm(dim=1), conv.detach().flatten(1).norm(dim=1), rtol=1e-12)
    # (4 inputs in 2 groups, 3 outputs a group, 3, 3): output o of group g sees inputs 2g and 2g + 1.
    for group in range(2):
        for output in range(3):
            inputs = slice(2 * group, 2 * group + 2)
            own, weight = (t[inputs, output].norm() for t in (found[2], transposed.detach()))
            assert float(own) == pytest.approx(float(weight), rel=1e-12)
    assert zero_filters(objective) == 1


def test_layers_are_as_long_as_their_weights(generator):
    objective = net()
    found = random_direction(objective, generator=generator(), normalize="layer", keep_vectors_fixed=False)
    for way, weight in zip(objective.params.unflatten(found), objective.params.tensors, strict=True):
        assert float(way.norm()) == pytest.approx(float(weight.detach().norm()), rel=1e-12)


def test_entries_of_a_vector_are_filters_of_one_weight(generator):
    objective = net()
    found = random_direction(objective, generator=generator(), normalize="filter", keep_vectors_fixed=False)
    bias = objective.params.unflatten(found)[1]
    np.testing.assert_allclose(bias.abs(), objective.params.tensors[1].detach().abs(), rtol=1e-12)


def test_zero_filters_stay_where_they_are(generator):
    """A peer divides by zero here."""
    objective = net()
    theta = torch.zeros_like(objective.point())
    assert zero_filters(objective) == 0
    assert zero_filters(objective, at=theta) == 8 + 3
    assert zero_filters(objective, at=theta, normalize="layer") == 2
    for normalize in ("filter", "layer"):
        found = random_direction(objective, at=theta, generator=generator(), normalize=normalize)
        assert not found.any()
        assert found.isfinite().all()


@pytest.mark.parametrize("normalize", [None, "filter", "layer"])
@pytest.mark.parametrize("fixed", [True, False])
def test_a_pair_is_orthogonal_and_normalised(generator, normalize, fixed):
    objective = net()
    settings = {"normalize": normalize, "keep_vectors_fixed": fixed}
    x, y = orthogonal_pair(objective, generator=generator(5), **settings)
    assert abs(cosine(x, y)) < 1e-12
    assert torch.equal(x, random_direction(objective, generator=generator(5), **settings))
    if normalize is not None:
        for way, weight in zip(objective.params.unflatten(y), objective.params.tensors, strict=True):
            if weight.ndim == 2:
                dim = 1 if normalize == "filter" else None
                np.testing.assert_allclose(way.norm(dim=dim), weight.detach().norm(dim=dim), rtol=1e-12)


def rescaled(objective, factor):
    """The same function of the input: hidden units times c, what reads them by 1/c."""
    first, bias, second, last = objective.params.unflatten(objective.point())
    return objective.params.flatten([first * factor, bias * factor, second / factor, last])


@pytest.mark.parametrize(("normalize", "is_same"), [("filter", True), ("layer", True), (None, False)])
def test_normalised_pictures_do_not_see_a_rescaling(generator, normalize, is_same):
    """Li et al. 2018: with c = 10 the pictures are equal to 1e-6; without normalisation they are not."""
    objective = net()
    pictures = []
    for theta in (objective.point(), rescaled(objective, 10.0)):
        x, y = orthogonal_pair(objective, at=theta, generator=generator(1), normalize=normalize)
        pictures.append(plane(objective, theta, x, y, points=(7, 7)).losses)
    spread = float(np.abs(pictures[0] - pictures[1]).max() / np.abs(pictures[0]).max())
    assert (spread < 1e-6) is is_same
    if not is_same:
        assert spread > 0.1


def test_orthogonalised_in_a_metric(generator):
    draw = torch.randn(3, 6, generator=generator(), dtype=torch.float64)
    x, y, weights = 100 * draw[0], draw[1], draw[2].square() + 0.1
    matrix = torch.diag(weights) + 0.05
    assert abs(cosine(x, orthogonalised(y, x))) < 1e-12
    found = orthogonalised(y, x, weights)
    assert abs(cosine(weights * x, found)) < 1e-12
    assert abs(cosine(x, found)) > 1e-3
    assert abs(cosine(matrix @ x, orthogonalised(y, x, dense(matrix)))) < 1e-12
    # The twin, as a peer does it: the projection is not divided by ‖x‖².
    assert abs(cosine(x, y - (x @ y) * x)) > 0.9


def test_downhill():
    found = gradient_direction(QUADRATIC)
    expected = -(SADDLE @ START)
    torch.testing.assert_close(found, expected / expected.norm())
    elsewhere = gradient_direction(QUADRATIC, torch.tensor([0.0, 2.0, 0.0, 0.0]))
    torch.testing.assert_close(elsewhere, torch.tensor([0.0, -1.0, 0.0, 0.0], dtype=torch.float64))
    with pytest.raises(SettingError, match=r"its norm is 0\.0. Take another point"):
        gradient_direction(QUADRATIC, 0 * START)


def test_eigenvectors_with_their_signs(generator):
    found = eigen_directions(QUADRATIC, generator=generator())
    np.testing.assert_allclose(found.values, [-3.0, 7.0], rtol=1e-9)
    np.testing.assert_allclose(np.abs(found.vectors), np.eye(4)[:, [0, 3]], atol=1e-9)
    more = eigen_directions(QUADRATIC, which=("largest", "smallest", "smallest"), generator=generator())
    np.testing.assert_allclose(more.values, [7.0, -3.0, 0.5], rtol=1e-9)
    assert more.vectors.shape == (4, 3)


def test_eigenvectors_of_a_net(generator):
    objective = net()
    found = eigen_directions(objective, generator=generator())
    truth = np.linalg.eigvalsh(hessian(objective).to_dense().numpy())
    np.testing.assert_allclose(found.values, truth[[0, -1]], atol=2 * found.residuals.max() + 1e-9)
    plane(objective, objective.point(), found.vectors[:, 0], found.vectors[:, 1], points=(3, 3))


def test_three_points_lie_where_they_should(generator):
    a, b, c = torch.randn(3, 9, generator=generator(), dtype=torch.float64)
    origin, x, y = three_points(a, b, c)
    assert abs(cosine(x, y)) < 1e-12
    torch.testing.assert_close(origin + x, b)
    share = (c - a) @ x / (x @ x)
    torch.testing.assert_close(origin + share * x + y, c)
    bowl = Objective.from_function(lambda theta: theta @ theta, a)
    found = plane(bowl, *three_points(a, b, c), points=(3, 3))
    assert found.losses[1, 2] == pytest.approx(float(b @ b), rel=1e-12)


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda: random_direction(QUADRATIC, normalize="filter"), SettingError, "and none has. Pass keep_vectors"),
        (
            lambda: unwrap(random_direction)(QUADRATIC, normalize="row"),
            SettingError,
            "must be 'filter', 'layer' or None",
        ),
        (lambda: unwrap(random_direction)(QUADRATIC, generator=3), SettingError, "generator must be a torch.Generator"),
        (lambda: random_direction(QUADRATIC, at=torch.ones(3)), ShapeError, r"at must have shape \(4,\)"),
        (lambda: unwrap(orthogonalised)(START, START[:2]), ShapeError, r"one shape \(n,\), got \(2,\) and \(4,\)"),
        (lambda: orthogonalised(START, 0 * START), SettingError, r"got x·Mx = 0\.0"),
        (lambda: orthogonalised(START, START, -torch.ones(4)), SettingError, "positive, finite length"),
        (lambda: orthogonalised(START, -2 * START), SettingError, "must not be parallel to x"),
        (lambda: unwrap(eigen_directions)(QUADRATIC, which=("top",)), SettingError, "must name ends"),
        (lambda: eigen_directions(QUADRATIC, which=()), SettingError, "must name ends"),
        (lambda: unwrap(three_points)(START, START, START[:1]), ShapeError, "points must have one shape"),
        (lambda: three_points(0 * START, START, 2 * START), SettingError, "must not be parallel"),
    ],
)
def test_mistakes_are_told(ask, error, message):
    with pytest.raises(error, match=message):
        ask()
