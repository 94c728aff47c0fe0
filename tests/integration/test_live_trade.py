"""Step `trade`: teams trade the forecasts that were issued, at the local exchange over HTTP with the real alpaca-py."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_cli.config.load import load_params
from mlops_cli.errors import ConfigError, ServiceError
from mlops_cli.live.journal.journal import Selection
from mlops_cli.live.journal.opening import read_journal
from mlops_cli.live.passes.live_pass import STEPS
from mlops_cli.live.passes.step import StepOutcome
from mlops_cli.pipeline.trade.paper_trade import TeamForecasts, run_team_pass
from mlops_cli.trading.alpaca.alpaca_broker import AlpacaBroker
from mlops_cli.trading.alpaca.alpaca_client import AlpacaAccess
from mlops_cli.trading.ledger.opening import read_ledger
from mlops_cli.trading.passes.pass_report import PassReport
from tests.fakes.exchange_server import exchange_server
from tests.fakes.live_nights import LiveNights

NIGHTS = 4


@pytest.fixture
def nights(tmp_path: Path) -> LiveNights:
    made = LiveNights(tmp_path / "p", nights=NIGHTS)
    params = made.small.root / "params.yaml"
    params.write_text(params.read_text() + "trading: {trade_without_skill: true}\n")
    return made


def outcome_of(nights: LiveNights, night: int, **changes: object) -> StepOutcome:
    result = nights.run(night, STEPS, **changes)
    return next(outcome for outcome in result.outcomes if outcome.step == "trade")


def test_the_teams_trade_what_was_issued(nights: LiveNights):
    trading = load_params(nights.project).trading
    with exchange_server(nights.prices, nights.now(0).isoformat()) as exchange:
        broker = AlpacaBroker(AlpacaAccess("KEYRED000001", "hush-hush-000001", exchange.url))

        def trade(team: str, forecasts: TeamForecasts) -> PassReport:
            return run_team_pass(nights.project, team, broker, trading, forecasts)

        sent = 0
        for night in range(NIGHTS - 1):
            exchange.advance(nights.now(night).isoformat())
            outcome = outcome_of(nights, night, teams=["red"], trade=trade)
            assert not outcome.failures, outcome.failures
            assert outcome_of(nights, night, teams=["red"], trade=trade).done == 0, "nothing is sent twice"
            sent += outcome.done
        assert sent
    with read_ledger(nights.project.ledger("red")) as ledger, read_journal(nights.project.journal) as journal:
        decisions = ledger.rows("decisions")
        assert len(decisions) == 2 * (NIGHTS - 1)
        issued = {
            (str(f.forecast.target_session), f.forecast.ticker): f.forecast for f in journal.forecasts(Selection())
        }
    for decision in decisions:
        forecast = issued[str(decision["session"]), decision["ticker"]]
        assert decision["forecast_bps"] == pytest.approx(1e4 * forecast.log_return)


def test_a_broker_that_fails_is_the_trouble_of_its_team_alone(nights: LiveNights):
    def trade(team: str, forecasts: TeamForecasts) -> PassReport:
        if team == "red":
            raise ServiceError("the broker does not answer", "try again later")
        return PassReport(team, text="nothing to do")

    nights.small.config("other", "team: blue\nticker: AAA\nfeatures: {returns: [1]}\ntrainer: naive\n")
    outcome = outcome_of(nights, 0, teams=["red", "blue"], trade=trade)
    assert [failure.model for failure in outcome.failures] == ["red"]
    assert [trouble.key for trouble in outcome.troubles] == ["trade:red"]
    assert "blue: nothing to do" in outcome.lines


def test_a_full_disk_does_not_stop_the_other_teams(nights: LiveNights):
    def trade(team: str, forecasts: TeamForecasts) -> PassReport:
        raise OSError(28, "No space left on device")

    outcome = outcome_of(nights, 0, teams=["red"], trade=trade)
    assert "No space left" in outcome.failures[0].reason


def test_a_model_in_two_branches_is_refused(nights: LiveNights):
    params = nights.small.root / "params.yaml"
    text = "branches: {main: {collection: [configs/mine]}, copy: {collection: [configs/mine]}}"
    params.write_text(params.read_text().replace("branches: {main: {collection: [configs/mine]}}", text))

    def trade(team: str, forecasts: TeamForecasts) -> PassReport:
        raise AssertionError

    outcome = outcome_of(nights, 0, teams=["red"], trade=trade)
    assert "model red-aaa is in two branches" in outcome.failures[0].reason
    assert outcome.failures[0].exit_code == ConfigError.exit_code


def test_no_account(nights: LiveNights):
    assert outcome_of(nights, 0).lines == ["no team has an account"]
