"""Types and places of mistakes in words."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from mlops_cli.config.schemas.descriptions import locate_error, schema_keys, type_in_words
from mlops_cli.config.schemas.field_types import Expect, StrictModel
from mlops_cli.config.schemas.project import BaseFile, ModelFile, Params, Retrain, Scenario


class Inner(StrictModel):
    """A mapping inside another."""

    size: int = Field(3, ge=1, description="how big")
    when: date | None = Field(None, description="the day")


class Outer(StrictModel):
    """Every kind of field once."""

    name: str = Field(description="must be given")
    flag: bool = Field(True, description="a switch")
    inner: Inner = Field(Inner(), description="one mapping")
    perhaps: Inner | None = Field(None, description="a mapping or nothing")
    choice: Annotated[str, Expect("a word")] | Inner = Field("x", description="a word or a mapping")
    named: dict[str, Inner] = Field(default_factory=dict, description="mappings by name")
    many: tuple[Inner, ...] = Field((), description="a list of mappings")
    words: tuple[str, ...] = Field(("a", "b"), description="a list of words")
    free: dict[str, Any] = Field(default_factory=dict, description="anything")


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (str, "text"),
        (int, "a whole number"),
        (float, "a number"),
        (bool, "true or false"),
        (Path, "a path"),
        (Any, "anything"),
        (date, 'a date such as "2024-01-31"'),
        (dict[str, int], "a mapping"),
        (Inner, "a mapping"),
        (Literal["a"], "a"),
        (Literal["a", "b"], "a or b"),
        (Literal["a", "b", "c"], "a, b or c"),
        (tuple[int, ...], "a list (each: a whole number)"),
        (float | None, "a number or nothing"),
        (Annotated[int, Field(ge=2)], "a whole number of at least 2"),
        (Annotated[int, Field(gt=2)], "a whole number above 2"),
        (Annotated[int, Field(le=9)], "a whole number of at most 9"),
        (Annotated[int, Field(ge=0, lt=10)], "a whole number from 0 to 9"),
        (Annotated[float, Field(ge=0, le=1)], "a number from 0 to 1"),
        (Annotated[float, Field(ge=0, lt=0.5)], "a number of at least 0 below 0.5"),
        (Annotated[str, Expect("a colour")], "a colour"),
        (Annotated[int, Field(ge=3)] | None, "a whole number of at least 3 or nothing"),
        (Retrain, "never, monthly, quarterly, yearly or a whole number of sessions of at least 1"),
    ],
)
def test_types_in_words(annotation, words):
    assert type_in_words(annotation) == words


def test_keys_are_listed_in_order_with_nested_ones_dotted():
    assert [key.path for key in schema_keys(Outer)] == [
        "name", "flag", "inner", "inner.size", "inner.when", "perhaps", "perhaps.size", "perhaps.when", "choice",
        "choice.size", "choice.when", "named", "named.<name>.size", "named.<name>.when", "many", "many.size",
        "many.when", "words", "free",
    ]  # fmt: skip


def test_defaults_are_shown_as_yaml_writes_them():
    defaults = {key.path: key.default for key in schema_keys(Outer)}
    assert defaults["name"] == "", "must be given"
    assert defaults["flag"] == "true"
    assert defaults["inner"] == "see below"
    assert defaults["inner.size"] == "3"
    assert defaults["words"] == "a, b"
    for empty in ("inner.when", "perhaps", "named", "many", "free"):
        assert defaults[empty] == "nothing"


def places(data: Any) -> list[tuple[str, str, tuple[str, ...]]]:
    with pytest.raises(ValidationError) as raised:
        Outer.model_validate({"name": "x", **data})
    errors = [locate_error(Outer, error["loc"]) for error in raised.value.errors(include_url=False)]
    return [(".".join(map(str, place.path)), place.expected, place.siblings) for place in errors]


@pytest.mark.parametrize(
    ("data", "path", "expected", "siblings"),
    [
        ({"inner": {"size": 0}}, "inner.size", "a whole number of at least 1", ("size", "when")),
        ({"inner": {"sise": 1}}, "inner.sise", "anything", ("size", "when")),
        ({"perhaps": {"size": "x"}}, "perhaps.size", "a whole number of at least 1", ("size", "when")),
        ({"named": {"a": {"size": 0}}}, "named.a.size", "a whole number of at least 1", ("size", "when")),
        ({"named": {"a": 3}}, "named.a", "a mapping", ()),
        ({"named": {7: {}}}, "named.7", "text as key", ()),
        ({"many": [{}, {"when": "x"}]}, "many.1.when", 'a date such as "2024-01-31" or nothing', ("size", "when")),
        ({"words": ["a", 3]}, "words.1", "text", ()),
        ({"flag": "perhaps"}, "flag", "true or false", tuple(Outer.model_fields)),
    ],
)
def test_mistakes_have_the_path_of_the_file(data, path, expected, siblings):
    assert places(data) == [(path, expected, siblings)]


def test_inside_a_union_the_path_skips_the_names_of_its_members():
    found = places({"choice": {"size": 0}})
    assert ("choice.size", "a whole number of at least 1", ("size", "when")) in found
    assert {path for path, *_ in found} == {"choice", "choice.size"}


@given(st.sampled_from([Params, ModelFile, BaseFile, Scenario]), st.lists(st.text(max_size=6) | st.integers(0, 3)))
def test_any_location_gives_a_place_whose_path_is_part_of_it(model: type[BaseModel], location):
    place = locate_error(model, location)
    rest = iter(location)
    assert all(part in rest for part in place.path), "the parts keep their order"
    assert place.expected
