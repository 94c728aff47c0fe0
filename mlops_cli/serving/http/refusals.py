"""How HTTP answers a request that failed: status, headers and a JSON body with the reason and a hint."""

from __future__ import annotations

import orjson

from mlops_cli.errors import ConfigError, DataError, MlopsError, ModelError
from mlops_cli.serving.contract.job_desk import JobsAwayError, JobsFullError, JobStateError, UnknownJobError
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
    UnknownJobError: 404,
    JobStateError: 409,
    JobsFullError: 429,
    JobsAwayError: 503,
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
    if isinstance(error, OverloadedError | JobsFullError | JobsAwayError):
        headers.append((b"retry-after", b"%d" % error.retry_after))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return status, headers, body
