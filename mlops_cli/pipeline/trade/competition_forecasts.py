"""All forecasts of a replay, computed before it starts, as the models would have made them session by session."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.trading import Rules
from mlops_cli.errors import DataError, MlopsError, ModelError, bounded, error_with
from mlops_cli.evaluation.frame import interval_levels
from mlops_cli.evaluation.verdicts import verdicts
from mlops_cli.market.hours import us_hours
from mlops_cli.market.symbols import ticker_of
from mlops_cli.models.predict import Model
from mlops_cli.models.versions import answering_version
from mlops_cli.pipeline.judge.replays import ReportModel, replay_all
from mlops_cli.pipeline.stages.stage import Progress, StageReport
from mlops_cli.pipeline.stages.tables import read_table
from mlops_cli.pipeline.trade.newest_forecasts import VOLATILITY_SESSIONS, is_traded_by
from mlops_cli.prices.actions.paid_dividends import paid_dividends
from mlops_cli.trading.contract.types import Interval, TradeForecast
from mlops_cli.trading.decide.signals import reason_against
from mlops_cli.trading.passes.paper_pass import SessionForecasts
from mlops_cli.trading.results.competition import Market

US_EXCHANGES = ("XNYS", "XNAS")
PLACES = 4  # decimal places of a price in dollars


@dataclass(frozen=True)
class ReplayBook:
    """The forecasts and prices that a replay uses.

    Attributes:
        sessions: target sessions, rising.
        before: the session on whose close the first forecasts are made.
        forecasts: by team and target session.
        market: prices, in these sessions, of all stocks that are forecast.
        models: by team, names of the models that may trade.
        idle: by team, the reasons why models do not trade, each with the number of models.
    """

    sessions: tuple[date, ...]
    before: date
    forecasts: Mapping[tuple[str, date], SessionForecasts]
    market: Market
    models: Mapping[str, tuple[str, ...]]
    idle: Mapping[str, Counter[str]]
    report: StageReport


def replay_book(
    project: Project,
    branches: Sequence[Branch],
    rules: Mapping[str, Rules],
    start: date,
    end: date,
    progress: Progress,
) -> ReplayBook:
    """Forecast the sessions from `start` to the day before `end` with models that were not trained on them.

    Only models of the teams in `rules` take part.

    Raises:
        ModelError: no model of these teams can forecast the period; the message names the reasons.
        DataError: a price table is missing.
    """
    report = StageReport("paper-trade", "replay")
    models = _open_models(project, branches, rules, report)
    progress.start("forecasts", len(models))
    frames = [frame for _, frame in replay_all(project, models, start, end, report, progress)]
    if not frames:
        raise _nothing_to_trade(report, rules)
    forecasts = _trade_forecasts(project, models, pd.concat(frames, ignore_index=True))
    sessions = tuple(sorted({forecast.target_session for forecast in forecasts}))
    before = us_hours().before(sessions[0])
    assert before is not None  # the first forecast was made on its close
    forecast_tickers = {forecast.ticker for forecast in forecasts}
    stocks = {model.manifest.ticker: project.prices(model.branch) for model in models}
    market = stock_market({name: folder for name, folder in stocks.items() if ticker_of(name) in forecast_tickers})
    trading, idle = _who_trades(forecasts, rules)
    return ReplayBook(
        sessions=sessions,
        before=before.day,
        forecasts=_by_session(forecasts, market.closes),
        market=market.between([before.day, *sessions]),
        models=trading,
        idle=idle,
        report=report,
    )


def _open_models(
    project: Project, branches: Sequence[Branch], rules: Mapping[str, Rules], report: StageReport
) -> list[ReportModel]:
    """The version of each model that trades for one of these teams; others are reported.

    It is the one that would answer without live versions, which were trained on the closes that are replayed.
    """
    opened = []
    for branch in branches:
        for spec in branch.models:
            if spec.team not in rules or not is_traded_by(spec, spec.team, rules[spec.team]):
                continue
            if spec.exchange not in US_EXCHANGES:
                report.refuse(spec.name, f"the local exchange trades US stocks only, not {spec.exchange}", 4)
                continue
            try:
                version = answering_version(project.model_root, branch.name, spec.name, live=False)
                opened.append(ReportModel(Model(version.folder, version.manifest), branch.name, spec.name))
            except ModelError as error:
                report.fail(spec.name, error)
    return opened


def _nothing_to_trade(report: StageReport, rules: Mapping[str, Rules]) -> MlopsError:
    reasons = sorted({failure.reason.splitlines()[0] for failure in report.failures})  # without their hints
    if not reasons:
        return ModelError(
            f"no model of {', '.join(rules)} trades", "look at trading.models in params.yaml, and: mlops models list"
        )
    text = f"no model can trade in this period: {bounded(reasons, 1)}"
    hint = "choose --replay and --days within the days that the models never saw; or fetch and train again: mlops run"
    return error_with(report.failures[0].exit_code, text, hint)


def stock_market(folders: Mapping[str, Path]) -> Market:
    """Opens, closes and dividends of stocks over all sessions, from the folder of each one's price table.

    Args:
        folders: by ticker, as the price table is called.

    Raises:
        DataError: a table is missing or damaged.
    """
    bars, dividends = {}, {}
    for ticker, folder in folders.items():
        table = read_table(folder, ticker)
        if table is None:
            raise DataError(f"{ticker}: no prices in {folder}", "run: mlops ingest")
        bars[ticker_of(ticker)] = table
        paid = {pd.Timestamp(day): each for day, each in paid_dividends(folder, ticker, table["close"]).items()}
        dividends[ticker_of(ticker)] = pd.Series(paid, dtype="float64").reindex(table.index, fill_value=0.0)
    ordered = sorted(bars)
    return Market(
        opens=pd.DataFrame({ticker: bars[ticker]["open"] for ticker in ordered}),
        closes=pd.DataFrame({ticker: bars[ticker]["close"] for ticker in ordered}),
        dividends=pd.DataFrame({ticker: dividends[ticker] for ticker in ordered}).fillna(0.0),
    )


def _trade_forecasts(project: Project, models: Sequence[ReportModel], frame: pd.DataFrame) -> list[TradeForecast]:
    """The rows of a frame of forecasts as the trading rules take them, with the verdict on the model's version."""
    by_branch = {branch: verdicts(project.evaluation(branch)) for branch in {model.branch for model in models}}
    by_label = {model.label: model for model in models}
    forecasts: list[TradeForecast] = []
    for label, rows in frame.groupby("model", sort=False):
        model = by_label[str(label)]
        verdict = by_branch[model.branch].get((model.label, model.manifest.version))
        forecasts += _forecasts_of(model, rows, verdict)
    return forecasts


def _forecasts_of(model: ReportModel, frame: pd.DataFrame, verdict: str | None) -> Iterator[TradeForecast]:
    manifest, known = model.manifest, interval_levels(frame)
    levels = [level for level in manifest.levels if level in known]
    rows: Iterable[Any] = frame.itertuples()
    sides = [f"{side}_{level:g}" for level in levels for side in ("lower", "upper")]
    log_returns = np.log(frame[["predicted_close", *sides]].div(frame["last_close"], axis=0).to_numpy()).tolist()
    closes = frame["last_close"].round(PLACES).tolist()
    for row, last_close, (log_return, *bounds) in zip(rows, closes, log_returns, strict=True):
        intervals = zip(levels, bounds[::2], bounds[1::2], strict=True)
        yield TradeForecast(
            model=model.label,
            ticker=ticker_of(manifest.ticker),
            team=manifest.team,
            session=row.session.date(),
            target_session=row.target_session.date(),
            last_close=Decimal(str(last_close)),
            log_return=log_return,
            version=manifest.version,
            verdict=verdict,
            dividend=row.announced_dividend,
            # without enough sessions for a level its bounds are NaN
            intervals=tuple(Interval(*values) for values in intervals if math.isfinite(values[1])),
        )


def _by_session(forecasts: Sequence[TradeForecast], closes: pd.DataFrame) -> dict[tuple[str, date], SessionForecasts]:
    """Forecasts by team and target session, with each stock's volatility up to the close they were made on."""
    logs = pd.DataFrame(np.log(closes.to_numpy()), closes.index, closes.columns)
    spread = logs.diff().rolling(VOLATILITY_SESSIONS, min_periods=2).std()
    volatilities = {day.date(): row for day, row in zip(spread.index, spread.to_dict("records"), strict=True)}
    groups: dict[tuple[str, date], list[TradeForecast]] = defaultdict(list)
    for forecast in forecasts:
        groups[forecast.team, forecast.target_session].append(forecast)
    return {
        key: SessionForecasts(
            group, {str(name): float(value) for name, value in volatilities[group[0].session].items()}
        )
        for key, group in groups.items()
    }


def _who_trades(
    forecasts: Sequence[TradeForecast], rules: Mapping[str, Rules]
) -> tuple[dict[str, tuple[str, ...]], dict[str, Counter[str]]]:
    """By team: the models that trade, and how many models do not trade for which reason."""
    models: dict[str, tuple[str, ...]] = dict.fromkeys(rules, ())
    idle: dict[str, Counter[str]] = {team: Counter() for team in rules}
    for forecast in {forecast.model: forecast for forecast in forecasts}.values():
        reason = reason_against(forecast, rules[forecast.team])
        if reason:
            idle[forecast.team][reason] += 1
        else:
            models[forecast.team] = (*models[forecast.team], forecast.model)
    return models, idle
