"""HTTP requests that end: one deadline for the whole answer, and a bound on its size.

The timeouts of `requests` hold for a connection and for the time between two bytes. A server that sends a byte a
second, in its headers or its body, would keep a caller for good; one that sends gigabytes would fill the memory.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

import requests

CHUNK = 2**16


class TooSlow(requests.Timeout):
    """The answer was not whole at the deadline."""


class TooLarge(requests.RequestException):
    """The answer is larger than the caller takes."""


def bounded(ask: Callable[[], requests.Response], seconds: float, most_bytes: int) -> requests.Response:
    """Send a request and read its whole answer.

    Args:
        ask: sends it with `stream=True`, so that the answer's body is not read yet. It runs in a thread of its own,
            which is left behind if the server does not answer in time, and ends with the connection or the process.
        seconds: from now until the answer must be whole: name resolution, connection, headers and body together.
        most_bytes: the largest body, unpacked.

    Returns:
        The answer, whose body is read.

    Raises:
        TooSlow: the deadline has passed.
        TooLarge: the body is larger.
        requests.RequestException, OSError: what `ask` raises.
    """
    answer: Future[requests.Response] = Future()
    until = time.monotonic() + seconds

    def work() -> None:
        try:
            response = ask()
            if response._content is False:  # type: ignore[comparison-overlap]  # not read yet
                response._content = _body(response, until, most_bytes)
                response._content_consumed = True
            answer.set_result(response)
        except BaseException as error:  # noqa: BLE001 - not swallowed: `result` raises it in the caller's thread
            answer.set_exception(error)

    threading.Thread(target=work, daemon=True, name="request").start()
    try:
        return answer.result(seconds)
    except TimeoutError:
        if answer.done():  # an OSError of the request may be a TimeoutError
            raise
        raise TooSlow(f"no whole answer within {seconds:g} s") from None


def _body(response: requests.Response, until: float, most_bytes: int) -> bytes:
    from urllib3.exceptions import HTTPError

    parts, size = list[bytes](), 0
    try:
        while part := response.raw.read1(CHUNK, decode_content=True):
            parts.append(part)
            size += len(part)
            if size > most_bytes:
                raise TooLarge(f"an answer of more than {most_bytes // 10**6} MB")
            if time.monotonic() > until:
                raise TooSlow("no whole answer in time")
    except HTTPError as error:  # requests translates these only where it reads the body itself
        raise requests.ConnectionError(error) from error
    finally:
        if size > most_bytes or time.monotonic() > until:
            response.close()
    return b"".join(parts)
