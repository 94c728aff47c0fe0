"""Reads and unpacks whole request bodies, within a bound on their memory; and how HTTP refuses a request."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from mlops_cli.errors import ConfigError, DataError, MlopsError, ModelError
from mlops_cli.serving.contract.messages import BadInputError, OverloadedError, UnknownModelError, UnservableError

Headers = list[tuple[bytes, bytes]]
JSON_TYPE = (b"content-type", b"application/json")


class RefusedError(MlopsError):
    """A request that the HTTP layer itself refuses, with a status of 4xx and a hint what the caller can do."""

    exit_code = 2

    def __init__(self, status: int, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.status = status


_STATUSES: dict[type[MlopsError], int] = {
    UnknownModelError: 404,
    BadInputError: 400,
    OverloadedError: 503,
    UnservableError: 503,
    ModelError: 503,
    # from computing features of a caller's own bars
    DataError: 400,
    ConfigError: 400,
}


def refusal(error: MlopsError) -> tuple[int, Headers, bytes]:
    """Status, headers and JSON body of the answer to an error; an unknown kind of error is a 500."""
    status = error.status if isinstance(error, RefusedError) else _STATUSES.get(type(error), 500)
    content = {"error": error.message}
    if error.hint:  # `error` repeats it, because clients of the protocol show `error` alone
        content = {"error": f"{error.message}; {error.hint}", "hint": error.hint}
    body = orjson.dumps(content)
    headers = [JSON_TYPE, (b"content-length", b"%d" % len(body))]
    if isinstance(error, OverloadedError):
        headers.append((b"retry-after", b"%d" % error.retry_after))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return status, headers, body


Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
RequestHeaders = dict[bytes, bytes]

SMALL = 65_536  # bytes that the HTTP layer itself may hold of a request
_DIGITS_OF_SMALL = 4  # a Content-Length with so few digits is small
_AT_ONCE = 8  # bodies of the largest size that are held at the same time
_SECONDS = 60
_MOST_GROWTH = 1032  # how many times its size a deflated body may hold (zeros)


class Bodies:
    """The bodies of requests that are being read or answered; `largest` counts bytes, also once a body is unpacked."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._held = 0

    def reserve(self, headers: RequestHeaders) -> int:
        """Reserve bytes for a body (0 for small ones); `release` frees them. An unknown size counts as the largest.

        Raises:
            RefusedError: the body is larger than allowed.
            OverloadedError: other bodies take all the memory.
        """
        length = headers.get(b"content-length", b"")
        if 0 < len(length) <= _DIGITS_OF_SMALL and b"content-encoding" not in headers:
            return 0
        size = int(length[:20]) if length.isdigit() else self._largest * (b"transfer-encoding" in headers)
        if size > self._largest:
            raise self._too_large()
        if b"content-encoding" in headers:
            size = min(_MOST_GROWTH * size, self._largest)
        if size <= SMALL:
            return 0
        if self._held + size > _AT_ONCE * self._largest:
            raise OverloadedError("too many large bodies are in progress", 1)
        self._held += size
        return size

    def release(self, size: int) -> None:
        """Give reserved memory back."""
        self._held -= size

    async def read(self, headers: RequestHeaders, receive: Receive) -> bytes | None:
        """The whole body, unpacked, or a `RefusedError`; None where the caller hung up before its end."""
        message = await receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            try:
                async with asyncio.timeout(_SECONDS):
                    message, body = await self._rest(body, receive)
            except TimeoutError:
                raise RefusedError(408, f"the body did not arrive within {_SECONDS} s") from None
        if message["type"] == "http.disconnect":
            return None
        encoding = headers.get(b"content-encoding")
        return self._unpacked(encoding, body) if encoding else body

    async def _rest(self, begun: bytes, receive: Receive) -> tuple[Message, bytes]:
        """The last message, and all parts of the body joined."""
        parts = [begun]
        size = len(begun)
        while True:
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._largest:
                raise self._too_large()
            if not message.get("more_body"):
                return message, b"".join(parts)

    def _unpacked(self, encoding: bytes, body: bytes) -> bytes:
        name = encoding.strip().lower()
        if name == b"identity":
            return body
        if name not in (b"gzip", b"deflate"):
            raise RefusedError(
                415, f"Content-Encoding {encoding.decode('latin-1')[:40]!r} is not known", "gzip, deflate"
            )
        stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # either of the two, by its first bytes
        try:
            plain = stream.decompress(body, self._largest + 1)
        except zlib.error as error:
            raise RefusedError(400, f"the body is not {name.decode()}: {error}") from None
        if len(plain) > self._largest:
            raise self._too_large()
        if not stream.eof:
            raise RefusedError(400, f"the body's {name.decode()} data ends too early")
        return plain

    def _too_large(self) -> RefusedError:
        limit = f"{self._largest / 1e6:g} MB"
        return RefusedError(
            413, f"the body is larger than {limit}", "send less, or raise serving.max_body_mb in params.yaml"
        )
