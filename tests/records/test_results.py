"""Are results that hold long arrays told in a line?"""

import math

import numpy as np
import pytest

from theodolite.records.estimates import Estimate
from theodolite.records.obstacles import Status
from theodolite.records.results import Eigenpairs, ending
from theodolite.records.solutions import GradientConditioning, Solution


def pairs(values, n=2666, status=Status.CONVERGED, products=22) -> Eigenpairs:
    values = np.array(values, dtype=float)
    return Eigenpairs(values, np.zeros((n, len(values))), np.full(len(values), 5e-6), status, products)


def solution(**changed) -> Solution:
    told = {"vector": np.ones(3), "residual": 2e-7, "scale": 2.0, "status": Status.CONVERGED, "products": 31}
    return Solution(**{**told, "method": "minres", **changed})


def conditioning(nodes=2) -> GradientConditioning:
    at, share = np.linspace(1, 2, nodes), np.full(nodes, 1 / nodes)
    known = Estimate(31.0, 2.0), Estimate(0.01), Estimate(3.25, 0.1)
    return GradientConditioning(at, share, 0.995, *known, Status.BUDGET, 30)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (pairs([4.8731]), "Eigenpairs(1 of 2666: 4.873 ± 5e-06; converged, 22 products)"),
        (pairs([3, 2, 1]), "Eigenpairs(3 of 2666: 3 ± 5e-06, 2 ± 5e-06, 1 ± 5e-06; converged, 22 products)"),
        (pairs([4, 3, 2, 1]), "Eigenpairs(4 of 2666: 4 ± 5e-06, ..., 1 ± 5e-06; converged, 22 products)"),
        (pairs([], 5, Status.NONFINITE, 1), "Eigenpairs(none of 5; nonfinite, 1 product)"),
        (solution(), "Solution(n = 3 by minres, relative residual 1e-07; converged, 31 products)"),
        (
            solution(direction=np.ones(3), curvature=-0.5, status=Status.BREAKDOWN, method="cg"),
            "Solution(n = 3 by cg, relative residual 1e-07, curvature -0.5 met; breakdown, 31 products)",
        ),
        (
            solution(residual=math.nan, status=Status.NONFINITE),
            "Solution(n = 3 by minres, relative residual nan; nonfinite, 31 products)",
        ),
        (
            conditioning(),
            "GradientConditioning(condition number 31 ± 2 for 99.5 % of the gradient, negative share 0.01, gain ratio "
            "3.25 ± 0.1; budget, 30 products)",
        ),
    ],
)
def test_in_words(record, words):
    assert repr(record) == str(record) == words


def test_words_are_as_few_however_large_the_record():
    many = np.linspace(0, 1, 10**5)
    for record in (pairs(many, n=1), solution(vector=many, direction=many, curvature=-1 / 3), conditioning(10**5)):
        assert len(repr(record)) < 180


@pytest.mark.parametrize("status", Status)
def test_every_ending_has_its_word(status):
    assert ending(status, 2) == f"{status.value}, 2 products"
