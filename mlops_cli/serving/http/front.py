"""The outermost ASGI callable. It checks token, origin and body size, and answers infer requests.

`POST /v2/models/NAME[/versions/V]/infer` is answered here, because routing and validating it with FastAPI would take
more time than the model. FastAPI answers every other request.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from functools import lru_cache
from time import perf_counter
from typing import Any

from mlops_cli.errors import MlopsError
from mlops_cli.serving.catalog.metadata import describe
from mlops_cli.serving.contract.messages import ModelFacts, Query
from mlops_cli.serving.data_plane import DataPlane
from mlops_cli.serving.http.counters import Counters
from mlops_cli.serving.http.oip import InferRequest, Limits, decode, encode
from mlops_cli.serving.http.refusals import JSON_TYPE, Headers, RefusedError, refusal
from mlops_cli.serving.http.request_bodies import SMALL, Bodies, Message, Receive, RequestHeaders
from mlops_cli.system.http_connections import AT_ONCE
from mlops_cli.system.own_site import OwnSite

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Reply = tuple[int, Headers, bytes]

MODELS = "/v2/models/"
INFER = "/infer"
VERSIONS = "/versions/"
OPEN_PATHS = frozenset({"/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json"})
LARGE_PATHS = ("/forecasts", "/transform/")  # beside infer, the paths that take data
_BYTES_AT_ONCE = 262_144  # bytes of a body that are converted in the event loop: that takes some 10 ms
_ROWS_AT_ONCE = 20_000  # rows of an answer that are written in the event loop
_ONCE = frozenset(  # headers that mean something to this server; a second one of them could mean something else
    (
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"host",
        b"inference-header-content-length",
        b"origin",
        b"x-mlops-caller",
    )
)
TEAM = "mlops.team"
"""Key of a request's scope: the team whose token the request bears."""
BINARY_TYPE = (b"content-type", b"application/octet-stream")
JUST_NOW = (b"x-mlops-age", b"0.000")


@dataclass(frozen=True)
class Access:
    """Which requests are answered: with tokens, those that bear one; else those that are not of other sites.

    Without a `site` everything is answered, as for calls within a process.

    Attributes:
        token: the common token.
        teams: the tokens of teams, each with its team.
    """

    token: str | None = None
    site: OwnSite | None = None
    teams: Mapping[str, str] = field(default_factory=dict)

    @property
    def tokens(self) -> list[tuple[bytes, str | None]]:
        """All tokens, each with the team that it belongs to; None: the common one."""
        common = [(self.token.encode(), None)] if self.token else []
        return common + [(token.encode(), team) for token, team in self.teams.items()]


class Front:
    """The ASGI callable in front of the FastAPI app, which gets the whole body of a request in one message.

    `max_body` counts bytes, also of a body once unpacked.
    """

    def __init__(self, plane: DataPlane, app: App, counters: Counters, access: Access, max_body: int) -> None:
        self._plane = plane
        self._app = app
        self._counters = counters
        self._tokens = access.tokens
        self._site = access.site
        self._bodies = Bodies(max_body)
        self._limits = Limits.of(max_body)
        self._converting = asyncio.Lock()  # one large body at a time, or their memory would add up

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        is_infer = _is_infer(scope)
        headers: RequestHeaders = dict(scope["headers"])
        reserved = 0
        try:
            self._admit(scope, headers)
            reserved = self._bodies.reserve(headers)
            body = await self._bodies.read(headers, receive)
            if body is None:
                return  # the caller has hung up
            if not is_infer:
                _check_size(scope["path"], body)
                await self._app(scope, _replaying(body, receive), self._counting(send))
                return
            status, about, content = await self._infer(scope, headers, body)
        except MlopsError as error:
            status, about, content = refusal(error)
        finally:
            self._bodies.release(reserved)
        self._counters.statuses[str(status)] += 1
        at_once = scope.get("extensions", {}).get(AT_ONCE)
        if at_once is None or not at_once(status, about, content):
            await send({"type": "http.response.start", "status": status, "headers": about})
            await send({"type": "http.response.body", "body": content})
        if is_infer:
            self._counters.took(perf_counter() - started)

    def _admit(self, scope: Scope, headers: RequestHeaders) -> None:
        """Refuse callers without the token (401); where no token is set, refuse pages of other sites (403)."""
        repeated = len(headers) < len(scope["headers"])
        if repeated:
            _check_repeats(scope)
        if self._tokens:
            scope[TEAM] = _team_of_token(scope["path"], headers, self._tokens)
        elif self._site is not None and (repeated or not self._site.admits_program(scope, headers)):
            refused = self._site.refusal(scope)
            if refused is not None:
                raise RefusedError(*refused)

    async def _infer(self, scope: Scope, headers: RequestHeaders, body: bytes) -> Reply:
        model, version = _model_and_version(scope["path"])
        header_length = headers.get(b"inference-header-content-length")

        def columns() -> ModelFacts:
            return describe(self._plane.catalog, model, version)

        if len(body) <= _BYTES_AT_ONCE:
            request = decode(body, header_length, columns, self._limits)
        else:
            request = await self._decoded_aside(body, header_length, columns)
        answer = await self._plane.infer(Query(model, request.rows, version, caller(scope, headers), request.interval))
        self._counters.answers[answer.rung] += 1
        if len(answer.log_return) <= _ROWS_AT_ONCE:
            content, json_length = encode(model, answer, request)
        else:
            content, json_length = await asyncio.to_thread(encode, model, answer, request)
        age = JUST_NOW if answer.age == 0 else (b"x-mlops-age", b"%.3f" % answer.age)
        about = [
            *about_headers(answer.answered_by, answer.version, answer.rung, answer.verdict),
            age,
            (b"content-length", b"%d" % len(content)),
            JSON_TYPE if json_length is None else BINARY_TYPE,
        ]
        if json_length is not None:
            about.append((b"inference-header-content-length", b"%d" % json_length))
        return 200, about, content

    async def _decoded_aside(
        self, body: bytes, header_length: bytes | None, columns: Callable[[], ModelFacts]
    ) -> InferRequest:
        """The request of a large body, which is read in a thread, so that others need not wait for it."""
        async with self._converting:
            return await asyncio.to_thread(decode, body, header_length, columns, self._limits)

    def _counting(self, send: Send) -> Send:
        async def count(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._counters.statuses[str(message["status"])] += 1
            await send(message)

        return count


@lru_cache(maxsize=10_000)
def about_headers(answered_by: str, version: str, rung: str, verdict: str | None) -> tuple[tuple[bytes, bytes], ...]:
    """The headers that name the model, version and rung of an answer."""
    return (
        (b"x-mlops-model", answered_by.encode()),
        (b"x-mlops-version", version.encode()),
        (b"x-mlops-rung", rung.encode()),
        (b"x-mlops-verdict", (verdict or "not judged").encode()),
    )


def caller(scope: Scope, headers: RequestHeaders) -> str | None:
    """The key that keeps a caller on one side of a traffic split: the one it sends, else its address."""
    key = headers.get(b"x-mlops-caller")
    if key is not None:
        return key.decode("latin-1")
    client = scope.get("client")
    return client[0] if client else None


def _is_infer(scope: Scope) -> bool:
    path: str = scope["path"]
    return path.endswith(INFER) and path.startswith(MODELS) and scope["method"] == "POST"


def _check_size(path: str, body: bytes) -> None:
    """Refuse a large body where a request carries no data."""
    if len(body) > SMALL and not path.startswith(LARGE_PATHS):
        raise RefusedError(413, f"the body has {len(body)} bytes, and {path[:80]} takes at most {SMALL}")


def _check_repeats(scope: Scope) -> None:
    """Refuse a request that has a header of `_ONCE` twice: its sender and this server may not mean the same one."""
    names = [name for name, _ in scope["headers"]]
    repeated = sorted(name.decode() for name in _ONCE if names.count(name) > 1)
    if "authorization" in repeated:
        raise RefusedError(401, "two headers Authorization", "send the header once")
    if repeated:
        raise RefusedError(400, f"a header is given twice: {', '.join(repeated)}", "send it once")


def _team_of_token(path: str, headers: RequestHeaders, tokens: list[tuple[bytes, str | None]]) -> str | None:
    """The team whose token a request bears, None for the common one; a `RefusedError` if it bears no valid token."""
    if path in OPEN_PATHS:
        return None
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    given = token.strip() if scheme.lower() == b"bearer" else b""
    matching = [team for expected, team in tokens if hmac.compare_digest(given, expected)]
    if not matching:
        raise RefusedError(401, "no valid token", "send the header: Authorization: Bearer $MLOPS_API_TOKEN")
    return matching[0]


def _model_and_version(path: str) -> tuple[str, str | None]:
    """Model and version of an infer path, unchecked: the data plane refuses names that it does not know."""
    name = path[len(MODELS) : -len(INFER)]
    if VERSIONS in name:
        model, _, version = name.partition(VERSIONS)
        return model, version
    return name, None


def _replaying(body: bytes, receive: Receive) -> Receive:
    """A `receive` that first gives the body, which was read already, then the messages after it."""
    first = True

    async def replay() -> Message:
        nonlocal first
        if first:
            first = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replay
