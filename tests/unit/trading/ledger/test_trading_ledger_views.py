"""What people see of a ledger: intents with their orders, fills with their names, positions with their blocks."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from mlops_cli.trading.contract.broker import Activities
from mlops_cli.trading.ledger.ledger import Ledger
from mlops_cli.trading.ledger.opening import IN_MEMORY, open_ledger
from mlops_cli.trading.ledger.views import COLUMNS, view
from tests.fakes.ledgers import EVENING, NEXT_EVENING, a_decision, a_fill, an_account, an_activity, an_intent, an_order


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    with open_ledger(IN_MEMORY, "red") as made:
        made.open_account("account", Decimal(1000), {"TSLA": Decimal(5)}, (), EVENING)
        made.write_intents([an_intent("AAPL"), an_intent("MSFT")], EVENING)
        yield made


def test_an_order_shows_the_intent_and_what_the_broker_says(ledger):
    ledger.record_orders([an_order(an_intent("AAPL"), "filled", "10")], NEXT_EVENING)
    seen, unseen = view(ledger, "orders")
    assert (seen["ticker"], seen["state"], seen["status"], seen["filled_qty"]) == ("AAPL", "sent", "filled", "10")
    assert (seen["version"], seen["price_seen"], seen["session"]) == ("1a2b3c4d5e6f", "100", "2024-01-03")
    assert (unseen["ticker"], unseen["state"], unseen["status"]) == ("MSFT", "written", None)
    assert unseen["filled_average_price"] is unseen["filled_qty"] is None


def test_orders_of_others_are_not_shown(ledger):
    ledger.record_orders([an_order(an_intent("NVDA"))], NEXT_EVENING)
    assert [row["ticker"] for row in view(ledger, "orders")] == ["AAPL", "MSFT"]


def test_a_fill_shows_the_name_of_its_order(ledger):
    ledger.record_orders([an_order(an_intent("AAPL"), "filled", "10")], NEXT_EVENING)
    fills = (a_fill(an_intent("AAPL"), "10"), a_fill(an_intent("NVDA"), "1"))
    ledger.record_activities(Activities(fills, ()))
    names = {row["ticker"]: row["client_order_id"] for row in view(ledger, "fills")}
    assert names == {"AAPL": an_intent("AAPL").client_order_id, "NVDA": None}


def test_positions_show_what_is_held_and_what_is_blocked(ledger):
    ledger.set_blocks({"XYZ": "position: 0 shares by the ledger, 3 at the broker"}, EVENING)
    assert view(ledger, "positions") == [
        {"ticker": "TSLA", "qty": "5", "blocked": None},
        {"ticker": "XYZ", "qty": "0", "blocked": "position: 0 shares by the ledger, 3 at the broker"},
    ]


def test_a_decision_shows_the_price_s_return_and_the_total(ledger):
    intent = an_intent("AAPL")
    ledger.write_decisions(
        intent.session,
        [a_decision(intent, forecast_bps=-190.0, dividend=2.0, total_bps=12.0, intervals=((80.0, 97.5, 99.5),))],
        EVENING,
    )
    (row,) = view(ledger, "decisions")
    assert (row["forecast_bps"], row["dividend"], row["total_bps"]) == (-190.0, 2.0, 12.0)
    assert row["intervals"] == [[80.0, 97.5, 99.5]]


def test_the_other_views_are_tables(ledger):
    ledger.record_equity(an_intent().session, an_account("1000"), EVENING)
    ledger.record_activities(Activities((), (an_activity("DIV", cash="3"),)))
    for name in ("equity", "decisions", "events", "activities", "holdings"):
        assert view(ledger, name) == ledger.rows(name)


@pytest.mark.parametrize("name", sorted(COLUMNS))
def test_every_view_exists_in_an_empty_ledger(name):
    with open_ledger(IN_MEMORY, "red") as empty:
        assert view(empty, name) == []
