"""Pictures of checkpoints from the shell: what is measured, kept, redrawn without the model, and refused."""

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

FACTORY = """
import torch
from theodolite import Objective

def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))

def objective():
    source = torch.Generator().manual_seed(1)
    x = torch.randn(40, 4, generator=source)
    y = (x[:, 0] > 0).long()
    batches = [(x[:20], y[:20]), (x[20:], y[20:])]
    return Objective(model(), lambda m, b: torch.nn.functional.cross_entropy(m(b[0]), b[1]), batches)

def normalised():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.BatchNorm1d(5), torch.nn.Linear(5, 2)).eval()
    plain = objective()
    return Objective(net, lambda m, b: torch.nn.functional.cross_entropy(m(b[0]), b[1]), list(plain.source.batches()))

def nothing():
    return 3

def loss(model, batch, *, weight=1.0):
    return 3
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a user's module and two checkpoints of its model."""
    (tmp_path / "tiny.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tiny", raising=False)
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, tmp_path / "a.safetensors")
    other = {f"module.{name}": value + 0.3 for name, value in net.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": other}, tmp_path / "b.pt")
    return tmp_path


def test_a_surface_is_kept_and_redrawn_without_torch(place, ask):
    """The centre is the loss at the checkpoint; the picture comes from the numbers alone."""
    from theodolite.records import load

    words = ["surface", "--objective", "tiny:objective", "--at", "a.safetensors", "--points", "7"]
    result = ask(*words, "-o", "plane.npz", "-o", "plane.png")
    assert result.code == 0, result.err
    picture = load("plane.npz")
    import tiny

    middle = float(picture.losses[3, 3])
    assert middle == pytest.approx(tiny.objective().value(), rel=1e-6)
    assert Path("plane.png").read_bytes().startswith(b"\x89PNG")
    code = "import sys, theodolite.cli.door as d; c = d._exit_code(sys.argv[1:]); print('torch' in sys.modules, c)"
    drawn = subprocess.run(
        [sys.executable, "-c", code, "draw", "plane.npz", "-o", "again.svg"], capture_output=True, text=True, check=True
    )
    assert drawn.stdout.split()[-2:] == ["False", "0"]
    assert Path("again.svg").stat().st_size > 1000


@pytest.mark.parametrize("directions", ["eigen", "gradient"])
def test_other_directions(place, ask, directions):
    words = ["surface", "--objective", "tiny:objective", "--directions", directions, "--points", "5", "-o", "p.npz"]
    assert ask(*words).code == 0
    from theodolite.records import load

    picture = load("p.npz")
    assert picture.x[-1] == pytest.approx(0.1)
    assert abs(picture.cosine) < 1e-5
    assert "‖θ‖" in picture.x_name


@pytest.fixture
def walked(place):
    """A run whose parameters went a way that is not flat, and the way."""
    from theodolite.records import RunWriter

    model, source = importlib.import_module("tiny").model(), torch.Generator().manual_seed(2)
    with RunWriter("way") as writer:
        points = []
        for step in range(6):
            for tensor in model.parameters():
                tensor.data += 0.1 * torch.randn(tensor.shape, generator=source)
            writer.snapshot(step, {name: tensor.detach().numpy() for name, tensor in model.named_parameters()})
            points.append(torch.nn.utils.parameters_to_vector(model.parameters()).detach())
    return torch.stack(points).double().numpy()


def test_the_plane_of_the_principal_components_of_a_run(walked, ask):
    """Centre, spread and distances are those of NumPy's decomposition; each point comes with its own loss."""
    from theodolite.plots import describe
    from theodolite.records import load

    words = ["surface", "--objective", "tiny:objective", "--directions", "pca", "--points", "9"]
    result = ask(*words, "--run", "way", "-o", "p.npz", "-o", "p.png", "-o", "p.vtp", "-o", "p.gif")
    assert result.code == 0, result.err
    picture, (track,) = load("p.npz"), load("p.npz").tracks
    _, values, ways = np.linalg.svd(walked - walked.mean(0), full_matrices=False)
    away = walked - walked[-1]
    np.testing.assert_allclose(np.abs([track.x, track.y]), np.abs(ways[:2] @ away.T), atol=1e-5)
    rest = np.linalg.norm(away - away @ ways[:2].T @ ways[:2], axis=1)
    np.testing.assert_allclose(track.outside, rest, atol=1e-5)
    objective = importlib.import_module("tiny").objective()
    truth = [objective.value(torch.from_numpy(point).float()) for point in walked]
    np.testing.assert_allclose(track.losses, truth, rtol=1e-6)
    assert picture.losses[picture.y == 0, picture.x == 0] == pytest.approx(truth[-1], rel=1e-6)
    assert picture.x[0] < track.x.min()
    assert picture.x[-1] > track.x.max()
    shares = [f"{share:.0%}".replace("%", "\N{NO-BREAK SPACE}%") for share in values[:2] ** 2 / (values**2).sum()]
    assert f"components of {shares[0]} and {shares[1]} of the variance" in result.out
    assert f"up to {rest.max():.3g} off the plane, where J differs by up to" in result.out
    assert picture.origin == "step 5"
    assert (
        "of its distance from step 5 lies outside the plane; J at its points differs" in describe(picture)[0].notes[0]
    )


def test_a_run_is_drawn_on_any_plane(walked, ask):
    from theodolite.records import load

    words = ["surface", "--objective", "tiny:objective", "--at", "way@5", "--points", "5", "--run", "way"]
    assert ask(*words, "-o", "p.npz").code == 0
    (track,) = load("p.npz").tracks
    np.testing.assert_allclose(track.distances, np.linalg.norm(walked - walked[-1], axis=1), rtol=1e-5, atol=1e-6)
    assert (load("p.npz").x[-1], load("p.npz").origin) == (1.0, "way@5")


@pytest.mark.parametrize("extra", [[], ["--run", "way", "--at", "a.safetensors"]], ids=["no run", "a centre"])
def test_principal_components_are_those_of_a_run(walked, ask, extra):
    words = ["surface", "--objective", "tiny:objective", "--directions", "pca", *extra]
    result = ask(*words, "-o", "p.npz")
    assert result.code == 1
    assert "--directions pca needs --run, whose last point is the centre, and no --at" in result.err


@pytest.fixture
def two_states(place):
    """Two checkpoints of a net with batch normalisation, whose running statistics differ; and J of each by hand."""
    objective = importlib.import_module("tiny").normalised()
    net, values = objective.source.model, []
    for name, mean in (("one.pt", 0.5), ("two.pt", -2.0)):
        net[1].running_mean.fill_(mean)
        torch.save(net.state_dict(), name)
        values.append(objective.value())
    assert abs(values[1] / values[0] - 1) > 0.01
    return values


def test_a_checkpoint_comes_with_its_own_running_statistics(two_states, ask):
    """At the centre stands the loss of the checkpoint, not of its parameters with the statistics of the factory."""
    from theodolite.records import load

    words = ["--objective", "tiny:normalised", "--at", "two.pt"]
    assert ask("surface", *words, "--points", "3", "-o", "p.npz").code == 0
    assert load("p.npz").losses[1, 1] == pytest.approx(two_states[1], rel=1e-6)
    one, two = (ask("spectrum", *words[:3], at, "-o", "s.npz").out for at in ("one.pt", "two.pt"))
    assert one != two


@pytest.fixture
def moved(two_states):
    """A factory with a frozen layer, and the first checkpoint with that layer's output and the mean of it 1 higher."""
    Path("frozen.py").write_text(
        "import tiny\n"
        "def objective():\n"
        "    made = tiny.normalised()\n"
        "    made.source.model[0].requires_grad_(False)\n"
        "    return tiny.Objective(made.source.model, made.source.loss, list(made.source.batches()))\n"
    )
    sys.modules.pop("frozen", None)
    state = torch.load("one.pt")
    state["0.bias"] += 1.0
    state["1.running_mean"] += 1.0
    torch.save(state, "moved.pt")
    return state


def test_a_checkpoint_comes_with_its_own_frozen_parameters(two_states, moved, ask):
    from theodolite.records import load

    words = ["surface", "--objective", "frozen:objective", "--at", "moved.pt", "--points", "3", "-o", "p.npz"]
    assert ask(*words).code == 0
    assert load("p.npz").losses[1, 1] == pytest.approx(two_states[0], rel=1e-6)
    torch.save(moved | {"1.running_mean": torch.zeros(1)}, "moved.pt")
    assert "'1.running_mean' in moved.pt must have shape (5,), as in the model, got (1,)" in ask(*words).err


def test_a_line_has_the_frozen_parameters_of_both_ends(two_states, moved, ask):
    from theodolite.records import load

    torch.save(moved | {"2.bias": moved["2.bias"] + 1}, "further.pt")
    words = ["line", "--objective", "frozen:objective", "--start", "moved.pt", "-o", "l.npz", "--end"]
    assert ask(*words, "further.pt").code == 0
    found = load("l.npz")
    assert found.losses[found.positions == 0] == pytest.approx(two_states[0], rel=1e-6)
    result = ask(*words, "one.pt")
    assert result.code == 1
    assert "'0.bias' differs between moved.pt and one.pt" in result.err


def test_both_ends_of_a_line_have_their_own_running_statistics(two_states, ask):
    from theodolite.records import load

    words = ["line", "--objective", "tiny:normalised", "--start", "one.pt", "--end", "two.pt", "-o", "l.npz"]
    assert ask(*words).code == 0
    found = load("l.npz")
    ends = [float(found.losses[found.positions == at][0]) for at in (0, 1)]
    assert ends == pytest.approx(two_states, rel=1e-6)
    assert found.notes == ("Statistics of batch normalisation are interpolated.",)
    assert ask(*words, "--batch-norm", "model").code == 0
    assert "those that the model has" in load("l.npz").notes[0]
    assert np.ptp(load("l.npz").losses) < 1e-6  # the two differ in nothing but their statistics


def test_a_line_between_checkpoints_of_two_kinds(place, ask):
    """safetensors at one end, a checkpoint nested and wrapped at the other."""
    result = ask("line", "--objective", "tiny:objective", "--start", "a.safetensors", "--end", "b.pt", "-o", "l.npz")
    assert result.code == 0, result.err
    assert "barrier" in result.out
    from theodolite.records import load

    found = load("l.npz")
    assert found.length == pytest.approx(0.3 * np.sqrt(4 * 5 + 5 + 10 + 2), rel=1e-5)
    assert (found.start, found.end) == ("a.safetensors", "b.pt")


def test_a_spectrum(place, ask):
    result = ask("spectrum", "--objective", "tiny:objective", "-o", "s.npz", "-o", "s.png")
    assert result.code == 0, result.err
    assert "λmax" in result.out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--objective", "tiny", "-o", "p.png"], "must be package.module:factory"),
        (["--objective", "tiny:missing", "-o", "p.png"], "cannot"),
        (["--objective", "tiny:nothing", "-o", "p.png"], "must return a theodolite.Objective, got a int"),
        (["--objective", "tiny:loss", "-o", "p.png"], "tiny:loss needs model, batch. Write one that builds model"),
        (["--objective", "tiny:objective", "--at", "nowhere.pt", "-o", "p.png"], "is not there"),
        (["--objective", "tiny:objective", "-o", "p.bmp"], "must end in"),
        (["--objective", "tiny:objective", "--workers", "-1", "-o", "p.png"], "must not be negative"),
    ],
)
def test_what_is_refused_is_told_in_one_line(place, ask, words, complaint):
    result = ask("surface", *words)
    assert result.code == 1
    assert complaint in result.err
    assert result.err.count("\n") == 1


def test_the_help_has_examples_on_lines_of_their_own(ask):
    told = ask("surface", "--help").out.splitlines()
    assert sum(line.strip().startswith("theodolite surface --objective mymodel:objective") for line in told) == 2
    assert not any("\\b" in line for line in told)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["surface", "-o", "p.gif"], "or give --run, whose way they hold"),
        (["spectrum", "-o", "s.vts"], "must end in .npz, .html, .png, .svg, .pdf, got 's.vts'"),
        (["line", "--start", "a.safetensors", "--end", "b.pt", "-o", "l.gif"], "Rename the file."),
    ],
)
def test_what_cannot_be_written_is_not_measured_for(place, ask, words, complaint):
    result = ask(words[0], "--objective", "nowhere:nothing", *words[1:], "-o", "kept.npz")
    assert result.code == 1
    assert complaint in result.err


def test_a_checkpoint_that_would_run_code_is_refused(place, ask):
    """Pickled objects are never loaded, and nothing falls back to loading them."""

    class Bomb:
        def __reduce__(self):
            return (Path("exploded").touch, ())

    torch.save({"state_dict": Bomb()}, "bomb.pt")
    result = ask("surface", "--objective", "tiny:objective", "--at", "bomb.pt", "-o", "p.png")
    assert result.code == 1
    assert not Path("exploded").exists()
    Path("broken.safetensors").write_bytes(b"no")
    assert ask("surface", "--objective", "tiny:objective", "--at", "broken.safetensors", "-o", "p.png").code == 1


@pytest.mark.parametrize(("command", "draws_in_space"), [("surface", True), ("line", False), ("spectrum", False)])
def test_help_promises_only_files_that_a_command_writes(command, draws_in_space, ask):
    """Files of a surface in space are told where a surface is drawn, and nowhere else."""
    result = ask(command, "--help")
    assert result.code == 0
    assert (".vts" in result.out) is draws_in_space
    assert "theodolite.Objective" in result.out
