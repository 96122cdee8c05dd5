"""Settings and results as plain data, and back."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate import Calibration, Label, Rule
from headgate.plain import built, parts, plain

numbers = st.floats(allow_nan=False, allow_infinity=False)
words = st.text(st.characters())  # lone surrogates too


@dataclass(frozen=True)
class Inner:
    x: float
    pair: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Outer:
    name: str
    kind: Literal["a", "b", 1] = "a"
    inner: Inner | None = None
    row: tuple[float, ...] = ()
    many: Sequence[str] | Mapping[str, str | Label | Rule] = ()
    on: bool = False
    n: int | None = None


inner = st.builds(Inner, numbers, st.tuples(st.integers(), st.integers()))
label = st.builds(Label, words, st.booleans(), st.sampled_from(["entailment", "contradiction"]))
calibration = st.builds(Calibration, st.floats(1e-9, 1e9), numbers, st.floats(0, 1e300))
rule = st.builds(Rule, words | label, st.floats(0, 1), st.none() | calibration)
outer = st.builds(
    Outer,
    words,
    st.sampled_from(["a", "b", 1]),
    st.none() | inner,
    st.lists(numbers).map(tuple),
    st.lists(words) | st.dictionaries(words, words | label | rule, min_size=1),
    st.booleans(),
    st.none() | st.integers(),
)


@given(outer)
def test_what_goes_through_json_comes_back_equal(value):
    assert built(Outer, json.loads(json.dumps(plain(value)))) == value


def test_keys_keep_the_order_of_the_fields_and_numpy_becomes_plain():
    value = Outer("a", row=(np.float32(0.5), np.float64(2.0)), on=np.bool_(True), n=np.int64(3))
    assert json.dumps(plain(value)) == (
        '{"name": "a", "kind": "a", "inner": null, "row": [0.5, 2.0], "many": [], "on": true, "n": 3}'
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "name is missing; expected a text"),
        ({"name": None}, "name is null; expected a text"),
        ({"name": "a", "nmae": 1}, r"nmae is unknown; .*Did you mean 'name'\?"),
        ({"name": "a", "zzz": 1}, r"zzz is unknown; expected some of \['name', .*'n'\]\.$"),
        ({"name": "a", "kind": "c"}, r"kind is 'c', str; expected one of \['a', 'b', 1\]"),
        ({"name": "a", "kind": True}, "kind is 'True', bool; expected one of"),
        ({"name": "a", "inner": {"x": "1e-5"}}, "inner.x is '1e-5', str; expected a number"),
        ({"name": "a", "inner": {"x": True}}, "inner.x is 'True', bool; expected a number"),
        ({"name": "a", "inner": {"x": float("nan")}}, "inner.x is nan; expected a finite number"),
        ({"name": "a", "inner": {"x": 10**400}}, "inner.x is inf; expected a finite number"),
        ({"name": "a", "inner": {"y": 1}}, "inner.y is unknown"),
        ({"name": "a", "inner": {"x": 1, "pair": [1]}}, "inner.pair has 1 parts; expected 2"),
        ({"name": "a", "inner": {"x": 1, "pair": [1, 2.5]}}, r"inner.pair\[1\] is '2.5', float; expected a whole"),
        ({"name": "a", "inner": 3}, "inner is '3', int; expected a mapping with x, pair or null"),
        ({"name": "a", "row": "12"}, "row is '12', str; expected a list"),
        ({"name": "a", "row": [1, "b"]}, r"row\[1\] is 'b', str; expected a number"),
        ({"name": "a", "many": {"x": 1}}, "many.x is '1', int; expected a text or a mapping with text, .* label"),
        ({"name": "a", "many": {1: "x"}}, "a key of many is '1', int; expected a text"),
        ({"name": "a", "many": {"x": {"label": "y", "treshold": 1}}}, "many.x.treshold is unknown; .*'threshold'"),
        ({"name": "a", "many": {"x": {"text": "y", "relation": "z"}}}, "many.x.relation is 'z', str; expected one of"),
        ({"name": "a", "on": 1}, "on is '1', int; expected true or false"),
        ({"name": "a", "n": 1.5}, "n is '1.5', float; expected a whole number or null"),
        ([], "it is '\\[\\]', list; expected a mapping with name"),
        (None, "it is null; expected a mapping"),
    ],
)
def test_errors_name_the_key(data, message):
    with pytest.raises(ValueError, match=message):
        built(Outer, data)


def test_a_dataclass_s_own_check_is_named_by_its_place():
    with pytest.raises(ValueError, match=r"many\.x\.calibration: scale is -1"):
        built(Outer, {"name": "a", "many": {"x": {"label": "y", "threshold": 1, "calibration": {"scale": -1}}}})


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ({"a": [len]}, TypeError, r"settings.a\[0\] is builtin_function_or_method, which can't be written down"),
        ({"a": b"x"}, TypeError, "settings.a is bytes"),
        (Outer("a", inner=Inner(float("inf"))), ValueError, "settings.inner.x is inf"),
    ],
)
def test_what_has_no_words_is_refused(value, error, message):
    with pytest.raises(error, match=message):
        plain(value, "settings")


def test_parts_takes_chosen_fields():
    from headgate.plain import hints

    @dataclass(frozen=True)
    class Task:
        scorer: Callable[[], None]
        threshold: float

    known = {name: field for name, field in hints(Task).items() if name != "scorer"}
    assert parts(known, {"threshold": 1}) == {"threshold": 1.0}
    with pytest.raises(ValueError, match="scorer is unknown"):
        parts(known, {"threshold": 1, "scorer": None})
