"""Trading over an ex-date: real models, the pass, and the local exchange over HTTP through alpaca-py."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops_cli.config.load import load_params
from mlops_cli.config.schemas.trading import Costs, Rules
from mlops_cli.errors import ServiceError
from mlops_cli.market.hours import us_hours
from mlops_cli.pipeline.trade.competition import Replay, ReplayExchange, ReplayTools, competition, replay_exchange
from mlops_cli.pipeline.trade.competition_forecasts import ReplayBook, replay_book
from mlops_cli.pipeline.trade.newest_forecasts import NewestForecasts
from mlops_cli.prices.actions.action_source import ActionRequest, Listings
from mlops_cli.prices.actions.dividends import Sighting
from mlops_cli.prices.actions.sightings_file import dividends_file, read_sightings, write_sightings
from mlops_cli.prices.sources.csv_source import CsvSource
from mlops_cli.prices.sources.source import SourceFailure
from mlops_cli.tracking.tracker import NullTracker
from mlops_cli.trading.contract.broker import Broker
from mlops_cli.trading.contract.types import TradeForecast
from mlops_cli.trading.ledger.ledger import Ledger
from mlops_cli.trading.ledger.opening import open_ledger
from mlops_cli.trading.passes.paper_pass import PassReport, PassSettings, SessionForecasts, paper_pass
from mlops_cli.wiring import replay_broker
from tests.fakes.cli import Cli
from tests.fakes.linear_trainer import LinearTrainer
from tests.fakes.price_tables import random_prices
from tests.fakes.projects import Silent, SmallProject, small_project

START, DAYS = date(2017, 6, 1), 30
EX_DATE, SHARE = date(2017, 6, 14), 0.02
RULES = Rules(trade_without_skill=True, lot_fraction=0.1)


def rising_with_dividends(sessions: int = 700) -> pd.DataFrame:
    """Prices that rise by 15 basis points a day, and fall by a dividend of 2 % on every 63rd session and on EX_DATE."""
    table = random_prices(sessions, 3)
    rise = np.exp(np.arange(sessions) * 0.0015 - np.log(table["close"] / table["close"].iloc[0]) * 0.9)
    total = table.mul(rise, axis=0).assign(volume=table["volume"])
    days = pd.DatetimeIndex(table.index)
    pays = (np.arange(sessions) % 63 == 62) & (days < "2017-05-01")
    pays |= days == pd.Timestamp(EX_DATE)
    kept = np.cumprod(np.where(pays, 1 - SHARE, 1.0))
    prices = ["open", "high", "low", "close"]
    quoted = total[prices].mul(kept, axis=0)
    return table.assign(**quoted, adj_close=total["close"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SmallProject:
    """Red has a model of AAA, which forecasts its base: last close, drift and announced dividend."""
    made = small_project(tmp_path_factory.mktemp("dividends") / "project", ("AAA",))
    made.prices("AAA", rising_with_dividends())
    params = made.root / "params.yaml"
    rules = "trading: {lot_fraction: 0.1}\n"
    params.write_text(params.read_text().replace("min_sessions: 200", "min_sessions: 200, shrinkage: 0.0") + rules)
    for report in made.run(LinearTrainer()):
        assert report.failures == []
    return made


@pytest.fixture(scope="module")
def book(made: SmallProject) -> ReplayBook:
    return replay_book(made.project, [made.branch], {"red": RULES}, START, START + timedelta(days=DAYS), Silent())


@pytest.fixture(scope="module")
def closes(made: SmallProject) -> pd.Series:
    return pd.read_parquet(made.project.prices("main") / "AAA.parquet")["close"]


@dataclass
class Trader:
    """A team's account at an exchange of its own, its ledger, and a pass after each close."""

    exchange: ReplayExchange
    broker: Broker
    ledger: Ledger
    rules: Rules

    def after_close(self, session: date, forecasts: Callable[[date], SessionForecasts]) -> PassReport:
        """Run the pass after a session's close; then ledger and exchange must agree, in shares and in cents."""
        (hours,) = us_hours().between(session, session)
        self.exchange.advance(hours.closes + timedelta(minutes=21))
        report = paper_pass(self.broker, self.ledger, lambda _, target: forecasts(target), self.rules, PassSettings())
        assert report.error is None
        assert (report.blocked, report.notes, report.refused) == ({}, [], {})
        held = {ticker: holding.qty for ticker, holding in self.broker.positions().items()}
        assert self.ledger.expected_positions() == held
        assert self.ledger.expected_cash() == self.broker.account().cash
        return report

    @property
    def dividends(self) -> list[dict]:
        return [row for row in self.ledger.rows("activities") if row["kind"] == "DIV"]


@contextmanager
def trading(made: SmallProject, session: date, rules: Rules, ledger_file: Path) -> Iterator[Trader]:
    (hours,) = us_hours().between(session, session)
    start = hours.closes + timedelta(minutes=20)
    with (
        replay_exchange([made.project.prices("main")], start, Costs()) as exchange,
        open_ledger(ledger_file, "red") as ledger,
    ):
        yield Trader(exchange, replay_broker(exchange.address, "red"), ledger, rules)


def test_the_team_keeps_its_shares_over_the_ex_date_and_receives_the_dividend(
    made: SmallProject, book: ReplayBook, closes: pd.Series
) -> None:
    eve = us_hours().before(EX_DATE).day
    paid = round(SHARE * float(closes[pd.Timestamp(eve)]), 6)
    with trading(made, book.before, RULES, made.project.ledger("red")) as team:
        for session, target in zip([book.before, *book.sessions], [*book.sessions, None], strict=True):
            if session == EX_DATE:
                before = (team.ledger.expected_positions(), team.ledger.expected_cash())
            if target is None:
                break  # no session is forecast after the last one
            team.after_close(session, lambda day: book.forecasts["red", day])
        held, cash_before = before[0]["AAA"], before[1]
        (dividend,) = team.dividends
        assert dividend["day"] == EX_DATE.isoformat()
        assert Decimal(dividend["cash"]) == (held * Decimal(str(paid))).quantize(Decimal("0.01"))
        decisions = {row["session"]: row for row in team.ledger.rows("decisions")}
        equity = dict(team.ledger.equity_curve())
    assert held > 0
    over = decisions[EX_DATE.isoformat()]
    assert over["action"] != "sell"
    assert over["forecast_bps"] < -150
    assert over["total_bps"] == pytest.approx(1e4 * 0.0015, abs=3)
    assert over["dividend"] == pytest.approx(paid, rel=1e-6)
    assert all(row["dividend"] == 0 for day, row in decisions.items() if day != EX_DATE.isoformat())
    # what the equity gained is what the shares gained with the dividend: nothing was bought or sold on the ex-date
    assert over["client_order_id"] is None
    moved = float(closes[pd.Timestamp(EX_DATE)]) + paid - float(closes[pd.Timestamp(eve)])
    assert float(equity[EX_DATE] - equity[eve]) == pytest.approx(float(held) * moved, abs=float(held) * 0.011)
    assert cash_before == pytest.approx(equity[eve] - held * Decimal(str(closes[pd.Timestamp(eve)])), abs=1)


def test_the_command_line_shows_both_returns(made: SmallProject) -> None:
    shown = Cli(made.root).mlops("ledger", "decisions", "--team", "red", "--json")
    over = {row["session"]: row for row in json.loads(shown.stdout)["red"]}[EX_DATE.isoformat()]
    assert over["forecast_bps"] < 0 < over["total_bps"]
    table = Cli(made.root).mlops("ledger", "decisions", "--team", "red").stdout
    assert "DIVIDEND" in table
    assert "TOTAL BPS" in table


def test_who_sold_short_pays_the_dividend(
    made: SmallProject, book: ReplayBook, closes: pd.Series, tmp_path: Path
) -> None:
    eve = us_hours().before(EX_DATE).day
    day_before = us_hours().before(eve).day

    def falling(target: date) -> SessionForecasts:
        session = us_hours().before(target).day
        close = Decimal(str(round(float(closes[pd.Timestamp(session)]), 4)))
        return SessionForecasts([TradeForecast("red-aaa", "AAA", "red", session, target, close, -0.005, "v", "skill")])

    rules = RULES.model_copy(update={"positions": "long_short"})
    with trading(made, day_before, rules, tmp_path / "red.db") as team:
        for session in (day_before, eve, EX_DATE):
            team.after_close(session, falling)
        (dividend,) = team.dividends
        held = team.ledger.expected_positions(EX_DATE)["AAA"]
    assert held < 0
    assert float(dividend["cash"]) == pytest.approx(float(held) * SHARE * float(closes[pd.Timestamp(eve)]), abs=0.01)


class NoAnswer:
    """A source of dividends that is down."""

    name = "alpaca"

    def fetch(self, request: ActionRequest, _: Callable[[str], None]) -> Listings:
        reason = "alpaca: does not answer"
        return Listings({name: SourceFailure(name, reason, ServiceError.exit_code) for name in request.exchanges})


def test_a_dividend_that_was_seen_counts_although_its_source_is_down(tmp_path: Path) -> None:
    eve = us_hours().before(EX_DATE).day
    prices = rising_with_dividends()
    small = small_project(tmp_path / "project", ("AAA",))
    small.prices("AAA", prices.loc[: pd.Timestamp(eve)])
    for report in small.run(LinearTrainer()):
        assert report.failures == []
    newest = NewestForecasts(
        small.project,
        [small.branch],
        lambda _: CsvSource(small.root / "data" / "incoming"),
        Silent(),
        lambda _: NoAnswer(),
    )
    path = dividends_file(small.project.prices("main"), "AAA")
    close = float(prices["close"].loc[pd.Timestamp(eve)])
    coming = Sighting(EX_DATE, SHARE * close, eve, close, "csv", eve, announced=date(2017, 5, 30))
    write_sightings(path, [*(read_sightings(path) or []), coming])
    given = newest.forecasts("red", RULES, eve, EX_DATE)
    assert (given.missing, given.late) == ({}, {})
    assert given.notes == ["dividends of AAA: alpaca: does not answer; what was seen before is used"]
    (forecast,) = given.forecasts
    assert forecast.dividend == pytest.approx(SHARE * close, rel=1e-6)
    assert forecast.log_return < -0.015
    assert abs(forecast.total_log_return) < 0.005
    assert [interval.level for interval in forecast.intervals] == [80, 95]
    assert forecast.intervals[0].lower < forecast.log_return < forecast.intervals[0].upper


def test_the_competition_counts_dividends_for_teams_and_for_buy_and_hold(made: SmallProject, closes: pd.Series) -> None:
    replay = Replay(START, DAYS, ("red",), trade_without_skill=True)
    tools = ReplayTools(replay_broker, NullTracker())
    trading_rules = load_params(made.project).trading
    summary, _, _ = competition(made.project, [made.branch], trading_rules, replay, tools, Silent())
    curves = {name: dict(zip(summary["sessions"], curve, strict=True)) for name, curve in summary["equity"].items()}
    eve = us_hours().before(EX_DATE).day
    quoted = closes[pd.Timestamp(EX_DATE)] / closes[pd.Timestamp(eve)] - 1
    assert quoted < -0.01
    for name in ("red", "buy-and-hold"):
        assert curves[name][EX_DATE.isoformat()] > curves[name][eve.isoformat()] * (1 + quoted / 4), name
    held = curves["buy-and-hold"]
    assert held[EX_DATE.isoformat()] / held[eve.isoformat()] - 1 == pytest.approx(quoted + SHARE, abs=1e-4)
