"""Errors as HTTP: status, and {"error", "hint"} as the Open Inference Protocol has it."""

from __future__ import annotations

import orjson

from mlops_cli.errors import ConfigError, DataError, MlopsError, ModelError
from mlops_cli.serving.contract.messages import BadInputError, OverloadedError, UnknownModelError, UnservableError

Headers = list[tuple[bytes, bytes]]
JSON_TYPE = (b"content-type", b"application/json")


class RefusedError(MlopsError):
    """A request that the transport itself turns away.

    Args:
        status: of the HTTP answer, 4xx.
        message: what was wrong.
        hint: what to do.
    """

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
    # of features from a caller's own bars
    DataError: 400,
    ConfigError: 400,
}


def refusal(error: MlopsError) -> tuple[int, Headers, bytes]:
    """Status, headers and body for an error."""
    status = error.status if isinstance(error, RefusedError) else _STATUSES.get(type(error), 500)
    said = {"error": error.message}
    if error.hint:  # in both: clients of the protocol show `error` alone
        said = {"error": f"{error.message}; {error.hint}", "hint": error.hint}
    body = orjson.dumps(said)
    headers = [JSON_TYPE, (b"content-length", b"%d" % len(body))]
    if isinstance(error, OverloadedError):
        headers.append((b"retry-after", b"%d" % error.retry_after))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return status, headers, body
