"""Pictures of checkpoints from the shell: what is measured, kept, redrawn without the model, and refused."""

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

def nothing():
    return 3
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a user's module and two checkpoints of its model."""
    (tmp_path / "tiny.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
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
