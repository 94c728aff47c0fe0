"""Reads and unpacks whole request bodies, within bounds on their memory and on what they hold."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from mlops_cli.serving.contract.messages import BadInputError, OverloadedError
from mlops_cli.serving.http.refusals import RefusedError

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
        # zlib lets other threads run meanwhile
        return await asyncio.to_thread(self._unpacked, encoding, body) if encoding else body

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


@dataclass(frozen=True, slots=True)
class JsonLimits:
    """How much a JSON text may hold.

    Attributes:
        values: numbers and lists together; each takes up to 100 bytes of memory.
        names: names of an object's members, and texts; each takes up to 250 bytes.
    """

    values: int
    names: int


def check_json(text: bytes, limits: JsonLimits, hint: str) -> None:
    """Refuse a JSON text that would take far more memory than its length once it is parsed; a small text passes.

    The marks are counted also inside of texts, where they mean nothing: that errs on the safe side.

    Raises:
        BadInputError: says how much is allowed, with the `hint`.
    """
    if len(text) <= SMALL:
        return
    values = text.count(b",") + text.count(b"[")
    if values > limits.values:
        raise BadInputError(f"the JSON holds more than {limits.values} values", hint)
    names = text.count(b":") + text.count(b"{") + text.count(b'"') // 2
    if names > limits.names:
        raise BadInputError(f"the JSON holds more than {limits.names} names, texts and objects", hint)
