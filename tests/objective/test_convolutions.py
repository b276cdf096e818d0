"""Are convolutions the same to all orders, whatever their geometry, when they are run as one trilinear form?"""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional

from theodolite.objective.convolutions import trilinear_convolutions

GEOMETRIES = {
    "plain": {},
    "stride": {"stride": 2},
    "padding": {"padding": 1},
    "dilation": {"dilation": 2, "padding": 2},
    "groups": {"groups": 2},
    "tuples": {"stride": (2, 1), "padding": (0, 1)},
    "same": {"padding": "same"},
}


def factors(dimensions, groups=1, generator=None):
    x = torch.randn(2, 4, *[5] * dimensions, dtype=torch.float64, generator=generator)
    w = torch.randn(2, 4 // groups, *[3] * dimensions, dtype=torch.float64, generator=generator)
    b = torch.randn(2, dtype=torch.float64, generator=generator)
    return [t.requires_grad_() for t in (x, w, b)]


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_all_orders_agree_with_torch(geometry, generator):
    x, w, b = factors(2, geometry.get("groups", 1), generator())
    with trilinear_convolutions():
        run = lambda x, w, b: functional.conv2d(x, w, b, **geometry)  # noqa: E731
        y = run(x, w, b)
        assert gradcheck(run, (x, w, b))
        assert gradgradcheck(run, (x, w, b))
    torch.testing.assert_close(y, functional.conv2d(x, w, b, **geometry), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_third_order_in_every_dimension(dimensions, generator):
    """∂³/∂s³ of Σ tanh(y)³ along a direction, by repeated differentiation, with and without."""
    x, w, b = factors(dimensions, generator=generator())
    along = [torch.randn(t.shape, dtype=t.dtype, generator=generator(1)) for t in (x, w, b)]

    def derivative():
        value = getattr(functional, f"conv{dimensions}d")(x, w, b, padding=1).tanh().pow(3).sum()
        for _ in range(3):
            slopes = torch.autograd.grad(value, (x, w, b), create_graph=True)
            value = sum((g * v).sum() for g, v in zip(slopes, along, strict=True))
        return value.detach()

    plain = derivative()
    with trilinear_convolutions():
        torch.testing.assert_close(derivative(), plain, rtol=1e-10, atol=0)


def test_a_twin_with_a_wrong_face_is_caught(monkeypatch, generator):
    from theodolite.objective import convolutions

    monkeypatch.setattr(convolutions._ByWeight, "backward", staticmethod(lambda ctx, w: (None, None, None, None)))
    with trilinear_convolutions(), pytest.raises(Exception, match="mismatch|requires grad"):
        gradgradcheck(functional.conv2d, tuple(factors(2, generator=generator())))


def test_functional_is_put_back():
    before = functional.conv1d, functional.conv2d, functional.conv3d
    guard = trilinear_convolutions()
    guard.__enter__()
    assert functional.conv2d is not before[1]
    guard.__exit__(None, None, None)
    assert (functional.conv1d, functional.conv2d, functional.conv3d) == before
