"""Reconciling: what is booked, what is explained, and what blocks a ticker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest

from mlops_cli.errors import ConfigError
from mlops_cli.trading.alpaca.alpaca_answers import activity_of
from mlops_cli.trading.ledger.ledger import FIRST_LOOKBACK, OVERLAP, Ledger
from mlops_cli.trading.ledger.opening import IN_MEMORY, open_ledger
from mlops_cli.trading.passes.reconcile import Reconciled, reconcile
from tests.fakes.ledgers import (
    EVENING,
    NEXT_EVENING,
    NEXT_SESSION,
    OPENING,
    SESSION,
    a_fill,
    a_holding,
    an_account,
    an_activity,
    an_intent,
    an_order,
)
from tests.fakes.scripted_broker import ScriptedBroker

D = Decimal


@pytest.fixture
def broker() -> ScriptedBroker:
    return ScriptedBroker(holdings={"TSLA": a_holding("TSLA", "5")})


@pytest.fixture
def ledger(broker) -> Iterator[Ledger]:
    """Opened on the evening before the session with 5 shares of TSLA, which a person has accepted for the team's."""
    with open_ledger(IN_MEMORY, "red") as made:
        look(broker, made, SESSION)
        made.accept_position("TSLA", D(5), EVENING)
        broker.now = NEXT_EVENING
        yield made


def look(broker: ScriptedBroker, ledger: Ledger, target: date = NEXT_SESSION) -> Reconciled:
    return reconcile(broker, ledger, broker.now, target)


def buy(broker: ScriptedBroker, ledger: Ledger, ticker: str = "AAPL", filled: str = "10") -> None:
    """An order for the session that was sent and filled, as broker and ledger see it."""
    intent = an_intent(ticker)
    ledger.write_intents([intent], EVENING)
    broker.orders.append(an_order(intent, "filled", filled))
    broker.fills.append(a_fill(intent, filled))
    broker.holdings[ticker] = a_holding(ticker, filled)
    broker.state = an_account("100000", cash=str(broker.state.cash - D(filled) * 100))


class TestFirstLook:
    def test_it_opens_the_ledger_with_what_the_account_holds(self, ledger):
        assert ledger.meta("account") == "account-1"
        assert ledger.opened_at() == EVENING
        assert ledger.expected_positions() == {"TSLA": D(5)}

    def test_it_asks_for_orders_that_may_still_be_open(self, ledger, broker):
        assert broker.asked_since == [EVENING - FIRST_LOOKBACK - OVERLAP]

    def test_another_account_s_keys_are_refused(self, ledger, broker):
        broker.name = "account-2"
        with pytest.raises(ConfigError, match="its ledger is of account account-1, the keys are of account account-2"):
            look(broker, ledger)


class TestBooking:
    def test_fills_are_booked_and_agree(self, ledger, broker):
        buy(broker, ledger)
        state = look(broker, ledger)
        assert (state.blocked, state.booked, state.notes, state.unfilled) == ({}, 1, (), ())
        assert ledger.expected_positions() == {"AAPL": D(10), "TSLA": D(5)}
        assert look(broker, ledger).booked == 0

    def test_it_notes_when_it_looked(self, ledger, broker):
        look(broker, ledger)
        assert ledger.meta("reconciled_at") == NEXT_EVENING.isoformat()
        assert ledger.query_from() == NEXT_EVENING - OVERLAP

    def test_a_fill_that_was_told_late_is_found_by_asking_for_everything(self, ledger, broker):
        buy(broker, ledger)
        (late,) = broker.fills
        broker.fills.clear()
        look(broker, ledger)
        broker.orders[0] = an_order(an_intent(), "filled", "0")  # as if none of it had been filled
        look(broker, ledger)
        broker.now = NEXT_EVENING + timedelta(days=9)
        look(broker, ledger)
        broker.orders.clear()
        broker.fills.append(late)
        broker.holdings["AAPL"] = a_holding("AAPL", "10")
        broker.asked_since.clear()
        state = look(broker, ledger, NEXT_SESSION + timedelta(days=9))
        assert broker.asked_since == [NEXT_EVENING + timedelta(days=9) - OVERLAP, EVENING]
        assert (state.booked, "AAPL" in state.blocked) == (1, False)

    @pytest.mark.parametrize(("cash", "noted"), [("100000", False), ("100001", False), ("99998.99", True)])
    def test_cash_that_is_off_by_more_than_a_dollar_is_noted_and_blocks_nothing(self, ledger, broker, cash, noted):
        broker.state = an_account(cash)
        state = look(broker, ledger)
        assert bool(state.notes) == noted
        assert state.blocked == {}
        if noted:
            assert "cash: 100000.00 USD by the ledger" in state.notes[0]

    def test_orders_that_were_rejected_are_told_once(self, ledger, broker):
        ledger.write_intents([an_intent()], EVENING)
        broker.orders.append(an_order(an_intent(), "rejected"))
        assert len(look(broker, ledger).unfilled) == 1
        assert look(broker, ledger).unfilled == ()


class TestIntents:
    def test_one_that_the_broker_has_was_sent(self, ledger, broker):
        ledger.write_intents([an_intent(session=NEXT_SESSION)], NEXT_EVENING)
        broker.orders.append(an_order(an_intent(session=NEXT_SESSION), submitted_at=EVENING - timedelta(days=200)))
        look(broker, ledger)
        assert ledger.unresolved() == []
        assert ledger.rows("intents")[0]["state"] == "sent"

    @pytest.mark.parametrize(("session", "state"), [(SESSION, "void"), (NEXT_SESSION, "written")])
    def test_one_that_it_never_took_is_sent_later_or_void(self, ledger, broker, session, state):
        intent = an_intent(session=session)
        ledger.write_intents([intent], EVENING)
        ledger.set_state(intent.client_order_id, "unknown", EVENING, "timeout")
        look(broker, ledger)
        assert ledger.rows("intents")[0]["state"] == state


class TestBlocks:
    def test_a_position_that_nothing_explains(self, ledger, broker):
        broker.holdings["XYZ"] = a_holding("XYZ", "3")
        state = look(broker, ledger)
        assert state.blocked == {
            "XYZ": "position: 0 shares by the ledger, 3 at the broker; "
            "if that is right: mlops ledger accept XYZ --qty 3 --team red"
        }
        assert state.newly_blocked == ("XYZ",)
        again = look(broker, ledger)
        assert (set(again.blocked), again.newly_blocked) == ({"XYZ"}, ())

    def test_a_position_that_is_gone(self, ledger, broker):
        del broker.holdings["TSLA"]
        assert "5 shares by the ledger, 0 at the broker; if that is right" in look(broker, ledger).blocked["TSLA"]

    def test_a_block_ends_when_a_person_accepts_the_position(self, ledger, broker):
        broker.holdings["XYZ"] = a_holding("XYZ", "3")
        look(broker, ledger)
        ledger.accept_position("XYZ", D(3), NEXT_EVENING)
        assert look(broker, ledger).blocked == {}
        assert [row["kind"] for row in ledger.rows("events")][-1] == "unblocked"

    def test_an_order_whose_fills_are_missing(self, ledger, broker):
        buy(broker, ledger)
        broker.fills.clear()
        state = look(broker, ledger)
        assert "10 shares filled by the broker's word, 0 booked" in state.blocked["AAPL"]

    def test_an_open_order_of_somebody_else(self, ledger, broker):
        broker.orders.append(an_order(an_intent("MSFT")))
        assert "of somebody else is open" in look(broker, ledger).blocked["MSFT"]

    def test_an_order_that_is_open_after_its_session(self, ledger, broker):
        ledger.write_intents([an_intent()], EVENING)
        broker.orders.append(an_order(an_intent(), "partially_filled"))
        assert "is still partially_filled after its session 2024-01-03" in look(broker, ledger).blocked["AAPL"]

    def test_an_open_order_for_the_next_session_blocks_nothing(self, ledger, broker):
        ledger.write_intents([an_intent(session=NEXT_SESSION)], NEXT_EVENING)
        broker.orders.append(an_order(an_intent(session=NEXT_SESSION), submitted_at=NEXT_EVENING))
        assert look(broker, ledger).blocked == {}


class TestSharesOfOthers:
    def trade_by_hand(self, broker, side="buy", qty="3", ticker="AAPL", name="by-hand"):
        by_hand = an_intent(ticker, side, qty, client_order_id=name)
        broker.orders.append(an_order(by_hand, "filled", qty, submitted_at=OPENING))
        broker.fills.append(a_fill(by_hand, qty))
        shares = (broker.holdings[ticker].qty if ticker in broker.holdings else D(0)) + (
            D(qty) if side == "buy" else -D(qty)
        )
        broker.holdings[ticker] = a_holding(ticker, str(shares))

    def test_shares_bought_by_hand_block_until_they_are_accepted(self, ledger, broker):
        buy(broker, ledger)
        look(broker, ledger)
        self.trade_by_hand(broker)
        state = look(broker, ledger)
        assert state.blocked == {
            "AAPL": "3 shares bought by order by-hand, which is not the team's; "
            "if that is right: mlops ledger accept AAPL --qty 13 --team red"
        }
        assert (state.newly_blocked, state.own["AAPL"], state.holdings["AAPL"].qty) == (("AAPL",), D(10), D(13))
        again = look(broker, ledger)
        assert (list(again.blocked), again.newly_blocked) == (["AAPL"], ())
        assert [row["ticker"] for row in ledger.rows("events") if row["kind"] == "unexplained"] == ["TSLA", "AAPL"]
        ledger.accept_position("AAPL", D(13), NEXT_EVENING)
        state = look(broker, ledger)
        assert (state.blocked, state.own["AAPL"]) == ({}, D(13))

    def test_what_was_bought_and_sold_again_between_two_passes_blocks_too(self, ledger, broker):
        self.trade_by_hand(broker, name="in")
        self.trade_by_hand(broker, "sell", name="out")
        state = look(broker, ledger)
        assert "bought by order in, which is not the team's; 3 shares sold by order out" in state.blocked["AAPL"]
        assert state.blocked["AAPL"].count("mlops ledger accept") == 1

    def test_shares_sold_by_hand(self, ledger, broker):
        self.trade_by_hand(broker, "sell", "2", "TSLA")
        state = look(broker, ledger)
        assert "2 shares sold by order by-hand" in state.blocked["TSLA"]
        assert state.own["TSLA"] == D(5)

    def test_a_fill_without_its_order_and_an_order_without_its_fill(self, ledger, broker):
        self.trade_by_hand(broker)
        self.trade_by_hand(broker, ticker="MSFT", name="other")
        broker.orders = [order for order in broker.orders if order.ticker == "MSFT"]
        broker.fills = [fill for fill in broker.fills if fill.ticker == "AAPL"]
        assert sorted(look(broker, ledger).blocked) == ["AAPL", "MSFT"]
        ledger.accept_position("AAPL", D(3), NEXT_EVENING)
        ledger.accept_position("MSFT", D(3), NEXT_EVENING)
        assert look(broker, ledger).blocked == {}

    @pytest.mark.parametrize("kind", ["ACATS", "JNLS", "FOPT", "XYZ"])
    def test_shares_that_a_person_moved_into_the_account(self, ledger, broker, kind):
        raw = {"activity_type": kind, "id": "1", "date": "2024-01-03", "symbol": "AAPL", "qty": "3", "net_amount": "0"}
        broker.others.append(replace(activity_of(raw), time=NEXT_EVENING))
        broker.holdings["AAPL"] = a_holding("AAPL", "3")
        assert "position: 0 shares by the ledger, 3 at the broker" in look(broker, ledger).blocked["AAPL"]

    def test_what_the_account_held_before_the_team(self, broker):
        with open_ledger(IN_MEMORY, "red") as fresh:
            state = look(broker, fresh, SESSION)
            assert "the account held 5 shares before the team's first pass" in state.blocked["TSLA"]
            assert state.own["TSLA"] == D(0)

    def test_what_orders_of_a_lost_ledger_brought_is_the_team_s(self, broker):
        broker.orders.append(an_order(an_intent("TSLA"), "filled", "5", submitted_at=EVENING - timedelta(days=400)))
        with open_ledger(IN_MEMORY, "red") as fresh:
            assert look(broker, fresh, SESSION).blocked == {}

    def test_more_than_the_orders_of_a_lost_ledger_brought_is_not(self, broker):
        broker.orders.append(an_order(an_intent("TSLA"), "filled", "4", submitted_at=EVENING - timedelta(days=400)))
        with open_ledger(IN_MEMORY, "red") as fresh:
            assert list(look(broker, fresh, SESSION).blocked) == ["TSLA"]

    @pytest.mark.parametrize("told", [True, False])
    def test_a_rename_of_shares_that_nothing_explains_explains_nothing(self, ledger, broker, told):
        """Bought by hand as FB, renamed to META: the broker's record of the rename fits all the same."""
        if told:
            self.trade_by_hand(broker, ticker="FB")
        else:
            broker.holdings["FB"] = a_holding("FB", "3")
        assert list(look(broker, ledger).blocked) == ["FB"]
        broker.holdings["META"] = a_holding("META", "3")
        del broker.holdings["FB"]
        broker.others += [an_activity("NC", "FB", "-3", name="out"), an_activity("NC", "META", "3", name="in")]
        for _ in range(3):
            assert "shares that may not be the team's" in look(broker, ledger).blocked["META"]
        ledger.accept_position("META", D(3), NEXT_EVENING)
        ledger.accept_position("FB", D(0), NEXT_EVENING)
        assert look(broker, ledger).blocked == {}

    def test_a_rename_of_the_team_s_own_shares_goes_on(self, ledger, broker):
        broker.holdings = {"META": a_holding("META", "5")}
        broker.others += [an_activity("NC", "TSLA", "-5", name="out"), an_activity("NC", "META", "5", name="in")]
        state = look(broker, ledger)
        assert (state.blocked, state.own["META"]) == ({}, D(5))


class TestSplits:
    @pytest.mark.parametrize(
        ("kind", "told", "held"),
        [
            ("SPLIT", "15", "20"),  # told: shares that came
            ("SPLIT", "20", "20"),  # told: shares held afterwards
            ("REORG", "-3", "2"),  # a merger that takes shares
            ("MA", "5", "0"),  # told: shares paid out, of a company that is gone
        ],
    )
    def test_an_entry_that_fits_exactly_explains_the_difference(self, ledger, broker, kind, told, held):
        broker.others.append(an_activity(kind, "TSLA", told))
        broker.holdings = {} if held == "0" else {"TSLA": a_holding("TSLA", held)}
        assert look(broker, ledger).blocked == {}
        assert ledger.expected_positions().get("TSLA", D(0)) == D(held)
        assert ledger.unsettled("TSLA") == []

    def test_one_that_does_not_fit_explains_nothing(self, ledger, broker):
        broker.others.append(an_activity("SPLIT", "TSLA", "14"))
        broker.holdings["TSLA"] = a_holding("TSLA", "20")
        assert "TSLA" in look(broker, ledger).blocked
        assert len(ledger.unsettled("TSLA")) == 1, "it may explain a later difference"

    def test_two_entries_are_summed(self, ledger, broker):
        broker.others += [
            an_activity("SPLIT", "TSLA", "5"),
            an_activity("SPLIT", "TSLA", "10", day=SESSION + timedelta(days=1)),
        ]
        broker.holdings["TSLA"] = a_holding("TSLA", "20")
        assert look(broker, ledger).blocked == {}
        assert ledger.expected_positions() == {"TSLA": D(20)}

    def test_a_split_after_a_buy_of_the_same_day(self, ledger, broker):
        buy(broker, ledger, "TSLA", "5")
        broker.others.append(replace(an_activity("SPLIT", "TSLA", "10"), day=NEXT_SESSION))
        broker.holdings["TSLA"] = a_holding("TSLA", "20")
        assert look(broker, ledger).blocked == {}
        assert ledger.expected_positions() == {"TSLA": D(20)}

    def test_entries_of_tickers_that_agree_are_not_kept_open(self, ledger, broker):
        broker.others.append(an_activity("SPLIT", "MSFT", "3"))
        assert look(broker, ledger).blocked == {}
        assert ledger.unsettled("MSFT") == []

    def test_a_dividend_is_cash(self, ledger, broker):
        broker.others.append(an_activity("DIV", "TSLA", cash="12.34"))
        broker.state = an_account("100012.34")
        state = look(broker, ledger)
        assert (state.blocked, state.notes, state.booked) == ({}, (), 1)
