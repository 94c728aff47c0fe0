"""Reads CSV and parquet files of feature values: only the columns of the model, and piece by piece.

What a file claims is checked before it is read: a parquet file of 300 bytes can hold columns of gigabytes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from mlops_cli.errors import bounded
from mlops_cli.prices.sources.files.columns import find_symbol
from mlops_cli.prices.sources.files.table import names_a_company, same_ticker
from mlops_cli.prices.sources.parquet_pages import check_pages
from mlops_cli.serving.contract.messages import BadInputError, Rows
from mlops_cli.serving.uploads.posted_rows import FeatureFacts

SESSION = "session"
_LONGEST_HEADER = 65_536  # bytes of a CSV file's first line
_LARGEST_FOOTER = 1_000_000  # bytes of what a parquet file says about itself; 1,000 columns take 200 kB
_BLOCK = 1 << 20
_ROWS_AT_ONCE = 65_536
_LONGEST_SESSION = 40  # characters
_LONGEST_NAME = 200  # characters of a ticker, or of the name of a company
_MOST_TICKERS = 100  # different ones that are kept for the message
_WIDEST = 20  # bytes that a number or a date may take in a parquet file, with all that belongs to it
_SLACK = 65_536  # bytes per column for dictionaries and headers of pages


@dataclass(frozen=True)
class FeatureRows:
    """Rows of feature values, float32 (n, columns), finite; and the session of each, empty where the file has none."""

    rows: Rows
    sessions: list[str]


def check_symbols(symbols: Iterable[str], ticker: str, what: str) -> None:
    """Refuse what is said to be of another stock than `ticker`; `what` begins the message of the `BadInputError`.

    Rows of other stocks are not left out: a caller expects an answer for each row.
    """
    others = sorted(symbol for symbol in symbols if symbol and not same_ticker(symbol, ticker))
    if others:
        text = f"{what} contains rows of {bounded(others)}, and the model forecasts {ticker}"
        raise BadInputError(text, f"send the rows of {ticker} only; leave the symbol out if it means something else")


def csv_columns(body: bytes) -> list[str]:
    """The names in the first line of a CSV file; none where it is too long to be one of feature names."""
    line = body[:_LONGEST_HEADER].split(b"\n", 1)
    if len(line) == 1 and len(body) > _LONGEST_HEADER:
        return []
    try:
        return next(csv.reader([line[0].decode("utf-8-sig", "replace").rstrip("\r")]), [])
    except csv.Error:
        return []


def read_csv(body: bytes, facts: FeatureFacts) -> FeatureRows:
    """The model's inputs, and `session` where there is one, from a file whose `csv_columns` has all inputs.

    Raises:
        BadInputError: a cell is no number, or a row is of another stock.
    """
    table = _Table.of(csv_columns(body), facts)
    names = table.names
    kinds = {name: pa.float64() if name in facts.inputs else pa.string() for name in names}
    try:
        reader = pyarrow.csv.open_csv(
            io.BytesIO(body),
            pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK),
            convert_options=pyarrow.csv.ConvertOptions(include_columns=names, column_types=kinds),
        )
        return table.joined(reader)
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        if not body.partition(b"\n")[2].strip():
            raise BadInputError("the upload holds no rows") from None
        raise BadInputError(f"the upload is no table of numbers: {_plain(error, names)}") from None


def open_parquet(body: bytes) -> pyarrow.parquet.ParquetFile:
    """A parquet file, of which only the footer was read; a `BadInputError` if it is none, or has a huge footer."""
    footer = int.from_bytes(body[-8:-4], "little") if body.endswith(b"PAR1") else 0
    if footer > _LARGEST_FOOTER:
        raise BadInputError(f"the parquet file describes itself in {footer} bytes", "send fewer columns or row groups")
    try:
        file = pyarrow.parquet.ParquetFile(pa.BufferReader(body))
        texts = [column.name for column in file.schema_arrow if _is_text(column.type)]
        if texts:  # as codes: a dictionary of one long text may stand for gigabytes
            file = pyarrow.parquet.ParquetFile(pa.BufferReader(body), read_dictionary=texts)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise BadInputError(f"the upload is not a readable parquet file: {str(error)[:200]}") from None
    return file


def read_parquet(file: pyarrow.parquet.ParquetFile, body: bytes, facts: FeatureFacts, most_bytes: int) -> FeatureRows:
    """The model's inputs, and `session` where there is one, of a file that `open_parquet` opened from `body`.

    At most `most_bytes` are unpacked. The file has all inputs.

    Raises:
        BadInputError: a column is of another kind, there are too many rows, or a row is of another stock.
        DataError: a column unpacks to more than numbers or dates can take, or it is damaged.
    """
    table = _Table.of(file.schema_arrow.names, facts)
    for name in table.names:
        table.check_kind(name, file.schema_arrow.field(name).type)
    _check_size(file, memoryview(body), table.names, most_bytes)
    try:
        batches = file.iter_batches(_ROWS_AT_ONCE, columns=table.names, use_threads=False)
        return table.joined(_counted(batches, file.metadata.num_rows))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BadInputError(f"the upload is not a readable parquet file: {str(error)[:200]}") from None


@dataclass
class _Table:
    """The columns of a file that are read.

    Attributes:
        names: the inputs in order, then `session` and the column of tickers where the file has them.
        symbol: name of the column of tickers; None if there is none.
        symbol_may_be_name: whether that column may hold the names of companies rather than tickers.
    """

    facts: FeatureFacts
    names: list[str]
    symbol: str | None
    symbol_may_be_name: bool
    _symbols: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, present: Sequence[str], facts: FeatureFacts) -> _Table:
        place, may_be_name = find_symbol(["" if name in facts.inputs else name for name in present])
        symbol = None if place is None else present[place]
        names = [*facts.inputs, *(name for name in (SESSION, symbol) if name is not None and name in present)]
        twice = [name for name in names if present.count(name) > 1]
        if twice:
            raise BadInputError(f"the upload has two columns {bounded(twice)}", "remove one of them")
        return cls(facts, names, symbol, may_be_name)

    def check_kind(self, name: str, kind: pa.DataType) -> None:
        """Refuse a column of a parquet file that holds something else than what its name says."""
        types = pa.types
        plain = kind.value_type if types.is_dictionary(kind) else kind
        if name in self.facts.inputs:
            if not (types.is_integer(kind) or types.is_floating(kind)):
                raise BadInputError(f"column {name}: {kind}, expected numbers")
        elif not (_is_text(plain) or types.is_integer(plain) or types.is_temporal(plain) or types.is_null(plain)):
            raise BadInputError(f"column {name}: {kind}, expected {'dates' if name == SESSION else 'tickers'}")

    def joined(self, batches: Iterator[pa.RecordBatch]) -> FeatureRows:
        """The rows of all batches."""
        inputs = self.facts.inputs
        parts: list[Rows] = []
        sessions: list[str] = []
        done = 0
        for batch in batches:
            parts.append(_values(batch, inputs, done))
            done += batch.num_rows
            if SESSION in batch.schema.names:
                sessions += [text[:10] for text in _texts(batch.column(SESSION), SESSION)]
            if self.symbol is not None and len(self._symbols) < _MOST_TICKERS:
                self._symbols |= {text.strip() for text in _texts(_different(batch.column(self.symbol)), self.symbol)}
        if not done:
            raise BadInputError("the upload holds no rows")
        if not (self.symbol_may_be_name and names_a_company(self._symbols)):
            check_symbols(self._symbols, self.facts.ticker, f"the upload (column {self.symbol})")
        return FeatureRows(np.concatenate(parts), sessions)


def _values(batch: pa.RecordBatch, inputs: tuple[str, ...], before: int) -> Rows:
    """The inputs of a batch; `before` it there were so many rows."""
    values = np.empty((batch.num_rows, len(inputs)), np.float32)
    for place, name in enumerate(inputs):
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
            values[:, place] = _numbers(batch.column(name))
    _check_finite(values, inputs, before)
    return values


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _check_size(file: pyarrow.parquet.ParquetFile, body: memoryview, names: list[str], most_bytes: int) -> None:
    """Refuse a file that holds more than `most_bytes`, or more than numbers and dates can take, whatever it says."""
    about = file.metadata
    if 8 * about.num_rows * len(names) > most_bytes:
        text = f"the parquet file holds {about.num_rows} rows, {8 * about.num_rows * len(names)} bytes once unpacked"
        raise BadInputError(text, "send it in parts")
    for number in range(about.num_row_groups):
        group = about.row_group(number)
        most = _WIDEST * min(group.num_rows, about.num_rows) + _SLACK
        for index in range(group.num_columns):
            column = group.column(index)
            if column.path_in_schema in names:
                check_pages(body, column, most, f"the upload: column {column.path_in_schema}")


def _counted(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The batches, as long as there are no more rows than the file says."""
    for batch in batches:
        rows -= batch.num_rows
        if rows < 0:
            raise BadInputError("the parquet file holds more rows than it says")
        yield batch


def _numbers(column: pa.Array) -> npt.NDArray[np.float64]:
    values: npt.NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values


def _check_finite(values: Rows, names: tuple[str, ...], before: int) -> None:
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        cells = [f"row {before + row + 1} {names[column]}" for row, column in bad[:99]]
        raise BadInputError(f"not finite numbers: {bounded(cells)}", "every row needs every feature")


def _different(column: pa.Array) -> pa.Array:
    """The different values of a column."""
    column.validate(full=True)  # in a damaged file, a reference may point beyond the dictionary
    return pyarrow.compute.unique(column)


def _texts(column: pa.Array, name: str) -> list[str]:
    """Sessions as ISO dates, or texts as the file writes them; empty for missing values."""
    column.validate(full=True)
    texts = column.dictionary if pa.types.is_dictionary(column.type) else column
    if _is_text(texts.type) and len(texts):
        longest = pyarrow.compute.max(pyarrow.compute.binary_length(texts)).as_py() or 0
        if longest > (_LONGEST_SESSION if name == SESSION else _LONGEST_NAME):
            expected = "dates" if name == SESSION else "tickers"
            raise BadInputError(f"column {name}: a text of {longest} bytes, expected {expected}")
    return ["" if value is None else str(value) for value in column.to_pylist()]


def _plain(error: Exception, names: list[str]) -> str:
    """Arrow's message, with the name of the column instead of its number among those that are read."""
    text = str(error)
    for place, name in enumerate(names):
        text = text.replace(f"CSV column #{place}:", f"column {name}:")
    return text[:200]
