"""Requests of at most 10 MB that would take far more memory or time than that, if a server trusted them."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

LARGEST = 10_000_000
Body = Callable[[int], bytes]


@dataclass(frozen=True)
class Bomb:
    """A request to POST."""

    name: str
    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def _infer(data: bytes) -> bytes:
    head = b'{"inputs":[{"name":"features","datatype":"FP32","shape":[1,20],"data":['
    return head + data + b"]}]}"


def _repeated(part: bytes) -> Body:
    return lambda size: _infer(part * (size // len(part)) + part.rstrip(b","))


def _deep(size: int) -> bytes:
    return _infer(b"[" * (size // 2) + b"]" * (size // 2))


def _names(size: int) -> bytes:
    return b"{" + b",".join(b'"%07d":1' % number for number in range(size // 12)) + b"}"


def _outputs(size: int) -> bytes:
    return b'{"outputs":[' + b'{"name":"log_return"},' * (size // 22) + b'{}],"inputs":[{}]}'


def _right_rows(size: int) -> bytes:
    """Not a bomb: as many rows as a request may have in JSON."""
    rows = min(size // 410, 24_000)
    numbers = (b"0.12345678901234567," * (20 * rows)).rstrip(b",")
    return _infer(numbers).replace(b"[1,20]", b"[%d,20]" % rows, 1)


INFER: dict[str, Body] = {
    "a long text among numbers": lambda size: _infer(b'"' + b"x" * size + b'"' + b",1" * 600),
    "a long text with a wide character": lambda size: _infer(b'"\xf0\x9f\x98\x80' + b"x" * size + b'"'),
    "numbers": _repeated(b"7,"),
    "long numbers": _repeated(b"1e308,"),
    "empty lists": _repeated(b"[],"),
    "lists of one": _repeated(b"[1],"),
    "empty objects": _repeated(b"{},"),
    "objects": _repeated(b'{"":1},'),
    "short texts": _repeated(b'"ab",'),
    "escaped texts": _repeated(b'"\\u0000\\u0000",'),
    "true": _repeated(b"true,"),
    "deep lists": _deep,
    "names": _names,
    "outputs": _outputs,
    "sizes": lambda size: b'{"inputs":[{"name":"features","datatype":"FP32","shape":[1' + b",9" * (size // 2) + b"]}]}",
    "tensors": lambda size: b'{"inputs":[' + b'{"name":"features"},' * (size // 20) + b"{}]}",
    "spaces": lambda size: b" " * size,
    "an id": lambda size: b'{"inputs":[{}],"id":"' + b"x" * size + b'"}',
    "rows that are right": _right_rows,
}
BARS: dict[str, Body] = {
    "bars": lambda size: _bars(size, b'{"session":"2013-01-02","open":1,"high":1,"low":1,"close":1,"volume":1}'),
    "empty bars": lambda size: _bars(size, b"{}"),
    "lists for bars": lambda size: _bars(size, b"[]"),
    "numbers for bars": lambda size: _bars(size, b"1"),
    "names of models": lambda size: b'{"models":[' + b'"x",' * (size // 4) + b'"x"],"bars":[{}]}',
    "a long name": lambda size: b'{"ticker":"' + b"x" * size + b'","bars":[{}]}',
}


def _bars(size: int, bar: bytes) -> bytes:
    return b'{"ticker":"T000","bars":[' + (bar + b",") * (size // (len(bar) + 1)) + bar + b"]}"


def _parquet(columns: dict[str, object], **options: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd", **options)
    return buffer.getvalue()


def _one_text(size: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0] * 5000, pa.int32()), pa.array(["x" * (size // 10)]))


def _text_for_a(name: str) -> Body:
    others = {"return_1": np.zeros(5000)}
    return lambda size: _parquet({**others, name: _one_text(size)}, store_schema=False)


def _lists(size: int) -> bytes:
    offsets = np.arange(61, dtype=np.int32) * (size // 100)
    return _parquet({"open": pa.ListArray.from_arrays(offsets, np.zeros(offsets[-1], np.int8))})


def _right_features(size: int) -> bytes:
    """Not a bomb: rows of the model's columns."""
    lines = [",".join(f"return_{days}" for days in range(1, 21))]
    lines += [",".join(["0.01"] * 20)] * min(size // 100, 100_000)
    return "\n".join(lines).encode()


FILES: dict[str, Body] = {
    "parquet: one text for all dates": _text_for_a("date"),
    "parquet: one text for all prices": _text_for_a("close"),
    "parquet: one text for a column that nobody needs": _text_for_a("note"),
    "parquet: lists": _lists,
    "parquet: zeros": lambda size: _parquet({f"return_{days}": np.zeros(size // 2) for days in range(1, 3)}),
    "parquet: columns": lambda size: _parquet({f"c{number}": [1] for number in range(size // 2000)}),
    "csv: columns": lambda size: (
        b",".join(b"c%d" % number for number in range(size // 20)) + b"\n" + b"1," * (size // 20)
    ),
    "csv: a line of commas": lambda size: b"a," * (size // 2) + b"b\n",
    "csv: rows": lambda size: b"date,close\n" + b"1,1\n" * (size // 4),
    "csv: short rows": lambda size: b"a\n" + b"1\n" * (size // 2),
    "csv: empty lines": lambda size: b"date,close" + b"\n" * size,
    "csv: a quoted text": lambda size: b'date,open\n"' + b"x" * size + b'",1\n',
    "csv: quotes": lambda size: b"date,open\n" + b'"' * size,
    "csv: zero bytes": lambda size: b"date,open\n" + b"\0" * size,
    "csv: long numbers": lambda size: b"date,open,high,low,close,volume\n2020-01-02," + b"9" * size + b",1,1,1,1\n",
    "csv: bytes": lambda size: Random(size).randbytes(size),
    "csv: features that are right": _right_features,
}

_PATTERNS = (
    "9",
    "9 ",
    "9,",
    "9.",
    " ",
    "-",
    "1e",
    "a",
    "2020-01-02 ",
    "12:",
    "jan ",
    "mon, ",
    "$",
    "'",
    '""',
    "9/",
    "K",
)


def _cell(pattern: str, column: str) -> Body:
    """A bar with one very long cell, over which a careless expression may go back and forth."""

    def body(size: int) -> bytes:
        cells = {
            "symbol": "T000",
            "date": "2020-01-02",
            **dict.fromkeys(("open", "high", "low", "close", "volume"), "1"),
        }
        cells[column] = '"' + (pattern * size)[: min(size, 900_000)] + 'x"'
        return f"{','.join(cells)}\n{','.join(cells.values())}\n".encode()

    return body


FILES |= {f"csv: {pattern!r} in {column}": _cell(pattern, column)
          for pattern in _PATTERNS for column in ("symbol", "date", "close")}  # fmt: skip


def _kinds(model: str) -> Iterator[tuple[str, str, Body]]:
    for path, bodies in ((f"/v2/models/{model}/infer", INFER), ("/forecasts", BARS), (f"/transform/{model}", FILES)):
        for name, body in bodies.items():
            yield name, path, body


def one_of_each(model: str, size: int = LARGEST - 5000) -> Iterator[Bomb]:
    """Every kind once, of about this size."""
    for name, path, body in _kinds(model):
        yield Bomb(name, path, body(size)[:LARGEST])


def random_bomb(random: Random, model: str) -> Bomb:
    """Any kind of any size, perhaps packed, damaged, or sent to another path than it is made for."""
    kinds = list(_kinds(model))
    name, path, body = random.choice(kinds)
    content = body(random.choice([1000, 100_000, 1_000_000, LARGEST - 5000]))[:LARGEST]
    headers: dict[str, str] = {}
    if random.random() < 0.2:
        path = random.choice([other for _, other, _ in kinds] + ["/v2/repository/index"])
    if random.random() < 0.3:
        content, headers = _damaged(random, content), {}
    if random.random() < 0.2:
        content, headers = gzip.compress(content, 1), {"content-encoding": "gzip"}
    elif random.random() < 0.1:
        header = json.dumps(
            {"inputs": [{"name": "features", "datatype": "FP32", "shape": [random.choice([1, 2**40]), 20],
                         "parameters": {"binary_data_size": random.choice([80, len(content)])}}]}
        ).encode()  # fmt: skip
        content, headers = (header + content)[:LARGEST], {"inference-header-content-length": str(len(header))}
    return Bomb(name, path, content[:LARGEST], headers)


def _damaged(random: Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(random.randint(1, 20)):
        changed[random.randrange(len(changed))] = random.randrange(256)
    return bytes(changed[: random.randint(1, len(changed))])
