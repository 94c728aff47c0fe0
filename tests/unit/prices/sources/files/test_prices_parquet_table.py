"""Parquet files: every type that holds prices, and files that would unpack to gigabytes."""

from __future__ import annotations

import io
from decimal import Decimal

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.errors import DataError
from mlops_cli.prices.sources.csv_source import CsvSource
from mlops_cli.prices.sources.files.content import Content
from mlops_cli.prices.sources.files.file_format import FileFormat
from mlops_cli.prices.sources.files.parquet_table import read_columns
from mlops_cli.prices.sources.files.reader import column_titles, read_bars
from mlops_cli.prices.sources.source import FetchRequest, SourceFailure

DAYS = pd.bdate_range("2024-01-02", periods=60)
NUMBERS = ("open", "high", "low", "close", "volume")


def table(rows: int = 60, **other: pa.Array) -> dict[str, pa.Array]:
    days = [f"{day:%F}" for day in pd.bdate_range("1900-01-02", periods=rows)]
    return {"date": pa.array(days), **{name: pa.array(np.linspace(10, 20, rows)) for name in NUMBERS}, **other}


def body_of(columns: dict[str, pa.Array], **options: object) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream, **options)
    return stream.getvalue()


def read(body: bytes, ticker: str = "AAA", form: FileFormat | None = None) -> pd.DataFrame:
    return read_bars(Content.of_bytes(body), ticker, lambda: "America/New_York", form or FileFormat())


def refused(body: bytes) -> str:
    with pytest.raises(DataError) as raised:
        read(body)
    assert raised.value.hint
    return raised.value.message


LONG_TEXT = "9" * 1_000_000
BOMBS = {
    "a long date that all rows refer to": table(200, date=pa.array([LONG_TEXT] * 200).dictionary_encode()),
    "a long price that all rows refer to": table(200, close=pa.array([LONG_TEXT] * 200).dictionary_encode()),
    "a long ticker that all rows refer to": table(200, symbol=pa.array([LONG_TEXT] * 200).dictionary_encode()),
    "lists": table(close=pa.array([[1.0] * 100_000] * 60)),
    "lists of lists": table(close=pa.array([[[1.0] * 100] * 100] * 60)),
    "maps": table(close=pa.array([{"a": 1.0}] * 60)),
    "bytes": table(close=pa.array([LONG_TEXT.encode()] * 60)),
    "one row after the other": {
        "date": pa.array(["2024-01-02"] * 3_000_000),
        **{name: pa.array(np.ones(3_000_000)) for name in NUMBERS},
    },
    "columns": table(2, **{f"c{number}": pa.array([0.0, 0.0]) for number in range(10_001)}),
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("options", [{}, {"use_dictionary": False, "compression": "zstd"}], ids=["plain", "packed"])
def test_bombs_are_refused_with_little_memory(name, options):
    body = body_of(BOMBS[name], **options)
    process = psutil.Process()
    before = process.memory_info().rss
    refused(body)
    assert process.memory_info().rss - before < 100_000_000


def test_a_bomb_in_the_folder_is_a_failure_of_its_ticker(tmp_path):
    (tmp_path / "EVIL.parquet").write_bytes(body_of(BOMBS["a long price that all rows refer to"]))
    [answer] = CsvSource(tmp_path).fetch(FetchRequest(["EVIL"]), lambda line: None)
    assert isinstance(answer, SourceFailure)
    assert "column close: a text of 1,000,000 bytes is neither a number nor a date" in answer.reason
    assert answer.exit_code == DataError.exit_code


def test_columns_that_are_not_needed_are_not_read():
    assert len(read(body_of(table(junk=pa.array([[1.0] * 100_000] * 60), comment=pa.array([LONG_TEXT] * 60))))) == 60


@pytest.mark.parametrize(
    "closes",
    [
        pa.array([10.5, 11.25], pa.float32()),
        pa.array([Decimal("10.50"), Decimal("11.25")]),
        pa.array(["10.5", "11.25"]),
        pa.array(["10.5", "$11.25"], pa.large_string()),
        pa.array(["10.5", "11.25"]).dictionary_encode(),
    ],
    ids=lambda closes: str(closes.type),
)
def test_types_of_numbers(closes):
    bars = read(body_of(table(2, close=closes, volume=pa.array([10, 11], pa.int16()))))
    assert bars["close"].to_list() == [10.5, 11.25]
    assert bars["volume"].to_list() == [10.0, 11.0]
    assert set(bars.dtypes.astype(str)) == {"float64"}


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.date32(), DAYS.date), (pa.date64(), DAYS.date), (pa.timestamp("ns"), DAYS), (pa.timestamp("s"), DAYS),
        (pa.timestamp("us", "UTC"), DAYS), (pa.timestamp("ms", "Asia/Tokyo"), DAYS.tz_localize("Asia/Tokyo")),
        (pa.string(), DAYS.strftime("%d.%m.%Y")), (pa.int64(), DAYS.strftime("%Y%m%d").astype("int64")),
        (pa.int64(), DAYS.as_unit("ms").asi8),
    ],
)  # fmt: skip
def test_types_of_dates(kind, values):
    assert read(body_of(table(date=pa.array(list(values), kind)))).index.equals(DAYS)


def test_nulls_are_missing():
    bars = read(body_of(table(3, close=pa.array([1.5, None, 2.5]), volume=pa.array(["7", None, "8"]))))
    np.testing.assert_array_equal(bars["close"], [1.5, np.nan, 2.5])
    np.testing.assert_array_equal(bars["volume"], [7, np.nan, 8])


def test_rows_of_other_tickers_are_left_out():
    symbols = pa.array(["BBB", "AAA.US", "AAA"] * 20)
    assert len(read(body_of(table(symbol=symbols)))) == 40
    assert len(read(body_of(table(symbol=symbols.dictionary_encode())))) == 40
    assert "contains prices of BBB, not of AAA" in refused(body_of(table(ticker=pa.array(["BBB"] * 60))))
    assert "do not name their ticker" in refused(body_of(table(symbol=pa.array(["BBB", "AAA", None] * 20))))


def test_texts_follow_the_notation_of_the_file_and_the_settings():
    unclear = body_of(table(2, close=pa.array(["11,924", "38,197"])))
    assert "close '11,924'" in refused(unclear)
    assert read(unclear, form=FileFormat(decimal=","))["close"].to_list() == [11.924, 38.197]


@pytest.mark.parametrize("body", [b"PAR1", b"PAR1PAR1", b"PAR1" + bytes(50) + b"PAR1", b"PAR1 but no more"])
def test_what_is_no_parquet_file(body):
    assert "not a readable parquet file" in refused(body)


def test_texts_that_are_none_are_refused():
    texts = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\x80\xff"]).buffers())
    columns = table(1, date=texts)
    assert "not a readable parquet file" in refused(body_of(columns))


def test_an_empty_table():
    assert refused(body_of({name: values[:0] for name, values in table().items()})) == "the upload: the file is empty"


def test_the_titles_and_the_columns_of_feature_values():
    content = Content.of_bytes(body_of({"session": pa.array(["2024-01-02"]), "rsi_14": pa.array([1.5])}))
    assert column_titles(content) == ("session", "rsi_14")
    [batch] = read_columns(content, ["rsi_14", "session"])
    assert batch.schema.names == ["rsi_14", "session"]
    assert batch.column(0).to_pylist() == [1.5]


WHOLE = body_of(table(symbol=pa.array(["AAA", "BBB"] * 30)))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=8))
def test_damaged_files_are_refused_or_read(place, damage):
    body = WHOLE[:place] + damage + WHOLE[place + len(damage) :]
    try:
        bars = read(body)
    except DataError:
        return
    assert len(bars) <= 60
