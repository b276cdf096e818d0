"""Does every way of asking find published minima, in the budget, the same each time, and go on after it was killed?"""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import nn

from theodolite import Objective, load, minimize, save
from theodolite.errors import RunError, SettingError, ShapeError
from theodolite.problems.test_functions import STANDARD
from theodolite.records import Search, Status
from theodolite.search import METHODS, grid_size

BOX = ("grid", "random", "genetic", "differential-evolution", "bayesian", "tpe")
SLOPED = ("l-bfgs", "cg", "bfgs", "newton-cg", "trust-ncg")


def bowl(x: np.ndarray) -> float:
    """Least at (0.3, −0.2), where it is 0."""
    return float((x[0] - 0.3) ** 2 + 2 * (x[1] + 0.2) ** 2)


def standard(name: str, n: int, at: float = 0.4) -> Objective:
    """A standard function as an objective, off its middle."""
    low, high = STANDARD[name].bounds
    return STANDARD[name].objective(torch.full((n,), low + at * (high - low), dtype=torch.float64))


@pytest.mark.parametrize("name", STANDARD)
def test_the_published_least_value_is_there(name: str) -> None:
    """J and its slope at the published point, and no less a step away."""
    one = STANDARD[name]
    for n in (one.dimension,) if one.dimension else (2, 7):
        point, value = one.least(n)
        objective = one.objective(torch.tensor(point))
        assert objective.value() == pytest.approx(value, abs=2e-6)
        if name != "ackley":  # a cone at its tip
            assert objective.gradient().abs().max() < 2e-4
        near = point + 0.01 * np.random.default_rng(0).standard_normal((20, n))
        assert min(objective.value(torch.tensor(row)) for row in near) > value - 1e-6


@pytest.mark.parametrize(
    ("method", "name", "n", "budget", "within"),
    [
        ("grid", "himmelblau", 2, 2601, 1e-12),  # the step of 0.2 meets the minimum
        ("random", "branin", 2, 1500, 0.3),
        ("cma-es", "rosenbrock", 3, 4000, 1e-8),
        ("genetic", "branin", 2, 600, 0.1),
        ("differential-evolution", "hartmann", 6, 6000, 0.01),
        ("differential-evolution", "rastrigin", 2, 2500, 1e-5),
        ("bayesian", "branin", 2, 40, 0.05),
        ("tpe", "branin", 2, 200, 0.5),
        ("l-bfgs", "rosenbrock", 10, 2000, 1e-8),
        ("bfgs", "rosenbrock", 10, 2000, 1e-8),
        ("cg", "rosenbrock", 4, 4000, 1e-6),
        ("newton-cg", "rosenbrock", 10, 9000, 1e-8),
        ("trust-ncg", "rosenbrock", 10, 9000, 1e-8),
        ("nelder-mead", "himmelblau", 2, 400, 1e-6),
        ("powell", "sphere", 5, 400, 1e-12),
        ("analytical", "sphere", 6, 100, 1e-20),
    ],
)
def test_published_minima_are_found(method: str, name: str, n: int, budget: int, within: float) -> None:
    """Within the budget, by a method that is made for such a function."""
    one = STANDARD[name]
    bounds = one.bounds if method in {*BOX, "cma-es"} else None
    found = minimize(standard(name, n, at=0.45), method, budget, bounds=bounds, seed=3)
    assert found.value <= one.least(n)[1] + within
    assert found.spent <= budget
    assert found.evaluations == found.costs.size == found.seconds.size == len(found.points)
    assert (np.diff(found.costs) > 0).all()
    assert (np.diff(found.seconds) >= 0).all()
    assert found.best[-1] == found.value == np.nanmin(found.values)
    assert _is_where_it_says(found)


def test_restarts_with_more_offspring_leave_traps() -> None:
    """Once, CMA-ES ends in one of many minima; begun again with ever larger populations it finds the least."""
    arguments = {"budget": 4000, "bounds": STANDARD["rastrigin"].bounds, "seed": 3}
    assert minimize(standard("rastrigin", 2, at=0.45), "cma-es", **arguments).value > 0.9
    assert minimize(standard("rastrigin", 2, at=0.45), "cma-es", **arguments, restarts=6, target=1e-6).value <= 1e-6


def _is_where_it_says(found: Search) -> bool:
    """Whether the point is the one of the record that has the value."""
    return bool(np.array_equal(found.points[int(np.nanargmin(found.values))], found.point))


def test_a_blind_twin_finds_less() -> None:
    """The tolerances above are no gift: asking at random in ten directions misses them by far."""
    found = minimize(standard("rosenbrock", 10), "random", 2000, bounds=(-5.0, 10.0))
    assert found.value > 100


@pytest.mark.parametrize("method", [name for name in METHODS if name != "analytical"])
def test_the_same_call_gives_the_same_search(method: str) -> None:
    """To the bit, whatever the global generators are; and these are left alone."""
    objective = standard("branin", 2)
    bounds = STANDARD["branin"].bounds if method in {*BOX, "cma-es"} else None
    searches = []
    for state in (1, 2):
        np.random.seed(state)  # noqa: NPY002
        random.seed(state)
        torch.manual_seed(state)
        before = (np.random.get_state()[1].copy(), random.getstate(), torch.get_rng_state())  # noqa: NPY002
        searches.append(minimize(objective, method, 40, bounds=bounds, seed=5))
        after = (np.random.get_state()[1], random.getstate(), torch.get_rng_state())  # noqa: NPY002
        assert np.array_equal(before[0], after[0])
        assert before[1] == after[1]
        assert torch.equal(before[2], after[2])
    assert np.array_equal(searches[0].points, searches[1].points)
    assert np.array_equal(searches[0].values, searches[1].values)


@pytest.mark.parametrize("method", ["random", "cma-es", "genetic", "differential-evolution", "bayesian", "tpe"])
def test_another_seed_asks_elsewhere(method: str) -> None:
    """What is drawn depends on the seed."""
    bounds = STANDARD["branin"].bounds
    first, second = (minimize(standard("branin", 2), method, 15, bounds=bounds, seed=seed) for seed in (0, 1))
    assert not np.array_equal(first.points, second.points)


@pytest.mark.parametrize("method", [name for name in METHODS if name not in {"analytical", "grid"}])
def test_an_interrupted_search_goes_on(method: str, tmp_path: Path) -> None:
    """What was asked is answered from the file, and the end is that of a search that was never interrupted."""
    objective = standard("branin", 2)
    bounds = STANDARD["branin"].bounds if method in {*BOX, "cma-es"} else None
    whole = minimize(objective, method, 40, bounds=bounds)
    file = tmp_path / "search.db"
    minimize(objective, method, 25, bounds=bounds, path=file)
    asked = []

    def counting(theta: torch.Tensor) -> torch.Tensor:
        asked.append(1)
        return STANDARD["branin"].function(theta)

    resumed = minimize(Objective.from_function(counting, objective.point()), method, 40, bounds=bounds, path=file)
    assert np.array_equal(whole.values, resumed.values)
    assert np.array_equal(whole.points, resumed.points)
    assert whole.value == resumed.value
    again = len(asked)
    minimize(Objective.from_function(counting, objective.point()), method, 40, bounds=bounds, path=file)
    assert len(asked) == again  # nothing is asked twice


KILLED = """
import sys, time
import numpy as np
from theodolite import minimize
def slow(x):
    time.sleep(0.01)
    print("asked", flush=True)
    return float(((x - 0.3) ** 2).sum())
minimize(slow, "cma-es", 2000, bounds=(-np.ones(3), np.ones(3)), path=sys.argv[1])
"""


def test_a_killed_process_loses_nothing_that_it_used(tmp_path: Path) -> None:
    """SIGKILL at any time: the answers so far are there, and the search ends as if nothing had happened."""
    file = tmp_path / "search.db"
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(KILLED), str(file)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    for _ in range(30):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    asked = []

    def counting(x: np.ndarray) -> float:
        asked.append(x)
        return float(((x - 0.3) ** 2).sum())

    box = (-np.ones(3), np.ones(3))
    resumed = minimize(counting, "cma-es", 300, bounds=box, path=file)
    assert len(asked) <= 300 - 29
    whole = minimize(counting, "cma-es", 300, bounds=box)
    assert np.array_equal(whole.points, resumed.points)


def test_a_file_of_another_search_is_refused(tmp_path: Path) -> None:
    """Another seed, start, method or function is said, and nothing is lost."""
    file = tmp_path / "search.db"
    first = minimize(bowl, "cma-es", 30, start=[0.0, 0.0], path=file)
    with pytest.raises(RunError, match="seed was 0 and is 1"):
        minimize(bowl, "cma-es", 30, start=[0.0, 0.0], path=file, seed=1)
    with pytest.raises(RunError, match="start and bounds"):
        minimize(bowl, "cma-es", 30, start=[0.0, 1.0], path=file)
    with pytest.raises(RunError, match="method was"):
        minimize(bowl, "powell", 30, start=[0.0, 0.0], path=file)
    assert minimize(bowl, "cma-es", 30, start=[0.0, 0.0], path=file).value == first.value
    other = tmp_path / "notes.txt"
    other.write_text("not a search " * 20)
    with pytest.raises(RunError, match="must be new, or the file of a search"):
        minimize(bowl, "cma-es", 30, start=[0.0, 0.0], path=other)
    assert other.read_text() == "not a search " * 20


def test_another_database_is_left_as_it_was(tmp_path: Path) -> None:
    """A file of somebody else's is refused before anything is written to it."""
    file = tmp_path / "run.db"
    with sqlite3.connect(file) as base:
        base.execute("CREATE TABLE steps (number INTEGER)")
        base.execute("INSERT INTO steps VALUES (7)")
    base.close()
    before = file.read_bytes()
    with pytest.raises(RunError, match="another database"):
        minimize(bowl, "cma-es", 30, start=[0.0, 0.0], path=file)
    assert file.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["run.db"]


def test_two_searches_do_not_share_a_file(tmp_path: Path) -> None:
    """The second one is told; the first one goes on."""
    file, refused = tmp_path / "search.db", []

    def inside(x: np.ndarray) -> float:
        if not refused:
            with pytest.raises(RunError, match="nobody else"):
                minimize(bowl, "cma-es", 30, start=[0.0, 0.0], path=file)
            refused.append(True)
        return bowl(x)

    assert minimize(inside, "cma-es", 30, start=[0.0, 0.0], path=file).evaluations == 30


def test_a_bar_is_no_trace(capsys: pytest.CaptureFixture[str]) -> None:
    """Away from a terminal progress prints nothing, and changes nothing."""
    plain, shown = (minimize(bowl, "powell", 60, start=[1.0, 1.0], progress=flag) for flag in (False, True))
    assert np.array_equal(plain.points, shown.points)
    assert capsys.readouterr() == ("", "")


def test_another_objective_is_noticed_by_what_is_asked(tmp_path: Path) -> None:
    """A method that moves by slopes asks elsewhere as soon as the answers of the file run out or differ."""
    file = tmp_path / "search.db"
    minimize(bowl, "nelder-mead", 30, start=[0.0, 0.0], path=file)
    with sqlite3.connect(file) as base:
        base.execute("UPDATE answers SET value = ? WHERE number = 2", (np.float64(-50.0).tobytes(),))
    base.close()
    with pytest.raises(RunError, match="differs from question"):
        minimize(bowl, "nelder-mead", 60, start=[0.0, 0.0], path=file)


@pytest.mark.parametrize(
    "method", ["random", "cma-es", "genetic", "differential-evolution", "bayesian", "tpe", "powell"]
)
def test_what_is_not_finite_is_kept_and_passed_over(method: str) -> None:
    """Half of the box has no value: the search goes on, and its best one is finite."""

    def torn(x: np.ndarray) -> float:
        return float("nan") if x[0] < 0 else float("inf") if x[1] > 0.9 else bowl(x)

    box = None if method == "powell" else ([-1.0, -1.0], [1.0, 1.0])
    found = minimize(torn, method, 60, bounds=box, start=[0.5, 0.5])
    assert np.isfinite(found.value)
    assert found.value < bowl(np.array([0.5, 0.5])) + 1e-12
    if method != "powell":
        assert any("not finite" in note for note in found.notes)
        assert not np.isfinite(found.values).all()


@pytest.mark.parametrize("method", [*BOX, "cma-es", "nelder-mead", "powell", "l-bfgs"])
def test_nothing_finite_is_told(method: str) -> None:
    """A J that is NaN everywhere has no least value, and says so."""
    box = ([0.0, 0.0], [1.0, 1.0]) if method in {*BOX, "cma-es"} else None
    found = minimize(lambda _: float("nan"), method, 25, bounds=box, start=[0.5, 0.5])
    assert np.isnan(found.value)
    assert np.isnan(found.best).all()
    assert np.array_equal(found.point, found.start)
    assert found.cost_to_reach(0.0) == np.inf


def test_a_target_ends_it() -> None:
    """The search stops at the first value that is low enough, and says what it cost."""
    found = minimize(bowl, "cma-es", 2000, start=[2.0, 2.0], target=1e-3)
    assert found.status is Status.CONVERGED
    assert found.value <= 1e-3
    assert found.cost_to_reach(1e-3) == found.spent < 2000
    assert "target" in found.notes[0]


def test_a_budget_of_one_asks_once() -> None:
    """And a gradient does not fit into it."""
    assert minimize(bowl, "random", 1, bounds=([0.0, 0.0], [1.0, 1.0])).evaluations == 1
    none = minimize(standard("sphere", 3), "l-bfgs", 3)
    assert none.evaluations == 0
    assert none.status is Status.BUDGET
    assert np.array_equal(none.point, none.start)


@pytest.mark.parametrize(("budget", "n"), [(1000, 3), (999, 3), (1, 5), (1024, 10), (10**18, 18), (7, 1)])
def test_a_grid_is_as_large_as_its_budget_allows(budget: int, n: int) -> None:
    """kⁿ ≤ budget < (k + 1)ⁿ in whole numbers: floating roots are off by one."""
    k = grid_size(budget, n)
    assert k**n <= budget < (k + 1) ** n


def test_a_grid_has_the_corners_of_its_box() -> None:
    """All points, each once, bounds to the bit."""
    found = minimize(bowl, "grid", 30, bounds=([-0.1, 0.2], [0.3, 0.7]))
    assert found.evaluations == 25
    assert set(found.points[:, 0]) >= {-0.1, 0.3}
    assert len({tuple(point) for point in found.points}) == 25
    assert found.status is Status.CONVERGED


def test_the_curse_of_dimension_is_said() -> None:
    """A hundred directions: no grid at all."""
    with pytest.raises(SettingError, match=r"2\^100 = 10\^30\.1"):
        minimize(standard("sphere", 100), "grid", 10**6, bounds=(-1.0, 1.0), start=np.zeros(100))


@pytest.mark.parametrize("method", ["l-bfgs", "cg", "newton-cg", "trust-ncg"])
def test_the_face_changes_nothing_of_what_scipy_does(method: str) -> None:
    """The same points as SciPy called by hand."""
    objective, names = standard("rosenbrock", 5), {"l-bfgs": "L-BFGS-B", "cg": "CG", "newton-cg": "Newton-CG"}
    asked = []

    def by_hand(x: np.ndarray) -> tuple[float, np.ndarray]:
        asked.append(x.copy())
        theta = torch.tensor(x)
        return objective.value(theta), objective.gradient(theta).numpy()

    curved = {"hessp": lambda x, v: objective.hvp(torch.tensor(v), torch.tensor(x)).numpy()}
    optimize.minimize(
        by_hand,
        objective.point().numpy(),
        jac=True,
        method=names.get(method, method),
        **(curved if method in {"newton-cg", "trust-ncg"} else {}),
    )
    found = minimize(objective, method, 10**6)
    assert np.array_equal(np.array(asked), found.points)


def test_the_objective_is_left_as_it_was() -> None:
    """Parameters, gradients and modes of the model."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))
    data = (torch.randn(8, 3), torch.randn(8, 1))
    objective = Objective(model, lambda m, b: nn.functional.mse_loss(m(b[0]), b[1]), data)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = minimize(objective, "l-bfgs", 200)
    assert found.value < objective.value()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def linear(
    layers: list[nn.Module], *, outputs: int = 3, dtype: torch.dtype = torch.float64
) -> tuple[Objective, torch.Tensor, torch.Tensor]:
    """A model with squared errors on data with noise."""
    source = torch.Generator().manual_seed(0)
    inputs, targets = (
        torch.randn(40, 5, generator=source, dtype=dtype),
        torch.randn(40, outputs, generator=source, dtype=dtype),
    )
    model = nn.Sequential(*layers).to(dtype)
    return (
        Objective(
            model,
            lambda m, b: nn.functional.mse_loss(m(b[0]), b[1]),
            [(inputs[:15], targets[:15]), (inputs[15:], targets[15:])],
        ),
        inputs,
        targets,
    )


def test_least_squares_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A linear layer with bias, against NumPy; by eigenvalues and by conjugate gradients."""
    objective, inputs, targets = linear([nn.Linear(5, 3)])
    design = np.concatenate([inputs.numpy(), np.ones((40, 1))], axis=1)
    weights, *_ = np.linalg.lstsq(design, targets.numpy(), rcond=None)
    least = float(((design @ weights - targets.numpy()) ** 2).mean())
    found = minimize(objective, "analytical", 1000)
    assert found.value == pytest.approx(least, rel=1e-12)
    monkeypatch.setattr("theodolite.search.closed_forms._DENSE", 1)
    assert minimize(objective, "analytical", 1000).value == pytest.approx(least, rel=1e-8)


@pytest.mark.parametrize("dense", [1, 300])
@pytest.mark.parametrize("kind", ["slope", "half-flat slope", "hill", "saddle"])
def test_a_quadratic_without_a_least_value_is_told(kind: str, dense: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slope for ever down, with curvature beside it or without, and curvature downwards: no value is claimed."""
    monkeypatch.setattr("theodolite.search.closed_forms._DENSE", dense)
    endless = {
        "slope": lambda x: x.sum(),
        "half-flat slope": lambda x: x[0] ** 2 + x[1] + 2 * x[2],
        "hill": lambda x: -(x**2).sum() + x[0],
        "saddle": lambda x: x[0] ** 2 - x[1] ** 2 + x[2] ** 2,
    }
    found = minimize(Objective.from_function(endless[kind], torch.ones(3, dtype=torch.float64)), "analytical", 1000)
    assert found.status is not Status.CONVERGED


def test_a_valley_floor_is_a_least_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flat directions without a slope stay where they are."""
    trough = Objective.from_function(lambda x: (x[0] - 2) ** 2 + 3, torch.ones(3, dtype=torch.float64))
    for dense in (1, 300):
        monkeypatch.setattr("theodolite.search.closed_forms._DENSE", dense)
        found = minimize(trough, "analytical", 1000)
        assert found.status is Status.CONVERGED
        np.testing.assert_allclose(found.point, [2, 1, 1], atol=1e-12)


@pytest.mark.parametrize("widths", [(5, 2, 3), (5, 4, 3), (5, 1, 4, 3), (5, 2, 2, 2, 3)])
def test_linear_nets_are_known(widths: tuple[int, ...]) -> None:
    """What is left is the residual of the regression, and the strengths of its fit beyond the rank (Eckart & Young)."""
    layers = [nn.Linear(a, b, bias=False) for a, b in pairwise(widths)]
    objective, inputs, targets = linear(layers)
    found = minimize(objective, "analytical", 100)
    basis = np.linalg.qr(inputs.numpy())[0]
    fitted = basis @ (basis.T @ targets.numpy())
    beyond = np.linalg.svd(fitted, compute_uv=False)[min(widths) :]
    least = (((targets.numpy() - fitted) ** 2).sum() + (beyond**2).sum()) / targets.numel()
    assert found.status is Status.CONVERGED
    assert found.value == pytest.approx(least, rel=1e-12)
    assert objective.gradient(torch.tensor(found.point)).norm() < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("widths", [(5, 2, 3), (5, 1, 4, 3)])
def test_descents_end_where_linear_nets_are_known_to(widths: tuple[int, ...]) -> None:
    """From six starts none gets below it, and the best one comes as far."""
    objective, *_ = linear([nn.Linear(a, b, bias=False) for a, b in pairwise(widths)])
    starts = [0.7 * np.random.default_rng(seed).standard_normal(objective.dimension) for seed in range(6)]
    best = min(minimize(objective, "l-bfgs", 20_000, start=start, tolerance=1e-14).value for start in starts)
    assert minimize(objective, "analytical", 100).value == pytest.approx(best, rel=1e-6)


def test_other_forms_are_refused() -> None:
    """A net with units, a linear net under another loss, and a concave J."""
    objective, *_ = linear([nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)])
    with pytest.raises(SettingError, match="must know the form"):
        minimize(objective, "analytical", 1000)
    model = nn.Sequential(nn.Linear(5, 2, bias=False), nn.Linear(2, 3, bias=False)).double()
    absolute = Objective(
        model, lambda m, b: (m(b[0]) - b[1]).abs().mean(), (torch.randn(9, 5).double(), torch.randn(9, 3).double())
    )
    with pytest.raises(SettingError, match="must know the form"):
        minimize(absolute, "analytical", 1000)
    hill = Objective.from_function(lambda x: -(x**2).sum(), torch.ones(3, dtype=torch.float64))
    assert minimize(hill, "analytical", 1000).status is Status.BREAKDOWN


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"method": "annealing", "start": [0.0, 0.0]}, "method must be one of"),
        ({"method": "random", "start": [0.0, 0.0]}, "no bounds"),
        ({"method": "cma-es"}, "must tell the dimension"),
        ({"method": "cma-es", "start": [0.0, np.nan]}, "must be finite"),
        ({"method": "cma-es", "bounds": ([1.0, 0.0], [0.0, 1.0])}, "low below high"),
        ({"method": "cma-es", "bounds": ("a", "b"), "start": [0.0, 0.0]}, "pair"),
        ({"method": "cma-es", "bounds": (0.0, 1.0), "start": [2.0, 0.0]}, "within the bounds"),
        ({"method": "cma-es", "start": [0.0, 0.0], "budget": 0}, "budget must be"),
        ({"method": "cma-es", "start": [0.0, 0.0], "temperature": 1.0}, "has the settings sigma, population, restarts"),
        ({"method": "cma-es", "start": [0.0, 0.0], "sigma": -1.0}, "not negative"),
        ({"method": "cg", "start": [0.5, 0.5], "bounds": (0.0, 1.0)}, "knows no bounds"),
        ({"method": "newton-cg", "start": [0.0, 0.0]}, "must know Hessian products"),
        ({"method": "analytical", "start": [0.0, 0.0]}, "must know the form"),
        ({"method": "cma-es", "start": [0.0, 0.0], "population": 2.5}, "population must be a whole number"),
        ({"method": "cma-es", "start": [0.0, 0.0], "seed": -1}, "seed must be"),
        ({"method": "genetic", "bounds": ([0.0], [1.0]), "population": 1}, "population must be 2"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: dict[str, object], match: str) -> None:
    """Before anything is asked."""
    asked = []

    def counting(x: np.ndarray) -> float:
        asked.append(x)
        return bowl(x)

    with pytest.raises(SettingError, match=match):
        minimize(counting, **arguments)
    assert not asked


def test_shapes_must_fit() -> None:
    """Of start and bounds, and of what the function gives."""
    with pytest.raises(ShapeError, match="one shape"):
        minimize(bowl, start=[0.0, 0.0], bounds=(np.zeros(3), np.ones(3)))
    with pytest.raises(ShapeError, match=r"shape \(2,\), as θ has"):
        minimize(standard("branin", 2), start=np.zeros(3))
    with pytest.raises(ShapeError, match="at least one entry"):
        minimize(bowl, start=np.zeros(0))
    with pytest.raises(ValueError, match="one number"):
        minimize(lambda x: x, "powell", start=[0.0, 0.0])


def test_a_function_without_slopes_is_differenced_and_pays_for_it() -> None:
    """SciPy's differences ask n + 1 times a gradient, all of it on the record."""
    found = minimize(bowl, "l-bfgs", 300, start=[1.0, 1.0])
    assert found.value < 1e-8
    assert found.spent == found.evaluations


def test_points_beyond_memory_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best one is kept, and the notes say so."""
    monkeypatch.setattr("theodolite.search.ledger.KEPT_BYTES", 100)
    found = minimize(bowl, "random", 50, bounds=([-1.0, -1.0], [1.0, 1.0]))
    assert found.points.shape == (0, 2)
    assert bowl(found.point) == found.value
    assert any("not kept" in note for note in found.notes)


def test_a_search_is_saved_and_drawn_without_the_model(tmp_path: Path) -> None:
    """The record comes back from its file, and has pictures."""
    from theodolite import figure, save_figure

    found = minimize(bowl, "cma-es", 100, start=[1.0, 1.0])
    again = load(save(found, tmp_path / "search.npz"))
    assert np.array_equal(again.values, found.values)
    assert again.status is found.status
    assert again.settings == found.settings
    assert "cma-es found" in figure(again).alt
    assert save_figure(again, tmp_path / "search.png").stat().st_size > 1000
    assert save_figure(again, tmp_path / "search.html").stat().st_size > 1000


def test_time_is_told_across_an_interruption(tmp_path: Path) -> None:
    """Seconds of what was answered from the file are those of its first answer."""

    def slow(x: np.ndarray) -> float:
        time.sleep(0.002)
        return bowl(x)

    box = ([-1.0, -1.0], [1.0, 1.0])
    first = minimize(slow, "random", 20, bounds=box, path=tmp_path / "s.db")
    second = minimize(slow, "random", 30, bounds=box, path=tmp_path / "s.db")
    assert np.array_equal(first.seconds, second.seconds[:20])
    assert (np.diff(second.seconds) >= 0).all()


def test_searches_are_drawn_side_by_side() -> None:
    """Each by its name, with what it found; five are too many to be told apart."""
    from theodolite.plots import marks_searches

    found = {method: minimize(standard("sphere", 3), method, 60) for method in ("l-bfgs", "powell")}
    chart = marks_searches(found)
    for name, one in found.items():
        (curve,) = chart.of(name)
        assert np.array_equal(curve.x, one.costs)
        assert np.array_equal(curve.y, one.best)
        assert f"{name} found" in chart.takeaway
    assert marks_searches(found, against="seconds").x.unit == "s"
    with pytest.raises(SettingError, match="1 to 4"):
        marks_searches({str(place): found["powell"] for place in range(5)})
    with pytest.raises(SettingError, match="against must be"):
        marks_searches(found, against="steps")
