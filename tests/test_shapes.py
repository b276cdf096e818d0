"""Are shapes and types of the package checked while tests run, and by no one else?"""

import subprocess
import sys
from typing import Protocol

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from shapes import checked
from theodolite.records.estimates import Estimate
from theodolite.records.results import Series

STEPS = np.arange(3)


def test_agreeing_shapes_pass():
    assert len(Series("loss", STEPS, np.zeros(3))) == 3


@pytest.mark.parametrize("values", [np.zeros(4), np.zeros((3, 1)), np.zeros(3, dtype=int)])
def test_a_wrong_shape_or_kind_is_found(values):
    with pytest.raises(TypeCheckError):
        Series("loss", STEPS, values)


def test_a_wrong_type_is_found():
    with pytest.raises(TypeCheckError):
        Estimate.mean_of("values")


def test_an_int_is_a_float():
    assert Estimate(1, 0).is_above(0)


def test_a_protocol_asks_nothing_at_run_time():
    class Interface(Protocol):
        @property
        def expensive(self) -> float: ...

    class Thing:
        @property
        def expensive(self) -> float:
            raise AssertionError("read by a type check")

    Interface.__module__ = "theodolite.toy"

    @checked
    def use(thing: Interface | None) -> int:
        return 1

    assert use(Thing()) == 1


def test_production_does_not_check():
    code = "import numpy as np; from theodolite.records.results import Series; Series('', np.arange(3), np.zeros(4))"
    subprocess.run([sys.executable, "-c", code], check=True)
