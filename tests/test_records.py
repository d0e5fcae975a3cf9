"""Dataclasses to JSON and back."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any

import pytest

from dimvida.errors import InputError
from dimvida.records import config_from_json, from_json, to_json


@dataclass(frozen=True)
class Inner:
    name: str = field(metadata={"key": "class"})
    share: float = math.nan
    note: str | None = field(default=None, metadata={"optional": True})


@dataclass(frozen=True)
class Outer:
    count: int
    inner: list[Inner]
    names: tuple[str, ...] = ()
    shares: dict[str, float | None] = field(default_factory=dict)
    anything: Any = None


def test_there_and_back():
    value = Outer(3, [Inner("chair", 0.5, "hard"), Inner("table")], ("a", "b"), {"x": 1.0, "y": None}, [1, "z"])
    content = to_json(value)
    assert content["inner"] == [{"class": "chair", "share": 0.5, "note": "hard"}, {"class": "table", "share": None}]
    assert list(content) == ["count", "inner", "names", "shares", "anything"]
    again = from_json(Outer, json.loads(json.dumps(content, allow_nan=False)), "file")
    assert math.isnan(again.inner[1].share)
    assert (again.inner[0], again.names, again.shares, again.anything) == (
        value.inner[0], value.names, value.shares, value.anything,
    )  # fmt: skip


def test_numbers_that_are_none_become_null_wherever_they_are():
    assert to_json({"a": [math.nan, (math.inf, 1)], 2: -math.inf}) == {"a": [None, [None, 1]], "2": None}


def test_a_whole_number_may_stand_for_a_number_and_unknown_keys_are_ignored():
    assert from_json(Inner, {"class": "chair", "share": 1, "colour": "red"}, "file") == Inner("chair", 1.0)


@dataclass
class Derived:
    whole: float
    half: float = field(init=False, metadata={"key": "half_of_it"})

    def __post_init__(self) -> None:
        self.half = self.whole / 2


def test_what_follows_from_other_fields_is_written_and_not_read():
    assert to_json(Derived(3.0)) == {"whole": 3.0, "half_of_it": 1.5}
    assert from_json(Derived, {"whole": 4.0, "half_of_it": "nonsense"}, "file").half == 2.0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"inner": []}, "file: 'count' is missing"),
        ({"count": True, "inner": []}, "file.count: is not a whole number"),
        ({"count": 1.0, "inner": []}, "file.count: is not a whole number"),
        ({"count": 1, "inner": {}}, "file.inner: is not a list"),
        ({"count": 1, "inner": [{"class": "a"}, {"class": 2}]}, "file.inner[1].class: is not text"),
        ({"count": 1, "inner": [], "shares": {"x": "much"}}, "file.shares.x: is not a number"),
        ([], "file: is not an object"),
    ],
)
def test_what_does_not_fit_is_one_line(content, said: str):
    with pytest.raises(InputError) as error:
        from_json(Outer, content, "file")
    assert str(error.value).startswith(said) and "\n" not in str(error.value)


@dataclass(frozen=True)
class Size:
    width: int = 3


@dataclass(frozen=True)
class Options:
    size: Size
    names: tuple[str, ...] = ()
    levels: tuple[float, ...] = ()
    extra: Size | None = None
    free: dict[str, Any] = field(default_factory=dict)


def test_options_are_read_with_all_that_is_in_them():
    values = {"size": {"width": 5}, "names": ["a"], "levels": [1, 0.5], "extra": None, "free": {"x": [1]}}
    assert config_from_json(Options, values, "file") == Options(Size(5), ("a",), (1.0, 0.5), None, {"x": [1]})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "file: size is missing"),
        ({"size": {"widht": 1}}, "file: size: unknown option 'widht'; known are width"),
        ({"size": {}, "extra": {"width": 1.0}}, "file: extra: width must be int, not 1.0"),
        ({"size": {}, "names": "abc"}, "file: names must be a list of names"),
        ({"size": {}, "levels": [10**400]}, "file: levels must be a list of numbers"),
    ],
)
def test_options_that_do_not_fit_are_refused(values: dict, said: str):
    with pytest.raises(InputError, match=f"^{re.escape(said)}$"):
        config_from_json(Options, values, "file")
