"""A pass against a scripted broker: what it decides, when it waits, when it halts, and what it tells only once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from mlops_cli.errors import ConfigError
from mlops_cli.trading.contract.broker import BrokerUnreachable, Quote
from mlops_cli.trading.contract.types import Rules, TradeForecast
from mlops_cli.trading.ledger.ledger import Ledger
from mlops_cli.trading.ledger.opening import IN_MEMORY, open_ledger
from mlops_cli.trading.passes.halt import HaltFiles
from mlops_cli.trading.passes.liquidate import LIQUIDATION
from mlops_cli.trading.passes.paper_pass import PassReport, PassSettings, SessionForecasts, paper_pass
from tests.fakes.ledgers import NEXT_EVENING, a_holding, an_account, an_intent
from tests.fakes.scripted_broker import ScriptedBroker

D = Decimal
RULES = Rules(lot_fraction=0.1, max_weight=0.3)


class Team:
    """Team red: a scripted broker, a ledger in memory, and forecasts that a test may change."""

    def __init__(self, ledger: Ledger, halts: HaltFiles) -> None:
        self.broker = ScriptedBroker()
        self.ledger = ledger
        self.halts = halts
        self.rules = RULES
        self.tickers = ["AAPL", "MSFT"]
        self.bps = 100.0
        self.missing: dict[str, str] = {}
        self.late: dict[str, str] = {}
        self.notes: list[str] = []
        self.days_off = 0
        self.asked = 0

    def forecasts(self, session, target) -> SessionForecasts:
        self.asked += 1
        target += timedelta(days=self.days_off)
        made = [
            TradeForecast(f"red-{t.lower()}", t, "red", session, target, D(100), self.bps / 1e4, "v1", "skill")
            for t in self.tickers
        ]
        return SessionForecasts(made, {}, self.missing, self.late, self.notes)

    def run(self, *, dry_run: bool = False) -> PassReport:
        settings = PassSettings(dry_run=dry_run, halts=self.halts)
        return paper_pass(self.broker, self.ledger, self.forecasts, self.rules, settings)


@pytest.fixture
def team(tmp_path) -> Iterator[Team]:
    with open_ledger(IN_MEMORY, "red") as ledger:
        yield Team(ledger, HaltFiles(tmp_path, "red"))


class TestDeciding:
    def test_a_session_is_decided_once(self, team):
        first = team.run()
        assert (first.outcome, len(first.sent), str(first.target)) == ("done", 2, "2024-01-03")
        again = team.run()
        assert (again.outcome, again.sent, again.decisions, team.asked) == ("done", [], [], 1)

    def test_what_is_to_know_of_the_forecasts_is_noted_once(self, team):
        team.notes = ["dividends of AAPL: alpaca: does not answer; what was seen before is used"]
        assert team.run().notes == team.notes
        assert team.run().notes == []

    def test_forecasts_are_not_asked_for_outside_the_hours(self, team):
        team.broker.now = datetime(2024, 1, 2, 21, 10, tzinfo=UTC)
        report = team.run()
        assert (report.outcome, team.asked) == ("waiting", 0)
        assert report.text.startswith(
            "the close was less than 20 minutes ago. Orders are sent from Tue 2024-01-02 16:20"
        )

    def test_a_dry_run_decides_and_writes_nothing(self, team):
        report = team.run(dry_run=True)
        assert [intent.ticker for intent in report.planned] == ["AAPL", "MSFT"]
        assert (team.broker.submitted, team.ledger.rows("decisions"), team.ledger.meta("account")) == ([], [], None)
        assert report.text == "dry run for 2024-01-03: 2 orders would be sent"

    def test_forecasts_for_another_session_are_missing(self, team):
        team.days_off = 1
        report = team.run()
        assert report.missing["red-aapl"] == "its forecast is for 2024-01-04, made on 2024-01-02"
        assert report.sent == []

    def test_a_held_stock_without_a_forecast_is_noted(self, team):
        team.broker.holdings["TSLA"] = a_holding("TSLA", "5")
        report = team.run()
        assert "TSLA is held: held without a forecast" in report.notes


class TestWaiting:
    def test_late_prices_are_waited_for_until_the_evening(self, team):
        team.late = {"red-nvda": "its prices end on 2024-01-01"}
        report = team.run()
        assert (report.outcome, report.sent) == ("done", [])
        assert report.text.startswith("1 models wait for prices of 2024-01-02; from Tue 2024-01-02 19:20")
        assert report.missing == team.late
        assert not team.ledger.decided(report.target)

    def test_from_then_on_it_decides_with_what_there_is(self, team):
        team.late = {"red-nvda": "its prices end on 2024-01-01"}
        team.broker.now = datetime(2024, 1, 3, 0, 20, tzinfo=UTC)
        report = team.run()
        assert len(report.sent) == 2
        assert "decided without a forecast of red-nvda" in report.alerts

    def test_without_any_forecast_it_needs_a_person_and_alerts_once(self, team):
        team.tickers, team.missing = [], {"red-aapl": "no features"}
        first, again = team.run(), team.run()
        assert (
            first.needs_attention
            == again.needs_attention
            == ["no model has a forecast for 2024-01-03: nothing is decided"]
        )
        assert (first.alerts, again.alerts) == (first.needs_attention, [])
        assert not again.clean
        assert team.asked == 2

    def test_a_dry_run_does_not_wait(self, team):
        team.late = {"red-nvda": "its prices end on 2024-01-01"}
        assert len(team.run(dry_run=True).planned) == 2


class TestDoubts:
    def test_another_close_at_the_broker_blocks_the_ticker(self, team):
        team.broker.prices = {"AAPL": D(50), "MSFT": D(100)}
        report = team.run()
        assert [intent.ticker for intent in team.broker.submitted] == ["MSFT"]
        assert "a split that one side does not know of" in report.blocked["AAPL"]
        assert report.alerts == [f"AAPL: {report.blocked['AAPL']}"]
        assert not report.clean

    def test_so_does_a_quote_that_is_far_off(self, team):
        team.broker.quoted = {"AAPL": Quote("AAPL", D(24), D(26), team.broker.now)}
        report = team.run()
        assert [intent.ticker for intent in team.broker.submitted] == ["MSFT"]
        assert "the broker quotes 25.00" in report.blocked["AAPL"]

    def test_a_blocked_ticker_is_decided_on_and_not_sent(self, team):
        team.run()
        team.broker.now = NEXT_EVENING
        report = team.run()
        assert set(report.blocked) == {"AAPL", "MSFT"}, "their orders are open after their session"
        assert report.sent == []
        assert {decision.action for decision in report.decisions} == {"hold"}


class TestHalts:
    def test_a_halt_file_stops_a_pass_and_is_written_down(self, team):
        team.halts.halt("looking first")
        report = team.run()
        assert (report.outcome, report.sent, team.asked) == ("halted", [], 0)
        assert report.text.endswith("nothing was sent. Go on with: mlops paper-trade resume --team red")
        team.run()
        events = [row["kind"] for row in team.ledger.rows("events")]
        assert events.count("stopped") == 1
        team.halts.resume()
        assert team.run().outcome == "done"
        assert [row["kind"] for row in team.ledger.rows("events")][-1] == "resumed"

    def test_another_reason_is_another_event(self, team):
        team.halts.halt("first")
        team.run()
        team.halts.resume()
        team.halts.halt("second")
        team.run()
        texts = [row["text"] for row in team.ledger.rows("events") if row["kind"] == "stopped"]
        assert [text.split(" (")[0] for text in texts] == ["first", "second"]

    def test_a_loss_halts_the_team_until_somebody_resumes_it(self, team):
        team.broker.state = an_account("90000", last_equity="100000")
        report = team.run()
        assert report.outcome == "halted"
        assert "lost 10.00 % since the previous close" in report.text
        assert report.alerts[0].startswith("halted: lost 10.00 %")
        assert team.ledger.last_event("halted") is not None
        team.broker.state = an_account("90000")
        assert team.run().outcome == "halted", "the file is there"
        team.halts.resume()
        assert team.run().outcome == "done"

    def test_a_dry_run_says_so_and_makes_no_file(self, team):
        team.broker.state = an_account("90000", last_equity="100000")
        report = team.run(dry_run=True)
        assert report.outcome == "halted"
        assert team.halts.reason() is None

    def test_intents_of_a_liquidation_are_not_sent_by_a_pass(self, team):
        team.ledger.write_intents([an_intent("NVDA", model=LIQUIDATION)], team.broker.now)
        team.run()
        assert "NVDA" not in [intent.ticker for intent in team.broker.submitted]


class TestUndecided:
    def test_a_session_that_passed_without_a_decision_is_told_once(self, team):
        team.ledger.write_decisions(datetime(2023, 12, 28).date(), [], team.broker.now)
        first, again = team.run(), team.run()
        assert "nothing was decided for 2024-01-02: the last decision was for 2023-12-28" in first.alerts
        assert again.alerts == []

    def test_not_when_the_team_was_halted(self, team):
        team.ledger.write_decisions(datetime(2023, 12, 28).date(), [], team.broker.now)
        team.ledger.event(team.broker.now, "stopped", None, "looking")
        team.halts.halt("looking")
        assert not any("nothing was decided" in line for line in team.run().alerts)


class TestErrors:
    def test_an_error_is_stored_beside_what_was_found_before_it(self, team):
        def fail(session, target):
            raise ConfigError("no features", "run: mlops featurize")

        team.forecasts = fail
        report = team.run()
        assert (report.outcome, report.text, report.alerts) == ("failed", "no features", ["no features"])
        assert isinstance(report.error, ConfigError)
        assert report.equity == D(100_000)

    def test_a_broker_that_does_not_tell_the_time_leaves_the_report_without_it(self, team):
        def fail():
            raise BrokerUnreachable("gone")

        team.broker.clock = fail
        report = team.run()
        assert (report.now, report.target, report.outcome) == (None, None, "failed")

    def test_equity_is_written_after_a_session_and_not_during_it(self, team):
        team.broker.is_open = True
        team.run()
        assert team.ledger.rows("equity") == []
        team.broker.is_open = False
        team.run()
        assert [row["session"] for row in team.ledger.rows("equity")] == ["2024-01-02"]
