"""Sources of the exchange's prices and dividends: files of a price folder, or tables in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import pandas as pd

from mlops_cli.errors import DataError
from mlops_cli.market.symbols import symbol_of
from mlops_cli.prices.actions.paid_dividends import paid_dividends
from mlops_cli.prices.actions.sightings_file import dividends_file
from mlops_cli.prices.table import check_table


class ParquetTables:
    """`<TICKER>.parquet` price tables by Alpaca's symbols. If two folders hold a symbol, the newer file counts."""

    def __init__(self, folders: Sequence[Path]) -> None:
        paths = [path for folder in folders for path in folder.glob("*.parquet") if not path.name.startswith(".")]
        oldest_first = sorted(paths, key=lambda path: path.stat().st_mtime)
        self._files = {symbol_of(path.stem.upper()): path for path in oldest_first}
        self.symbols = frozenset(self._files)

    def version(self, symbol: str) -> float:
        """Time at which table or dividends were written, in seconds; a `DataError` if the table was removed."""
        path = self._file(symbol)
        dividends = dividends_file(path.parent, path.stem)
        try:
            return max(path.stat().st_mtime, dividends.stat().st_mtime if dividends.is_file() else 0.0)
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}", "fetch the prices again: mlops ingest") from error

    def table(self, symbol: str) -> pd.DataFrame:
        """Read a price table; a `DataError` if there is no file, or it is damaged or no price table."""
        path = self._file(symbol)
        try:
            table = pd.read_parquet(path)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: damaged: {error}", "fetch the prices again: mlops ingest") from error
        check_table(table, symbol)
        return table

    def dividends(self, symbol: str, table: pd.DataFrame) -> dict[date, float]:
        """The dividends of a price table: USD per share by ex-date; a `DataError` if their file is damaged."""
        path = self._file(symbol)
        return paid_dividends(path.parent, path.stem, table["close"])

    def _file(self, symbol: str) -> Path:
        if symbol not in self._files:
            raise DataError(f"{symbol}: there is no price table", "serve the folder that holds it: --prices")
        return self._files[symbol]


class MemoryTables:
    """Price tables that are already in memory, by ticker or symbol, and their dividends: USD per share by ex-date."""

    def __init__(
        self, tables: Mapping[str, pd.DataFrame], dividends: Mapping[str, Mapping[date, float]] | None = None
    ) -> None:
        self._tables = {symbol_of(ticker): table for ticker, table in tables.items()}
        self._dividends = {symbol_of(ticker): dict(paid) for ticker, paid in (dividends or {}).items()}
        self.symbols = frozenset(self._tables)

    def version(self, symbol: str) -> float:
        """Always 0: the tables do not change."""
        return 0.0

    def table(self, symbol: str) -> pd.DataFrame:
        """The price table of a symbol."""
        return self._tables[symbol]

    def dividends(self, symbol: str, _: pd.DataFrame) -> dict[date, float]:
        """The dividends of a symbol's table."""
        return self._dividends.get(symbol, {})


PriceTables = ParquetTables | MemoryTables
"""A source of daily bars. The version of a table changes whenever the table changes."""
