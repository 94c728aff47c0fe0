"""Prices from files: one of each ticker, `<TICKER>.csv` or `<TICKER>.parquet`, or one of all tickers."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from mlops_cli.errors import ConfigError, DataError, bounded
from mlops_cli.market.sessions import exchange_timezone
from mlops_cli.prices.sources.files.content import Content
from mlops_cli.prices.sources.files.file_format import FileFormat
from mlops_cli.prices.sources.files.reader import read_bars
from mlops_cli.prices.sources.source import FetchRequest, RawBars, SourceFailure

_SUFFIXES = {".csv", ".parquet"}


class CsvSource:
    """Reads a folder with one price file per ticker, ignoring case. Each result is the whole history.

    Args:
        folder: of the files.
        form: what the user says about how the files are written.
        file: name of one file in the folder that holds the rows of all tickers; None if each ticker has its own.
    """

    name = "csv"
    local = True

    def __init__(self, folder: Path, form: FileFormat | None = None, file: str | None = None) -> None:
        self._folder = folder
        self._form = form or FileFormat()
        self._file = file

    def fetch(self, request: FetchRequest, progress: Callable[[str], None]) -> Iterator[RawBars | SourceFailure]:
        """Read one file per ticker, in order, without applying the period; a `ConfigError` if the folder is missing."""
        files = self._files()
        for number, ticker in enumerate(request.tickers, start=1):
            progress(f"{self._folder}: {ticker} ({number} of {len(request.tickers)})")
            try:
                path = self._file_of(ticker, files)
                zone = partial(exchange_timezone, request.exchanges.get(ticker, "XNYS"))
                frame = read_bars(Content.of_file(path), ticker, zone, self._form)
            except DataError as error:
                yield SourceFailure(ticker, str(error), error.exit_code)
            else:
                yield RawBars(ticker, frame, origin=str(path))

    def _files(self) -> dict[str, list[Path]]:
        if not self._folder.is_dir():
            raise ConfigError(
                f"source.folder: {self._folder} is not a folder",
                "put <TICKER>.csv files there, or set source.folder in params.yaml",
            )
        files: dict[str, list[Path]] = {}
        for path in sorted(self._folder.iterdir()):
            if path.suffix.lower() in _SUFFIXES:
                files.setdefault(path.stem.upper(), []).append(path)
        return files

    def _file_of(self, ticker: str, files: dict[str, list[Path]]) -> Path:
        if self._file:
            return self._folder / self._file
        paths = files.get(ticker.upper(), [])
        if len(paths) > 1:
            names = " and ".join(path.name for path in paths)
            raise DataError(f"{ticker}: {self._folder} contains {names}", "remove all but one of them")
        if not paths:
            similar = difflib.get_close_matches(ticker.upper(), files, n=3) or list(files)
            content = f"it has {len(files)} tickers: {bounded(similar)}" if files else "it has no price files"
            raise DataError(
                f"{ticker}: no {ticker}.csv or {ticker}.parquet in {self._folder} ({content})",
                "check the spelling, or put the file there",
            )
        return paths[0]
