"""What goes in comes out: values and records through strict JSON."""

import json
import math
import struct
from enum import Enum

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from theodolite.errors import RunError
from theodolite.records import (
    MISSING,
    Diagnosis,
    Eigenpairs,
    Estimate,
    Finding,
    Findings,
    Line,
    Remedy,
    Series,
    Status,
    Verdict,
    encoding,
)

ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([*Verdict, *Status])
VALUES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text() | st.just("$array"), inner, max_size=3)
        | st.dictionaries(st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)
DTYPES = st.sampled_from(["?", "<i1", "<i8", "<u2", "<f2", "<f4", "<f8", ">f8", "<c8", "<c16", "<U3", "S4"])
ARRAYS = DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0, max_side=4)))
# Only the parts: the checks of types that run in tests draw random numbers, which hypothesis forbids while it draws.
ESTIMATES = st.tuples(st.floats(), st.floats(), st.integers(0, 10**9))
FINDINGS = st.tuples(st.text(), st.sampled_from(Verdict), ESTIMATES, st.floats(), st.text(max_size=5))
REMEDIES = st.tuples(st.text(), ESTIMATES, ESTIMATES, st.integers(), st.integers())


def diagnosis_from(findings, remedies, probabilities):
    return Diagnosis(
        "plateau",
        probabilities,
        Findings(
            tuple(
                Finding(name, verdict, Estimate(*numbers), threshold, evidence=(text,) * 2)
                for name, verdict, numbers, threshold, text in findings
            )
        ),
        tuple(Remedy(name, Estimate(*gain), Estimate(*plain), *rest) for name, gain, plain, *rest in remedies),
    )


def same(a, b):
    """Equality to the bit, with types: NaN is NaN, −0.0 is not 0.0, a tuple is no list."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a.items(), b.items(), strict=True))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, Findings):
        return same(a.values(), b.values())
    if type(a) in encoding.RECORDS:
        return same(encoding._fields_of(a), encoding._fields_of(b))
    return a == b


def round_trip(value):
    text = encoding.dumps(value)
    json.loads(text, parse_constant=lambda name: pytest.fail(f"bare {name}"))
    return encoding.loads(text)


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_values_return_exactly(value):
    assert same(round_trip(value), value)


@settings(max_examples=60, deadline=None)
@given(ARRAYS)
def test_arrays_return_to_the_bit(array):
    assert same(round_trip(array), array)
    assert round_trip(array).flags.writeable


@settings(max_examples=25, deadline=None)
@given(st.lists(FINDINGS, max_size=3), st.lists(REMEDIES, max_size=2), st.dictionaries(st.text(), st.floats()))
def test_diagnoses_return_exactly(findings, remedies, probabilities):
    diagnosis = diagnosis_from(findings, remedies, probabilities)
    assert same(round_trip(diagnosis), diagnosis)


@pytest.mark.parametrize(
    "record",
    [
        MISSING,
        Estimate(-0.0, math.inf),
        Series("loss", np.array([1, 2]), np.array([np.nan, -0.0])),
        Eigenpairs(np.ones(1), np.ones((3, 1), np.float32), np.zeros(1), Status.BUDGET, 7),
        Line(np.zeros(2), np.ones(2), np.full(2, np.nan), metadata={"seed": 1.0}),
    ],
)
def test_each_record_returns(record):
    assert same(round_trip(record), record)


def test_numpy_scalars_become_plain_ones():
    assert encoding.loads(encoding.dumps([np.float32(0.5), np.int8(3), np.bool_(True), np.float64("nan")]))[:3] == [
        0.5, 3, True,
    ]  # fmt: skip


def test_fortran_order_and_views_keep_their_values():
    array = np.arange(12.0).reshape(3, 4)
    for view in (array.T, array[::-1, ::2], np.asfortranarray(array)):
        assert np.array_equal(round_trip(view), view)


def test_fields_of_a_newer_minor_version_are_ignored_and_missing_ones_take_the_default():
    stored = {"$record": "Estimate", "version": [1, 9], "fields": {"value": 2.0, "skew": {"$float": "nan"}}}
    assert same(encoding.loads(json.dumps(stored)), Estimate(2.0))


@pytest.mark.parametrize(
    ("stored", "match"),
    [
        ({"$record": "Hologram", "version": [1, 0], "fields": {}}, "Hologram.*Update theodolite"),
        ({"$record": "Estimate", "version": [2, 0], "fields": {"value": 1.0}}, "newer theodolite"),
        ({"$record": "Estimate", "version": [1, 0], "fields": {}}, r"fields \['value'\]"),
        ({"$record": "Estimate", "version": [], "fields": {}}, "damaged"),
        ({"$record": "Estimate", "version": [1, 0], "fields": 3}, "damaged"),
        ({"$enum": ["Verdict", "perhaps"]}, "damaged"),
        ({"$enum": ["Mood", "good"]}, "Mood"),
        ({"$portal": 1}, "known tag"),
        ({"$float": "1"}, "tagged float"),
        ({"$array": {"dtype": "|O8", "shape": [1], "data": ""}}, "known dtype"),
        ({"$array": {"dtype": "<f8", "shape": [2], "data": "AAAAAAAAAAA="}}, "16 bytes, not 8"),
        ({"$array": {"dtype": "<f8", "shape": [-1], "data": ""}}, "whole numbers"),
        ({"$array": {"dtype": "<f8", "shape": [10**30], "data": ""}}, "bytes"),
        ({"$array": {"dtype": "<f8", "shape": [1], "data": "?"}}, "damaged"),
    ],
)
def test_what_is_unknown_or_damaged_is_refused(stored, match):
    with pytest.raises(RunError, match=match):
        encoding.loads(json.dumps(stored))


@pytest.mark.parametrize("text", ["", "{", "NaN", "[Infinity]", "[" * 100_000, b"\xff\xfe", "1" * 10_000])
def test_text_that_is_no_strict_json_is_refused(text):
    with pytest.raises(RunError):
        encoding.loads(text)


class Color(Enum):
    RED = 1


@pytest.mark.parametrize(
    "value",
    [object(), {1, 2}, Color.RED, b"bytes", np.array([object()]), np.zeros(1, np.longdouble), np.zeros(1, "i4,f8")],
)
def test_what_can_not_be_stored_is_refused(value):
    with pytest.raises(RunError):
        encoding.dumps(value)


def test_a_value_that_holds_itself_is_refused():
    value: list = []
    value.append(value)
    with pytest.raises(RunError, match="nested less deeply"):
        encoding.dumps(value)
