"""What the pages of a parquet file unpack to, read from their own headers.

The footer of a file says how large its columns are, but nothing makes that true: the reader makes room for what the
header of each page says, up to 2 GB. Layout as of parquet.thrift: a `PageHeader` in Thrift's compact protocol (its
field 2 is the size of the page once unpacked, its field 3 the size as it lies in the file), then the page.
"""

from __future__ import annotations

import pyarrow.parquet as pq

from mlops_cli.errors import DataError

MOST_PAGES = 10_000  # of a column; a writer begins a new page after 1 MB or 20,000 rows
_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 11, 12
_WHOLE_NUMBERS = (4, 5, 6)
_UNPACKED, _PACKED = 2, 3
_DEEPEST = 8


class _Reader:
    """Reads values of Thrift's compact protocol; an `IndexError` or a `ValueError` where they are damaged."""

    def __init__(self, data: memoryview, place: int) -> None:
        self._data = data
        self.place = place

    def byte(self) -> int:
        value = self._data[self.place]
        self.place += 1
        return value

    def number(self) -> int:
        value = shift = 0
        while True:
            part = self.byte()
            value |= (part & 0x7F) << shift
            if part < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number of more than 64 bits")

    def fields(self, depth: int = 0) -> dict[int, int]:
        """The whole numbers of a struct by the numbers of their fields; everything else is skipped."""
        values: dict[int, int] = {}
        field = 0
        while (head := self.byte()) != _STOP:
            field = field + (head >> 4) if head >> 4 else _signed(self.number())
            kind = head & 0x0F
            if kind in _WHOLE_NUMBERS:
                values[field] = _signed(self.number())
            else:
                self._skip(kind, depth)
        return values

    def _skip(self, kind: int, depth: int) -> None:
        if kind == _STRUCT and depth < _DEEPEST:
            self.fields(depth + 1)
        elif kind == _BINARY:
            length = self.number()
            self.place += length
        elif kind in (_BYTE, _DOUBLE):
            self.place += 1 if kind == _BYTE else 8
        elif kind not in (_TRUE, _FALSE):
            raise ValueError(f"a field of kind {kind}")  # page headers have no lists, sets and maps


def _signed(number: int) -> int:
    return (number >> 1) ^ -(number & 1)


def check_pages(body: memoryview, chunk: pq.ColumnChunkMetaData, most: int, what: str) -> None:
    """Refuse a column of a row group whose pages unpack to more than `most` bytes together; `body` is the whole file.

    Raises:
        DataError: they do, or they are damaged; `what` names the column.
    """
    if not chunk.num_values:
        return  # it has no pages
    total = 0
    first = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < first:
        first = chunk.dictionary_page_offset
    end = first + chunk.total_compressed_size
    if not 0 <= first <= end <= len(body):
        raise DataError(f"{what}: it lies outside of the file", "write the file again")
    reader = _Reader(body[:end], first)
    for _ in range(MOST_PAGES):
        if reader.place >= end:
            return
        try:
            header = reader.fields()
            size, packed = header[_UNPACKED], header[_PACKED]
        except (IndexError, KeyError, ValueError) as error:
            raise DataError(f"{what}: a damaged page: {error}", "write the file again") from None
        total += size
        if min(size, packed) < 0 or total > most:
            raise DataError(f"{what}: its pages unpack to more than {most:,} bytes", "write plain numbers")
        reader.place += packed
    raise DataError(f"{what}: more than {MOST_PAGES:,} pages", "write the file again")
