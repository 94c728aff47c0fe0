"""Which forecasts can be journaled."""

from __future__ import annotations

import math
from datetime import date, datetime

import pytest

from mlops_cli.live.journal.records import Key, PriceInterval
from tests.fakes.journal_forecasts import SESSION, TARGET, a_forecast

NARROW = PriceInterval(80.0, 1.0, 2.0, None)


def test_a_forecast_as_models_make_them_has_no_faults() -> None:
    assert a_forecast().faults == []
    assert a_forecast(intervals=(), previous_session=None, previous_close=None).faults == []
    assert a_forecast(announced_dividend=0.5, intervals=(PriceInterval(99.5, 1.0, 1.0, 0.0),)).faults == []


def test_its_key_names_model_and_session() -> None:
    assert a_forecast().key == Key(SESSION, "main", "red-aapl")
    assert str(a_forecast().key) == "red-aapl:2024-01-04"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": ""}, "is empty"),
        ({"exchange": ""}, "is empty"),
        ({"version": ""}, "is empty"),
        ({"target_session": SESSION}, "its target 2024-01-04 is not after its session"),
        ({"session": date(2024, 1, 8)}, "its target 2024-01-05 is not after its session"),
        ({"target_closes_at": datetime(2024, 1, 5, 21)}, "target_closes_at has no time zone"),
        ({"row_hash": "A" * 64}, "row_hash is no sha256"),
        ({"row_hash": "a" * 63}, "row_hash is no sha256"),
        ({"previous_close": None}, "previous_session without previous_close"),
        ({"previous_session": None}, "previous_session without previous_close"),
        ({"predicted_close": math.nan}, "not finite and > 0: predicted_close"),
        ({"predicted_close": math.inf}, "not finite and > 0: predicted_close"),
        ({"base_predicted_close": 0.0, "drift_predicted_close": -1.0}, "drift_predicted_close, base_predicted_close"),
        ({"previous_close": 0.0}, "not finite and > 0: previous_close"),
        ({"announced_dividend": -0.1}, "announced_dividend is not finite and >= 0"),
        ({"announced_dividend": math.nan}, "announced_dividend is not finite and >= 0"),
        ({"log_return": math.nan}, "log_return or shrinkage is not finite"),
        ({"shrinkage": math.inf}, "log_return or shrinkage is not finite"),
        ({"intervals": (PriceInterval(80.0, 2.0, 1.0, None),)}, "a broken interval"),
        ({"intervals": (PriceInterval(80.0, math.nan, 1.0, None),)}, "a broken interval"),
        ({"intervals": (PriceInterval(80.0, 1.0, 2.0, -0.1),)}, "a broken interval"),
        ({"intervals": (PriceInterval(80.0, 1.0, 2.0, math.nan),)}, "a broken interval"),
        ({"intervals": (PriceInterval(100.0, 1.0, 2.0, None),)}, "a broken interval"),
        (
            {"intervals": (PriceInterval(95.0, 1.0, 2.0, None), PriceInterval(80.0, 1.0, 2.0, None))},
            "a broken interval",
        ),
        ({"intervals": (PriceInterval(80.0, 1.0, 2.0, None),) * 2}, "a broken interval"),
    ],
)
def test_one_that_means_nothing(changes: dict, words: str) -> None:
    (fault,) = a_forecast(**{"log_return": 0.01, **changes}).faults
    assert words in fault


def test_all_faults_are_told_at_once() -> None:
    assert len(a_forecast(model="", target_session=SESSION, row_hash="", log_return=math.nan).faults) == 4
    assert TARGET > SESSION
