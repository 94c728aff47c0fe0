"""The ledger: every table, what one transaction holds, and what the sums over its tables are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.errors import ConfigError
from mlops_cli.trading.contract.broker import Activities
from mlops_cli.trading.ledger.ledger import FIRST_LOOKBACK, OVERLAP, Ledger
from mlops_cli.trading.ledger.opening import IN_MEMORY, open_ledger
from mlops_cli.trading.ledger.tables import decimal, text
from tests.fakes.ledgers import (
    EVENING,
    NEXT_EVENING,
    NEXT_SESSION,
    SESSION,
    a_decision,
    a_fill,
    an_account,
    an_activity,
    an_intent,
    an_order,
)

D = Decimal


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    with open_ledger(IN_MEMORY, "red") as made:
        made.open_account("account-1", D("100000.50"), {"TSLA": D(5)}, (), EVENING)
        yield made


def decide(ledger: Ledger, *intents) -> None:
    ledger.write_decisions(SESSION, [a_decision(intent) for intent in intents], EVENING)


def book(ledger: Ledger, fills=(), others=()) -> int:
    return ledger.record_activities(Activities(tuple(fills), tuple(others)))


def states(ledger: Ledger) -> dict[str, str]:
    return {row["ticker"]: row["state"] for row in ledger.rows("intents")}


class TestOpening:
    def test_the_account_and_what_it_held_are_written(self, ledger):
        assert ledger.meta("account") == "account-1"
        assert ledger.opened_at() == EVENING
        assert ledger.rows("holdings") == [{"ticker": "TSLA", "qty": "5"}]
        assert ledger.expected_positions() == {"TSLA": D(5)}
        assert ledger.expected_cash() == D("100000.50")
        assert [row["kind"] for row in ledger.rows("events")] == ["opened"]

    def test_a_second_opening_is_refused_and_leaves_the_first(self, ledger):
        with pytest.raises(sqlite3.IntegrityError):
            ledger.open_account("account-2", D(1), {"TSLA": D(9)}, (), NEXT_EVENING)
        assert ledger.meta("account") == "account-1"
        assert ledger.expected_cash() == D("100000.50")

    def test_without_an_account_there_is_nothing(self):
        with open_ledger(IN_MEMORY, "red") as empty:
            assert (empty.team, empty.meta("account"), empty.expected_cash()) == ("red", None, 0)
            assert empty.opened_at() == datetime(1971, 1, 1, tzinfo=UTC)
            assert empty.last_decided() is None
            assert empty.peak() == 0
            assert empty.equity_curve() == []

    def test_create_leaves_the_tables_of_a_ledger_alone(self, ledger):
        ledger.create("blue")
        assert ledger.team == "red"


class TestDecisions:
    def test_a_decision_comes_back_with_its_models_and_reasons(self, ledger):
        decide(ledger, an_intent())
        (row,) = ledger.rows("decisions")
        assert row["models"] == [["red-aapl", 50.0, "1a2b3c4d5e6f", "skill"]]
        assert row["reasons"] == ["forecast +50.00 bps"]
        assert (row["action"], row["lots"], row["wanted_lots"], row["bound"]) == ("buy", 1, 2, "max weight")
        assert (row["price"], row["target_weight"], row["cost_bps"]) == ("100", 0.1, 4.3)
        assert row["client_order_id"] == an_intent().client_order_id
        assert row["decided_at"] == EVENING.isoformat()

    def test_a_hold_has_no_intent(self, ledger):
        ledger.write_decisions(SESSION, [a_decision(None, price=None)], EVENING)
        (row,) = ledger.rows("decisions")
        assert (row["client_order_id"], row["price"], row["forecast_bps"]) == (None, None, None)
        assert ledger.rows("intents") == []
        assert ledger.decided(SESSION)

    def test_a_session_is_decided_once_and_a_second_time_changes_nothing(self, ledger):
        decide(ledger, an_intent())
        with pytest.raises(sqlite3.IntegrityError):
            ledger.write_decisions(SESSION, [a_decision(an_intent("MSFT"))], NEXT_EVENING)
        assert [row["ticker"] for row in ledger.rows("decisions")] == ["AAPL"]
        assert [row["ticker"] for row in ledger.rows("intents")] == ["AAPL"]

    def test_two_decisions_on_one_ticker_write_neither(self, ledger):
        with pytest.raises(sqlite3.IntegrityError):
            decide(ledger, an_intent(), an_intent(side="sell"))
        assert not ledger.decided(SESSION)
        assert ledger.rows("decisions") == ledger.rows("intents") == []

    def test_sells_are_written_first(self, ledger):
        decide(ledger, an_intent("AAPL"), an_intent("MSFT", "sell"), an_intent("NVDA"), an_intent("TSLA", "sell"))
        assert [one.ticker for one in ledger.unresolved()] == ["MSFT", "TSLA", "AAPL", "NVDA"]

    def test_the_last_session_that_was_decided_on(self, ledger):
        ledger.write_decisions(NEXT_SESSION, [], NEXT_EVENING)
        ledger.write_decisions(SESSION, [], EVENING)
        assert ledger.last_decided() == NEXT_SESSION
        assert ledger.decided(SESSION)
        assert not ledger.decided(date(2024, 1, 5))


class TestIntents:
    @pytest.mark.parametrize(
        "intent",
        [
            an_intent(),
            an_intent(qty="0.123456789"),
            an_intent(type="limit", limit_price=D("101.25"), side="sell"),
            an_intent(qty="1", reasons=()),
            replace(an_intent(), qty=None, notional=D("1234.50")),
        ],
    )
    def test_an_intent_comes_back_as_it_was(self, ledger, intent):
        ledger.write_intents([intent], EVENING)
        assert ledger.unresolved() == [intent]

    def test_writing_an_intent_again_changes_nothing(self, ledger):
        ledger.write_intents([an_intent()], EVENING)
        ledger.set_state(an_intent().client_order_id, "refused", EVENING, "no")
        ledger.write_intents([an_intent(qty="99")], NEXT_EVENING)
        (row,) = ledger.rows("intents")
        assert (row["state"], row["note"], row["qty"], row["written_at"]) == (
            "refused",
            "no",
            "10",
            EVENING.isoformat(),
        )

    @pytest.mark.parametrize(
        ("state", "open_question"),
        [("written", True), ("unknown", True), ("sent", False), ("refused", False), ("void", False)],
    )
    def test_which_states_leave_the_question_open(self, ledger, state, open_question):
        ledger.write_intents([an_intent()], EVENING)
        ledger.set_state(an_intent().client_order_id, state, NEXT_EVENING, "words")
        assert bool(ledger.unresolved()) == open_question
        (row,) = ledger.rows("intents")
        assert (row["note"], row["changed_at"]) == ("words", NEXT_EVENING.isoformat())

    def test_names_are_those_of_the_model(self, ledger):
        ledger.write_intents([an_intent("AAPL"), an_intent("MSFT", model="liquidation")], EVENING)
        assert ledger.client_order_ids_of("liquidation") == {an_intent("MSFT").client_order_id}
        assert ledger.client_order_ids_of("nobody") == set()

    def test_what_was_sent_for_a_session_counts_at_the_price_that_was_seen(self, ledger):
        by_money = replace(an_intent("TSLA"), qty=None, notional=D(250))
        other = an_intent("AAPL", session=NEXT_SESSION)
        ledger.write_intents(
            [an_intent("AAPL"), an_intent("MSFT", qty="2.5"), an_intent("NVDA"), by_money, other], EVENING
        )
        assert ledger.sent_notional(SESSION) == 0
        for intent, state in (
            (an_intent("AAPL"), "sent"),
            (an_intent("MSFT"), "unknown"),
            (an_intent("NVDA"), "refused"),
        ):
            ledger.set_state(intent.client_order_id, state, EVENING)
        assert ledger.sent_notional(SESSION) == 1250
        ledger.set_state(by_money.client_order_id, "sent", EVENING)
        ledger.set_state(other.client_order_id, "sent", EVENING)
        assert ledger.sent_notional(SESSION) == 1500


class TestOrders:
    def test_a_recorded_order_makes_its_intent_sent(self, ledger):
        decide(ledger, an_intent(), an_intent("MSFT"))
        ledger.set_state(an_intent().client_order_id, "unknown", EVENING, "timeout")
        ledger.record_orders([an_order(an_intent())], NEXT_EVENING)
        assert states(ledger) == {"AAPL": "sent", "MSFT": "written"}
        row = next(row for row in ledger.rows("intents") if row["ticker"] == "AAPL")
        assert (row["note"], row["changed_at"]) == ("", NEXT_EVENING.isoformat())

    def test_the_newest_look_at_an_order_stays(self, ledger):
        decide(ledger, an_intent())
        ledger.record_orders([an_order(an_intent())], EVENING)
        ledger.record_orders([an_order(an_intent(), "filled", "10")], NEXT_EVENING)
        (row,) = ledger.rows("orders")
        assert (row["status"], row["final"], row["filled_qty"], row["seen_at"]) == (
            "filled",
            1,
            "10",
            NEXT_EVENING.isoformat(),
        )
        assert (row["qty"], row["limit_price"], row["filled_average_price"]) == ("10", None, "100")

    def test_no_orders_are_no_transaction(self, ledger):
        ledger.record_orders([], EVENING)
        assert ledger.rows("orders") == []

    def test_open_orders_know_the_session_of_their_intent(self, ledger):
        decide(ledger, an_intent())
        ledger.record_orders(
            [an_order(an_intent()), an_order(an_intent("MSFT")), an_order(an_intent("NVDA"), "canceled")], EVENING
        )
        assert {row["ticker"]: row["session"] for row in ledger.open_orders()} == {"AAPL": "2024-01-03", "MSFT": None}

    @pytest.mark.parametrize("status", ["new", "accepted", "partially_filled", "held", "unheard of"])
    def test_statuses_that_end_nothing(self, ledger, status):
        ledger.record_orders([an_order(an_intent(), status)], EVENING)
        assert len(ledger.open_orders()) == 1

    @pytest.mark.parametrize("status", ["filled", "canceled", "expired", "replaced", "rejected"])
    def test_statuses_that_end_an_order(self, ledger, status):
        ledger.record_orders([an_order(an_intent(), status)], EVENING)
        assert ledger.open_orders() == []


class TestUnfilled:
    @pytest.mark.parametrize(
        ("status", "kind", "told"),
        [
            ("rejected", "market", True),
            ("rejected", "limit", True),
            ("expired", "market", True),
            ("expired", "limit", False),
            ("canceled", "market", False),
            ("filled", "market", False),
            ("replaced", "market", False),
            ("accepted", "market", False),
        ],
    )
    def test_which_ends_a_person_is_told_of(self, ledger, status, kind, told):
        intent = an_intent(type=kind, limit_price=D(100) if kind == "limit" else None)
        decide(ledger, intent)
        ledger.record_orders([an_order(intent, status)], NEXT_EVENING)
        assert bool(ledger.note_unfilled(NEXT_EVENING)) == told

    def test_each_is_told_once_and_stays_an_event(self, ledger):
        decide(ledger, an_intent())
        ledger.record_orders([an_order(an_intent(), "expired", "4")], NEXT_EVENING)
        name = an_intent().client_order_id
        assert ledger.note_unfilled(NEXT_EVENING) == [f"{name}: expired by the broker, 4 shares filled"]
        assert ledger.note_unfilled(NEXT_EVENING) == []
        assert [row["text"] for row in ledger.rows("events") if row["kind"] == "unfilled"] == [
            f"{name}: expired by the broker, 4 shares filled"
        ]

    def test_orders_of_others_and_old_ones_are_not_told(self, ledger):
        decide(ledger, an_intent())
        ledger.record_orders([an_order(an_intent("MSFT"), "rejected"), an_order(an_intent(), "rejected")], NEXT_EVENING)
        assert ledger.note_unfilled(EVENING + timedelta(days=15)) == []
        assert len(ledger.note_unfilled(EVENING + timedelta(days=14))) == 1


class TestFills:
    def test_a_fill_is_booked_once(self, ledger):
        fill = a_fill(an_intent(), "10", "101.5")
        assert book(ledger, [fill]) == 1
        assert book(ledger, [fill, a_fill(an_intent(), "1", number=2)]) == 1
        assert ledger.expected_positions() == {"AAPL": D(11), "TSLA": D(5)}
        assert ledger.expected_cash() == D("100000.50") - 1015 - 100

    def test_a_sale_brings_cash_and_takes_shares(self, ledger):
        book(ledger, [a_fill(an_intent("TSLA", "sell"), "5", "200.25")])
        assert ledger.expected_positions() == {}
        assert ledger.expected_cash() == D("100000.50") + D("1001.25")

    def test_what_came_before_the_opening_is_in_the_holdings_already(self, ledger):
        earlier = a_fill(an_intent(), "10", time=EVENING - timedelta(seconds=1))
        at_once = a_fill(an_intent(), "10", time=EVENING, number=2)
        old = replace(an_activity("SPLIT", qty="7"), time=EVENING)
        assert book(ledger, [earlier, at_once], [old]) == 0
        assert ledger.expected_positions() == {"TSLA": D(5)}

    def test_an_order_is_unbooked_until_all_of_its_fills_are_there(self, ledger):
        decide(ledger, an_intent())
        ledger.record_orders([an_order(an_intent(), "filled", "10")], NEXT_EVENING)
        book(ledger, [a_fill(an_intent(), "4")])
        (order,) = ledger.unbooked()
        assert (order.ticker, order.filled, order.booked) == ("AAPL", D(10), D(4))
        assert ledger.rows("orders")[0]["booked"] == 0
        book(ledger, [a_fill(an_intent(), "6", number=2)])
        assert ledger.unbooked() == []
        assert ledger.rows("orders")[0]["booked"] == 1

    def test_more_booked_than_filled_is_unbooked_too(self, ledger):
        ledger.record_orders([an_order(an_intent(), "filled", "10")], NEXT_EVENING)
        book(ledger, [a_fill(an_intent(), "11")])
        assert [(order.filled, order.booked) for order in ledger.unbooked()] == [(D(10), D(11))]

    def test_an_open_order_is_looked_at_again_although_its_fills_are_booked(self, ledger):
        ledger.record_orders([an_order(an_intent(), "partially_filled", "4")], NEXT_EVENING)
        book(ledger, [a_fill(an_intent(), "4")])
        assert ledger.unbooked() == []
        assert ledger.rows("orders")[0]["booked"] == 0

    def test_orders_from_before_the_opening_are_not_looked_at(self, ledger):
        old = an_order(an_intent(), "filled", "10", submitted_at=EVENING - timedelta(days=3))
        ledger.record_orders([old], EVENING)
        assert ledger.unbooked() == []


class TestActivities:
    def test_a_dividend_is_cash_and_no_shares(self, ledger):
        assert book(ledger, others=[an_activity("DIV", cash="19.20")]) == 1
        assert ledger.expected_cash() == D("100019.70")
        assert ledger.expected_positions() == {"TSLA": D(5)}
        assert ledger.unsettled("AAPL") == []

    def test_a_split_moves_no_shares_before_it_is_settled(self, ledger):
        book(ledger, others=[an_activity("SPLIT", "TSLA", "10")])
        assert ledger.expected_positions() == {"TSLA": D(5)}
        (entry,) = ledger.unsettled("TSLA")
        ledger.settle(entry["id"], D(10), NEXT_EVENING)
        assert ledger.expected_positions() == {"TSLA": D(15)}
        assert ledger.unsettled("TSLA") == []
        assert ledger.rows("events")[-1]["text"] == "10 shares by SPLIT"

    def test_unsettled_entries_come_oldest_first(self, ledger):
        later = an_activity("SPLIT", "TSLA", "10", day=NEXT_SESSION)
        book(ledger, others=[later, an_activity("REORG", "TSLA", "1"), an_activity("SPLIT", "AAPL", "3")])
        assert [row["kind"] for row in ledger.unsettled("TSLA")] == ["REORG", "SPLIT"]

    def test_entries_of_tickers_that_agree_are_settled_without_moving_shares(self, ledger):
        book(ledger, others=[an_activity("SPLIT", "TSLA", "10"), an_activity("SPLIT", "AAPL", "3")])
        ledger.settle_rest(["AAPL"])
        assert ledger.unsettled("TSLA") == []
        assert len(ledger.unsettled("AAPL")) == 1
        assert ledger.expected_positions() == {"TSLA": D(5)}
        ledger.settle_rest([])
        assert ledger.unsettled("AAPL") == []

    def test_positions_of_the_day_before(self, ledger):
        book(ledger, [a_fill(an_intent(), "10")], [an_activity("SPLIT", "TSLA", "10", day=NEXT_SESSION)])
        ledger.settle(ledger.unsettled("TSLA")[0]["id"], D(10), NEXT_EVENING)
        assert ledger.expected_positions(SESSION) == {"TSLA": D(5)}
        assert ledger.expected_positions(NEXT_SESSION) == {"AAPL": D(10), "TSLA": D(5)}
        assert ledger.expected_positions() == {"AAPL": D(10), "TSLA": D(15)}


class TestAccept:
    def test_the_broker_s_quantity_is_what_is_held_then(self, ledger):
        ledger.accept_position("TSLA", D("2.5"), NEXT_EVENING)
        ledger.accept_position("NVDA", D(7), NEXT_EVENING)
        assert ledger.expected_positions() == {"NVDA": D(7), "TSLA": D("2.5")}
        assert ledger.expected_cash() == D("100000.50")
        assert [row["text"] for row in ledger.rows("events") if row["kind"] == "accepted"] == [
            "-2.5 shares that no fill explains",
            "7 shares that no fill explains",
        ]

    def test_none_held_lifts_the_position(self, ledger):
        ledger.accept_position("TSLA", D(0), NEXT_EVENING)
        assert ledger.expected_positions() == {}
        (row,) = ledger.rows("activities")
        assert (row["kind"], row["moved"], row["settled"], row["day"]) == ("accepted by hand", "-5", 1, "2024-01-03")

    def test_a_ledger_without_an_account_accepts_nothing(self):
        with open_ledger(IN_MEMORY, "red") as empty, pytest.raises(ConfigError, match="no account yet"):
            empty.accept_position("TSLA", D(1), EVENING)


class TestBlocks:
    def test_new_blocks_are_returned_and_the_old_keep_their_time(self, ledger):
        assert ledger.set_blocks({"AAPL": "why"}, EVENING) == ["AAPL"]
        assert ledger.set_blocks({"AAPL": "why", "MSFT": "other"}, NEXT_EVENING) == ["MSFT"]
        rows = {row["ticker"]: row for row in ledger.rows("blocks")}
        assert rows["AAPL"]["since"] == EVENING.isoformat()
        assert rows["MSFT"]["since"] == NEXT_EVENING.isoformat()

    def test_a_new_reason_is_no_new_block(self, ledger):
        ledger.set_blocks({"AAPL": "why"}, EVENING)
        assert ledger.set_blocks({"AAPL": "another"}, NEXT_EVENING) == []
        assert ledger.rows("blocks")[0]["reason"] == "another"

    def test_blocks_come_and_go_as_events(self, ledger):
        ledger.set_blocks({"AAPL": "why"}, EVENING)
        ledger.set_blocks({"AAPL": "why"}, EVENING)
        assert ledger.set_blocks({}, NEXT_EVENING) == []
        kinds = [(row["kind"], row["ticker"], row["text"]) for row in ledger.rows("events")[1:]]
        assert kinds == [("blocked", "AAPL", "why"), ("unblocked", "AAPL", "why")]
        assert ledger.rows("blocks") == []


class TestEquity:
    def test_a_later_look_at_a_session_replaces_the_earlier(self, ledger):
        ledger.record_equity(NEXT_SESSION, an_account("101"), NEXT_EVENING)
        ledger.record_equity(SESSION, an_account("99"), EVENING)
        ledger.record_equity(SESSION, an_account("100.50", cash="7"), EVENING)
        assert ledger.equity_curve() == [(SESSION, D("100.5")), (NEXT_SESSION, D(101))]
        assert ledger.rows("equity")[0]["cash"] == "7"

    def test_the_peak_counts_from_the_last_halt_by_a_limit(self, ledger):
        ledger.record_equity(SESSION, an_account("200"), EVENING)
        assert ledger.peak() == 200
        ledger.event(EVENING + timedelta(hours=1), "halted", None, "max_drawdown")
        assert ledger.peak() == 0
        ledger.record_equity(NEXT_SESSION, an_account("150"), NEXT_EVENING)
        assert ledger.peak() == 150
        ledger.event(NEXT_EVENING + timedelta(hours=1), "stopped", None, "by hand")
        assert ledger.peak() == 150


class TestEvents:
    def test_the_newest_event_of_some_kinds(self, ledger):
        for kind in ("halted", "resumed", "refused"):
            ledger.event(EVENING, kind, "AAPL", f"{kind} words")
        newest = ledger.last_event("halted", "stopped", "resumed")
        assert newest is not None
        assert (newest["kind"], newest["ticker"], newest["text"]) == ("resumed", "AAPL", "resumed words")
        assert ledger.last_event("nothing") is None

    def test_some_are_told_once(self, ledger):
        assert ledger.tell_once(EVENING, "undecided", "words")
        assert not ledger.tell_once(NEXT_EVENING, "undecided", "words")
        assert ledger.tell_once(NEXT_EVENING, "undecided", "other words")
        assert ledger.tell_once(NEXT_EVENING, "no forecast", "words")
        assert len(ledger.rows("events")) == 4


class TestHorizon:
    def test_a_new_ledger_looks_back_as_long_as_an_order_may_be_open(self, ledger):
        assert ledger.query_from() == EVENING - FIRST_LOOKBACK - OVERLAP

    def test_else_it_looks_back_a_day_before_the_last_reconciliation(self, ledger):
        ledger.set_meta("reconciled_at", NEXT_EVENING.isoformat())
        assert ledger.query_from() == NEXT_EVENING - OVERLAP

    @pytest.mark.parametrize("status", ["accepted", "filled"])
    def test_an_order_that_is_open_or_not_booked_holds_it_back(self, ledger, status):
        ledger.set_meta("reconciled_at", (NEXT_EVENING + timedelta(days=9)).isoformat())
        ledger.record_orders([an_order(an_intent(), status, "10" if status == "filled" else "0")], EVENING)
        assert ledger.query_from() == EVENING - OVERLAP

    def test_so_does_an_intent_of_unknown_fate(self, ledger):
        ledger.set_meta("reconciled_at", (NEXT_EVENING + timedelta(days=9)).isoformat())
        ledger.write_intents([an_intent()], NEXT_EVENING)
        assert ledger.query_from() == NEXT_EVENING - OVERLAP
        ledger.set_state(an_intent().client_order_id, "void", NEXT_EVENING)
        assert ledger.query_from() == NEXT_EVENING + timedelta(days=9) - OVERLAP


class TestCopy:
    def test_what_is_written_to_the_copy_does_not_reach_the_ledger(self, ledger):
        decide(ledger, an_intent())
        copy = ledger.copy()
        try:
            assert copy.unresolved() == ledger.unresolved()
            copy.set_state(an_intent().client_order_id, "void", EVENING)
            copy.event(EVENING, "halted", None, "words")
            assert copy.unresolved() == []
        finally:
            copy.close()
        assert len(ledger.unresolved()) == 1
        assert ledger.last_event("halted") is None


@given(st.decimals(min_value=-(10**12), max_value=10**12, allow_nan=False, places=9))
def test_a_decimal_comes_back_equal_and_equal_decimals_are_equal_texts(value: Decimal):
    stored = text(value)
    assert stored is not None
    assert decimal(stored) == value
    assert "E" not in stored
    assert text(value * D("1.000")) == stored


@pytest.mark.parametrize(
    ("value", "stored"), [(D("0.00"), "0"), (D("-0"), "0"), (D("1E+3"), "1000"), (D("1.50"), "1.5")]
)
def test_how_decimals_are_stored(value: Decimal, stored: str):
    assert text(value) == stored
    assert text(None) is decimal(None) is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["AAPL", "MSFT"]),
            st.sampled_from(["buy", "sell"]),
            st.decimals(min_value=D("0.0001"), max_value=1000, places=4),
            st.decimals(min_value=D("0.01"), max_value=1000, places=2),
        ),
        max_size=12,
    )
)
def test_positions_and_cash_are_the_exact_sums_of_the_fills(trades):
    with open_ledger(IN_MEMORY, "red") as ledger:
        ledger.open_account("account", D(1000), {}, (), EVENING)
        fills = [
            a_fill(an_intent(ticker, side), str(qty), str(price), number)
            for number, (ticker, side, qty, price) in enumerate(trades)
        ]
        assert book(ledger, fills) == len(fills)
        signs = {"buy": 1, "sell": -1}
        shares = {t: sum((signs[s] * q for name, s, q, _ in trades if name == t), D(0)) for t in ("AAPL", "MSFT")}
        assert ledger.expected_positions() == {ticker: qty for ticker, qty in shares.items() if qty}
        assert ledger.expected_cash() == 1000 - sum((signs[s] * q * p for _, s, q, p in trades), D(0))
