"""Bodies of POST /forecasts: bars that are bars, not too many of them, and refusals that stay short."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from mlops_cli.serving.contract.messages import BadInputError
from mlops_cli.serving.http.forecast_endpoints import MOST_BARS, read_bars

BAR = {"session": "2013-01-02", "open": 1.5, "high": 2, "low": 1, "close": 1.5, "volume": 0}


def body(*bars: Any, **more: Any) -> bytes:
    return json.dumps({"ticker": "ACME", "bars": list(bars), **more}).encode()


def test_bars_are_read() -> None:
    posted = read_bars(body(BAR, {**BAR, "session": "2013-01-03"}))
    assert [bar.close for bar in posted.bars] == [1.5, 1.5]
    assert posted.ticker == "ACME"


@pytest.mark.parametrize("column", ["open", "high", "low", "close", "volume"])
@pytest.mark.parametrize("value", [True, False, "1.5", "1,5", None, [1], {}, -1, "NaN"])
def test_only_numbers_are_prices(column: str, value: Any) -> None:
    with pytest.raises(BadInputError, match=f"bars.1.{column}"):
        read_bars(body(BAR, {**BAR, column: value}))


def test_more_bars_than_any_history_has_are_refused() -> None:
    assert len(read_bars(body(*[BAR] * MOST_BARS)).bars) == MOST_BARS
    with pytest.raises(BadInputError, match=r"20000|more than"):
        read_bars(body(*[BAR] * (MOST_BARS + 1)))


@pytest.mark.parametrize(
    "bars", [b"{}," * 100_000 + b"{}", b"[]," * 100_000 + b"1", b"1," * 150_000 + b"1", b"[" * 100_000]
)
def test_floods_are_refused_in_a_moment_and_in_few_words(bars: bytes) -> None:
    started = time.monotonic()
    with pytest.raises(BadInputError) as refused:
        read_bars(b'{"ticker":"ACME","bars":[' + bars + b"]}")
    assert time.monotonic() - started < 2
    assert len(refused.value.message) < 1000


def test_whose_models_must_be_said() -> None:
    with pytest.raises(BadInputError, match="neither ticker nor models"):
        read_bars(body(BAR, ticker=None))
