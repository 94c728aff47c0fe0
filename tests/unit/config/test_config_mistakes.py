"""Messages: file, key, expected, was; and nothing of pydantic's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from mlops_cli.config.mistakes import Mistakes, suggestion, value_in_words
from mlops_cli.config.schemas.descriptions import locate_error, schema_keys, type_in_words
from mlops_cli.config.schemas.field_types import Slug, Ticker
from mlops_cli.config.schemas.project import BaseFile, ModelFile, Params, Scenario
from mlops_cli.config.yaml_files import parse_yaml
from mlops_cli.errors import ConfigError


def said(model: type[BaseModel], text: str) -> list[str]:
    mistakes = Mistakes()
    assert mistakes.validate(model, parse_yaml(text), "f.yaml") is None
    return mistakes.lines


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("tickrs: [A]\nticker: A\nteam: red", "f.yaml: tickrs: unknown key, did you mean tickers?"),
        (
            "zzz: 1\nticker: A\nteam: red",
            "f.yaml: zzz: unknown key"
            " (known: exchange, trainer, features, target, base, ludwig, team, ticker, tickers, pool, suffix, small)",
        ),
        ("ticker: A", "f.yaml: team: is missing, expected a name of lower-case letters, digits and . _ -"),
        ("team: red", "f.yaml: give either ticker: AAPL or tickers: [AAPL, MSFT]"),
        ("team: Red\nticker: A", "f.yaml: team: expected a name of lower-case letters, digits and . _ -, was 'Red'"),
        (
            "team: red\nticker: 1398",
            "f.yaml: ticker: expected a ticker such as AAPL or BRK-B or nothing, "
            "was the number 1398: write it in quotes",
        ),
        (
            "team: red\ntickers: [A, true]",
            "f.yaml: tickers.1: expected a ticker such as AAPL or BRK-B, was the YAML word true: write it in quotes",
        ),
        (
            "team: red\ntickers: AAPL",
            "f.yaml: tickers: expected a list (each: a ticker such as AAPL or BRK-B), was 'AAPL'",
        ),
        ("team: red\nticker: A\ntarget: price", "f.yaml: target: expected log_return or close, was 'price'"),
        (
            "team: red\nticker: A\ntrainer: xgboost",
            "f.yaml: trainer: expected ludwig, naive or drift, was 'xgboost'",
        ),
        ("team: red\nticker: A\nludwig: [1]", "f.yaml: ludwig: expected a mapping, was a list"),
        (
            "team: red\nticker: A\nfeatures: 3",
            "f.yaml: features: expected the name of a feature set or a mapping, was the number 3: write it in quotes",
        ),
        (
            "team: red\nticker: A\nfeatures: {retruns: [1]}",
            "f.yaml: features.retruns: unknown key, did you mean returns?",
        ),
        (
            "team: red\nticker: A\nfeatures: {rsi: [0]}",
            "f.yaml: features.rsi.0: expected a whole number from 1 to 1000, was the number 0",
        ),
        (
            "team: red\nticker: A\nfeatures: {macd: {fast: 30}}",
            "f.yaml: features.macd: fast (30) must be shorter than slow (26)",
        ),
        ("team: red\nticker: A\n7: x", "f.yaml: 7: expected text as key: write it in quotes"),
        ("- a\n- b", "f.yaml: expected a mapping (key: value), was a list"),
        ("", "f.yaml: expected a mapping (key: value), was empty"),
    ],
)
def test_a_model_files_mistake_in_one_line(text, line):
    assert said(ModelFile, text) == [line]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("seed: -1", "f.yaml: seed: expected a whole number from 0 to 2147483647, was the number -1"),
        (
            "branches: {a.b: {collection: x}}",
            "f.yaml: branches.a.b: expected a name of lower-case letters, digits and _ - as key, was 'a.b'",
        ),
        (
            "branches: {a: {collection: []}}",
            "f.yaml: branches.a.collection: expected at least one entry, was an empty list",
        ),
        ("branches: {a: {collection: x, onyl: y}}", "f.yaml: branches.a.onyl: unknown key, did you mean only?"),
        (
            "period: {start: 2024-13-01}",
            "f.yaml: period.start: expected a date such as \"2024-01-31\" or nothing, was '2024-13-01'",
        ),
        ("period: {start: 2024-01-02, end: 2024-01-01}", "f.yaml: period: start 2024-01-02 is after end 2024-01-01"),
        (
            "training: {shrinkage: 2}",
            "f.yaml: training.shrinkage: expected pooled or a number from 0 to 1, was the number 2",
        ),
        (
            "training: {shrinkage: pool}",
            "f.yaml: training.shrinkage: expected pooled or a number from 0 to 1, was 'pool'",
        ),
        ("source: {kind: yahoo}", "f.yaml: source.kind: expected sample, csv or yfinance, was 'yahoo'"),
        ("source: {decimal: ';'}", "f.yaml: source.decimal: expected . or , or nothing, was ';'"),
        (
            "source: {columns: {Last: closing}}",
            "f.yaml: source.columns.Last: expected date, time, symbol, open, high, low, close, adj_close, volume, "
            "dividends, stock_splits or ignore, was 'closing'",
        ),
        (
            "source: {dates: dd.mm.yyyy}",
            "f.yaml: source.dates: expected day-first, month-first or a format of day, month and year such as "
            '"%d.%m.%Y"',
        ),
        (
            "source: {dates: '%Y-%m'}",
            "f.yaml: source.dates: expected day-first, month-first or a format of day, month and year such as "
            '"%d.%m.%Y"',
        ),
        ("source: {timezone: Mars}", "f.yaml: source.timezone: expected a time zone such as UTC or Asia/Tokyo"),
        (
            "source: {file: ../all.csv}",
            "f.yaml: source.file: expected the name of a .csv or .parquet file in source.folder, without a path",
        ),
    ],
)
def test_a_mistake_in_params_in_one_line(text, line):
    assert said(Params, text) == [line]


def test_all_mistakes_of_a_file_are_told_at_once():
    lines = said(ModelFile, "tickrs: [A]\nfeatures: {rsi: [0, x], retruns: [1]}\ntarget: 1\nteam: R")
    assert [line.split(": ")[1] for line in lines] == [
        "features.rsi.0",
        "features.rsi.1",
        "features.retruns",
        "target",
        "team",
        "tickrs",
    ]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda s: st.lists(s, max_size=2)))
def test_no_message_shows_pydantics_jargon(value):
    for model in (ModelFile, BaseFile, Params, Scenario):
        for name in model.model_fields:
            mistakes = Mistakes()
            mistakes.validate(model, {name: value}, "f.yaml")
            text = "\n".join(mistakes.lines)
            for jargon in ("pydantic", "https:", "Input should", "FeatureSpec", "literal[", "[type=", "input_value"):
                assert jargon not in text


def test_mistakes_are_raised_together_once_each_and_bounded():
    mistakes = Mistakes()
    mistakes.raise_if_any()
    for number in range(60):
        mistakes.add("f.yaml", f"wrong {number}", "key")
        mistakes.add("f.yaml", f"wrong {number}", "key")
    with pytest.raises(ConfigError) as raised:
        mistakes.raise_if_any()
    assert raised.value.exit_code == 3
    assert raised.value.message.splitlines()[:2] == ["f.yaml: key: wrong 0", "f.yaml: key: wrong 1"]
    assert raised.value.message.endswith("and 10 more")
    assert "mlops config check" in raised.value.hint


def test_value_or_raise_gives_the_value_or_raises():
    assert Mistakes().value_or_raise(3) == 3
    with pytest.raises(RuntimeError, match="no mistake was noted"):
        Mistakes().value_or_raise(None)


def test_a_broken_file_is_noted_and_checks_as_nothing(tmp_path):
    (tmp_path / "a.yaml").write_text("a: [")
    mistakes = Mistakes()
    assert mistakes.validate(Scenario, mistakes.read(tmp_path / "a.yaml", "a.yaml"), "a.yaml") is None
    assert len(mistakes.lines) == 1
    assert mistakes.lines[0].startswith("a.yaml: line 2, column 1: ")


def test_long_text_is_shortened():
    assert len(value_in_words("x" * 500)) < 70
    assert value_in_words({"a": 1}) == "a mapping"


def test_suggestions():
    assert suggestion("red-appl", ["red-aapl", "blue-ibm"]) == ", did you mean red-aapl?"
    assert suggestion("x", []) == ""
    assert suggestion("x", [f"n{i}" for i in range(30)]).endswith("n19 ...)")


def test_words_for_types():
    assert type_in_words(Ticker) == "a ticker such as AAPL or BRK-B"
    assert type_in_words(Slug) == "a name of lower-case letters, digits and . _ -"
    assert type_in_words(float | None) == "a number or nothing"


def test_every_key_of_every_schema_is_described():
    for model in (ModelFile, BaseFile, Params, Scenario):
        for key in schema_keys(model):
            assert key.description, f"{model.__name__}.{key.path} has no description"
            assert key.takes
            assert "function" not in key.default


def test_nested_keys_are_listed_with_their_path():
    paths = [key.path for key in schema_keys(Params)]
    assert {"branches.<name>.collection", "training.shrinkage", "simulation.scenario"} <= set(paths)
    assert "features.macd.fast" in [key.path for key in schema_keys(ModelFile)]


def test_locate_skips_what_pydantic_adds_to_a_path():
    place = locate_error(ModelFile, ("features", "FeatureSpec", "macd", "fats"))
    assert place.path == ("features", "macd", "fats")
    assert place.siblings == ("fast", "slow", "signal")
