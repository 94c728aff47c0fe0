"""YAML in and out: the words of finance stay words, and a file is written whole or not at all."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.config.yaml_files import UnreadableYaml, parse_yaml, read_yaml


@given(st.from_regex(r"[A-Z]{1,5}([.-][A-Z]{1,2})?", fullmatch=True))
def test_any_word_in_capitals_is_a_ticker(ticker):
    assert parse_yaml(f"tickers: [{ticker}, {ticker}]\nticker: {ticker}\n") == {
        "tickers": [ticker] * 2,
        "ticker": ticker,
    }


@pytest.mark.parametrize("word", ["ON", "NO", "Y", "N", "TRUE", "OFF", "on", "yes", "no", "NULL", "12:30", "1_000"])
def test_words_that_yaml_1_1_takes_for_something_else(word):
    assert parse_yaml(f"a: {word}") == {"a": word}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("1398", 1398),
        ("-7", -7),
        ("007", 7),
        ("0o17", 15),
        ("0x1f", 31),
        ("1e-3", 0.001),
        ("1.5", 1.5),
        (".5", 0.5),
        (".inf", float("inf")),
        ("2024-01-02", "2024-01-02"),
        ("'1398'", "1398"),
    ],
)
def test_scalars_follow_yaml_1_2(text, value):
    assert parse_yaml(f"a: {text}") == {"a": value}


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(alphabet=st.characters(codec="ascii", categories=["L", "N"])),
        lambda inner: st.lists(inner) | st.dictionaries(st.from_regex(r"[a-z]{1,8}x", fullmatch=True), inner),
        max_leaves=10,
    )
)
def test_json_is_yaml(value):
    import json

    assert parse_yaml(json.dumps({"a": value})) == {"a": value}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "line 2, column 1"),
        ("a: b: c", "line 1, column 5"),
        ("a: 1\nb: 2\na: 3", "line 3: key a is repeated (first in line 1)"),
        ("a: {b: 1, b: 2}", "key b is repeated"),
        ("a: *x", "undefined alias"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("? [1, 2]\n: 3", "line 1: expected a plain key, was a list"),
        ("a: \x00", "control characters"),
        ("\ta: 1", "line 1"),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_place(text, said):
    with pytest.raises(UnreadableYaml, match=re.escape(said)) as raised:
        parse_yaml(text)
    assert "\n" not in str(raised.value)


def test_merge_keys_work_and_are_no_repeated_keys():
    assert parse_yaml("a: &x {b: 1, c: 2}\nd: {<<: *x, b: 3}") == {"a": {"b": 1, "c": 2}, "d": {"b": 3, "c": 2}}


def test_unreadable_files_say_why(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9")
    with pytest.raises(UnreadableYaml, match="UTF-8"):
        read_yaml(tmp_path / "latin.yaml")
    with pytest.raises(UnreadableYaml, match="cannot be read: No such file"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(UnreadableYaml, match="cannot be read: Is a directory"):
        read_yaml(tmp_path)
