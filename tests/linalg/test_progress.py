"""Does a bar that is shown for a long computation reach its end?"""

import pytest

from linalg.fakes import Fake
from linalg.spectra import SPECTRA, tensor
from theodolite.linalg.density import spectral_density
from theodolite.linalg.eigenvalues import largest_eigenvalues
from theodolite.linalg.operators import Operator
from theodolite.linalg.traces import diagonal, frobenius_norm, trace

N = 150
ASK = {
    "density": lambda op, g: spectral_density(op, probes=2, products=5, generator=g),
    "density, exact": lambda op, g: spectral_density(op),
    "diagonal": lambda op, g: diagonal(op, generator=g),
    "diagonal, exact": lambda op, g: diagonal(op, products=N),
    "norm": lambda op, g: frobenius_norm(op, generator=g),
    "norm, exact": lambda op, g: frobenius_norm(op, products=N),
    "hutchinson": lambda op, g: trace(op, method="hutchinson", generator=g),
    "hutch++": lambda op, g: trace(op, method="hutch++", generator=g),
    "xtrace": lambda op, g: trace(op, generator=g),
    "dense": lambda op, g: op.to_dense(),
}


@pytest.fixture
def bars(monkeypatch) -> list:
    """Every bar that is opened, with what it was moved by."""
    opened = []

    class Bar:
        def __init__(self, *, total, desc, **_):
            self.total, self.done = total, 0
            opened.append(self)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def update(self, steps):
            self.done += steps

    monkeypatch.setattr("theodolite.linalg.progress.tqdm", Bar)
    return opened


@pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
def test_bars_count_every_product(ask, bars, generator, monkeypatch):
    monkeypatch.setattr("theodolite.linalg.probing.BLOCK_BYTES", N * 16 * 7 if "density" not in str(ask) else 2**28)
    op = Fake(tensor(SPECTRA[0].matrix(n=N)))
    ask(Operator(op), generator())
    assert bars
    assert all(bar.done == bar.total for bar in bars)
    assert sum(bar.total for bar in bars) == op.columns


def test_a_budget_need_not_be_spent(bars, generator):
    op = Fake(tensor(SPECTRA[1].matrix(n=N)))
    largest_eigenvalues(Operator(op), generator=generator())
    assert [bar.done for bar in bars] == [op.columns]
    assert bars[0].done < bars[0].total
