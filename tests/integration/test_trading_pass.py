"""One pass against the real local exchange over HTTP: what it does on good days and on bad ones."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from mlops_cli.errors import ConfigError, DataError, ServiceError
from mlops_cli.market.symbols import ticker_of
from mlops_cli.trading.contract.broker import BrokerUnreachable, KeysRefused, Quote
from mlops_cli.trading.ledger.opening import claim_account, open_ledger, read_ledger, team_of_account
from mlops_cli.trading.passes.liquidate import liquidate
from mlops_cli.trading.passes.order_window import calendar_differences
from mlops_cli.trading.passes.paper_pass import SessionForecasts
from tests.fakes.exchange_server import ExchangeServer, exchange_server, some_prices
from tests.fakes.ledgers import an_intent
from tests.fakes.paper_team import QUICK, PaperTeam

PRICES = some_prices()
EVENING = "2024-01-02T21:30:00+00:00"


@pytest.fixture
def server() -> Iterator[ExchangeServer]:
    with exchange_server(PRICES, start=EVENING) as made:
        yield made


@pytest.fixture
def team(server, tmp_path) -> PaperTeam:
    made = PaperTeam(server.url, tmp_path, PRICES)
    made.strength = 0.01
    return made


def account(server: ExchangeServer):
    (found,) = server.exchange.state.accounts.values()
    return found


def held(server: ExchangeServer) -> dict[str, Decimal]:
    return {symbol: position.qty for symbol, position in account(server).positions.items()}


def booked(team: PaperTeam) -> tuple[dict[str, Decimal], Decimal]:
    with read_ledger(team.ledger_file) as ledger:
        return ledger.expected_positions(), ledger.expected_cash()


def evening(server: ExchangeServer) -> None:
    server.advance(to="next_close", seconds=1800)


def test_orders_are_sent_once_filled_at_the_open_and_booked(server, team):
    first = team.run()
    assert (first.outcome, len(first.sent), first.clean) == ("done", 3, True)
    again = team.run()
    assert (again.outcome, again.sent, again.decisions) == ("done", [], [])
    assert len(account(server).orders) == 3
    evening(server)
    team.strength = 0.0
    after = team.run()
    assert after.booked >= 3
    assert booked(team) == (held(server), account(server).cash)
    assert [row["session"] for row in team.rows("equity")] == ["2024-01-02", "2024-01-03"]


def test_every_decision_can_be_audited(server, team):
    team.run()
    rows = {row["ticker"]: row for row in team.rows("decisions")}
    assert sorted(rows) == ["AAPL", "MSFT", "NVDA"]
    one = rows["AAPL"]
    assert one["models"] == [["red-aapl", pytest.approx(100.0), "1a2b3c4d5e6f", "skill"]]
    assert Decimal(one["price"]) == Decimal(str(round(float(PRICES["AAPL"].loc["2024-01-02", "close"]), 4)))
    assert one["client_order_id"] == "red-AAPL-20240103-b-1a2b3c4d5e6f"
    assert one["action"] == "buy"


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ("2024-01-02T15:00:00+00:00", "the session is on"),
        ("2024-01-02T21:05:00+00:00", "the close was less than 20 minutes ago"),
        ("2024-01-03T14:20:00+00:00", "too near"),
        ("2024-07-03T16:30:00+00:00", "the session is on"),
    ],
)
def test_at_the_wrong_time_it_says_so_and_sends_nothing(tmp_path, start, words):
    with exchange_server(PRICES, start=start) as server:
        team = PaperTeam(server.url, tmp_path, PRICES)
        report = team.run()
        assert (report.outcome, report.clean, report.sent) == ("waiting", True, [])
        assert words in report.text
        assert "Orders are sent from" in report.text
        assert account(server).orders == {}


@pytest.mark.parametrize(
    ("start", "target"),
    [
        ("2024-07-03T17:30:00+00:00", "2024-07-05"),
        ("2024-07-04T15:00:00+00:00", "2024-07-05"),
        ("2024-11-29T18:30:00+00:00", "2024-12-02"),
        ("2024-03-08T21:30:00+00:00", "2024-03-11"),
        ("2024-11-01T20:30:00+00:00", "2024-11-04"),
    ],
)
def test_half_days_holidays_and_changes_of_the_clock(tmp_path, start, target):
    with exchange_server(PRICES, start=start) as server:
        team = PaperTeam(server.url, tmp_path, PRICES)
        team.strength = 0.01
        report = team.run()
        assert (report.outcome, str(report.target), len(report.sent)) == ("done", target, 3)
        server.advance(to="next_open", seconds=60)
        assert {str(one.filled_at.date()) for one in account(server).orders.values()} == {target}
        assert calendar_differences(team.broker, report.now) == []


def test_two_passes_at_once_one_works_and_one_says_so(server, team):
    with open_ledger(team.ledger_file, "red"), pytest.raises(ServiceError, match="another paper-trade is running"):
        team.run()
    assert team.run().outcome == "done"


def test_a_dry_run_shows_the_orders_and_leaves_no_trace(server, team):
    report = team.run(dry_run=True)
    assert [intent.ticker for intent in report.planned] == ["AAPL", "MSFT", "NVDA"]
    assert account(server).orders == {}
    assert team.rows("intents") == team.rows("decisions") == []
    assert len(team.run().sent) == 3


def test_an_exchange_that_is_down_stops_the_pass_before_anything_is_written(server, team):
    server.sim("POST", "faults", kind="status", status=503)
    with pytest.raises(BrokerUnreachable, match=r"does not answer: service unavailable \(3 attempts\)") as raised:
        team.run()
    assert raised.value.exit_code == 8
    server.clear()
    assert len(team.run().sent) == 3
    assert len(account(server).orders) == 3


def test_an_exchange_that_is_down_all_day_costs_that_day_and_nothing_else(server, team):
    """Every pass that cron has on a day fails; what was sent before is booked, and the next evening goes on."""
    assert len(team.run().sent) == 3
    server.sim("POST", "faults", kind="status", status=503, path="/v2")
    server.advance(to="next_open", seconds=1800)
    for hours in (0, 7, 1, 2):
        server.advance(seconds=3600 * hours)
        with pytest.raises(BrokerUnreachable):
            team.run()
    assert team.rows("fills") == []
    server.advance(to="next_close", seconds=1800)
    server.clear()
    report = team.run()
    assert (report.outcome, report.blocked, report.clean) == ("done", {}, True)
    assert {row["session"] for row in team.rows("decisions")} == {"2024-01-03", "2024-01-05"}
    assert booked(team) == (held(server), account(server).cash)
    assert len(account(server).orders) == len(team.rows("intents"))


def test_late_prices_are_waited_for_as_long_on_half_days(tmp_path):
    with exchange_server(PRICES, start="2024-07-03T17:25:00+00:00") as server:
        team = PaperTeam(server.url, tmp_path, PRICES)
        team.forecasts = lambda *_: SessionForecasts([], late={"red-aapl": "its prices end on 2024-07-02"})
        assert "from Wed 2024-07-03 19:20 EDT on" in team.run().text
        server.advance(seconds=3 * 3600)
        assert "wait for prices" in team.run().text, "16:25, after three hours of an early close"
        server.advance(seconds=3 * 3600)
        assert "nothing is decided" in team.run().text


def test_nobody_at_the_address(tmp_path):
    with pytest.raises(BrokerUnreachable, match=r"does not answer: ConnectionError: Connection refused \(3 att"):
        PaperTeam("http://127.0.0.1:9", tmp_path, PRICES).run()


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "timeout", "seconds": 0.5, "when": "before"},
        {"kind": "timeout", "seconds": 0.5, "when": "after"},
        {"kind": "drop", "when": "before"},
        {"kind": "drop", "when": "after"},
        {"kind": "status", "status": 500, "when": "after"},
        {"kind": "status", "status": 503, "when": "before"},
        {"kind": "status", "status": 429, "when": "before"},
    ],
    ids=lambda fault: f"{fault['kind']}-{fault.get('status', '')}-{fault['when']}",
)
def test_a_post_that_fails_is_asked_for_by_name_and_never_doubled(server, team, fault):
    server.sim("POST", "faults", **fault, method="POST", times=2)
    report = team.run()
    assert (len(report.sent), report.clean) == (3, True)
    assert len(account(server).orders) == 3


def test_an_order_of_unknown_fate_stays_unknown_until_the_broker_says(server, team):
    server.sim("POST", "faults", kind="drop", method="POST", when="after", skip=1)
    server.sim("POST", "faults", kind="status", status=500, method="GET", path="/v2/orders", skip=1)
    report = team.run()
    assert (report.outcome, len(report.sent), len(report.unknown), report.clean) == ("stopped", 1, 2, False)
    assert {row["state"] for row in team.rows("intents")} == {"sent", "unknown"}
    assert report.alerts
    server.clear()
    again = team.run()
    assert (again.sent, again.clean) == ([], True), "they were taken, as asking showed"
    assert {row["state"] for row in team.rows("intents")} == {"sent"}
    assert len(account(server).orders) == 3


def test_an_order_whose_answer_was_lost_turns_up_at_the_second_look(server, team):
    server.sim("POST", "faults", kind="drop", method="POST", when="after")
    server.sim("POST", "faults", kind="status", status=500, path="/v2/orders:by_client_order_id")
    report = team.run()
    assert (len(report.sent), report.unknown, report.clean) == (3, {}, True)


def test_orders_that_were_never_taken_are_void_once_their_session_has_begun(server, team):
    server.sim("POST", "faults", kind="drop", method="POST", when="before")
    assert len(team.run().unknown) == 3
    server.clear()
    server.advance(to="next_open", seconds=60)
    assert team.run().outcome == "waiting"
    assert {row["state"] for row in team.rows("intents")} == {"void"}
    evening(server)
    assert len(team.run().sent) == 3


def test_a_refused_order_is_noted_with_the_brokers_words(server, team):
    server.sim("POST", "corporate-actions", type="delisting", symbol="MSFT", date="2024-01-02")
    team.run()
    evening(server)
    report = team.run()
    assert any("MSFT" in why for why in report.refused.values()), report
    assert not report.clean
    assert "refused" in {row["state"] for row in team.rows("intents")}


def test_orders_that_were_refused_stay_refused_until_a_person_lets_them_be_sent_again(server, team):
    """The account is blocked in the first pass of a session and free again before the second."""
    server.sim("POST", "faults", kind="status", status=403, method="POST", path="/v2/orders")
    first = team.run()
    assert (len(first.refused), first.stay_refused, first.clean) == (3, {}, False)
    server.clear()
    for _ in range(2):
        again = team.run()
        assert (again.sent, again.clean, again.alerts) == ([], False, [])
        assert again.stay_refused == first.refused
        assert "3 stay refused" in again.text
    with open_ledger(team.ledger_file, "red") as ledger:
        for name in ledger.refused(ledger.last_decided(), besides="liquidation"):
            ledger.set_state(name, "written", again.now)
    third = team.run()
    assert (sorted(third.sent), third.clean) == (sorted(first.refused), True)
    assert len(account(server).orders) == 3
    evening(server)
    assert team.run().stay_refused == {}


def test_late_partial_and_doubled_fills_are_booked_once(server, team):
    server.sim("POST", "faults", kind="partial_fills", fraction=0.5, seconds=600)
    server.sim("POST", "faults", kind="duplicate_fills")
    team.run()
    server.advance(to="next_open", seconds=60)
    half = team.run()
    assert (half.outcome, half.booked) == ("waiting", 3)
    evening(server)
    team.run()
    assert len(team.rows("fills")) == 6
    assert booked(team) == (held(server), account(server).cash)


def test_a_split_overnight_is_explained_and_trading_goes_on(server, team):
    team.run()
    evening(server)
    before = held(server)["AAPL"]
    server.action("split", "AAPL", "2024-01-04", ratio=4)
    server.advance(to="next_open", seconds=60)
    report = team.run()
    assert report.blocked == {}
    assert booked(team)[0]["AAPL"] == held(server)["AAPL"] == 4 * before
    assert any(row["kind"] == "moved" and row["ticker"] == "AAPL" for row in team.rows("events"))


def test_a_split_that_the_prices_do_not_know_of_blocks_the_ticker(server, team):
    team.run()
    evening(server)
    server.action("split", "AAPL", "2024-01-04", ratio=4)
    evening(server)
    report = team.run()
    assert "a split, or bad data" in report.blocked["AAPL"]
    decision = next(one for one in report.decisions if one.ticker == "AAPL")
    assert decision.intent is None
    assert not report.clean
    assert report.alerts


def test_a_small_split_that_the_prices_do_not_know_of_blocks_the_ticker(server, team):
    """Five for four: too little for the quote's gap, and plain beside the broker's own close of the session."""
    team.run()
    evening(server)
    server.action("split", "AAPL", "2024-01-04", ratio=1.25)
    evening(server)
    report = team.run()
    assert "a split that one side does not know of" in report.blocked["AAPL"]
    assert next(one for one in report.decisions if one.ticker == "AAPL").intent is None
    assert list(report.blocked) == ["AAPL"]
    assert report.alerts


@pytest.mark.parametrize(("close", "blocked"), [("1.04", False), ("0.96", False), ("1.06", True), ("0.94", True)])
def test_a_close_that_the_broker_does_not_confirm_is_not_traded_on(server, team, close, blocked):
    told = team.broker.bars(sorted(PRICES), date(2024, 1, 2))
    told = {ticker: replace(bar, close=bar.close * Decimal(close)) for ticker, bar in told.items()}
    team.broker.bars = lambda tickers, session: told if session == date(2024, 1, 2) else {}
    assert bool(team.run().blocked) == blocked


def test_a_ticker_without_a_bar_at_the_broker_is_traded_on_its_quote(server, team):
    team.broker.bars = lambda tickers, session: {}
    assert team.run().blocked == {}


@pytest.mark.parametrize(
    ("bid", "ask", "blocked"),
    [("1", "700", False), ("45", "46", True), ("45", "200", False), ("250", "260", True), ("0", "1", False)],
)
def test_a_quote_too_wide_to_say_anything_blocks_nothing(server, team, bid, ask, blocked):
    given = {ticker: Quote(ticker, Decimal(bid), Decimal(ask), team.broker.clock().now) for ticker in PRICES}
    team.broker.quotes = lambda tickers: given
    last = {name: table["close"][:"2024-01-02"].iloc[-1] for name, table in PRICES.items()}
    factor = {name: Decimal(str(price)) / 180 for name, price in last.items()}
    given |= {name: replace(one, bid=one.bid * factor[name], ask=one.ask * factor[name]) for name, one in given.items()}
    assert bool(team.run().blocked) == blocked


def test_a_ticker_delisted_while_held_is_paid_out_and_the_others_go_on(server, team):
    team.run()
    evening(server)
    server.action("delisting", "MSFT", "2024-01-04", price="300")
    evening(server)
    report = team.run()
    assert "MSFT" not in held(server)
    assert booked(team) == (held(server), account(server).cash)
    assert report.blocked == {}


def test_a_dividend_is_booked_as_cash(server, team):
    team.run()
    evening(server)
    server.action("dividend", "AAPL", "2024-01-04", amount="0.24")
    evening(server)
    report = team.run()
    assert booked(team) == (held(server), account(server).cash)
    assert report.notes == []


def test_shares_that_nothing_explains_block_their_ticker_until_a_person_accepts_them(server, team):
    team.run()
    evening(server)
    account(server).positions["AAPL"].qty += 7
    report = team.run()
    shares = held(server)["AAPL"]
    assert list(report.blocked) == ["AAPL"]
    assert f"position: {shares - 7} shares by the ledger, {shares} at the broker" in report.blocked["AAPL"]
    assert f"mlops ledger accept AAPL --qty {shares} --team red" in report.blocked["AAPL"]
    assert next(one for one in report.decisions if one.ticker == "AAPL").intent is None
    with open_ledger(team.ledger_file, "red") as ledger:
        ledger.accept_position("AAPL", shares, report.now)
    assert team.run().blocked == {}


def test_an_open_order_of_somebody_else_blocks_its_ticker(server, team):
    team.run()
    evening(server)
    team.run()
    by_hand = replace_client(team, "by-hand")
    evening(server)
    order = team.broker.submit(by_hand)
    report = team.run()
    assert "somebody else" in report.blocked["AAPL"]
    team.broker.cancel(order.id)
    assert "AAPL" not in team.run().blocked


@pytest.mark.parametrize("strength", [0.02, -0.02])
def test_shares_bought_by_hand_are_never_the_team_s_to_sell(server, team, strength):
    team.run()
    evening(server)
    team.run()
    by_hand = replace_client(team, "by-hand")
    mine = team.broker.submit(by_hand)
    server.advance(to="next_open", seconds=60)
    assert team.broker.order_by_client_id("by-hand").final, mine
    team.strength = strength
    orders = set(account(server).orders)
    for _ in range(2):
        evening(server)
        report = team.run()
        assert "bought by order by-hand, which is not the team's" in report.blocked["AAPL"]
        assert not report.clean
    new = [order for name, order in account(server).orders.items() if name not in orders]
    assert "AAPL" not in {order.symbol for order in new}
    with open_ledger(team.ledger_file, "red") as ledger:
        done = liquidate(team.broker, ledger)
        assert done.left == {"AAPL": Decimal(1)}
        ledger.accept_position("AAPL", held(server)["AAPL"], report.now)
    assert "by-hand" not in str(team.run().blocked)


def test_what_the_account_held_before_the_first_pass_is_not_traded(server, team):
    team.broker.account()
    team.broker.submit(an_intent("MSFT", qty="3", client_order_id="mine", session=date(2024, 1, 3)))
    server.advance(to="next_open", seconds=60)
    evening(server)
    team.strength = -0.02
    report = team.run()
    assert list(report.blocked) == ["MSFT"]
    assert report.sent == []
    assert not report.clean


def replace_client(team: PaperTeam, name: str):
    with open_ledger(team.ledger_file, "red") as ledger:
        from mlops_cli.trading.ledger.tables import intent_of

        row = ledger._db.execute("SELECT * FROM intents WHERE ticker = 'AAPL'").fetchone()
        return replace(intent_of(row), client_order_id=name, qty=Decimal(1))


def test_negative_cash_buys_nothing(server, team):
    team.broker.account()
    server.cash("KEYRED000000", "-500")
    report = team.run()
    assert (report.sent, report.planned) == ([], [])
    assert account(server).orders == {}


def test_orders_below_the_smallest_size_are_not_sent(server, team):
    team.rules = team.rules.model_copy(update={"min_order_notional": 50_000.0})
    assert team.run().sent == []


def test_the_kill_switch_stops_orders_and_nothing_else(server, team):
    team.run()
    evening(server)
    team.halts.halt("I want to look first")
    report = team.run()
    assert (report.outcome, report.sent) == ("halted", [])
    assert "I want to look first" in report.text
    assert report.booked == 3
    assert team.halts.resume()
    assert team.run().outcome == "done"


def test_a_file_made_by_hand_halts_all_teams(server, team):
    (team.folder / "HALT-all").touch()
    assert team.run().text.startswith("halted: HALT-all is there")


def test_a_loss_halts_until_somebody_resumes(server, team):
    team.run()
    evening(server)
    team.run()
    evening(server)
    team.rules = team.rules.model_copy(update={"max_drawdown": 0.0001, "daily_loss_limit": 0.0001})
    server.cash("KEYRED000000", "1000")
    report = team.run()
    assert report.outcome == "halted"
    assert any(line.startswith("halted: ") for line in report.alerts)
    again = team.run()
    assert (again.outcome, again.alerts) == ("halted", []), "said once"
    assert team.halts.reason() is not None


def test_a_team_resumed_after_a_drawdown_trades_until_the_next_one(server, team):
    team.run()
    evening(server)
    team.run()
    team.rules = team.rules.model_copy(update={"max_drawdown": 0.05})
    server.cash("KEYRED000000", str(account(server).cash - 20_000))
    assert "max_drawdown" in team.run().text
    assert team.halts.resume()
    assert team.run().outcome == "done"
    evening(server)
    server.cash("KEYRED000000", str(account(server).cash - 20_000))
    assert "max_drawdown" in team.run().text


def test_a_liquidation_that_came_to_nothing_is_sent_anew(server, team):
    team.run()
    evening(server)
    team.run()
    shares = held(server)
    assert shares
    for _ in range(2):
        with open_ledger(team.ledger_file, "red") as ledger:
            done = liquidate(team.broker, ledger)
        assert len(done.sent) == len(shares)
        orders = [team.broker.order_by_client_id(name) for name in done.sent]
        assert not any(order.final for order in orders)
        for order in orders:
            team.broker.cancel(order.id)
    assert held(server) == shares


def test_what_was_decided_before_a_liquidation_is_not_sent_after_it(server, team):
    team.run()
    evening(server)
    team.strength = -0.02
    server.sim("POST", "faults", kind="drop", when="before", method="POST", path="/v2/orders")
    assert team.run().unknown
    server.sim("DELETE", "faults")
    with open_ledger(team.ledger_file, "red") as ledger:
        assert liquidate(team.broker, ledger).failed == {}
    orders = set(account(server).orders)
    assert team.run().sent == []
    assert set(account(server).orders) == orders


def test_liquidation_closes_everything_and_twice_is_once(server, team):
    team.run()
    evening(server)
    team.strength = -0.02
    team.run()
    assert any(order.is_open for order in account(server).orders.values())
    for _ in range(2):
        with open_ledger(team.ledger_file, "red") as ledger:
            liquidate(team.broker, ledger)
    evening(server)
    team.halts.halt("liquidated")
    team.run()
    assert held(server) == booked(team)[0] == {}
    assert booked(team)[1] == account(server).cash


@pytest.mark.parametrize("strength", [0.02, -0.02])
def test_what_is_being_liquidated_is_not_traded_even_where_the_team_is_resumed_at_once(server, team, strength):
    team.run()
    evening(server)
    with open_ledger(team.ledger_file, "red") as ledger:
        sent = liquidate(team.broker, ledger).sent
    orders = set(account(server).orders)
    team.strength = strength
    report = team.run()
    assert report.blocked == dict.fromkeys(PRICES, "its position is being liquidated")
    assert (len(sent), report.sent, set(account(server).orders)) == (3, [], orders)
    evening(server)
    report = team.run()
    assert report.blocked == {}
    assert len(report.sent) == (3 if strength > 0 else 0)


def test_a_clock_that_is_off_moves_the_window_not_the_orders(server, team):
    server.sim("POST", "faults", kind="clock_skew", seconds=300.0)
    report = team.run()
    assert (report.outcome, len(report.sent)) == ("done", 3)
    assert str(report.now) == "2024-01-02 21:35:00+00:00"


def test_forecasts_of_another_session_are_not_traded(server, team):
    whole = team.forecasts

    def stale(session, target):
        given = whole(session, target)
        old = replace(given.forecasts[0], session=session.replace(year=2023))
        return replace(given, forecasts=[old, *given.forecasts[1:]])

    team.forecasts = stale
    report = team.run()
    assert list(report.missing) == ["red-aapl"]
    assert len(report.sent) == 2


def test_prices_that_are_late_are_waited_for_but_not_for_ever(server, team):
    whole = team.forecasts

    def late(session, target):
        given = whole(session, target)
        return replace(given, forecasts=given.forecasts[1:], late={"red-aapl": "its prices end on 2023-12-29"})

    team.forecasts = late
    report = team.run()
    assert (report.outcome, report.sent, list(report.missing)) == ("done", [], ["red-aapl"])
    assert "1 models wait for prices of 2024-01-02" in report.text
    assert team.rows("decisions") == []
    assert len(team.run(dry_run=True).planned) == 2
    server.advance(seconds=3 * 3600)
    report = team.run()
    assert (len(report.sent), list(report.missing)) == (2, ["red-aapl"])
    assert team.run().sent == []


def test_without_any_forecast_nothing_is_decided(server, team):
    whole = team.forecasts
    team.forecasts = lambda *_: SessionForecasts([], missing={"red-aapl": "is no model folder"})
    assert "nothing is decided" in team.run().text
    team.forecasts = lambda *_: SessionForecasts([], late={"red-aapl": "its prices end on 2023-12-29"})
    server.advance(seconds=4 * 3600)
    assert "nothing is decided" in team.run().text
    assert team.rows("decisions") == []
    team.forecasts = whole
    assert len(team.run().sent) == 3


def test_a_ledger_belongs_to_one_account_and_one_team(server, team, tmp_path):
    team.run()
    other = PaperTeam(server.url, tmp_path, PRICES, seed=1)
    with pytest.raises(ConfigError, match="its ledger is of account"):
        other.run()
    with pytest.raises(ConfigError, match="is the ledger of team red"), open_ledger(team.ledger_file, "blue"):
        pass
    assert team_of_account(tmp_path, team.broker.account_id(), "blue") == "red"
    assert team_of_account(tmp_path, team.broker.account_id(), "red") is None
    sqlite3.connect(tmp_path / "a.db").execute("PRAGMA journal_mode = WAL").connection.close()
    assert team_of_account(tmp_path, team.broker.account_id(), "blue") == "red", "one that a pass has just begun"


def test_an_account_is_one_teams_even_where_two_first_passes_begin_at_once(tmp_path):
    with claim_account(tmp_path, "4f2e", "red"):
        with (
            pytest.raises(ServiceError, match="another pass is running on its account") as raised,
            claim_account(tmp_path, "4f2e", "blue"),
        ):
            pass
        assert "ALPACA_API_KEY_BLUE" in raised.value.hint
        with claim_account(tmp_path, "4f2f", "blue"):
            pass
    with claim_account(tmp_path, "4f2e", "blue"):
        pass


def test_halts_by_hand_are_in_the_audit_trail(team):
    team.run()
    team.halts.halt("lunch")
    team.run()
    team.run()
    team.halts.resume()
    team.run()
    team.run()
    told = [(row["kind"], row["text"].split(" (")[0]) for row in team.rows("events") if row["kind"] != "opened"]
    assert told == [("stopped", "lunch"), ("resumed", "no halt file is there any more")]


def test_a_ledger_without_an_account_takes_no_position(tmp_path):
    with open_ledger(tmp_path / "red.db", "red") as ledger, pytest.raises(ConfigError, match="no account yet"):
        ledger.accept_position("AAPL", Decimal(1), datetime(2024, 1, 2, tzinfo=UTC))


def test_an_order_that_the_broker_took_and_rejected_is_told_once(server, team):
    server.sim("POST", "faults", kind="reject_orders", symbol="AAPL")
    assert len(team.run().sent) == 3
    evening(server)
    server.clear()
    report = team.run()
    (told,) = [alert for alert in report.alerts if alert.startswith("unfilled")]
    assert told.endswith("rejected by the broker")
    assert "-AAPL-" in told
    assert team.run().alerts == []
    assert [row["ticker"] for row in team.rows("events") if row["kind"] == "unfilled"] == ["AAPL"]


def test_a_stock_halted_all_day_leaves_an_order_unfilled_and_says_so(server, team):
    server.sim("POST", "faults", kind="halt", symbol="MSFT")
    team.run()
    evening(server)
    assert [alert for alert in team.run().alerts if "-MSFT-" in alert and "expired" in alert]
    assert account(server).cash >= 0


def test_no_order_is_sent_after_the_window_has_closed_on_a_slow_broker(server, team):
    whole = team.broker.submit

    def slow(intent):
        order = whole(intent)
        server.advance(to="next_open", seconds=-60)  # a minute before the open, and 14 after the window's end
        return order

    team.broker.submit = slow
    report = team.run()
    assert (report.outcome, len(report.sent)) == ("waiting", 2), "the second tells what time it has become"
    assert "too late" in report.text
    assert any("too late" in alert for alert in report.alerts)


def test_a_liquidation_that_was_killed_is_not_ended_by_a_pass(server, team):
    team.run()
    evening(server)
    server.sim("POST", "faults", kind="drop", when="before", method="POST", path="/v2/orders")
    with open_ledger(team.ledger_file, "red") as ledger:
        assert len(liquidate(team.broker, ledger).failed) == 3
    server.clear()
    shares = held(server)
    report = team.run()
    assert not any("liq" in name for name in report.sent)
    evening(server)
    team.run()
    assert held(server).keys() == shares.keys()


def test_without_any_forecast_a_person_is_told(team):
    team.forecasts = lambda *_: SessionForecasts([], missing={"red-aapl": "not trained; run: mlops run"})
    report = team.run()
    assert "no model has a forecast" in report.text
    assert not report.clean
    team.forecasts = lambda *_: SessionForecasts([], missing={})
    assert team.run().clean, "a team without models that trade has nothing to do"


def test_another_teams_damaged_ledger_stops_no_team_that_has_one(tmp_path):
    with open_ledger(tmp_path / "red.db", "red") as ledger:
        ledger.open_account("4f2e", Decimal(1), {}, (), datetime(2024, 1, 2, tzinfo=UTC))
    (tmp_path / "blue.db").write_bytes(b"not a database at all" * 100)
    with claim_account(tmp_path, "4f2e", "red"):
        pass
    with pytest.raises(DataError, match=r"blue\.db"), claim_account(tmp_path, "other", "green"):
        pass


def test_a_ledger_whose_first_pass_was_killed_at_once_is_none_yet(tmp_path):
    (tmp_path / "red.db").touch()
    with pytest.raises(DataError, match="there is no ledger yet"), read_ledger(tmp_path / "red.db"):
        pass
    assert team_of_account(tmp_path, "4f2e", "blue") is None


def test_a_ledger_that_cannot_be_written_is_not_called_damaged(tmp_path):
    def write() -> None:
        with open_ledger(tmp_path / "red.db", "red") as ledger:
            ledger._db.execute("PRAGMA query_only = ON")
            ledger.event(datetime(2024, 1, 2, tzinfo=UTC), "opened", None, "")

    with pytest.raises(DataError) as raised:
        write()
    assert "permissions" in raised.value.hint
    with read_ledger(tmp_path / "red.db") as ledger:
        assert ledger.rows("events") == []


def test_what_was_found_is_told_though_the_pass_failed_afterwards(server, team):
    """A rejected order is told once: not to nobody, because forecasting failed in the same pass."""
    server.sim("POST", "faults", kind="reject_orders", symbol="AAPL")
    team.run()
    server.clear()
    evening(server)
    whole, team.forecasts = team.forecasts, broken
    with pytest.raises(DataError, match="no features"):
        team.run()
    assert team.last.outcome == "failed"
    assert any("-AAPL-" in alert and "rejected" in alert for alert in team.last.alerts)
    assert "no features" in team.last.alerts
    team.forecasts = whole
    assert team.run().alerts == []


def broken(*_):
    raise DataError("no features")


@pytest.mark.parametrize("status", [401, 418])
def test_a_broker_that_turns_on_us_while_sending_ends_the_pass_with_its_alerts(server, team, status):
    server.sim("POST", "faults", kind="status", status=status, method="POST", path="/v2/orders", skip=1)
    report = team.run()
    assert len(report.sent) == 1
    assert report.clean is False
    assert len(report.alerts) >= 1
    server.clear()
    report = team.run()
    assert len(account(server).orders) == (3 if status == 401 else 1), "401: not taken, sent now; 418: refused"


def test_no_forecast_and_no_decision_are_told_once_each(server, team):
    team.run()
    evening(server)
    whole = team.forecasts
    team.forecasts = lambda *_: SessionForecasts([], missing={"red-aapl": "not trained; run: mlops run"})
    told = [team.run().alerts for _ in range(2)]
    assert [len(alerts) for alerts in told] == [1, 0]
    assert "no model has a forecast for 2024-01-04" in told[0][0]
    evening(server)
    team.forecasts = whole
    alerts = team.run().alerts
    assert alerts == ["nothing was decided for 2024-01-04: the last decision was for 2024-01-03"]
    evening(server)
    assert team.run().alerts == []


@pytest.mark.parametrize("ticker", ["BRK.B", "BRK-B", "HSBA.L", "BF.B"])
def test_a_stock_is_held_once_whatever_its_name(tmp_path, ticker):
    prices = {ticker: PRICES["AAPL"]}
    with exchange_server(prices, start=EVENING) as server:
        team = PaperTeam(server.url, tmp_path, {ticker_of(ticker): PRICES["AAPL"]})
        team.strength = 0.01
        bought = []
        for _ in range(3):
            report = team.run()
            assert report.clean, report.alerts
            bought += report.sent
            evening(server)
        assert len(bought) == 1, "it is held, and not bought again under another name"
        assert list(booked(team)[0]) == [ticker_of(ticker)]


def test_a_lost_ledger_begins_anew_from_what_the_broker_holds_and_doubles_nothing(server, team):
    team.run()
    evening(server)
    team.strength = 0.02
    team.run()
    orders = len(account(server).orders)
    for path in team.folder.glob("red.db*"):
        path.unlink()
    report = team.run()
    assert report.blocked == {}
    assert len(account(server).orders) == orders, "the names are the same, so the orders are"
    evening(server)
    team.strength = -0.02
    assert team.run().blocked == {}
    assert booked(team) == (held(server), account(server).cash)


def test_a_ledger_that_another_program_has_locked_is_not_called_damaged(server, team):
    team.run()
    team.broker.account_id()
    shell = sqlite3.connect(team.ledger_file, isolation_level=None)
    shell.execute("BEGIN IMMEDIATE")
    with pytest.raises(ServiceError, match="another program has locked the ledger") as raised:
        team.run()
    shell.close()
    assert (raised.value.exit_code, "close the program" in raised.value.hint) == (8, True)


def test_a_damaged_ledger_is_said_to_be_so(server, team):
    team.ledger_file.write_bytes(b"no database at all" * 100)
    with pytest.raises(DataError, match="the ledger cannot be used"):
        team.run()


def test_the_ledger_is_written_through_to_the_disk(server, team):
    team.run()
    connection = sqlite3.connect(team.ledger_file)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    with open_ledger(team.ledger_file, "red") as ledger:
        assert ledger._db.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_secrets_are_in_no_file_no_report_and_no_error(server, team, tmp_path):
    team.run()
    evening(server)
    report = team.run()
    wrong = PaperTeam(server.url, tmp_path / "other", PRICES)
    wrong.broker = type(team.broker)(replace(team.broker._access, secret="quite-another-secret"), QUICK)
    with pytest.raises(KeysRefused) as raised:
        wrong.run()
    texts = [json.dumps(asdict(report), default=str), str(raised.value), repr(team.broker._access), repr(raised.value)]
    texts += [path.read_bytes().decode("latin-1") for path in Path(tmp_path).rglob("*") if path.is_file()]
    for text in texts:
        for secret in ("hush-hush-000000", "KEYRED000000", "quite-another-secret"):
            assert secret not in text


def test_orders_of_a_lost_ledger_are_found_after_a_weekend(tmp_path):
    with exchange_server(PRICES, start="2024-01-12T21:30:00+00:00") as server:  # Monday is a holiday
        team = PaperTeam(server.url, tmp_path, PRICES)
        team.strength = 0.01
        assert len(team.run().sent) == 3
        for file in tmp_path.glob("red.db*"):
            file.unlink()
        server.advance(now="2024-01-15T15:00:00+00:00")
        team.version = "ffffffffffff"  # other names
        report = team.run()
        assert (report.sent, sorted(report.blocked)) == ([], ["AAPL", "MSFT", "NVDA"])
        assert len(account(server).orders) == 3
        evening(server)
        assert team.run().blocked == {}
        assert booked(team) == (held(server), account(server).cash)
