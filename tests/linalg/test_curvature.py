"""Are Gauss-Newton, Fisher and the moments of gradients what their formulas say, on every family of models?"""

import copy
import warnings
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from families import BY_NAME, FAMILIES, Problem, classification, mlp, regression
from linalg.losses import LOSSES, labelled
from objective.oracle import ByHand, examples_of, simplify
from theodolite.errors import ObjectiveError, SettingError
from theodolite.linalg import empirical_fisher, fisher, ggn, gradient_covariance, hessian
from theodolite.objective import Objective

PLAIN = [f for f in FAMILIES if not f.is_random and f.name not in {"penalty", "physics", "stateful", "loss module"}]
"""Families whose loss calls the model once, as it was found, and holds nothing else."""
ALONE = [f for f in PLAIN if "batchnorm train" not in f.name]
"""Families in which the gradient of an example does not depend on the others."""

plain = pytest.mark.parametrize("family", PLAIN, ids=lambda family: family.name)
alone = pytest.mark.parametrize("family", ALONE, ids=lambda family: family.name)


def objective_of(problem: Problem) -> Objective:
    return Objective(problem.model, problem.loss, problem.data)


class Recorded(nn.Module):
    """A model at θ, which remembers what it put out; or what stands in for it and puts out what it is told."""

    def __init__(self, model, values=None, told=None):
        super().__init__()
        self.model, self.values, self.told, self.seen = model, values, told, None

    def forward(self, *inputs):
        self.seen = functional_call(self.model, self.values, inputs) if self.told is None else self.told
        return self.seen


def dense_parts(problem: Problem, batch):
    """Jacobian (outputs, n), outputs, and the loss as a function of the outputs, by dense autograd."""
    model = copy.deepcopy(problem.model)
    simplify(model)
    named = {name: t.detach() for name, t in model.named_parameters() if t.requires_grad}
    sizes = [t.numel() for t in named.values()]

    def outputs(theta):
        parts = {k: p.reshape(named[k].shape) for k, p in zip(named, theta.split(sizes), strict=True)}
        recorded = Recorded(copy.deepcopy(model), parts)
        problem.loss(recorded, batch)
        return recorded.seen

    theta = torch.cat([t.reshape(-1) for t in named.values()])
    with sdpa_kernel(SDPBackend.MATH), ByHand():
        z = outputs(theta)
        J = torch.autograd.functional.jacobian(outputs, theta).reshape(z.numel(), -1)
    loss = lambda flat: problem.loss(Recorded(model, told=flat.reshape(z.shape)), batch)  # noqa: E731
    return J, z.detach(), loss


def weighted_mean(problem: Problem, of_batch):
    """Σ count·M / Σ count."""
    counts = [examples_of(batch) for batch in problem.batches]
    return sum(n * of_batch(batch) for n, batch in zip(counts, problem.batches, strict=True)) / sum(counts)


def dense_ggn(problem: Problem):
    def of_batch(batch):
        J, z, loss = dense_parts(problem, batch)
        return J.T @ torch.autograd.functional.hessian(loss, z.reshape(-1)) @ J

    return weighted_mean(problem, of_batch)


def one_by_one(problem: Problem):
    """The gradient of every example, each in a batch of its own."""
    rows = []
    for batch in problem.batches:
        for i in range(examples_of(batch)):
            pick = lambda part, i=i: part[i : i + 1] if part.ndim else part  # noqa: E731
            single = {k: pick(v) for k, v in batch.items()} if isinstance(batch, dict) else [pick(v) for v in batch]
            rows.append(gradient(copy.deepcopy(problem.model), problem, single))
    return torch.stack(rows)


def gradient(model, problem, batch):
    simplify(model)
    tensors = [t for t in model.parameters() if t.requires_grad]
    found = torch.autograd.grad(problem.loss(model, batch), tensors, allow_unused=True)
    return torch.cat(
        [(torch.zeros_like(t) if g is None else g).reshape(-1) for g, t in zip(found, tensors, strict=True)]
    )


def close(found, expected, tolerance=1e-10):
    assert float((found.double() - expected).norm()) <= tolerance * float(expected.norm())


@plain
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-5)], ids=["f64", "f32"])
def test_ggn_against_the_dense_product(family, dtype, tolerance, generator):
    expected = dense_ggn(family())
    with ggn(objective_of(family(dtype))) as op:
        G = op.to_dense()
        V = torch.randn(len(G), 2, generator=generator()).to(dtype)
        close(G, expected, tolerance)
        for _ in range(2):
            close(op @ V, expected @ V.double(), tolerance)
    assert torch.linalg.eigvalsh(expected)[0] > -1e-12
    assert torch.linalg.eigvalsh(G.double())[0] > -10 * torch.finfo(dtype).eps * G.norm()


@alone
def test_second_moments_against_single_examples(family):
    rows = one_by_one(family())
    close(empirical_fisher(objective_of(family())).to_dense(), rows.T @ rows / len(rows))
    centred = rows - rows.mean(0)
    close(gradient_covariance(objective_of(family())).to_dense(), centred.T @ centred / len(rows), 1e-9)
    torch.testing.assert_close(objective_of(family()).gradient(), rows.mean(0), rtol=1e-9, atol=1e-12)


def test_covariance_of_batches_as_if_equal_is_caught():
    """The twin that weights uneven batches equally is not it."""
    problem = BY_NAME["three batches"]()
    uneven = Objective(problem.model, problem.loss, problem.data, count=lambda batch: len(batch[0]))
    rows = one_by_one(problem)
    starts = [0, 6, 7, 10]
    twin = sum(rows[a:b].T @ rows[a:b] / (b - a) for a, b in pairwise(starts)) / 3
    op = empirical_fisher(uneven).to_dense()
    close(op, rows.T @ rows / len(rows))
    assert (op - twin).norm() > 0.05 * op.norm()


def test_a_loader_is_its_concatenation():
    problem = BY_NAME["three batches"]()
    whole = tuple(torch.cat(parts) for parts in zip(*problem.batches, strict=True))
    for make in (hessian, ggn, fisher, empirical_fisher, gradient_covariance):
        parts, one = (make(Objective(problem.model, problem.loss, data)) for data in (problem.data, whole))
        close(parts.to_dense(), one.to_dense(), 1e-12)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_fisher_is_gauss_newton_for_natural_parameters(loss):
    objective = labelled(loss)
    close(fisher(objective).to_dense(), ggn(objective).to_dense())


def test_fisher_by_its_definition():
    """E over labels of the score's outer product, summed over all labels by hand."""
    objective = labelled(LOSSES["cross entropy"])
    model, (x, _) = objective.source.model, next(iter(objective.source.batches()))
    p = model(x).softmax(1).detach()
    expected = 0
    for label in range(3):
        for n in range(len(x)):
            score = torch.autograd.grad(
                functional.cross_entropy(model(x[n : n + 1]), torch.tensor([label])), model.parameters()
            )
            flat = torch.cat([g.reshape(-1) for g in score])
            expected = expected + p[n, label] * torch.outer(flat, flat) / len(x)
    close(fisher(objective).to_dense(), expected)


def test_a_penalty_counts_in_ggn_and_not_in_fisher():
    problem = BY_NAME["penalty"]()
    bare = Objective(problem.model, regression, problem.data)
    whole = Objective(problem.model, problem.loss, problem.data)
    G = ggn(bare).to_dense()
    close(ggn(whole).to_dense(), G + 0.2 * torch.eye(len(G)).double())
    close(fisher(whole).to_dense(), G)
    close(gradient_covariance(whole).to_dense(), gradient_covariance(bare).to_dense(), 1e-9)
    g = whole.gradient() - bare.gradient()  # the same for each example
    E, mean = empirical_fisher(bare).to_dense(), bare.gradient()
    close(empirical_fisher(whole).to_dense(), E + torch.outer(g, mean) + torch.outer(mean, g) + torch.outer(g, g), 1e-9)


def test_a_named_output():
    """A model that computes its own loss, as many libraries have it, is split at the module that makes predictions."""

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x, y=None):
            z = self.head(torch.tanh(self.body(x)))
            return {"loss": functional.cross_entropy(z, y), "logits": z} if y is not None else z

    torch.manual_seed(0)
    model, batch = Own().double(), (torch.randn(6, 3).double(), torch.randint(0, 2, (6,)))
    own = Objective(model, lambda m, b: m(*b)["loss"], batch)
    outside = Objective(model, lambda m, b: functional.cross_entropy(m(b[0]), b[1]), batch)
    with pytest.raises(ObjectiveError, match=r"the model puts out the loss itself.*output='head'"):
        ggn(own) @ own.point()
    close(ggn(own, output="head").to_dense(), ggn(outside).to_dense())


def test_a_model_called_twice():
    torch.manual_seed(0)
    model, batch = mlp().double(), (torch.randn(5, 3).double(), torch.randn(5, 3).double())
    objective = Objective(model, lambda m, b: (m(b[0]) - m(b[1])).pow(2).mean(), batch)
    J = jacobians(model, batch)
    close(ggn(objective).to_dense(), (J[0] - J[1]).T @ (J[0] - J[1]) * 2 / 10)


def jacobians(model, batch):
    named = dict(model.named_parameters())
    sizes = [t.numel() for t in named.values()]
    theta = torch.cat([t.detach().reshape(-1) for t in named.values()])

    def outputs(theta, x):
        parts = {k: p.reshape(named[k].shape) for k, p in zip(named, theta.split(sizes), strict=True)}
        return functional_call(model, parts, (x,)).reshape(-1)

    return [torch.autograd.functional.jacobian(partial(outputs, x=x), theta) for x in batch]


def scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return Objective(torch.jit.script(nn.Linear(3, 2)), regression, BY_NAME["mlp"](torch.float32).batches)


MISTAKES = {
    "a function": (lambda: ggn(Objective.from_function(torch.sum, torch.ones(2))), "must be formed of a model"),
    "no such module": (lambda: ggn(labelled(LOSSES["squared"]), output="head"), r"must name a module.*'head'.*\['0'"),
    "scripted": (lambda: ggn(scripted()), "takes no hooks"),
    "no samples": (
        lambda: ggn(labelled(LOSSES["squared"]), samples=0),
        r"samples \(None for the exact matrix\) must be at least 1",
    ),
    "forward": (
        lambda: ggn(Objective(mlp(), lambda m, b: m.forward(b).sum(), torch.ones(2, 3))) @ torch.ones(26),
        "a call of module.forward does not count",
    ),
    "physics": (lambda: ggn(objective_of(BY_NAME["physics"]())) @ torch.ones(13), "differentiates them"),
    "rows": (
        lambda: (
            empirical_fisher(Objective(mlp(), lambda m, b: m(b).mean(0).pow(2).sum(), torch.ones(3), count=len))
            @ torch.ones(26)
        ),
        r"outputs with 3 rows.*shape \(2,\)",
    ),
    "no likelihood": (
        lambda: fisher(labelled(lambda z, y: (z.pow(4)).mean())) @ torch.ones(31),
        "negative log likelihood of labels that are categorical, bernoulli, gaussian.*that of independent",
    ),
}


@pytest.mark.parametrize(("ask", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_told(ask, message):
    with pytest.raises((ObjectiveError, SettingError), match=message):
        ask()


def test_sure_predictions_have_a_fisher_information():
    """Where the softmax has saturated in float32, rounding hides the form of the second derivative."""
    torch.manual_seed(0)
    model = nn.Linear(3, 4)
    with torch.no_grad():
        model.weight.mul_(1000)
    objective = Objective(model, classification, (torch.randn(20, 3), torch.randint(0, 4, (20,))))
    F = fisher(objective).to_dense()
    torch.testing.assert_close(F, ggn(objective).to_dense())


class Unrolled(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.Linear(3, 3)

    def forward(self, x):
        return self.cell(self.cell(x))


class Table(nn.Module):
    """Its word table is read again in the loss."""

    def __init__(self):
        super().__init__()
        self.words, self.cell = nn.Embedding(5, 3), nn.Linear(3, 3)

    def forward(self, ids):
        return torch.tanh(self.cell(self.words(ids)))


class Noisy(nn.Module):
    """A level of noise, learnt beside the mean."""

    def __init__(self):
        super().__init__()
        self.mean, self.log = nn.Linear(3, 1), nn.Parameter(torch.tensor(0.3))

    def forward(self, x):
        return self.mean(x)


def unfit(name):
    """Objectives whose loss cannot be split, and in which parts would be dropped without a word."""
    torch.manual_seed(0)
    x, y = torch.randn(9, 3), torch.randn(9, 3)
    ids, labels = torch.randint(0, 5, (9,)), torch.randint(0, 5, (9,))
    likelihood = lambda m, b: (0.5 * (m(b[0]) - b[1][:, :1]) ** 2 * (-2 * m.log).exp() + m.log).mean()  # noqa: E731
    return {
        "on its own outputs": lambda: Objective(
            nn.Linear(3, 3), lambda m, b: (m(m(b[0])) - b[1]).pow(2).mean(), (x, y)
        ),
        "a read-out in the loss": lambda: Objective(
            Table(), lambda m, b: functional.cross_entropy(m(b[0]) @ m.words.weight.T, b[1]), (ids, labels)
        ),
        "a noise level in the loss": lambda: Objective(Noisy(), likelihood, (x, y)),
        "two calls": lambda: Objective(nn.Linear(3, 3), lambda m, b: (m(b[0]) - m(b[1])).pow(2).mean(), (x, y)),
        "log probabilities": lambda: Objective(
            nn.Sequential(nn.Linear(3, 4), nn.LogSoftmax(-1)),
            lambda m, b: functional.nll_loss(m(b[0]), b[1].abs().long()[:, 0]),
            (x, y),
        ),
        "absolute": lambda: Objective(nn.Linear(3, 3), lambda m, b: (m(b[0]) - b[1]).abs().mean(), (x, y)),
    }[name]()


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("on its own outputs", ggn, "called on what it put out before"),
        ("on its own outputs", gradient_covariance, "called on what it put out before"),
        ("a read-out in the loss", empirical_fisher, "must not be mixed with these"),
        ("a noise level in the loss", gradient_covariance, "must not be mixed with these"),
        ("a noise level in the loss", fisher, "must not be mixed with these"),
        ("a noise level in the loss", partial(ggn, samples=2), "must not be mixed with these"),
        ("two calls", partial(ggn, samples=2), "one output at a time"),
        ("log probabilities", fisher, "is that of none"),
        ("absolute", fisher, "is that of none"),
        ("absolute", partial(ggn, samples=2), "is that of none"),
    ],
)
def test_what_would_be_wrong_without_a_word_is_refused(name, make, message):
    objective = unfit(name)
    with pytest.raises(ObjectiveError, match=message):
        make(objective) @ torch.ones(objective.dimension)


def test_a_read_out_in_the_loss_is_right_where_it_can_be():
    """The exact Gauss-Newton matrix keeps all blocks: it is that of outputs and parameters together."""
    objective = unfit("a read-out in the loss")
    G = ggn(objective).to_dense()
    torch.testing.assert_close(G, G.T)


def test_half_precision(generator):
    problem = BY_NAME["mlp"](torch.bfloat16)
    op = ggn(Objective(problem.model, problem.loss, problem.data))
    G = dense_ggn(BY_NAME["mlp"]())
    v = torch.randn(26, generator=generator())
    assert (op @ v).dtype == torch.bfloat16
    close(op @ v, G @ v.double(), 0.05)
    assert op.relative_error == torch.finfo(torch.bfloat16).eps


def test_in_words():
    objective = labelled(LOSSES["squared"])
    assert [make(objective).method for make in (ggn, fisher, empirical_fisher, gradient_covariance)] == [
        "Gauss-Newton", "Fisher", "empirical Fisher", "covariance of gradients",
    ]  # fmt: skip
    assert ggn(objective, samples=3).method == "Gauss-Newton from 3 sampled scores"
