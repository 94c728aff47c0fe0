"""Rules between the keys of params.yaml, model files and scenarios."""

from __future__ import annotations

import re
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mlops_cli.config.schemas.project import (
    BranchSpec,
    FeatureSpec,
    Macd,
    ModelFile,
    Params,
    Period,
    Scenario,
    SmallVariant,
    branch_slug,
    slug,
)


@given(st.text(max_size=30))
def test_a_slug_is_safe_and_stays_as_it_is(text):
    safe = slug(text)
    assert re.fullmatch(r"[a-z0-9._-]+", safe)
    assert not safe.startswith(("-", ".", "_"))
    assert slug(safe) == safe


@given(st.text(max_size=30))
def test_a_branch_slug_has_no_dot_either(text):
    name = branch_slug(text)
    assert "." not in name
    assert name


@pytest.mark.parametrize("text", ["", "///", "...", "日本", "-"])
def test_a_slug_is_never_empty(text):
    assert slug(text) == "x"


@pytest.mark.parametrize(("fast", "slow"), [(26, 26), (27, 26)])
def test_the_fast_average_is_the_shorter_one(fast, slow):
    with pytest.raises(ValidationError, match="must be shorter than slow"):
        Macd(fast=fast, slow=slow)


@pytest.mark.parametrize("given_features", [{}, {"returns": []}, {"history": 0}, {"ranges": False, "macd": None}])
def test_a_feature_set_is_never_empty(given_features):
    with pytest.raises(ValidationError, match="needs at least one feature"):
        FeatureSpec.model_validate(given_features)


@pytest.mark.parametrize("given_features", [{"ranges": True}, {"history": 1}, {"macd": {}}, {"calendar": ["month"]}])
def test_one_feature_of_any_kind_is_enough(given_features):
    assert FeatureSpec.model_validate(given_features)


@pytest.mark.parametrize("keys", [{}, {"ticker": "A", "tickers": ["B"]}, {"tickers": []}])
def test_a_model_file_has_a_ticker_or_tickers(keys):
    with pytest.raises(ValidationError, match="give either ticker"):
        ModelFile.model_validate({"team": "red", **keys})


@given(st.lists(st.sampled_from(["aapl", "AAPL", "ibm", "IBM", "Brk-B"]), min_size=1))
def test_tickers_are_upper_case_unique_and_in_order(tickers):
    expanded = ModelFile(team="red", tickers=tuple(tickers)).all_tickers
    assert len(set(expanded)) == len(expanded)
    assert set(expanded) == {ticker.upper() for ticker in tickers}
    assert list(expanded) == sorted(expanded, key=[ticker.upper() for ticker in tickers].index)


@pytest.mark.parametrize("ticker", ["A B", "", "-A", ".X", "A" * 21, "A/B", "Ä"])
def test_tickers_that_are_none(ticker):
    with pytest.raises(ValidationError):
        ModelFile(team="red", ticker=ticker)


@pytest.mark.parametrize("ticker", ["A", "BRK.B", "BRK-B", "^GSPC", "EURUSD=X", "7203.T", " AAPL "])
def test_tickers_of_all_kinds(ticker):
    assert ModelFile(team="red", ticker=ticker).all_tickers == (ticker.strip(),)


def test_a_small_variant_says_how_it_differs():
    with pytest.raises(ValidationError, match="say what differs"):
        SmallVariant()
    assert SmallVariant(ludwig={}).ludwig == {}, "an explicit empty mapping is an answer"


@pytest.mark.parametrize(
    ("start", "end", "fine"),
    [
        (None, None, True),
        (date(2020, 1, 2), None, True),
        (None, date(2020, 1, 2), True),
        (date(2020, 1, 2), date(2020, 1, 2), True),
        (date(2020, 1, 3), date(2020, 1, 2), False),
    ],
)
def test_a_period_does_not_end_before_it_starts(start, end, fine):
    if fine:
        assert Period(start=start, end=end)
    else:
        with pytest.raises(ValidationError, match="is after end"):
            Period(start=start, end=end)


@given(st.dates(date(1990, 1, 1), date(2100, 1, 1)), st.integers(1, 2000))
def test_a_scenario_ends_so_many_days_after_its_start(start, days):
    assert (Scenario(start=start, days=days).end - start).days == days


@pytest.mark.parametrize("key", ["collection", "only", "exclude"])
def test_a_single_entry_is_a_list_of_one(key):
    spec = BranchSpec.model_validate({"collection": "configs", key: "configs"})
    assert getattr(spec, key) == ("configs",)


@pytest.mark.parametrize("name", ["a.b", "A", "", "-a", "a b", "a" * 65])
def test_names_that_no_branch_may_have(name):
    with pytest.raises(ValidationError):
        Params.model_validate({"branches": {name: {"collection": "configs"}}})


def test_schemas_are_frozen_and_refuse_unknown_keys():
    params = Params()
    with pytest.raises(ValidationError, match="frozen"):
        params.seed = 8
    with pytest.raises(ValidationError, match="Extra inputs"):
        Params.model_validate({"sede": 8})
