"""The content of a price file: a file on disk, or the body of a request."""

from __future__ import annotations

import io
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mlops_cli.errors import DataError

MOST_ROWS = 100_000
"""Rows of one ticker. Sixty years of sessions are 15,000 rows, and a file may repeat its rows several times."""
MOST_COLUMNS = 10_000
LONGEST_CELL = 100  # characters of a date, a number or the name of an instrument
PARQUET_MAGIC = b"PAR1"


@dataclass(frozen=True)
class Content:
    """Bytes that may be prices.

    Attributes:
        name: what messages call it.
        size: in bytes.
        path: the file; None if the bytes are `body`.
    """

    name: str
    size: int
    path: Path | None = None
    body: bytes = b""

    @classmethod
    def of_file(cls, path: Path) -> Content:
        """A file, or the file that a link leads to.

        Raises:
            DataError: it cannot be opened, or it is a device, a pipe or a folder, whose reading might never end.
        """
        try:
            facts = path.stat()
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}", "check the file and its permissions") from None
        if not stat.S_ISREG(facts.st_mode):
            raise DataError(f"{path}: is not a regular file (but a folder, pipe or device)", "put a file there")
        return cls(str(path), facts.st_size, path)

    @classmethod
    def of_bytes(cls, body: bytes, name: str = "the upload") -> Content:
        """Bytes in memory, such as the body of a request."""
        return cls(name, len(body), None, body)

    @property
    def is_parquet(self) -> bool:
        """Whether it is, or is meant to be, a parquet file."""
        return (self.path is not None and self.path.suffix.lower() == ".parquet") or self.head(4) == PARQUET_MAGIC

    @property
    def most_rows(self) -> int:
        """How many rows a parquet file may have. A file on disk may hold many tickers, hence a row per byte."""
        return MOST_ROWS if self.path is None else max(MOST_ROWS, self.size)

    def head(self, length: int) -> bytes:
        """The first bytes."""
        with self.open() as stream:
            return stream.read(length)

    def ends_a_line(self) -> bool:
        """Whether the last character ends a line, in any encoding; a torn file does not."""
        with self.open() as stream:
            stream.seek(max(0, self.size - 4))
            return stream.read(4).strip(b"\0")[-1:] in (b"\n", b"\r")

    def open(self) -> BinaryIO:
        """A new stream over the bytes; a `DataError` if the file cannot be read."""
        if self.path is None:
            return io.BytesIO(self.body)
        try:
            return self.path.open("rb")
        except OSError as error:
            reason = f"{self.name}: cannot be read: {error.strerror}"
            raise DataError(reason, "check the file and its permissions") from None
