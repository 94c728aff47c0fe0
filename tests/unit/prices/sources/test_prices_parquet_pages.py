"""The pages of parquet files: their own headers count, whatever the footer says."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.errors import DataError
from mlops_cli.prices.sources.parquet_pages import check_pages


@dataclass
class Chunk:
    """What a footer says of a column of a row group."""

    data_page_offset: int
    total_compressed_size: int
    num_values: int = 1
    has_dictionary_page: bool = False
    dictionary_page_offset: int | None = None


def written(column: Any, **options: Any) -> tuple[memoryview, Any]:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"x": column}), buffer, **options)
    body = buffer.getvalue()
    return memoryview(body), pq.ParquetFile(pa.BufferReader(body)).metadata.row_group(0).column(0)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip"])
@pytest.mark.parametrize("coded", [True, False])
@pytest.mark.parametrize(
    "column",
    [
        np.arange(50_000) / 7,
        np.zeros(50_000),
        [f"text {number % 100}" for number in range(5_000)],
        [None, 1.5] * 5_000,
        np.arange(3),
    ],
    ids=["numbers", "zeros", "texts", "nulls", "few"],
)
def test_pages_hold_what_the_footer_of_an_honest_file_says(
    column: Any, coded: bool, compression: str, version: str
) -> None:
    options = {"compression": compression, "use_dictionary": coded, "data_page_version": version}
    body, chunk = written(column, data_page_size=20_000, write_statistics=True, **options)
    check_pages(body, chunk, chunk.total_uncompressed_size, "column x")
    with pytest.raises(DataError, match="column x: its pages unpack to more than"):
        check_pages(body, chunk, 2, "column x")


def test_a_footer_that_lies_changes_nothing() -> None:
    body, true = written(np.zeros(1_000_000), compression="zstd", use_dictionary=False, data_page_size=1 << 30)
    assert true.total_compressed_size < 20_000 < 8_000_000 <= true.total_uncompressed_size
    lie = Chunk(true.data_page_offset, true.total_compressed_size)
    with pytest.raises(DataError, match="unpack to more than 100,000 bytes"):
        check_pages(body, lie, 100_000, "column x")


def test_a_column_without_values_has_no_pages() -> None:
    body, chunk = written(pa.array([], pa.float64()))
    check_pages(body, chunk, 0, "column x")


@pytest.mark.parametrize(("first", "length"), [(-1, 5), (0, 10**9), (500, 10), (10**12, 1)])
def test_a_column_that_is_not_in_the_file_is_refused(first: int, length: int) -> None:
    with pytest.raises(DataError, match="outside of the file"):
        check_pages(memoryview(bytes(100)), Chunk(first, length), 10**9, "column x")


def test_very_many_tiny_pages_are_refused() -> None:
    page = bytes([0x15, 0x00, 0x15, 0x00, 0x15, 0x00, 0x00])  # type 0, 0 bytes, 0 bytes
    body = page * 10_001
    with pytest.raises(DataError, match="more than 10,000 pages"):
        check_pages(memoryview(body), Chunk(0, len(body)), 10**9, "column x")


@given(st.binary(min_size=1, max_size=200))
def test_damaged_pages_are_refused_or_bounded(body: bytes) -> None:
    with contextlib.suppress(DataError):
        check_pages(memoryview(body), Chunk(0, len(body)), 1000, "column x")
