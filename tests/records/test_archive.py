"""Does a saved record come back to the bit, readable by NumPy alone, and is every damaged or foreign file refused?"""

import io
import json
import struct
import subprocess
import sys
import zipfile
from dataclasses import MISSING, fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theodolite.errors import RunError
from theodolite.records import Estimate, Findings, Line, Status, Verdict, archive, encoding
from theodolite.records.archive import load, save
from theodolite.records.lines import Along
from theodolite.records.planes import Plane, Track


def plane():
    side = np.linspace(-1, 1, 5)
    losses = side[None] ** 2 + side[:, None] ** 2
    losses[0, 0], losses[0, 1] = np.nan, np.inf
    track = Track("the run", side[:2], side[:2], np.zeros(2), np.ones(2), steps=np.arange(2))
    return Plane(side, side, losses, (2.0, 0.5), tracks=(track, track), notes=("ä ≤ ö",))


def line():
    alpha = np.linspace(0, 1, 3)
    return Line(
        alpha, 1 - alpha, np.full(3, np.nan), metadata={"$array": 1.0, "a": -0.0}, others=(Along("v", alpha, alpha),)
    )


EXAMPLES = {
    "str": "text", "int": 3, "float": float("nan"), "bool": True, "Estimate": Estimate(1.0, 0.1, 3),
    "Status": Status.CONVERGED, "Verdict": Verdict.PRESENT, "Findings": Findings(()),
}  # fmt: skip


def rebuilt(cls, inside):
    """A record without the check of types that runs in tests only."""
    made = object.__new__(cls)
    for name, value in inside.items():
        object.__setattr__(made, name, value)
    return made


def holding(metadata):
    """A line whose metadata is anything."""
    empty = np.zeros(0)
    return rebuilt(
        Line,
        {"positions": empty, "losses": empty, "errors": empty, "start": "a", "end": "b", "metadata": metadata,
         "length": 1.0, "others": (), "method": "", "notes": ()},
    )  # fmt: skip


@pytest.fixture
def unchecked(monkeypatch):
    monkeypatch.setattr(encoding, "_build", rebuilt)


def instance(cls):
    """A record with something in every field: arrays for arrays, examples for the rest."""
    if cls is Findings:
        return Findings(())
    inside = {}
    for field in fields(cls):
        words = str(getattr(field.type, "__name__", field.type))
        example = next((EXAMPLES[word] for word in EXAMPLES if words == word), None)
        if field.default is not MISSING or field.default_factory is not MISSING:
            continue
        text = str(field.type)
        if "ndarray" in text:
            example = np.arange(6.0).reshape(2, 3)
        elif text.startswith("tuple"):
            example = ("a", np.arange(3))
        elif "dict" in text.lower() or "Mapping" in text:
            example = {"a": 1.0}
        inside[field.name] = example
    defaults = {
        field.name: field.default if field.default is not MISSING else field.default_factory()
        for field in fields(cls)
        if field.name not in inside
    }
    return rebuilt(cls, inside | defaults)


@pytest.mark.parametrize("cls", encoding.RECORDS, ids=lambda cls: cls.__name__)
def test_every_class_is_written_and_read_to_the_bit(cls, tmp_path, unchecked):
    record = instance(cls)
    found = load(save(record, tmp_path / "one.npz"))
    assert type(found) is cls
    assert encoding.dumps(found) == encoding.dumps(record)


@pytest.mark.parametrize(
    "record", [plane(), line(), Estimate(2.0, float("inf"), 4)], ids=lambda one: type(one).__name__
)
def test_real_records_return_and_give_the_same_bytes(record, tmp_path):
    first, second = save(record, tmp_path / "a.npz"), save(record, tmp_path / "deep" / "b.npz")
    assert first.read_bytes() == second.read_bytes()
    assert encoding.dumps(load(first)) == encoding.dumps(record)
    assert list(tmp_path.glob(".*")) == []


def test_numpy_alone_reads_the_arrays_by_their_names(tmp_path):
    file = save(plane(), tmp_path / "plane.npz")
    with np.load(file, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["losses"], plane().losses)
        assert {"x", "y", "tracks.0.x", "tracks.1.steps"} <= set(arrays)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(max_size=12) | st.sampled_from(["array", "array.0", "fields", "$array"]), st.floats()))
def test_no_name_is_too_odd(metadata):
    nested = {key: {"array": [np.array([value])], "0": np.zeros(0)} for key, value in metadata.items()}
    arrays = {}
    text = encoding.encode(nested)
    left = archive._without_arrays(text, (), arrays)
    assert all(".." not in name and "/" not in name and len(name) < 130 for name in arrays)
    members = {f"{name}.npy": archive._npy(array) for name, array in arrays.items()}
    assert archive._with_arrays(json.loads(json.dumps(left)), members) == text
    assert members == {}


@pytest.mark.parametrize("dtype", ["?", "<i1", "<u2", "<f2", "<f4", ">f8", "<c16", "<U3", "S4"])
@pytest.mark.parametrize("shape", [(), (0,), (2, 0), (2, 3)])
def test_every_kind_of_array_returns(dtype, shape, tmp_path, unchecked):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    given = {"a": array, "b": array.T, "c": array[..., ::-1] if shape else array}
    found = load(save(holding(given), tmp_path / "one.npz")).metadata
    for name, one in found.items():
        wanted = given[name]
        assert (one.dtype.str, one.shape, one.tobytes()) == (wanted.dtype.str, wanted.shape, wanted.tobytes())


def test_a_record_is_read_without_torch(tmp_path):
    file = save(plane(), tmp_path / "plane.npz")
    code = (
        "import sys; from theodolite.records.archive import load; load(sys.argv[1]); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(file)], check=True)


def test_what_is_no_record_is_refused(tmp_path):
    with pytest.raises(RunError, match="only a record can be saved, got dict"):
        save({}, tmp_path / "a.npz")
    with pytest.raises(RunError, match=r"must be named \*.npz, got 'a.npy'"):
        save(line(), tmp_path / "a.npy")
    with pytest.raises(RunError, match="must hold booleans, integers"):
        save(holding({"a": np.array([object()])}), tmp_path / "a.npz")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="must be writable"):
        save(line(), tmp_path / "file" / "a.npz")


def test_a_failed_write_leaves_the_older_file(tmp_path, monkeypatch):
    file = save(line(), tmp_path / "a.npz")
    before = file.read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(RunError, match="disk full"):
        save(plane(), file)
    assert file.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["a.npz"]


# Hostile and damaged files.


def repacked(tmp_path, change=None, *, compression=zipfile.ZIP_STORED, twice=False):
    """A saved plane with its members changed."""
    source = save(plane(), tmp_path / "good.npz")
    with zipfile.ZipFile(source) as opened:
        members = {name: opened.read(name) for name in opened.namelist()}
    if change:
        change(members)
    path = tmp_path / "bad.npz"
    with zipfile.ZipFile(path, "w", compression) as opened:
        for name, data in members.items():
            opened.writestr(name, data)
        if twice:
            with pytest.warns(UserWarning, match="Duplicate"):
                opened.writestr("x.npy", members["x.npy"])
    return path


def edit(**changes):
    def change(members):
        content = json.loads(members["record.json"])
        members["record.json"] = json.dumps(content | changes).encode()

    return change


def npy(array, **settings):
    file = io.BytesIO()
    np.save(file, array, **settings)
    return file.getvalue()


def header(text):
    data = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(data)) + data


HOSTILE = {
    "pickle": (lambda m: m.update({"x.npy": npy(np.array([{}]), allow_pickle=True)}), "must hold booleans, integers"),
    "fortran": (lambda m: m.update({"losses.npy": npy(np.asfortranarray(np.eye(3)))}), "must be in C order"),
    "huge shape": (
        lambda m: m.update({"x.npy": header("{'descr': '<f8', 'fortran_order': False, 'shape': (10**12,)}")}),
        "damaged or foreign",
    ),
    "huge plain shape": (
        lambda m: m.update({"x.npy": header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}")}),
        "must have 8000000000000 bytes",
    ),
    "negative shape": (
        lambda m: m.update({"x.npy": header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}")}),
        "must be a list of whole numbers",
    ),
    "code in the header": (lambda m: m.update({"x.npy": header("__import__('os').abort()")}), "damaged or foreign"),
    "long header": (lambda m: m.update({"x.npy": header("(" * 60000)}), "damaged or foreign"),
    "version 2": (lambda m: m.update({"x.npy": b"\x93NUMPY\x02\x00" + m["x.npy"][8:]}), "of .npy version 1.0"),
    "short array": (lambda m: m.update({"x.npy": m["x.npy"][:-1]}), "must have 40 bytes, not 39"),
    "no array": (lambda m: m.pop("x.npy"), "'x' is missing"),
    "array without a place": (lambda m: m.update({"evil.npy": m["x.npy"]}), "evil.npy"),
    "climbing name": (lambda m: m.update({"../../evil": b""}), "have none"),
    "no json": (lambda m: m.pop("record.json"), "must hold record.json"),
    "no strict json": (lambda m: m.update({"record.json": b"{"}), "damaged or foreign"),
    "deep json": (lambda m: m.update({"record.json": b"[" * 100_000}), "damaged or foreign"),
    "a list": (lambda m: m.update({"record.json": b"[]"}), "must say that it is"),
    "foreign": (edit(format="other"), "must say that it is a 'theodolite record'"),
    "newer": (edit(version=2), "must be 1 or less; it is 2"),
    "no version": (edit(version="1"), "must be 1 or less"),
    "no record": (edit(record={"$tuple": []}), "have none"),
    "unknown record": (edit(record={"$record": "Evil", "version": [1, 0], "fields": {}}), "must be one of"),
    "odd record": (edit(record={"$record": [], "version": 1, "fields": 2}), "damaged or foreign"),
    "lacking fields": (edit(record={"$record": "Plane", "version": [1, 0], "fields": {}}), "must have the fields"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused_in_one_line(kind, tmp_path):
    change, words = HOSTILE[kind]
    with pytest.raises(RunError, match="bad.npz") as raised:
        load(repacked(tmp_path, change))
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_could_unfold_is_refused(tmp_path):
    path = repacked(tmp_path, lambda m: m.update({"x.npy": bytes(10**6)}), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(RunError, match="some are compressed"):
        load(path)
    with pytest.raises(RunError, match="each name once"):
        load(repacked(tmp_path, twice=True))


def test_only_a_record_is_a_record(tmp_path):
    def change(members):
        for name in [*members]:
            if name != "record.json":
                del members[name]
        edit(record={"$tuple": [1]})(members)

    with pytest.raises(RunError, match="it holds a tuple"):
        load(repacked(tmp_path, change))


def test_a_claimed_size_beyond_the_file_is_refused(tmp_path):
    data = bytearray(save(plane(), tmp_path / "good.npz").read_bytes())
    at = data.rindex(b"PK\x01\x02")  # the last entry of the directory: two sizes, 20 and 24 bytes in
    data[at + 20 : at + 28] = struct.pack("<II", 2**31, 2**31)
    path = tmp_path / "bad.npz"
    path.write_bytes(bytes(data))
    with pytest.raises(RunError, match="they claim 2147"):
        load(path)


def test_any_damage_is_a_plain_error(tmp_path):
    good = save(plane(), tmp_path / "good.npz").read_bytes()
    random, path = np.random.default_rng(0), tmp_path / "bad.npz"
    for length in (0, 1, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:length])
        with pytest.raises(RunError, match="bad.npz"):
            load(path)
    for _ in range(300):
        data = bytearray(good)
        data[int(random.integers(len(data)))] ^= int(random.integers(1, 256))
        path.write_bytes(bytes(data))
        try:
            found = load(path)
        except RunError:
            continue
        assert encoding.dumps(found) == encoding.dumps(plane())  # a byte that means nothing, such as a date


def test_no_file_is_a_plain_error(tmp_path):
    with pytest.raises(RunError, match="must be a file"):
        load(tmp_path / "none.npz")
    with pytest.raises(RunError, match="must be a file"):
        load(tmp_path)
