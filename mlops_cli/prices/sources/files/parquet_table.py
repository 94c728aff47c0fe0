"""Reads the rows of one ticker from a parquet file, within bounds that the file's own claims cannot widen.

A parquet file of some hundred bytes can unpack to gigabytes: a long text that all rows refer to, lists of numbers,
compressed zeros. So nothing is read but the columns that are needed, if they are numbers, dates or short texts; texts
stay references into a dictionary until their lengths are checked; and the rows are read in batches.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlops_cli.errors import DataError
from mlops_cli.prices.sources.files.columns import Columns, count_kinds, find_columns, is_date_title
from mlops_cli.prices.sources.files.content import LONGEST_CELL, MOST_COLUMNS, MOST_ROWS, Content
from mlops_cli.prices.sources.files.file_format import FileFormat
from mlops_cli.prices.sources.files.table import Table, TickerRows, names_a_company, too_many_rows
from mlops_cli.prices.sources.files.text_table import titles_of
from mlops_cli.prices.sources.parquet_pages import check_pages

BYTES_PER_VALUE = 100  # of a column, unpacked; plain numbers have 8
_FIXED_BYTES = 1 << 20  # of a column, unpacked: what a short column may have beyond that
_THRIFT_LIMIT = 16 << 20
_BROKEN = (pa.ArrowException, OSError, ValueError)  # what pyarrow raises for damaged files, and for texts that are none


def read_parquet(content: Content, ticker: str, form: FileFormat) -> Table:
    """Read the rows of a ticker; a `DataError` if it is no table of prices or unpacks to too much."""
    try:
        return _read(content, ticker, form)
    except _BROKEN as error:
        raise _unreadable(content, error) from None


def _read(content: Content, ticker: str, form: FileFormat) -> Table:
    titles = parquet_titles(content)
    names, tickers = _levels(titles, content)
    if tickers is not None:
        names = titles_of(ticker, names, tickers, form, content.name)
    columns = find_columns(names, form, content.name)
    if columns.symbol_may_be_name and names_a_company(_symbols(content, titles[columns.symbol or 0])):
        columns = replace(columns, symbol=None)
    rows = TickerRows(content.name, ticker)
    wanted = {place: titles[place] for place in columns.positions()}
    parts = list(_kept_parts(content, wanted, columns, rows))
    rows.check()
    if not parts or not (count := sum(len(part) for part in parts)):
        raise DataError(f"{content.name}: the file is empty", "download it again")
    table = pa.Table.from_batches(parts) if count else parts
    return _converted(table, titles, columns)


def _symbols(content: Content, title: str) -> Iterator[str]:
    """The different cells of each batch of a column that names the instrument."""
    for batch in read_columns(content, [title]):
        yield from (str(value) for value in pc.unique(batch.column(0)).to_pylist() if value is not None)


def parquet_titles(content: Content) -> tuple[str, ...]:
    """The names of the columns, without reading the rows; the index of a pandas table is one of them.

    Raises:
        DataError: it is no parquet file, or its columns or rows are too many.
    """
    file = _open(content)
    about = file.metadata
    if about.num_columns > MOST_COLUMNS:
        raise DataError(
            f"{content.name}: has {about.num_columns:,} columns, and {MOST_COLUMNS:,} are read",
            "keep the columns of prices",
        )
    if about.num_rows > content.most_rows:
        raise DataError(
            f"{content.name}: has {about.num_rows:,} rows, and {content.most_rows:,} are read",
            "give daily bars, in several files",
        )
    try:
        return tuple(file.schema_arrow.names)
    except _BROKEN as error:
        raise _unreadable(content, error) from None


def read_columns(content: Content, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Batches of these columns; texts are arrays with a dictionary.

    Raises:
        DataError: a column is not of numbers, dates or short texts, or it unpacks to more than its rows can need.
    """
    schema = _open(content).schema_arrow
    if len(set(schema.names)) < len(schema.names) and any(schema.names.count(name) > 1 for name in names):
        raise DataError(f"{content.name}: two columns have the same name", "remove one of them")
    texts = [name for name in names if _check_type(schema.field(name), content.name)]
    file = _open(content, texts)
    _check_sizes(file, content, set(names))
    try:
        for batch in file.iter_batches(columns=list(names), use_threads=False):
            for name in texts:
                _check_texts(batch.column(name), name, content.name)
            yield batch.select(list(names))
    except _BROKEN as error:
        raise _unreadable(content, error) from None


def _open(content: Content, texts: Sequence[str] = ()) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(
            pa.BufferReader(content.body) if content.path is None else pa.OSFile(str(content.path)),
            read_dictionary=list(texts),
            thrift_string_size_limit=_THRIFT_LIMIT,
            thrift_container_size_limit=_THRIFT_LIMIT,
        )
    except _BROKEN as error:
        raise _unreadable(content, error) from None


def _unreadable(content: Content, error: Exception) -> DataError:
    return DataError(f"{content.name}: not a readable parquet file: {str(error)[:200]}", "write the file again")


def _levels(titles: Sequence[str], content: Content) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """The titles, and the tickers of the columns if there are two levels, as pandas writes ("('Close', 'AAPL')")."""
    index = _index_columns(content)
    pairs = [_pair(title) for title in titles if title not in index]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        return _with_date(tuple(titles), titles, index), None
    first, second = (tuple(_pair(title)[level] for title in titles) for level in (0, -1))
    if count_kinds(first, {}) < count_kinds(second, {}):
        first, second = second, first
    return _with_date(first, titles, index), second


def _index_columns(content: Content) -> list[str]:
    """The columns that were the index of a pandas table."""
    about: dict[str, Any] = _open(content).schema_arrow.pandas_metadata or {}
    return [name for name in about.get("index_columns", []) if isinstance(name, str)]


def _pair(title: str) -> tuple[str, ...]:
    if not title.startswith("('"):
        return (title,)
    try:
        value = ast.literal_eval(title)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return (title,)
    return tuple(map(str, value)) if isinstance(value, tuple) and len(value) == 2 else (title,)


def _with_date(names: tuple[str, ...], titles: Sequence[str], index: Sequence[str]) -> tuple[str, ...]:
    """The names, with the index called `date` if no column has the title of dates."""
    if any(is_date_title(name, {}) for name in names) or not index:
        return names
    return tuple("date" if title == index[0] else name for name, title in zip(names, titles, strict=True))


def _check_type(field: pa.Field, file: str) -> bool:
    """Whether a column is of texts; a `DataError` if it is of none of the types that are read."""
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return True
    numbers = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_null)
    dates = (pa.types.is_date, pa.types.is_timestamp)
    if kind is not field.type or not any(is_kind(kind) for is_kind in (*numbers, *dates)):
        words = str(field.type)[:60]
        raise DataError(f"{file}: column {field.name}: {words} is not read", "write numbers, dates or short texts")
    return False


def _check_sizes(file: pq.ParquetFile, content: Content, names: set[str]) -> None:
    about = file.metadata
    body = memoryview(content.body if content.path is None else np.memmap(content.path, np.uint8, "r"))
    for group in range(about.num_row_groups):
        for place in range(about.num_columns):
            chunk = about.row_group(group).column(place)
            most = BYTES_PER_VALUE * min(chunk.num_values, about.num_rows) + _FIXED_BYTES
            if chunk.path_in_schema in names:
                check_pages(body, chunk, most, f"{content.name}: column {chunk.path_in_schema}")


def _check_texts(column: pa.DictionaryArray, name: str, file: str) -> None:
    column.validate(full=True)  # in a damaged file, a reference may point beyond the dictionary
    longest = pc.max(pc.binary_length(column.dictionary)).as_py() or 0
    if longest > LONGEST_CELL:
        raise DataError(
            f"{file}: column {name}: a text of {longest:,} bytes is neither a number nor a date",
            "write numbers, dates or short texts",
        )


def _kept_parts(
    content: Content, wanted: dict[int, str], columns: Columns, rows: TickerRows
) -> Iterator[pa.RecordBatch]:
    """The batches without the rows of other tickers."""
    count = 0
    for batch in read_columns(content, list(dict.fromkeys(wanted.values()))):
        kept = batch
        if columns.symbol is not None:
            kept = batch.filter(_mask(batch.column(wanted[columns.symbol]), rows.keeps))
        count += len(kept)
        if count > MOST_ROWS:
            raise too_many_rows(content.name)
        yield kept


def _mask(symbols: pa.Array, keeps: Callable[[str], bool]) -> pa.Array:
    if not pa.types.is_dictionary(symbols.type):
        return pa.array([keeps("" if value is None else str(value)) for value in symbols.to_pylist()])
    decided = [keeps(str(value).strip()) for value in symbols.dictionary.to_pylist()]
    blank = keeps("") if symbols.null_count else True
    return pc.fill_null(pc.take(pa.array(decided, pa.bool_()), symbols.indices), blank)


def _converted(table: pa.Table, titles: Sequence[str], columns: Columns) -> Table:
    dates = table.column(titles[columns.date])
    return Table(
        dates=_dates(dates),
        times=None if columns.time is None else _texts(table.column(titles[columns.time])),
        numbers={kind: _numbers(table.column(titles[place])) for kind, place in columns.numbers.items()},
        other_numbers=tuple(
            cells for place in columns.other_numbers if isinstance(cells := _numbers(table.column(titles[place])), list)
        ),
    )


def _dates(column: pa.ChunkedArray) -> pd.Series:
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("ms"))
    if pa.types.is_timestamp(column.type):
        return pd.Series(column.to_pandas())
    return pd.Series(_texts(column), dtype=object)


def _texts(column: pa.ChunkedArray) -> list[str]:
    return ["" if value is None else str(value).strip() for value in column.to_pylist()]


def _numbers(column: pa.ChunkedArray) -> list[str] | pd.Series:
    if pa.types.is_dictionary(column.type) or pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        return _texts(column)
    values = column.cast(pa.float64(), safe=False).to_numpy()
    return pd.Series(np.asarray(values, dtype="float64"))
