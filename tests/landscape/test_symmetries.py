"""Do units change places where they should, and is only that read off a model which is known?"""

import numpy as np
import torch
from torch import nn

from families import BY_NAME
from landscape.test_alignment import ROWS, drawn
from theodolite.landscape.hidden_units import hidden_units
from theodolite.landscape.symmetries import Axis, Group, Symmetry, Units, permuted, rows


def test_against_numpy():
    objective = drawn(ROWS["perceptron"])
    order = np.array([2, 0, 1, 3, 6, 5, 4])
    tensors = dict(zip(objective.names, objective.params.unflatten(objective.point()), strict=True))
    moved = permuted(tensors, hidden_units(objective.source.model).groups[0], (order,))
    expected = {key: tensor.numpy() for key, tensor in tensors.items()}
    expected |= {"0.weight": expected["0.weight"][order], "0.bias": expected["0.bias"][order]}
    expected["2.weight"] = expected["2.weight"][:, order]
    for key, tensor in moved.items():
        np.testing.assert_array_equal(tensor.numpy(), expected[key])
    wide = torch.arange(24.0).reshape(1, 24)
    two = Axis("x", 1, start=4, repeats=2, width=2)
    np.testing.assert_array_equal(rows(wide, two, 5)[1], [6, 7, 16, 17])
    swapped = permuted({"x": wide}, Group("x", (Units(5, (two,)),)), (np.array([1, 0, 2, 3, 4]),))["x"]
    np.testing.assert_array_equal(swapped[0, :10], [0, 1, 2, 3, 6, 7, 4, 5, 8, 9])
    np.testing.assert_array_equal(swapped[0, 14:20], [16, 17, 14, 15, 18, 19])


def test_what_is_read_off_a_model():
    for silent in (
        nn.Linear(3, 2),
        nn.Sequential(nn.Linear(3, 4), nn.Softmax(1), nn.Linear(4, 2)),
        nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(4, 2, 1)),
        nn.Sequential(nn.Linear(3, 8), nn.GLU(), nn.Linear(4, 2)),
        nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)),
    ):
        assert hidden_units(silent) == Symmetry()
    assert hidden_units(BY_NAME["weight norm"]().model) == Symmetry()
    same = nn.Linear(4, 4)
    tied_twice = hidden_units(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), same, nn.Tanh(), same))
    assert set(tied_twice.names) == {"0.weight", "0.bias", "2.weight", "2.bias"}
