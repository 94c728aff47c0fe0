"""Sources of the exchange's prices: parquet files, or tables in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from mlops_cli.errors import DataError
from mlops_cli.market.symbols import symbol_of
from mlops_cli.prices.table import check_table


class ParquetTables:
    """`<TICKER>.parquet` price tables by Alpaca's symbols. If two folders hold a symbol, the newer file counts."""

    def __init__(self, folders: Sequence[Path]) -> None:
        paths = [path for folder in folders for path in folder.glob("*.parquet") if not path.name.startswith(".")]
        oldest_first = sorted(paths, key=lambda path: path.stat().st_mtime)
        self._files = {symbol_of(path.stem.upper()): path for path in oldest_first}
        self.symbols = frozenset(self._files)

    def version(self, symbol: str) -> float:
        """Time at which the file was written, in seconds; a `DataError` if there is none, or it was removed."""
        path = self._file(symbol)
        try:
            return path.stat().st_mtime
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

    def _file(self, symbol: str) -> Path:
        if symbol not in self._files:
            raise DataError(f"{symbol}: there is no price table", "serve the folder that holds it: --prices")
        return self._files[symbol]


class MemoryTables:
    """Price tables that are already in memory, by ticker or symbol."""

    def __init__(self, tables: Mapping[str, pd.DataFrame]) -> None:
        self._tables = {symbol_of(ticker): table for ticker, table in tables.items()}
        self.symbols = frozenset(self._tables)

    def version(self, symbol: str) -> float:
        """Always 0: the tables do not change."""
        return 0.0

    def table(self, symbol: str) -> pd.DataFrame:
        """The price table of a symbol."""
        return self._tables[symbol]


PriceTables = ParquetTables | MemoryTables
"""A source of daily bars. The version of a table changes whenever the table changes."""
