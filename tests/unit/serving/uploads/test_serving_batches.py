"""Bars and tables of callers: the same features as in training, and refusals that say what is wrong."""

from __future__ import annotations

import io
import math
import time
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops_cli.config.schemas.project import FeatureSpec
from mlops_cli.errors import DataError
from mlops_cli.features.build import build_features
from mlops_cli.market.sessions import sessions
from mlops_cli.serving.contract.messages import BadInputError
from mlops_cli.serving.uploads.batches import COLUMNS, batch_of_bars, batch_of_upload, frame_of
from mlops_cli.serving.uploads.posted_rows import FeatureFacts

SPEC = FeatureSpec(returns=(1, 5))
FACTS = FeatureFacts(SPEC, "log_return", "XNYS", "ACME", ("return_1", "return_5"))
DAYS = sessions("XNYS", pd.Timestamp("2024-01-02"), pd.Timestamp("2024-03-28"))


def bars(count: int = 30) -> pd.DataFrame:
    close = 100 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.01, count)))
    frame = pd.DataFrame({"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": 1000.0})
    return frame.set_index(pd.DatetimeIndex(DAYS[:count], name="session"))


def as_csv(frame: pd.DataFrame) -> bytes:
    return frame.rename_axis("date").to_csv().encode()


def as_parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


def test_bars_become_the_features_that_training_computes() -> None:
    batch = batch_of_bars(bars(), FACTS)
    table = build_features(bars(), SPEC, "log_return", DAYS, "ACME")
    np.testing.assert_allclose(batch.rows, table[list(FACTS.inputs)].to_numpy(np.float32))
    assert batch.sessions[-1] == f"{DAYS[29]:%F}"
    assert batch.target_sessions[-1] == f"{DAYS[30]:%F}", "a session of the exchange, not the next day"
    np.testing.assert_allclose(batch.closes, bars()["close"].to_numpy()[-len(batch.closes) :])
    assert batch.rows.dtype == np.float32


def test_objects_with_prices_become_a_table() -> None:
    @dataclass
    class Bar:
        session: date
        open: float = 1.0
        high: float = 2.0
        low: float = 0.5
        close: float = 1.5
        volume: float = 7.0
        dividend: float | None = None

    frame = frame_of([Bar(date(2024, 1, 2)), Bar(date(2024, 1, 3), close=1.75)])
    assert list(frame.columns) == list(COLUMNS)
    assert frame["close"].tolist() == [1.5, 1.75]
    assert frame.index.name == "session"
    paying = frame_of([Bar(date(2024, 1, 2)), Bar(date(2024, 1, 3), dividend=0.5)])
    assert paying["dividends"].tolist() == pytest.approx([math.nan, 0.5], nan_ok=True)


def _changed(column: str, value: float) -> pd.DataFrame:
    frame = bars()
    frame.loc[frame.index[3], column] = value
    return frame


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (bars(0), "no bars"),
        (bars()[::-1], "sessions must ascend, without repeats"),
        (pd.concat([bars(10), bars(1)]).sort_index(), "sessions must ascend, without repeats"),
        (_changed("close", 0.0), "2024-01-05 close"),
        (_changed("low", np.nan), "2024-01-05 low"),
        (_changed("high", np.inf), "2024-01-05 high"),
        (_changed("volume", -1.0), "2024-01-05 volume"),
        (bars().shift(freq="D")[:4], "not sessions of XNYS: 2024-01-06"),
    ],
)
def test_bars_that_are_no_price_table_are_refused(frame: pd.DataFrame, message: str) -> None:
    with pytest.raises(DataError, match=message):
        batch_of_bars(frame, FACTS)


def test_too_few_bars_are_refused_with_a_hint_for_callers() -> None:
    with pytest.raises(DataError) as caught:
        batch_of_bars(bars(3), FACTS)
    assert "history of bars" in caught.value.hint


def test_a_volume_of_zero_is_allowed() -> None:
    assert len(batch_of_bars(_changed("volume", 0.0), FACTS).rows) == len(batch_of_bars(bars(), FACTS).rows)


@pytest.mark.parametrize("write", [as_csv, as_parquet])
def test_an_upload_of_bars_is_the_same_as_bars(write: Any) -> None:
    frame = bars().assign(adj_close=bars()["close"])
    upload = batch_of_upload(write(frame), FACTS, 10**6)
    np.testing.assert_allclose(upload.rows, batch_of_bars(bars(), FACTS).rows, atol=1e-6)


@pytest.mark.parametrize("write", [as_csv, as_parquet])
def test_an_upload_with_the_models_columns_is_taken_as_feature_values(write: Any) -> None:
    values = pd.DataFrame({"return_5": [1, 2], "other": ["x", "y"], "return_1": [0.5, 0.25]})
    batch = batch_of_upload(write(values.set_index("other")), FACTS, 10**6)
    np.testing.assert_array_equal(batch.rows, np.array([[0.5, 1], [0.25, 2]], np.float32))
    assert (batch.sessions, batch.target_sessions, len(batch.closes)) == ([], [], 0)


def test_sessions_of_feature_values_are_kept() -> None:
    values = pd.DataFrame({"session": ["2024-01-02"], "return_1": [0.5], "return_5": [0.25]})
    assert batch_of_upload(values.to_csv(index=False).encode(), FACTS, 10**6).sessions == ["2024-01-02"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is empty"),
        (b"PAR1 and no more", "not a readable parquet file"),
        (b"return_1,return_5\n", "the upload holds no rows"),
        (b"return_1,return_5\n1,text\n", "column return_5: .*Row #2: .*'text'"),
        (b"return_1,return_5\n1,1e300\n", "row 1 return_5"),
        (b"return_1,return_5\n1,\n0.5,2\n", "row 1 return_5"),
        (b"neither,of\nthe,two\n", "the upload"),
        (b"\xff\xfe\x00", "the upload"),
    ],
)
def test_other_uploads_are_refused_with_the_reason(body: bytes, message: str) -> None:
    with pytest.raises((BadInputError, DataError), match=message) as caught:
        batch_of_upload(body, FACTS, 10**6)
    assert "/tmp" not in str(caught.value), "no path of this machine"


def test_a_parquet_file_that_unpacks_to_too_much_is_refused_unread() -> None:
    zeros = pd.DataFrame({"return_1": np.zeros(100_000), "return_5": np.zeros(100_000)})
    body = as_parquet(zeros)
    assert len(batch_of_upload(body, FACTS, 10**6).rows) == 100_000
    with pytest.raises(BadInputError, match="100000 rows"):
        batch_of_upload(body, FACTS, 100_000)


def _split(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame[:-10] * [7, 7, 7, 7, 1], frame[-10:]])


def _slipped(frame: pd.DataFrame) -> pd.DataFrame:
    frame.iloc[-3, :4] /= 10
    return frame


def _in_cents(frame: pd.DataFrame) -> pd.DataFrame:
    frame.iloc[-1, :4] *= 100
    return frame


def _high_below_low(frame: pd.DataFrame) -> pd.DataFrame:
    frame.iloc[-1, 1] = frame.iloc[-1, 2] / 2
    return frame


def _with_a_hole(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(frame.index[-6:-1])


FAULTS = {
    "an unadjusted split": (_split, "2024-0"),
    "a slipped decimal": (_slipped, "2024-03-26"),
    "cents": (_in_cents, "2024-03-28"),
    "high below low": (_high_below_low, "2024-03-28"),
    "a hole": (_with_a_hole, "2024-03-21"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("write", [as_csv, as_parquet])
def test_what_ingest_would_repair_or_refuse_is_refused_with_the_day(fault: str, write: Any) -> None:
    change, day = FAULTS[fault]
    frame = change(bars(len(DAYS)))
    with pytest.raises(DataError, match=day):
        batch_of_bars(frame, FACTS)
    with pytest.raises(DataError, match=day):
        batch_of_upload(write(frame), FACTS, 10**6)


def test_bars_of_sessions_that_have_not_closed_are_refused() -> None:
    days = sessions("XNYS", pd.Timestamp.now().normalize(), pd.Timestamp.now().normalize() + pd.Timedelta(days=60))
    frame = bars(30).set_axis(days[-31:-1], axis=0).rename_axis("session")
    with pytest.raises(DataError, match="sessions that have not closed"):
        batch_of_bars(frame, FACTS)


def test_an_upload_of_another_stock_or_with_unclear_numbers_is_refused() -> None:
    with pytest.raises(DataError, match="IBM"):
        batch_of_upload(as_csv(bars().assign(symbol="IBM")), FACTS, 10**6)
    commas = (100 * bars()).round().astype(int).map(lambda number: f"{number // 1000}.{number % 1000:03d}")
    with pytest.raises(DataError, match=r"\d\.\d{3}"):
        batch_of_upload(as_csv(commas.assign(volume=1000)), FACTS, 10**6)


def test_a_file_of_very_many_columns_is_refused_before_it_is_read() -> None:
    header = ",".join(f"c{number}" for number in range(300_000)).encode()
    started = time.monotonic()
    with pytest.raises((DataError, BadInputError)):
        batch_of_upload(header + b"\n" + b"1," * 299_999 + b"1\n", FACTS, 10**7)
    assert time.monotonic() - started < 5
