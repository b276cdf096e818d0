"""Are the data what they say: shapes, scales, fixed order, and clear words where a file is missing?"""

import gzip

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_wine

from theodolite.errors import DataError, SettingError
from theodolite.problems.datasets import (
    FILES,
    NUM_CHARACTERS,
    breast_cancer,
    cifar10,
    is_there,
    mnist,
    shakespeare,
    wine,
)

TABLES = [pytest.param(wine, load_wine, id="wine"), pytest.param(breast_cancer, load_breast_cancer, id="breast_cancer")]


@pytest.fixture
def real_data(data_folder, monkeypatch):
    monkeypatch.setenv("THEODOLITE_DATA", str(data_folder))


def write_idx(path, array, kind=0x08):
    path.parent.mkdir(exist_ok=True)
    head = bytes([0, 0, kind, array.ndim]) + b"".join(size.to_bytes(4) for size in array.shape)
    path.write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes()))


@pytest.fixture
def made_data(tmp_path, monkeypatch):
    """A folder whose MNIST has five pictures, and whose plays are a short verse."""
    monkeypatch.setenv("THEODOLITE_DATA", str(tmp_path))
    for file in FILES["mnist"]:
        shape = (5, 28, 28) if "images" in file else (5,)
        write_idx(tmp_path / file, np.arange(np.prod(shape)).reshape(shape) % 251)
    (tmp_path / "tinyshakespeare").mkdir()
    (tmp_path / "tinyshakespeare/input.txt").write_text("to be or not to be, that is the question" * 3)
    return tmp_path


@pytest.mark.parametrize(("table", "load"), TABLES)
def test_a_table_is_split_once_and_keeps_every_row(table, load):
    parts = [table(standardised=False).training, table(standardised=False).validation]
    rows = np.concatenate([np.c_[inputs.numpy(), targets.numpy()] for inputs, targets in parts])
    true = np.c_[load().data, load().target].astype(np.float32)
    np.testing.assert_array_equal(rows[np.lexsort(rows.T)], true[np.lexsort(true.T)])
    assert len(parts[0][0]) == int(0.75 * len(rows))
    assert torch.equal(table(standardised=False).training[0], parts[0][0])


@pytest.mark.parametrize(("table", "load"), TABLES)
def test_a_standardised_table_has_mean_0_and_variance_1_over_its_training_rows(table, load):
    inputs = table().training[0].double()
    assert inputs.mean(0).abs().max() < 1e-6
    assert (inputs.std(0, correction=0) - 1).abs().max() < 1e-6
    raw, held = table(standardised=False), table().validation[0]
    mean, scale = raw.training[0].double().mean(0), raw.training[0].double().std(0, correction=0)
    torch.testing.assert_close(held.double(), (raw.validation[0] - mean) / scale, rtol=1e-4, atol=1e-4)


def test_pictures_of_digits(real_data):
    data = mnist(300, validation=20)
    assert data.training[0].shape == (300, 1, 28, 28)
    assert data.validation[0].shape == (20, 1, 28, 28)
    assert data.training[0].dtype == torch.float32
    assert float(data.training[0].min()) == 0
    assert float(data.training[0].max()) == 1
    assert data.training[1].bincount(minlength=10).min() > 10
    # The first pictures of the official test set show 7, 2, 1, 0, 4, 1, 4, 9, 5, 9.
    assert data.validation[1][:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


def test_pictures_of_things(real_data):
    data = cifar10(200, validation=0)
    assert data.validation is None
    assert data.training[0].shape == (200, 3, 32, 32)
    assert 0.4 < float(data.training[0].mean()) < 0.55
    assert data.training[1].bincount(minlength=10).min() > 5


def test_the_plays(real_data):
    inputs, targets = shakespeare(10, 32).training
    assert inputs.shape == targets.shape == (10, 32)
    assert torch.equal(inputs.flatten()[1:], targets.flatten()[:-1])
    longest = shakespeare(30_000, 33, validation=0).training[0]
    assert len(longest.unique()) == NUM_CHARACTERS
    # "First Citizen": the two i of the second word are one character, as are those of the first.
    assert inputs[0, 1] == inputs[0, 7] == inputs[0, 9]


def test_made_pictures_are_read_byte_by_byte(made_data):
    data = mnist(3, validation=2)
    expected = (np.arange(3 * 784) % 251).reshape(3, 1, 28, 28) / 255
    np.testing.assert_allclose(data.training[0].numpy(), expected, rtol=1e-6)
    assert data.training[1].tolist() == [0, 1, 2]
    assert data.validation[1].tolist() == [0, 1]


def test_made_plays_are_cut_one_after_the_other(made_data):
    data = shakespeare(3, 5, validation=2)
    text = "to be or not to be"
    codes = {letter: rank for rank, letter in enumerate(sorted(set("to be or not to be, that is the question")))}
    assert data.training[0].flatten().tolist() == [codes[letter] for letter in text[:15]]
    assert data.training[1].flatten().tolist() == [codes[letter] for letter in text[1:16]]
    assert data.validation[0].shape == (2, 5)


def test_what_is_there(made_data, monkeypatch):
    assert [is_there(name) for name in ("", "mnist", "shakespeare", "cifar10")] == [True, True, True, False]
    monkeypatch.delenv("THEODOLITE_DATA")
    assert [is_there(name) for name in ("", "mnist")] == [True, False]
    with pytest.raises(SettingError, match="name must be one of mnist, cifar10, shakespeare, or empty, got 'imagenet'"):
        is_there("imagenet")


def test_no_folder_is_told(monkeypatch):
    monkeypatch.delenv("THEODOLITE_DATA", raising=False)
    with pytest.raises(DataError, match="got no folder. Set THEODOLITE_DATA to the folder that holds mnist/train"):
        mnist(1)


def test_a_missing_file_is_told(made_data):
    with pytest.raises(DataError, match=r"got no .*cifar10-train-subset.npz, .*Put the files there"):
        cifar10(1)


@pytest.mark.parametrize("count", [6, -1])
def test_more_than_there_is_is_refused(made_data, count):
    with pytest.raises(DataError, match=f"must hold what is asked for, got {count} of 5 examples"):
        mnist(count)


def test_more_text_than_there_is_is_refused(made_data):
    with pytest.raises(DataError, match=r"got 100 of \d+ examples"):
        shakespeare(100, 5)


def test_another_format_is_refused(made_data):
    write_idx(made_data / FILES["mnist"][0], np.zeros((5, 28, 28)), kind=0x0D)
    with pytest.raises(DataError, match="must hold bytes in IDX format, got the type 13"):
        mnist(1)
