"""Files of feature values: the model's columns only, checked before they are read, and small while they are read."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.config.schemas.project import FeatureSpec
from mlops_cli.errors import DataError
from mlops_cli.serving.contract.messages import BadInputError
from mlops_cli.serving.uploads.feature_files import FeatureRows, csv_columns, open_parquet, read_csv, read_parquet
from mlops_cli.serving.uploads.posted_rows import FeatureFacts

INPUTS = ("return_1", "return_5")
FACTS = FeatureFacts(FeatureSpec(returns=(1, 5)), "log_return", "XNYS", "ACME", INPUTS)
MOST = 40_000_000


def parquet(columns: dict[str, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, **options)
    return buffer.getvalue()


def from_parquet(body: bytes, most: int = MOST) -> FeatureRows:
    return read_parquet(open_parquet(body), body, FACTS, most)


numbers = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=30)


@given(numbers)
def test_what_is_written_is_read(values: list[float]) -> None:
    columns = {"other": ["x"] * len(values), "return_5": values, "return_1": values[::-1]}
    expected = np.array([values[::-1], values], np.float32).T
    np.testing.assert_array_equal(from_parquet(parquet(columns)).rows, expected)
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    np.testing.assert_array_equal(read_csv("\n".join(lines).encode(), FACTS).rows, expected)


@pytest.mark.parametrize(
    ("line", "names"),
    [
        (b"a,b", ["a", "b"]),
        (b"\xef\xbb\xbfa,b\r", ["a", "b"]),
        (b'"a, b",c', ["a, b", "c"]),
        (b"", []),
        (b"a" * 70_000, []),
        (b'"a', ["a"]),
    ],
)
def test_the_names_of_the_first_line(line: bytes, names: list[str]) -> None:
    assert csv_columns(line + b"\n1,2\n" if len(line) < 1000 else line) == names


@pytest.mark.parametrize("session", ["2024-01-02", "20240102", "2024-01-02 00:00:00"])
def test_sessions_are_kept_as_they_are_written_up_to_the_day(session: str) -> None:
    body = f"session,return_1,return_5\n{session},0.5,0.25\n".encode()
    assert read_csv(body, FACTS).sessions == [session[:10]]
    columns = {"session": [session], "return_1": [0.5], "return_5": [0.25]}
    assert from_parquet(parquet(columns)).sessions == [session[:10]]


def test_many_batches_are_one_table() -> None:
    values = np.arange(200_000) / 7
    body = parquet({"return_1": values, "return_5": -values}, row_group_size=30_000)
    rows = from_parquet(body).rows
    np.testing.assert_array_equal(rows, np.column_stack([values, -values]).astype(np.float32))


def test_the_row_of_a_bad_number_is_counted_over_all_batches() -> None:
    values = np.zeros(100_000)
    values[70_000] = np.nan
    with pytest.raises(BadInputError, match="row 70001 return_5"):
        from_parquet(parquet({"return_1": np.zeros(100_000), "return_5": values}))
    lines = "\n".join(["return_1,return_5", *["0.123456,0.123456"] * 90_000, "1,1e39"])
    with pytest.raises(BadInputError, match="row 90001 return_5"):
        read_csv(lines.encode(), FACTS)


LONG = "x" * 1_000_000
CODED = pa.DictionaryArray.from_arrays(pa.array([0] * 5000, pa.int32()), pa.array([LONG]))
ZEROS = np.zeros(5000)
LISTS = pa.ListArray.from_arrays(np.arange(61, dtype=np.int32) * 100_000, np.zeros(6_000_000, np.int8))
PACKED = [f"{number}{LONG[:9000]}" for number in range(5000)]
BOMBS = {
    "a long text for all sessions": ({"session": CODED, "return_1": ZEROS, "return_5": ZEROS}, "column session: "),
    "a long text for all numbers": ({"return_1": CODED, "return_5": ZEROS}, "expected numbers"),
    "lists": ({"return_1": LISTS, "return_5": np.zeros(60)}, "expected numbers"),
    "lists of dates": ({"session": LISTS, "return_1": np.zeros(60), "return_5": np.zeros(60)}, "expected dates"),
    "texts that are packed": ({"session": PACKED, "return_1": ZEROS, "return_5": ZEROS}, "column session: "),
    "very many zeros": ({"return_1": np.zeros(9_000_000), "return_5": np.zeros(9_000_000)}, "9000000 rows"),
}


@pytest.mark.parametrize("what", BOMBS)
def test_small_files_that_would_unpack_to_much_are_refused_unread(what: str) -> None:
    columns, reason = BOMBS[what]
    body = parquet(columns, compression="zstd", use_dictionary=True, store_schema=False)
    assert len(body) < 300_000
    pa.default_memory_pool().release_unused()
    before = pa.total_allocated_bytes()
    with pytest.raises((BadInputError, DataError), match=reason):
        from_parquet(body)
    assert pa.total_allocated_bytes() - before < 10_000_000


def test_a_footer_of_megabytes_is_not_parsed() -> None:
    columns = {f"{number:0200d}": [1] for number in range(6000)}
    with pytest.raises(BadInputError, match="describes itself in"):
        open_parquet(parquet(columns))


@pytest.mark.parametrize("cut", [5, 12, 100, 300])
def test_what_is_cut_off_is_no_parquet_file(cut: int) -> None:
    body = parquet({"return_1": ZEROS, "return_5": ZEROS})
    for part in (body[:cut], body[: len(body) - cut], body[:cut] + b"PAR1"):
        with pytest.raises(BadInputError, match=r"not a readable parquet file|describes itself"):
            from_parquet(part)


def test_a_column_that_is_there_twice_is_refused() -> None:
    with pytest.raises(BadInputError, match="two columns return_1"):
        read_csv(b"return_1,return_5,return_1\n1,2,3\n", FACTS)


@pytest.mark.parametrize("cell", ["true", "x", "1;2", '"0,5"', "1_000", "0x10"])
def test_cells_that_are_no_numbers_are_named(cell: str) -> None:
    with pytest.raises(BadInputError, match="column return_5: Row #3"):
        read_csv(f"return_1,return_5\n1,2\n1,{cell}\n".encode(), FACTS)


def _csv(columns: dict[str, Any]) -> bytes:
    rows = zip(*columns.values(), strict=True)
    return "\n".join(
        [",".join(columns), *(",".join("" if v is None else str(v) for v in row) for row in rows)]
    ).encode()


READERS = [
    pytest.param(lambda columns: read_csv(_csv(columns), FACTS), id="csv"),
    pytest.param(lambda columns: from_parquet(parquet(columns)), id="parquet"),
]
VALUES = {"return_1": [0.5, 1.5], "return_5": [0.25, 2.5]}


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("title", "symbols"),
    [
        ("symbol", ["ACME", "acme"]),
        ("Ticker", ["NYSE:ACME", "ACME.US"]),
        ("symbol", ["", " ACME"]),
        ("ticker", [None, None]),
        ("name", ["Acme Corporation", "Acme Corporation"]),
        ("other", ["IBM", "IBM"]),
    ],
)
def test_rows_that_name_the_models_own_stock_or_none_are_taken(read: Any, title: str, symbols: list[Any]) -> None:
    assert len(read({title: symbols, **VALUES}).rows) == 2


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("title", "symbols"),
    [
        ("symbol", ["IBM", "IBM"]),
        ("Ticker", ["ACME", "IBM"]),
        ("<TICKER>", ["IBM", ""]),
        ("name", ["IBM", "IBM"]),
        ("symbol", ["IBM.L", "IBM.L"]),
    ],
)
def test_rows_that_name_another_stock_are_refused_with_its_ticker(read: Any, title: str, symbols: list[str]) -> None:
    with pytest.raises(BadInputError, match=r"rows of IBM.*forecasts ACME"):
        read({title: symbols, **VALUES})


def test_the_last_row_of_another_stock_among_many_is_found() -> None:
    count = 200_000
    columns = {"symbol": ["ACME"] * (count - 1) + ["IBM"], "return_1": np.zeros(count), "return_5": np.zeros(count)}
    with pytest.raises(BadInputError, match="IBM"):
        from_parquet(parquet(columns, row_group_size=30_000))


def test_a_column_of_tickers_that_holds_something_else_is_refused() -> None:
    with pytest.raises(BadInputError, match="expected tickers"):
        from_parquet(parquet({"symbol": [0.5, 1.5], **VALUES}))
    with pytest.raises((BadInputError, DataError), match="column symbol"):
        from_parquet(parquet({"symbol": [LONG, LONG], **VALUES}))
