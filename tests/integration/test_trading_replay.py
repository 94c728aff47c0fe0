"""A competition on a small project: real models, the live pass, the local exchange over HTTP through alpaca-py."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import requests

from mlops_cli.config.load import load_params
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.trading import Costs
from mlops_cli.errors import ConfigError, ModelError
from mlops_cli.exchange.market.market import Market
from mlops_cli.exchange.market.price_tables import ParquetTables
from mlops_cli.market.hours import us_hours
from mlops_cli.pipeline.trade.competition import (
    HINDSIGHT,
    WITHOUT_SKILL,
    Replay,
    ReplayTools,
    competition,
    replay_exchange,
)
from mlops_cli.pipeline.trade.paper_trade import slippage_report
from mlops_cli.tracking.tracker import NullTracker
from mlops_cli.trading.contract.types import TradeForecast
from mlops_cli.trading.ledger.opening import open_ledger
from mlops_cli.trading.passes.liquidate import LIQUIDATION
from mlops_cli.trading.passes.paper_pass import PassSettings, SessionForecasts, paper_pass
from mlops_cli.trading.results.performance import fill_frame, gains_of
from mlops_cli.trading.results.slippage import filled_orders, slippage_by_day
from mlops_cli.wiring import replay_broker
from tests.fakes.cli import Cli
from tests.fakes.linear_trainer import LinearTrainer
from tests.fakes.projects import Silent, SmallProject, small_project

START, DAYS = date(2017, 6, 1), 45
REPLAY = Replay(START, DAYS, trade_without_skill=True)


class CountingTracker(NullTracker):
    """A record of five trainings for every model."""

    def count_trainings(self, models: Any) -> int:
        return 5 * len(models)


def run(made: SmallProject, replay: Replay = REPLAY) -> tuple[dict, Path]:
    trading = load_params(made.project).trading
    summary, folder, report = competition(
        made.project, [made.branch], trading, replay, ReplayTools(replay_broker, CountingTracker()), Silent()
    )
    assert report.failures == []
    return summary, folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SmallProject:
    """Two teams on four stocks; red's forecasts are not shrunk."""
    made = small_project(tmp_path_factory.mktemp("replay") / "project", ("AAA", "BBB", "CCC", "DDD"))
    params = made.root / "params.yaml"
    rules = "trading: {lot_fraction: 0.1, teams: {red: {sizing: strength}, blue: {max_weight: 1/4}}}\n"
    params.write_text(params.read_text().replace("min_sessions: 200", "min_sessions: 200, shrinkage: 1.0") + rules)
    made.config("blue", "team: blue\ntickers: [AAA, BBB, CCC]\ntrainer: drift\n")
    for report in made.run(LinearTrainer()):
        assert report.failures == []
    return made


@pytest.fixture(scope="module")
def result(made: SmallProject) -> tuple[dict, Path]:
    return run(made)


def test_the_teams_trade_every_session_and_stand_beside_doing_nothing(result: tuple[dict, Path]):
    summary, folder = result
    rows = {row["name"]: row for row in summary["rows"]}
    assert list(rows)[2:] == ["buy-and-hold", "cash"]
    assert {row["kind"] for row in summary["rows"][:2]} == {"team"}
    assert summary["period"]["first"] == "2017-06-01"
    assert summary["period"]["sessions"] == 31
    assert rows["red"]["orders"] > 20
    assert rows["red"]["fills"] >= rows["red"]["orders"]
    assert rows["red"]["trials"] == 20
    assert 0 <= rows["red"]["deflated_sharpe"] <= 1
    assert rows["red"]["cost_bps"] == pytest.approx(2.0, abs=0.1)  # half of 2 bps spread, 1 bps slippage
    assert not any("unknown" in note or "refused" in note or "blocked" in note for note in summary["notes"])
    assert WITHOUT_SKILL in summary["notes"]
    assert folder.name == "competition-2017-06-01"
    assert sorted(path.name for path in folder.iterdir()) == [
        "competition.csv", "competition.json", "competition.md", "competition.png", "decisions.csv", "fills.csv",
    ]  # fmt: skip
    assert json.loads((folder / "competition.json").read_text()) == summary


def test_equity_is_cash_and_gains_by_our_own_count(made: SmallProject, result: tuple[dict, Path]):
    summary, folder = result
    with (folder / "fills.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["team"] == "red"]
    closes = pd.DataFrame(
        {
            ticker: pd.read_parquet(made.project.prices("main") / f"{ticker}.parquet")["close"]
            for ticker in ("AAA", "BBB", "CCC", "DDD")
        }
    ).reindex(pd.DatetimeIndex(summary["sessions"]))
    gains = gains_of(fill_frame(rows), closes, closes * 0.0).sum(axis=1).cumsum()
    ours = [100_000.0, *(100_000.0 + gains)]
    assert summary["equity"]["red"] == pytest.approx(ours, abs=1.0)


def test_no_rule_was_broken(result: tuple[dict, Path]):
    with (result[1] / "decisions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["team"] for row in rows} == {"red", "blue"}
    limits = {"red": 0.35, "blue": 0.25}
    for row in rows:
        weight = float(row["target_weight"])
        assert weight >= 0
        assert row["action"] != "buy" or weight <= limits[row["team"]] + 1e-9
    assert len({row["client_order_id"] for row in rows if row["client_order_id"]}) == sum(
        bool(row["client_order_id"]) for row in rows
    )


def test_positions_can_be_sized_by_the_width_of_the_interval(made: SmallProject):
    trading = load_params(made.project).trading
    own = {"sizing": "interval", "lot_fraction": 0.01, "max_weight": 1.0, "costs": {"half_spread_bps": 0}}
    by_interval = trading.model_copy(update={"teams": {"red": own}})
    tools = ReplayTools(replay_broker, CountingTracker())
    replay = replace(REPLAY, teams=("red",), days=12)
    _, folder, _ = competition(made.project, [made.branch], by_interval, replay, tools, Silent())
    with (folder / "decisions.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["session"] == "2017-06-01"]
    widths = {}
    for row in rows:
        (level, lower, upper), (wide_level, lowest, highest) = json.loads(row["intervals"])
        assert (level, wide_level) == (80, 95)
        assert lowest < lower < float(row["price"]) * (1 + float(row["forecast_bps"]) / 1e4) < upper < highest
        assert "no interval" not in row["reasons"]
        if int(row["lots"]) > 0:
            widths[math.log(upper / lower)] = int(row["lots"])
    assert len(widths) > 1
    sizes = [width * lots for width, lots in widths.items()]
    assert max(sizes) / min(sizes) == pytest.approx(1, abs=0.1), "lots are proportional to 1 / width, but for rounding"


def test_the_same_replay_gives_the_same_competition(made: SmallProject, result: tuple[dict, Path]):
    again, _ = run(made)
    assert again == result[0]


def test_without_skill_nobody_trades_and_the_table_says_so(made: SmallProject):
    summary, folder = run(made, replace(REPLAY, trade_without_skill=False, days=10))
    for row in summary["rows"][:2]:
        assert (row["orders"], row["return"], row["sharpe"]) == (0, 0.0, None)
        assert sum(row["idle"].values()) == (4 if row["name"] == "red" else 3)
    assert HINDSIGHT in summary["notes"]
    assert "red: no trades: " in (folder / "competition.md").read_text()


def test_one_team_alone(made: SmallProject):
    summary, _ = run(made, replace(REPLAY, teams=("blue",), days=10))
    assert [row["name"] for row in summary["rows"]] == ["blue", "buy-and-hold", "cash"]
    assert summary["period"]["tickers"] == ["AAA", "BBB", "CCC"]
    with pytest.raises(ConfigError, match="green"):
        run(made, replace(REPLAY, teams=("green",)))


def test_a_period_that_the_models_were_trained_on_is_refused(made: SmallProject):
    with pytest.raises(ModelError, match="trained"):
        run(made, replace(REPLAY, start=date(2016, 6, 1)))


def test_slippage_of_a_ledger_beside_the_cost_model_and_the_local_exchange(made: SmallProject):
    project: Project = made.project
    rules = load_params(project).trading.rules("red").model_copy(update={"trade_without_skill": True})
    last = pd.read_parquet(project.prices("main") / "AAA.parquet")["close"]
    one = TradeForecast(
        "red-aaa", "AAA", "red", date(2017, 6, 5), date(2017, 6, 6), round_price(last, "2017-06-05"), 0.01, "0" * 12
    )
    with (
        replay_exchange([project.prices("main")], datetime(2017, 6, 5, 21, tzinfo=UTC), Costs()) as exchange,
        open_ledger(project.ledger("red"), "red") as ledger,
    ):
        broker = replay_broker(exchange.address, "red")
        report = paper_pass(broker, ledger, lambda *_: SessionForecasts((one,)), rules, PassSettings())
        assert len(report.sent) == 1
        requests.post(f"{exchange.address}/sim/market", json={"slippage_bps": 6}, timeout=10).raise_for_status()
        exchange.advance(datetime(2017, 6, 6, 21, tzinfo=UTC))
        paper_pass(broker, ledger, lambda *_: SessionForecasts(()), rules, PassSettings())
    found = slippage_report(project, ["main"], load_params(project).trading, "red")["red"]
    assert [row["session"] for row in found] == ["2017-06-06", "all"]
    assert found[0]["orders"] == 1
    assert found[0]["fills_bps"] == pytest.approx(7.0, abs=0.1)
    assert found[0]["model_bps"] == pytest.approx(2.0, abs=0.01)
    assert found[0]["local_bps"] == pytest.approx(2.0, abs=0.1)
    shown = Cli(made.root).mlops("ledger", "slippage", "--team", "red", "--json")
    assert json.loads(shown.stdout) == {"red": found}
    path = project.prices("main") / "AAA.parquet"
    whole = pd.read_parquet(path)
    halved = whole.assign(**{name: whole[name] / 2 for name in ("open", "high", "low", "close", "adj_close")})
    halved.to_parquet(path)
    after = slippage_report(project, ["main"], load_params(project).trading, "red")["red"]
    whole.to_parquet(path)
    for name, value in found[0].items():  # a split since, which the tables know of and the order did not
        assert after[0][name] == (pytest.approx(value, abs=0.1) if isinstance(value, float) else value)


def test_a_fill_counts_on_its_own_day_and_only_beside_prices_of_its_shares(made: SmallProject):
    project = made.project
    market = Market(ParquetTables([project.prices("main")]), us_hours())
    day = pd.read_parquet(project.prices("main") / "AAA.parquet").loc["2017-06-06"]
    order = {"id": "1", "client_order_id": "x", "ticker": "AAA", "side": "sell", "type": "market", "limit_price": None,
             "filled_qty": "2", "filled_average_price": str(day["open"])}  # fmt: skip
    intent = {"client_order_id": "x", "session": "2017-06-07", "model": LIQUIDATION, "price_seen": "1"}
    fill = {"order_id": "1", "time": "2017-06-06T15:00:00+00:00"}
    (one,) = filled_orders([order], [intent], [fill])
    assert (str(one.session), one.close) == ("2017-06-06", None), "sent in the session, for the next open by its name"
    assert slippage_by_day([one], market, Costs())[0]["fills_bps"] == pytest.approx(0.0, abs=0.01)
    far = replace(one, price=one.price * 2)
    assert slippage_by_day([far], market, Costs())[-1]["unpriced"] == 1


def test_the_market_of_a_replay_is_as_dear_as_the_cost_model(made: SmallProject):
    trading = load_params(made.project).trading
    dear = trading.model_copy(update={"costs": Costs(half_spread_bps=3, slippage_bps=4)})
    summary, _, _ = competition(
        made.project,
        [made.branch],
        dear,
        replace(REPLAY, days=12),
        ReplayTools(replay_broker, CountingTracker()),
        Silent(),
    )
    rows = {row["name"]: row for row in summary["rows"]}
    assert rows["red"]["cost_bps"] == pytest.approx(7.0, abs=0.1)


def test_the_command_ends_with_the_table(made: SmallProject):
    command = ("paper-trade", "--replay", "2017-06-01", "--days", "10", "--team", "red")
    plain = Cli(made.root).mlops(*command)
    assert plain.returncode == 0, plain.stderr
    assert "red: no trades: 4 " in plain.stdout
    assert "--trade-without-skill" in plain.stdout
    assert "simulation/reports/competition-2017-06-01/" in plain.stdout
    assert "sessions/s" in plain.stderr
    summary = json.loads(Cli(made.root).mlops(*command, "--trade-without-skill", "--json").stdout)
    assert summary["rows"][0]["orders"] > 0
    assert summary["replay"] == {"start": "2017-06-01", "days": 10}


def round_price(closes: pd.Series, day: str) -> Decimal:
    return Decimal(str(round(float(closes[day]), 4)))
