"""Which optimizer gets how far: second-order steps of theodolite beside L-BFGS, tuned momentum, and two packages.

    OMP_NUM_THREADS=1 python benchmarks/optim.py [--seeds 5] [--updates 30]

Needs the environment of benchmarks/peers.txt for pytorch-minimize and torch-optimizer; what is not there is left out,
and the page says so. A few minutes; writes benchmarks/results/optim.md.
"""

import argparse
import importlib
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from theodolite.linalg import hessian, smallest_eigenvalues
from theodolite.objective import Objective
from theodolite.optim import DampedNewton, NaturalGradient, SaddleFreeNewton, TrustRegionNewtonCG
from theodolite.problems.digits import digits
from theodolite.problems.networks import initialise, perceptron
from theodolite.problems.saddles import SADDLES

RESULT = Path(__file__).parent / "results" / "optim.md"

NOTES = """One thread; seconds are of the processor, and rough. *J* is the loss after so many calls of
``optimizer.step``; an L-BFGS step is up to 20 iterations with a strong Wolfe search, all others are one update.
*Momentum* is gradient descent with momentum, the best of a random search (rate 10^U(−4, 0) on functions, 10^U(−3, 0) on
digits, momentum 0, 0.5, 0.9 or 0.95), on digits stochastic with batches of 20, 50 or 100 and one epoch for one update:
J of the best draw, seconds of all. *trust-ncg* and *newton-exact* are pytorch-minimize's, given as many iterations;
*AdaHessian* is torch-optimizer's, the best of 5 rates. Damped and saddle-free Newton choose δ from Dauphin's grid, and
decompose the exact Hessian up to 1,000 parameters. *SFN of the paper* is saddle-free Newton without ``escape``."""

UNKNOWN = "–"


@dataclass(frozen=True)
class Outcome:
    """What one optimizer gave on one problem."""

    value: float
    seconds: float


Loss = Callable[[Tensor], Tensor]


def package(name: str):
    """A module if it is there."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


MINIMIZE, EXTRA = package("torchmin"), package("torch_optimizer")


def stepped(make, loss: Loss, start: Tensor, steps: int) -> Outcome:
    """J after some steps of an optimizer of torch on a function of one vector."""
    point = nn.Parameter(start.clone())
    optimizer = make([point])

    def closure():
        optimizer.zero_grad()
        value = loss(point)
        value.backward(create_graph=isinstance(optimizer, EXTRA.Adahessian) if EXTRA else False)
        return value

    begun = time.process_time()
    for _ in range(steps):
        optimizer.step(closure)
        if not bool(point.isfinite().all()):
            return Outcome(float("nan"), time.process_time() - begun)
    return Outcome(float(loss(point.detach())), time.process_time() - begun)


def minimized(method: str, loss: Loss, start: Tensor, steps: int) -> Outcome:
    """J after some iterations of pytorch-minimize."""
    begun = time.process_time()
    result = MINIMIZE.minimize(loss, start, method=method, max_iter=steps)
    return Outcome(float(result.fun), time.process_time() - begun)


def best_momentum(loss: Loss, start: Tensor, steps: int, draws: int = 20) -> Outcome:
    """The best of a random search."""
    draw = np.random.default_rng(0)
    found = []
    for _ in range(draws):
        rate, momentum = 10 ** draw.uniform(-4, 0), draw.choice([0.0, 0.5, 0.9, 0.95])
        found.append(stepped(lambda p, r=rate, m=momentum: torch.optim.SGD(p, lr=r, momentum=m), loss, start, steps))
    return Outcome(float(np.nanmin([one.value for one in found])), sum(one.seconds for one in found))


OURS = {
    "saddle-free Newton": SaddleFreeNewton,
    "SFN of the paper": lambda p: SaddleFreeNewton(p, escape=False),
    "damped Newton": DampedNewton,
    "trust-region Newton-CG": TrustRegionNewtonCG,
}


def lbfgs(params):
    return torch.optim.LBFGS(params, lr=1, line_search_fn="strong_wolfe")


def on_function(loss: Loss, start: Tensor, steps: int) -> dict[str, Outcome]:
    """All optimizers on a function of one vector."""
    found = {name: stepped(make, loss, start, steps) for name, make in OURS.items()}
    found["torch.optim.LBFGS"] = stepped(lbfgs, loss, start, steps)
    found["momentum, 20 draws"] = best_momentum(loss, start, steps)
    if MINIMIZE:
        for method in ("trust-ncg", "newton-exact"):
            found[f"pytorch-minimize {method}"] = minimized(method, loss, start, steps)
    if EXTRA:
        tried = [
            stepped(lambda p, r=rate: EXTRA.Adahessian(p, lr=r, seed=0), loss, start, steps)
            for rate in (0.01, 0.03, 0.1, 0.3, 1.0)
        ]
        found["torch-optimizer AdaHessian"] = Outcome(min(t.value for t in tried), sum(t.seconds for t in tried))
    return found


def rosenbrock(x: Tensor) -> Tensor:
    """Minimum 0 at ones."""
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def deep_linear(x: Tensor) -> Tensor:
    """½‖W₃W₂W₁ − diag(5, 4, 3, 2, 1)‖² of 5 × 5 matrices; minimum 0; saddles wherever a mode is not learnt."""
    first, second, third = x.reshape(3, 5, 5)
    return 0.5 * (third @ second @ first - torch.diag(torch.arange(5.0, 0.0, -1.0, dtype=x.dtype))).square().sum()


def functions() -> list[str]:
    """Tables of functions of one vector."""
    draw = torch.Generator().manual_seed(0)
    cases = {
        "Rosenbrock, n = 2, from (−1.2, 1)": (rosenbrock, torch.tensor([-1.2, 1.0], dtype=torch.float64), 30),
        "Rosenbrock, n = 20": (rosenbrock, torch.tensor([-1.2, 1.0] * 10, dtype=torch.float64), 60),
        "Deep linear net, three 5 × 5 layers, entries of 0.01": (
            deep_linear,
            0.01 * torch.randn(75, generator=draw, dtype=torch.float64),
            40,
        ),
    }
    lines = []
    for title, (loss, start, steps) in cases.items():
        lines += [f"\n## {title}\n", f"| optimizer | J after {steps} steps | seconds |", "|---|---|---|"]
        found = on_function(loss, start, steps)
        lines += [f"| {name} | {one.value:.2g} | {one.seconds:.2f} |" for name, one in found.items()]
    return lines


def closure_of(training, optimizer):
    """The usual closure, on all data."""

    def closure():
        optimizer.zero_grad()
        loss = training.loss(training.model, training.data)
        loss.backward()
        return loss

    return closure


def steps_until(problem, make, goal: float, limit: int, seconds: float) -> str:
    """Steps until J is below a goal, or that it is not within a limit."""
    training = problem.build(0)
    optimizer = make(training)
    closure, begun = closure_of(training, optimizer), time.process_time()
    for step in range(limit):
        if float(optimizer.step(closure).detach()) < goal:
            return str(step)
        if time.process_time() - begun > seconds:
            return f"> {step} (time)"
    return f"> {limit}"


def saddles(seconds: float = 15.0) -> list[str]:
    """How many steps it takes to leave the planted saddles."""
    head = "| problem | J at the saddle | floor | SFN, 30 products | own optimizer | descent, rate 0.05 | L-BFGS |"
    lines = ["\n## Leaving the saddles of the zoo\n"]
    lines += [
        "Steps on the full data until J has made a tenth of the way from the saddle to the floor. The own optimizer is "
        "the one that the zoo trains it with; J at the saddle is where it is after half of its steps.\n",
        head,
        "|---|---|---|---|---|---|---|",
    ]
    for problem in SADDLES:
        if problem.twin:
            continue
        training = problem.build(0)
        closure = closure_of(training, training.optimizer)
        halted = [float(training.optimizer.step(closure).detach()) for _ in range(problem.steps // 2)][-1]
        goal = halted - 0.1 * (halted - problem.floor)
        makers = [
            (lambda t: SaddleFreeNewton(t.model.parameters(), products=30), 20),
            (lambda t: t.optimizer, 1500),
            (lambda t: torch.optim.SGD(t.model.parameters(), lr=0.05), 1500),
            (lambda t: lbfgs(t.model.parameters()), 20),
        ]
        counts = [steps_until(problem, make, goal, limit, seconds) for make, limit in makers]
        lines.append(f"| {problem.name} | {halted:.3g} | {problem.floor:.3g} | " + " | ".join(counts) + " |")
    return lines


def drawn_net(hidden: int, seed: int) -> nn.Module:
    model = perceptron((64, hidden, 10), nn.Tanh)
    initialise(model, torch.Generator().manual_seed(seed))
    return model


def cross_entropy(model: nn.Module, batch) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def net_after(make, hidden: int, seed: int, updates: int) -> tuple[nn.Module, Outcome]:
    """A net after full-batch updates."""
    model, data = drawn_net(hidden, seed), digits().training
    optimizer = make(model)

    def closure():
        optimizer.zero_grad()
        loss = cross_entropy(model, data)
        loss.backward()
        return loss

    begun = time.process_time()
    for _ in range(updates):
        optimizer.step(closure)
    with torch.no_grad():
        return model, Outcome(float(cross_entropy(model, data)), time.process_time() - begun)


def net_after_momentum(hidden: int, seed: int, epochs: int, draws: int) -> tuple[nn.Module, Outcome]:
    """The best of a random search of stochastic gradient descent."""
    inputs, targets = digits().training
    draw, found = np.random.default_rng(seed), []
    begun = time.process_time()
    for _ in range(draws):
        rate, momentum, size = (
            10 ** draw.uniform(-3, 0),
            draw.choice([0.0, 0.5, 0.9, 0.95]),
            int(draw.choice([20, 50, 100])),
        )
        model = drawn_net(hidden, seed)
        optimizer, order = (
            torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum),
            torch.Generator().manual_seed(seed),
        )
        for _ in range(epochs):
            for rows in torch.randperm(len(inputs), generator=order).split(size):
                optimizer.zero_grad()
                cross_entropy(model, (inputs[rows], targets[rows])).backward()
                optimizer.step()
        with torch.no_grad():
            found.append((float(cross_entropy(model, (inputs, targets))), model))
    value, model = min((one for one in found if np.isfinite(one[0])), key=lambda one: one[0])
    return model, Outcome(value, time.process_time() - begun)


def most_negative(model: nn.Module) -> float:
    """λmin of the Hessian on all data."""
    objective = Objective(model, cross_entropy, digits().training)
    with hessian(objective) as op:
        pairs = smallest_eigenvalues(op, 1, max_products=100, generator=torch.Generator().manual_seed(0))
    return float(pairs.values[0]) if pairs.values.size else float("nan")


def networks(seeds: int, updates: int, draws: int = 8) -> list[str]:
    """Dauphin's comparison, direction only: digits 8 × 8 in place of MNIST 10 × 10."""
    makers = {
        "saddle-free Newton": lambda m: SaddleFreeNewton(m.parameters()),
        "SFN of the paper": lambda m: SaddleFreeNewton(m.parameters(), escape=False),
        "saddle-free Newton, 50 products": lambda m: SaddleFreeNewton(m.parameters(), products=50),
        "damped Newton": lambda m: DampedNewton(m.parameters()),
        "trust-region Newton-CG": lambda m: TrustRegionNewtonCG(m.parameters()),
        "natural gradient": lambda m: NaturalGradient(m.parameters(), model=m),
        "torch.optim.LBFGS": lambda m: lbfgs(m.parameters()),
    }
    lines = []
    for hidden, count, chosen in (
        (5, seeds, list(makers)),
        (15, max(1, seeds // 2), [n for n in makers if n[:3] != "SFN"]),
    ):
        values: dict[str, list[float]] = {}
        seconds: dict[str, list[float]] = {}
        least: dict[str, float] = {"start": most_negative(drawn_net(hidden, 0))}
        for seed in range(count):
            for name in (*chosen, "momentum"):
                if name == "momentum":
                    model, one = net_after_momentum(hidden, seed, updates, draws)
                elif hidden == 15 and name in ("saddle-free Newton", "damped Newton"):
                    make = SaddleFreeNewton if name[0] == "s" else DampedNewton
                    model, one = net_after(lambda m, k=make: k(m.parameters(), products=200), hidden, seed, updates)
                else:
                    model, one = net_after(makers[name], hidden, seed, updates)
                values.setdefault(name, []).append(one.value)
                seconds.setdefault(name, []).append(one.seconds)
                if seed == 0:
                    least[name] = most_negative(model)
        title = f"\n## Digits 8 × 8, tanh, {hidden} hidden units, {updates} updates or epochs, {count} seeds\n"
        exact = "exact Hessian" if hidden == 5 else "Krylov spaces of 200 products for damped and saddle-free Newton"
        lines += [title, f"1,500 digits, {exact}. λmin of seed 0: {least['start']:.2g} at the start.\n"]
        lines += [
            "| optimizer | J, median | J, worst | best of all, seeds | λmin, seed 0 | seconds a run |",
            "|---|---|---|---|---|---|",
        ]
        columns = np.array(list(values.values()))
        wins = (columns <= columns.min(0)).sum(1)
        for place, name in enumerate(values):
            lines.append(
                f"| {name} | {np.nanmedian(values[name]):.2g} | {np.max(values[name]):.2g} | {wins[place]} of {count} "
                f"| {least[name]:.1g} | {np.mean(seconds[name]):.1f} |"
            )
        reached = np.array(values["saddle-free Newton"])
        for title, others in (
            ("damped Newton and momentum, as in the paper", ("damped Newton", "momentum")),
            ("L-BFGS, which takes up to 20 iterations a step", ("torch.optim.LBFGS",)),
        ):
            ahead = (reached <= np.array([values[name] for name in others]).min(0)).sum()
            lines.append(f"\nSaddle-free Newton ends no higher than {title}: {ahead} of {count} seeds.")
    return lines


def told(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"{name} {UNKNOWN}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--updates", type=int, default=30)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.perf_counter()
    lines = ["# Optimizers: how far they get"]
    body = []
    for part in (functions, saddles, lambda: networks(asked.seeds, asked.updates)):
        body += part()
        print("\n".join(body), flush=True)
    packages = ", ".join(told(name) for name in ("torch", "numpy", "scipy", "pytorch-minimize", "torch-optimizer"))
    lines.append(
        f"\n{datetime.now(UTC):%Y-%m-%d}; {platform.processor() or platform.machine()}, {os.cpu_count()} cores, one "
        f"thread, load average {os.getloadavg()[0]:.1f}; Python {platform.python_version()}; {packages}; "
        f"{time.perf_counter() - begun:.0f} s in all.\n"
    )
    RESULT.write_text("\n".join([*lines, NOTES, *body]) + "\n")


if __name__ == "__main__":
    main()
