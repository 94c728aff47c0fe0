"""Endpoints for people: latest forecasts, forecasts from bars, and forecasts of whole tables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi import Query as QueryParameter
from fastapi.responses import StreamingResponse
from pydantic import AliasChoices, BaseModel, ConfigDict, FailFast, Field, ValidationError

from mlops_cli.errors import MlopsError
from mlops_cli.features.column_names import ANNOUNCED
from mlops_cli.serving.catalog.metadata import describe, models_of
from mlops_cli.serving.contract.messages import (
    Answer,
    BadInputError,
    Forecast,
    ForecastBasis,
    ForecastSource,
    OverloadedError,
    Query,
)
from mlops_cli.serving.http.answer_lines import NDJSON, written
from mlops_cli.serving.http.front import about_headers, caller
from mlops_cli.serving.http.request_bodies import JsonLimits, check_json
from mlops_cli.serving.http.service import ERRORS, Service, checked, json_answer
from mlops_cli.serving.uploads.posted_rows import FeatureFacts, PostedRows

# strict: neither true nor text is a number
Price = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
MOST_BARS = 20_000  # 80 years of sessions
BARS_LIMITS = JsonLimits(values=10 * MOST_BARS, names=16 * MOST_BARS)
Source = Annotated[
    ForecastSource,
    QueryParameter(description="journal: forecasts as they were issued, where there are any; computed: compute all"),
]
UPLOADS = ("text/csv", "application/vnd.apache.parquet")
RETRIES = 10
ANNOUNCED_HELP = (
    "dividend per share of the session after the last bar, in the units of the prices, 0 for none; "
    "without it, what the project knows of the ticker's dividends is used"
)
CALLER_HELP = "Keeps this caller on one side of a traffic split"


class Bar(BaseModel):
    """The prices of one session. `symbol` (or `ticker`) may say of which stock they are, which is then checked."""

    symbol: str | None = Field(None, validation_alias=AliasChoices("symbol", "ticker"), max_length=40)
    session: date = Field(ge=date(1960, 1, 1), le=date(2200, 1, 1))
    open: Price
    high: Price
    low: Price
    close: Price
    volume: float = Field(ge=0, allow_inf_nan=False, strict=True)
    dividend: Amount | None = Field(None, description="what this session paid to those who held the share before it")


class BarsBody(BaseModel):
    """Daily bars of one ticker, oldest first. The session after the last bar is forecast."""

    model_config = ConfigDict(extra="forbid")

    ticker: str | None = Field(None, description="all models of this ticker")
    models: list[str] | None = Field(None, description="or these models", max_length=1000)
    announced_dividend: Amount | None = Field(None, description=ANNOUNCED_HELP)
    bars: Annotated[list[Bar], FailFast()] = Field(min_length=1, max_length=MOST_BARS)


class Forecasts(BaseModel):
    """Forecasts, and by model the reason for each model without one."""

    forecasts: list[Forecast]
    missing: dict[str, str]


def forecast_router(service: Service) -> APIRouter:
    """The endpoints below /forecasts and /transform."""
    router = APIRouter(tags=["Forecasts"], responses=ERRORS)
    _latest_routes(router, service)
    _upload_routes(router, service)
    return router


def _latest_routes(router: APIRouter, service: Service) -> None:
    plane = service.plane

    @router.get("/forecasts", summary="Latest forecast of every model", response_model=Forecasts)
    async def every(source: Source = "journal") -> Response:
        return _forecasts(service, *await plane.latest(computed=source == "computed"))

    @router.get("/forecasts/{ticker}", summary="Latest forecast of every model of a ticker", response_model=Forecasts)
    async def of_ticker(ticker: Annotated[str, Path(max_length=40)], source: Source = "journal") -> Response:
        models = models_of(plane.catalog, ticker)
        return _forecasts(service, *await plane.latest(models, computed=source == "computed"))


def _upload_routes(router: APIRouter, service: Service) -> None:
    plane = service.plane
    body = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/BarsBody"}}}, "required": True}
    upload = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in UPLOADS}

    @router.post(
        "/forecasts",
        summary="Forecasts from bars of your own",
        response_model=Forecasts,
        openapi_extra={"requestBody": body},
    )
    async def of_bars(
        request: Request, x_mlops_caller: Annotated[str | None, Header(description=CALLER_HELP)] = None
    ) -> Response:
        posted = await service.run_in_thread(read_bars, await request.body())
        names = [checked(name) for name in posted.models or ()] or models_of(plane.catalog, posted.ticker or "")
        return _forecasts(service, *await _from_bars(service, posted, names, _caller(request)))

    @router.post(
        "/transform/{name:path}",
        summary="A forecast for every row of a CSV or parquet file",
        description="Rows of daily bars, or of feature values. The answer is CSV, or NDJSON where Accept asks for it.",
        openapi_extra={"requestBody": {"content": upload, "required": True}},
        response_class=StreamingResponse,
    )
    async def transform(
        name: str,
        request: Request,
        accept: Annotated[str, Header()] = "text/csv",
        x_mlops_caller: Annotated[str | None, Header(description=CALLER_HELP)] = None,
        announced_dividend: Annotated[float | None, QueryParameter(ge=0, le=1e9, description=ANNOUNCED_HELP)] = None,
    ) -> Response:
        upload = Upload(await request.body(), announced_dividend, _caller(request))
        return await _transform(service, checked(name), upload, NDJSON if "json" in accept else "text/csv")


def _caller(request: Request) -> str | None:
    return caller(request.scope, dict(request.scope["headers"]))


def _forecasts(service: Service, forecasts: Sequence[Forecast], missing: dict[str, str]) -> Response:
    rung = service.count(forecast.rung for forecast in forecasts)
    return json_answer({"forecasts": forecasts, "missing": missing}, {"X-Mlops-Rung": rung})


def read_bars(body: bytes) -> BarsBody:
    """Bars from the body of a request; a `BadInputError` names at most five faults."""
    check_json(body, BARS_LIMITS, f"send at most {MOST_BARS} bars")
    try:
        posted = BarsBody.model_validate_json(body)
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_url=False)[:5]
        ]
        raise BadInputError(
            "; ".join(faults),
            'expected {"ticker": "AAPL", "bars": [{"session": "2013-01-02", '
            '"open": 1, "high": 1, "low": 1, "close": 1, "volume": 0}, ...]}',
        ) from None
    if not (posted.models or posted.ticker):
        raise BadInputError("neither ticker nor models", "say whose models: ticker, or models: [NAME, ...]")
    return posted


def _facts(service: Service, name: str) -> FeatureFacts:
    manifest, about = service.plane.features_of(name), describe(service.plane.catalog, name)
    served, project = service.plane.catalog.model(name), service.plane.project
    return FeatureFacts(
        manifest.features,
        manifest.target,
        manifest.exchange,
        about.ticker,
        about.inputs,
        about.levels,
        prices=project.prices(served.branch) if ANNOUNCED in about.inputs else None,
        note=project.features(served.branch) / f"{served.slug}.json",
    )


async def _from_bars(
    service: Service, posted: BarsBody, names: list[str], caller_key: str | None
) -> tuple[list[Forecast], dict[str, str]]:
    """Forecasts, and by name why others are missing; if all are, the first error. Models of one spec share features."""
    batches: dict[Any, PostedRows] = {}
    forecasts: list[Forecast] = []
    failures: dict[str, MlopsError] = {}
    for name in dict.fromkeys(names):
        await asyncio.sleep(0)  # others are answered between two models
        try:
            facts = _facts(service, name)
            batch = batches.get(facts)
            if batch is None:
                batch = batches[facts] = await service.run_in_thread(_last_row, posted, facts)
            answer = await service.plane.infer(Query(name, batch.rows, None, caller_key, bool(batch.levels)))
        except MlopsError as error:
            failures[name] = error
            continue
        basis = _basis(service, name, _as_answered(service, name, batch, answer))
        age = await service.plane.forecasts.age(facts.exchange, basis.session)
        forecasts.append(Forecast.of(basis, answer, age))
    if failures and not forecasts:
        raise next(iter(failures.values()))
    return forecasts, {name: error.message for name, error in failures.items()}


def _last_row(posted: BarsBody, facts: FeatureFacts) -> PostedRows:
    from mlops_cli.serving.uploads.batches import (  # loads pandas: in this thread, not in the loop
        batch_of_bars,
        frame_of,
    )
    from mlops_cli.serving.uploads.feature_files import check_symbols

    check_symbols({posted.ticker or "", *(bar.symbol or "" for bar in posted.bars)}, facts.ticker, "the request")
    return batch_of_bars(frame_of(posted.bars), facts, posted.announced_dividend).last()


def _as_answered(service: Service, name: str, batch: PostedRows, answer: Answer) -> PostedRows:
    """The rows without their dividends where a traffic split gave them to a version that subtracts none."""
    version = service.plane.catalog.model(name).version(answer.version)
    if version is None or ANNOUNCED in version.inputs or not batch.dividends.any():
        return batch
    return replace(batch, dividends=0 * batch.dividends, dividend_source="not subtracted")


def _basis(service: Service, name: str, batch: PostedRows) -> ForecastBasis:
    about = describe(service.plane.catalog, name)
    return ForecastBasis(
        ticker=about.ticker,
        team=about.team,
        session=date.fromisoformat(batch.sessions[0]),
        target_session=date.fromisoformat(batch.target_sessions[0]),
        last_close=float(batch.closes[0]),
        announced_dividend=float(batch.dividends[0]),
        dividend_source=batch.dividend_source,
        widths=dict(zip(batch.levels, batch.widths[0].tolist(), strict=True)),
    )


@dataclass(frozen=True)
class Upload:
    """The body of a request with a file, what else it says, and the key of its caller."""

    body: bytes
    announced: float | None
    caller: str | None


async def _transform(service: Service, name: str, upload: Upload, kind: str) -> Response:
    facts = _facts(service, name)
    batch = await service.run_in_thread(_rows_of_upload, upload, facts, service.max_body)
    columns, interval = facts.inputs[: batch.rows.shape[1]], bool(batch.levels)
    first = await _ask(service, Query(name, batch.rows[: service.chunk_rows], None, upload.caller, interval, columns))
    batch = _as_answered(service, name, batch, first)
    # the whole table gets the same version, even if a new one is installed meanwhile
    version = first.version if first.version in describe(service.plane.catalog, name).versions else None

    async def lines() -> AsyncIterator[bytes]:
        answer = first
        for start in range(0, len(batch.rows), service.chunk_rows):
            if start:
                rows = batch.rows[start : start + service.chunk_rows]
                answer = await _ask(service, Query(name, rows, version, upload.caller, interval, columns))
            yield written(batch, answer, start, kind)

    headers = about_headers(first.answered_by, first.version, first.rung, first.verdict)
    about = {**{key.decode(): value.decode() for key, value in headers}, "x-mlops-age": f"{first.age:.3f}"}
    return StreamingResponse(lines(), media_type=kind, headers=about)


def _rows_of_upload(upload: Upload, facts: FeatureFacts, max_body: int) -> PostedRows:
    from mlops_cli.serving.uploads.batches import batch_of_upload  # loads pandas: in this thread, not in the loop

    return batch_of_upload(upload.body, facts, max_body, upload.announced)


async def _ask(service: Service, query: Query) -> Answer:
    """Forecast a chunk. A table can wait where a single request would be refused."""
    for _ in range(RETRIES):
        try:
            answer = await service.plane.infer(query)
            break
        except OverloadedError as error:
            await asyncio.sleep(error.retry_after)
    else:
        answer = await service.plane.infer(query)
    service.count([answer.rung])
    return answer
