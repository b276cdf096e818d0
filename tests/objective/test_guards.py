"""Is every part of the guard needed: does some law fail when it is taken away?"""

from contextlib import contextmanager, nullcontext

import pytest
import torch

from families import BY_NAME, regression
from objective.oracle import oracle_of
from objective.test_derivatives import distance
from objective.test_traces import lived, measure_all
from theodolite.objective import Objective, batchwise, capture, data, isolation, kernels, params, sources


def objective_of(problem, loss=None, seed=0):
    return Objective(problem.model, loss or problem.loss, problem.data, seed=seed)


def no_trace(name):
    def law():
        problem = lived(BY_NAME[name](torch.float32))
        measure_all(objective_of(problem), problem.model, problem.loss)

    return law


def right_product(name):
    def law():
        truth = oracle_of(BY_NAME[name])
        v = torch.linspace(-1, 1, len(truth.point), dtype=torch.float64)
        objective = objective_of(BY_NAME[name]())
        assert distance(objective.hvp(v), truth.hessian(truth.point) @ v) < 1e-10
        assert objective.hvp_method == "double backward"

    return law


def one_function(name, *, moved=lambda model: None):
    """The value is the same whatever happened meanwhile to generators."""

    def law():
        problem = BY_NAME[name]()
        objective = objective_of(problem)
        before = objective.value()
        moved(problem.model)
        assert objective.value() == before

    return law


def exact_gradient():
    problem = BY_NAME["mlp"]()
    plain = objective_of(problem).gradient()
    torch.testing.assert_close(objective_of(lived(problem)).gradient(), plain, rtol=0, atol=0)


def honest_autocast():
    problem = BY_NAME["mlp"](torch.float32)
    objective, there = objective_of(problem), None
    with torch.autocast("cpu", torch.bfloat16):
        problem.loss(problem.model, problem.batches[0])
        here = objective.value()
        there = objective.value(objective.point() + 1)
    assert here != there


def teacher_kept():
    problem, teacher = (BY_NAME["conv batchnorm train"](torch.float32) for _ in range(2))
    loss = lambda model, batch: (model(batch[0]) - teacher.model(batch[0])).pow(2).mean()  # noqa: E731
    measure_all(objective_of(problem, loss), problem.model, teacher.model)


def recurrent_switched_off():
    """Slow or missing second derivatives on one backend or the other: the switch is what can be seen everywhere."""
    problem = BY_NAME["lstm"](torch.float32)

    def loss(model, batch):
        seen.append((torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled))
        return problem.loss(model, batch)

    seen: list[tuple[bool, bool]] = []
    objective_of(problem, loss).hvp(objective_of(problem).point())
    assert seen[-1] == (False, False)  # before it, the check differentiates once, with the kernels of the training


def loader_kept():
    problem = BY_NAME["mlp"](torch.float32)
    loader = torch.utils.data.DataLoader(list(zip(*problem.batches[0], strict=True)), batch_size=2, shuffle=True)
    measure_all(Objective(problem.model, regression, loader), problem.model)


@contextmanager
def placed_only(self, theta):
    """Params.placed without the way back."""
    if theta is not None:
        for tensor, part in zip(self.tensors, self.unflatten(theta), strict=True):
            tensor.data.copy_(part)
    yield


def draw(model):
    torch.randn(3, generator=model.generator)


nothing = lambda *args, **kwargs: nullcontext()  # noqa: E731
unseen = lambda *functions, depth=0: tuple(f for f in functions if isinstance(f, torch.nn.Module))  # noqa: E731

GUARDS = {
    "modules": (isolation, "modules_kept", nothing, no_trace("conv batchnorm train")),
    "attributes": (isolation, "modules_kept", nothing, no_trace("stateful")),
    "generators": (isolation, "randomness_kept", nothing, no_trace("dropout")),
    "generators of modules": (isolation, "generators_of", lambda owners: [], no_trace("noisy")),
    "the seed": (isolation, "pin_randomness", lambda *_: None, one_function("dropout", moved=lambda _: torch.rand(1))),
    "the seed of modules": (isolation, "generators_of", lambda owners: [], one_function("noisy", moved=draw)),
    "gradients and hooks": (isolation, "gradients_kept", nothing, exact_gradient),
    "compiled and checkpointed": (isolation, "plain_autograd", nothing, right_product("checkpointed, reentrant")),
    "autocast's cache": (isolation, "autocast_uncached", nothing, honest_autocast),
    "parameters": (params.Params, "placed", placed_only, no_trace("mlp")),
    "attention": (kernels, "sdpa_kernel", nothing, right_product("causal attention, tied")),
    "embeddings": (kernels, "dense_embeddings", nothing, no_trace("sparse embeddings")),
    "weight norm": (kernels, "primitive_weight_norm", nothing, right_product("weight norm")),
    "recurrent kernels": (kernels, "recurrent_kernels_off", nothing, recurrent_switched_off),
    "all kernels": (batchwise, "twice_differentiable", nothing, right_product("transformer")),
    "modules that the loss reaches": (sources, "modules_within", unseen, teacher_kept),
    "loaders": (data, "randomness_kept", nothing, loader_kept),
}


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.filterwarnings("ignore:Hessian products")
def test_every_part_of_the_guard_is_needed(guard, monkeypatch):
    home, name, without, law = GUARDS[guard]
    with torch.random.fork_rng():
        law()
        monkeypatch.setattr(home, name, without)
        with pytest.raises((AssertionError, RuntimeError)):
            law()


def test_what_a_function_reaches():
    inner, other = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)

    class Holder:
        def __init__(self):
            self.model, self.many = inner, list(range(1000))

        def method(self, x):
            return self.model(x)

    def closure(x, default=other):
        return inner(x)

    assert capture.modules_within(Holder().method) == (inner,)
    assert set(capture.modules_within(closure)) == {inner, other}
    assert set(capture.modules_within(lambda x: 2 * closure(x))) == {inner, other}
    assert capture.modules_within(torch.sin) == ()
