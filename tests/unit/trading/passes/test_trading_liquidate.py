"""Liquidation: what is cancelled, what is closed, under which names, and what a second run does."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from mlops_cli.trading.contract.broker import BrokerUnreachable, OrderRefused, OutcomeUnknown
from mlops_cli.trading.ledger.ledger import Ledger
from mlops_cli.trading.ledger.opening import IN_MEMORY, open_ledger
from mlops_cli.trading.passes.liquidate import LIQUIDATION, liquidate, tickers_in_liquidation
from mlops_cli.trading.passes.reconcile import reconcile
from tests.fakes.ledgers import EVENING, SESSION, a_fill, a_holding, an_intent, an_order
from tests.fakes.scripted_broker import ScriptedBroker

D = Decimal


@pytest.fixture
def broker() -> ScriptedBroker:
    return ScriptedBroker(holdings={"AAPL": a_holding("AAPL", "10"), "TSLA": a_holding("TSLA", "-3", "200")})


@pytest.fixture
def ledger(broker) -> Iterator[Ledger]:
    """Opened with the positions, which a person has accepted for the team's."""
    with open_ledger(IN_MEMORY, "red") as made:
        reconcile(broker, made, EVENING, SESSION)
        for ticker, held in broker.holdings.items():
            made.accept_position(ticker, held.qty, EVENING)
        yield made


def states(ledger: Ledger) -> dict[str, str]:
    return {row["ticker"]: row["state"] for row in ledger.rows("intents") if row["model"] == LIQUIDATION}


def test_long_positions_are_sold_and_short_ones_bought_back(broker, ledger):
    done = liquidate(broker, ledger)
    orders = {intent.ticker: (intent.side, intent.qty, intent.type, intent.model) for intent in broker.submitted}
    assert orders == {"AAPL": ("sell", D(10), "market", LIQUIDATION), "TSLA": ("buy", D(3), "market", LIQUIDATION)}
    assert (len(done.sent), done.failed, done.cancelled) == (2, {}, 0)
    assert states(ledger) == {"AAPL": "sent", "TSLA": "sent"}
    assert tickers_in_liquidation(ledger) == {"AAPL", "TSLA"}
    assert ledger.last_event("liquidation")["text"] == "2 positions"


def test_a_second_run_closes_nothing_twice(broker, ledger):
    liquidate(broker, ledger)
    done = liquidate(broker, ledger)
    assert (done.sent, done.failed, done.cancelled) == ([], {}, 0)
    assert len(broker.submitted) == 2


def test_nothing_held_is_nothing_to_do(broker, ledger):
    broker.holdings.clear()
    assert liquidate(broker, ledger).sent == []
    assert broker.submitted == []


def test_open_orders_are_cancelled_but_not_those_of_the_liquidation(broker, ledger):
    ledger.write_intents([an_intent("MSFT")], EVENING)
    broker.orders += [an_order(an_intent("MSFT")), an_order(an_intent("NVDA"), "filled", "0")]
    done = liquidate(broker, ledger)
    assert broker.cancelled == [f"id-{an_intent('MSFT').client_order_id}"]
    assert done.cancelled == 1
    broker.orders[0] = an_order(an_intent("MSFT"), "canceled")
    assert liquidate(broker, ledger).cancelled == 0


def test_what_was_decided_and_not_sent_is_void(broker, ledger):
    ledger.write_intents([an_intent("MSFT")], EVENING)
    liquidate(broker, ledger)
    (row,) = [row for row in ledger.rows("intents") if row["ticker"] == "MSFT"]
    assert (row["state"], row["note"]) == ("void", "never taken, and liquidated since")


@pytest.mark.parametrize(
    ("failure", "state"),
    [(OrderRefused("no"), "refused"), (OutcomeUnknown("?"), "unknown"), (BrokerUnreachable("gone"), "unknown")],
)
def test_a_failure_in_one_position_does_not_keep_the_others(broker, ledger, failure, state):
    broker.failures["AAPL"] = failure
    done = liquidate(broker, ledger)
    assert states(ledger) == {"AAPL": state, "TSLA": "sent"}
    assert list(done.failed.values()) == [str(failure)]
    assert len(done.sent) == 1


def test_an_unknown_order_is_asked_for_before_another_is_sent(broker, ledger):
    broker.failures["AAPL"] = OutcomeUnknown("?")
    broker.taken_all_the_same.add("AAPL")
    liquidate(broker, ledger)
    broker.failures.clear()
    assert liquidate(broker, ledger).sent == []
    assert [intent.ticker for intent in broker.submitted] == ["AAPL", "TSLA"]


def test_an_unknown_order_that_was_not_taken_is_sent_under_the_same_name(broker, ledger):
    broker.failures["AAPL"] = OutcomeUnknown("?")
    liquidate(broker, ledger)
    broker.failures.clear()
    assert len(liquidate(broker, ledger).sent) == 1
    first, _, second = broker.submitted
    assert first == second


def test_a_closing_order_that_expired_is_followed_by_one_of_another_name(broker, ledger):
    liquidate(broker, ledger)
    first = next(intent for intent in broker.submitted if intent.ticker == "AAPL")
    broker.orders = [an_order(intent, "expired") for intent in broker.submitted]
    done = liquidate(broker, ledger)
    second = broker.submitted[2]
    assert (second.ticker, second.qty) == ("AAPL", D(10))
    assert second.client_order_id == f"{first.client_order_id}-1"
    assert len(done.sent) == 2
    assert len(done.unfilled) == 2


def test_what_a_first_order_left_over_is_closed_by_another(broker, ledger):
    liquidate(broker, ledger)
    names = {intent.client_order_id for intent in broker.submitted}
    broker.orders = [an_order(intent, "canceled") for intent in broker.submitted]
    broker.holdings = {"AAPL": a_holding("AAPL", "4")}
    liquidate(broker, ledger)
    last = broker.submitted[-1]
    assert (last.ticker, last.qty) == ("AAPL", D(4))
    assert last.client_order_id not in names


def test_shares_of_others_stay(broker, ledger):
    """10 of AAPL are the team's: 3 bought by hand stay, and of 4 sold by hand no more is sold than there is."""
    by_hand = an_intent("AAPL", qty="3", client_order_id="by-hand")
    broker.orders.append(an_order(by_hand, "filled", "3"))
    broker.fills.append(a_fill(by_hand, "3"))
    broker.holdings = {
        "AAPL": a_holding("AAPL", "13"),
        "TSLA": a_holding("TSLA", "-2"),
        "NVDA": a_holding("NVDA", "7"),
    }
    done = liquidate(broker, ledger)
    orders = {intent.ticker: (intent.side, intent.qty) for intent in broker.submitted}
    assert orders == {"AAPL": ("sell", D(10)), "TSLA": ("buy", D(2))}
    assert done.left == {"AAPL": D(3), "NVDA": D(7)}


def test_names_fit_into_what_alpaca_takes(broker, ledger):
    broker.holdings = {"BRK-B": a_holding("BRK-B", "0.123456789")}
    ledger.accept_position("BRK-B", D("0.123456789"), EVENING)
    liquidate(broker, ledger)
    (intent,) = broker.submitted
    assert len(intent.client_order_id) <= 48
    assert intent.qty == D("0.123456789")
