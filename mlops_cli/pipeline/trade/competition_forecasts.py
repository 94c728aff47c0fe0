"""Every forecast of a replay, made once before it begins: by session, as the models would have made them then."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.trading import Rules
from mlops_cli.errors import DataError, MlopsError, ModelError, bounded, error_with
from mlops_cli.evaluation.verdicts import verdicts
from mlops_cli.market.hours import us_hours
from mlops_cli.market.symbols import ticker_of
from mlops_cli.models.predict import Model
from mlops_cli.models.versions import answering
from mlops_cli.pipeline.judge.replays import Judged, replay_all
from mlops_cli.pipeline.stages.stage import Progress, StageReport
from mlops_cli.pipeline.stages.tables import read_table
from mlops_cli.pipeline.trade.paper_trade import VOLATILITY_SESSIONS, trades
from mlops_cli.trading.contract.types import TradeForecast
from mlops_cli.trading.decide.signals import reason_against
from mlops_cli.trading.passes.paper_pass import SessionForecasts
from mlops_cli.trading.results.competition import Market

US_EXCHANGES = ("XNYS", "XNAS")
PLACES = 4  # of a price in dollars


@dataclass(frozen=True)
class ReplayBook:
    """What the teams know as time goes on.

    Attributes:
        sessions: target sessions, rising.
        before: the session on whose close the first forecasts are made.
        forecasts: by team and target session.
        market: prices of all stocks that are forecast, of these sessions.
        models: by team, names of the models that may trade.
        idle: by team, why models do not trade: how many by reason.
        report: which models could not be replayed, and why.
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
    period: tuple[date, date],
    progress: Progress,
) -> ReplayBook:
    """Forecast every session of a period with models that never saw it.

    Args:
        project: where.
        branches: whose models.
        rules: by team; teams that are not here are left out.
        period: first target session, and the day after the last.
        progress: shows what is done.

    Raises:
        ModelError: no model of these teams can forecast the period; the reasons are named.
        DataError: a price table is missing.
    """
    report = StageReport("paper-trade", "replay")
    judged = _open_models(project, branches, rules, report)
    progress.start("forecasts", len(judged))
    frames = [frame for _, frame in replay_all(project, judged, period, (report, progress))]
    if not frames:
        raise _nothing_to_trade(report, rules)
    frame = pd.concat(frames, ignore_index=True)
    made = _trade_forecasts(project, judged, frame)
    sessions = tuple(sorted({one.target_session for one in made}))
    before = us_hours().before(sessions[0])
    assert before is not None  # on whose close the first forecast was made
    bars = {ticker_of(one.model.manifest.ticker): _bars(project, one) for one in judged}
    tickers = sorted({one.ticker for one in made})
    closes = pd.DataFrame({ticker: bars[ticker]["close"] for ticker in tickers})
    opens = pd.DataFrame({ticker: bars[ticker]["open"] for ticker in tickers})
    wanted = pd.DatetimeIndex([before.day, *sessions])
    models, idle = _who_trades(made, rules)
    return ReplayBook(
        sessions=sessions,
        before=before.day,
        forecasts=_by_session(made, closes),
        market=Market(opens.reindex(wanted[1:]), closes.reindex(wanted)),
        models=models,
        idle=idle,
        report=report,
    )


def _open_models(
    project: Project, branches: Sequence[Branch], rules: Mapping[str, Rules], report: StageReport
) -> list[Judged]:
    opened = []
    for branch in branches:
        for spec in branch.models:
            if spec.team not in rules or not trades(spec, spec.team, rules[spec.team]):
                continue
            if spec.exchange not in US_EXCHANGES:
                report.refuse(spec.name, f"the local exchange trades US stocks only, not {spec.exchange}", 4)
                continue
            try:
                version = answering(project.model_root, branch.name, spec.name)
                opened.append(Judged(Model(version.folder, version.manifest), branch.name, spec.name))
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
    hint = "choose --replay and --days within what the models never saw; or fetch and train anew: mlops run"
    return error_with(report.failures[0].exit_code, text, hint)


def _bars(project: Project, one: Judged) -> pd.DataFrame:
    ticker = one.model.manifest.ticker
    table = read_table(project.prices(one.branch), ticker)
    if table is None:
        raise DataError(f"{ticker}: no prices in {project.prices(one.branch)}", "run: mlops ingest")
    return table


def _trade_forecasts(project: Project, judged: Sequence[Judged], frame: pd.DataFrame) -> list[TradeForecast]:
    known = {branch: verdicts(project.evaluation(branch)) for branch in {one.branch for one in judged}}
    of = {one.label: one for one in judged}
    returns = np.log(frame["predicted_close"] / frame["last_close"]).tolist()
    columns = zip(
        frame["model"],
        frame["session"].dt.date,
        frame["target_session"].dt.date,
        frame["last_close"].round(PLACES).tolist(),
        returns,
        strict=True,
    )
    return [
        TradeForecast(
            model=name,
            ticker=ticker_of(of[name].model.manifest.ticker),
            team=of[name].model.manifest.team,
            session=session,
            target_session=target,
            last_close=Decimal(str(last)),
            log_return=log_return,
            version=of[name].model.manifest.version,
            verdict=known[of[name].branch].get((name, of[name].model.manifest.version)),
        )
        for name, session, target, last, log_return in columns
    ]


def _by_session(made: Sequence[TradeForecast], closes: pd.DataFrame) -> dict[tuple[str, date], SessionForecasts]:
    """Forecasts by team and target session, with each stock's volatility up to the close they were made on."""
    logs = pd.DataFrame(np.log(closes.to_numpy()), closes.index, closes.columns)
    spread = logs.diff().rolling(VOLATILITY_SESSIONS, min_periods=2).std()
    volatilities = {day.date(): row for day, row in zip(spread.index, spread.to_dict("records"), strict=True)}
    found: dict[tuple[str, date], list[TradeForecast]] = defaultdict(list)
    for one in made:
        found[one.team, one.target_session].append(one)
    return {
        key: SessionForecasts(some, {str(name): float(value) for name, value in volatilities[some[0].session].items()})
        for key, some in found.items()
    }


def _who_trades(
    made: Sequence[TradeForecast], rules: Mapping[str, Rules]
) -> tuple[dict[str, tuple[str, ...]], dict[str, Counter[str]]]:
    models: dict[str, tuple[str, ...]] = dict.fromkeys(rules, ())
    idle: dict[str, Counter[str]] = {team: Counter() for team in rules}
    for one in {forecast.model: forecast for forecast in made}.values():
        reason = reason_against(one, rules[one.team])
        if reason:
            idle[one.team][reason] += 1
        else:
            models[one.team] = (*models[one.team], one.model)
    return models, idle
