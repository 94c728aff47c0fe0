"""The activities in an account's history: their words, numbers and ids."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.exchange.book.activities import booking, fill_activity, plain, timestamp
from mlops_cli.exchange.book.records import Position
from tests.fakes.small_exchange import BEGAN, new_account, new_order


@pytest.mark.parametrize(
    ("value", "text"),
    [("1.500", "1.5"), ("100", "100"), ("1E+3", "1000"), ("4E-9", "0.000000004"), ("0.00", "0"), ("-2.50", "-2.5")],
)
def test_decimals_are_plain(value: str, text: str) -> None:
    assert plain(Decimal(value)) == text


@given(st.decimals("-1e12", "1e12", places=9))
def test_plain_decimals_are_the_same_number(value: Decimal) -> None:
    text = plain(value)
    assert Decimal(text) == value
    assert "E" not in text.upper()


def test_timestamps_are_in_utc() -> None:
    assert timestamp(datetime(2024, 7, 1, 13, 30, 0, 250_000, tzinfo=UTC)) == "2024-07-01T13:30:00.250000Z"
    assert timestamp(None) is None


def test_a_partial_fill_says_what_is_left() -> None:
    order = new_order(status="partially_filled", filled_qty=Decimal(4), filled_cost=Decimal(400))
    activity = fill_activity(new_account(), order, Decimal("1.50"), Decimal("100.10"), BEGAN)
    assert activity.at == BEGAN
    assert activity.body == {
        "id": activity.id,
        "account_id": "account",
        "activity_type": "FILL",
        "transaction_time": "2024-06-28T13:30:00Z",
        "type": "partial_fill",
        "price": "100.1",
        "qty": "1.5",
        "side": "buy",
        "symbol": "AAA",
        "leaves_qty": "6",
        "order_id": "order",
        "cum_qty": "4",
        "order_status": "partially_filled",
    }


def test_a_complete_fill_leaves_nothing() -> None:
    order = new_order(status="filled", qty=None, notional=Decimal(100), filled_qty=Decimal(1), filled_cost=Decimal(99))
    body = fill_activity(new_account(), order, Decimal(1), Decimal(99), BEGAN).body
    assert (body["type"], body["leaves_qty"]) == ("fill", "0")


def test_a_dividend_has_an_amount_per_share() -> None:
    position = Position("AAA", Decimal(-4), Decimal(100))
    body = booking(new_account(), "DIV", BEGAN, Decimal("-2.00"), position).body
    assert (body["net_amount"], body["qty"], body["per_share_amount"]) == ("-2", "-4", "0.5")


def test_cash_that_is_paid_in_has_no_symbol() -> None:
    body = booking(new_account(), "JNLC", BEGAN, Decimal(500)).body
    assert (body["activity_type"], body["net_amount"], body["status"]) == ("JNLC", "500", "executed")
    assert "symbol" not in body


def test_the_date_of_a_booking_is_new_yorks() -> None:
    late = datetime(2024, 7, 2, 2, tzinfo=UTC)  # the evening before in New York
    assert booking(new_account(), "SPLIT", late, Decimal(0)).body["date"] == "2024-07-01T00:00:00Z"


def test_ids_rise_with_the_time() -> None:
    times = [BEGAN + timedelta(milliseconds=step) for step in (0, 1, 999, 1000, 60_000)]
    ids = [booking(new_account(), "JNLC", at, Decimal(1)).id for at in times]
    assert ids == sorted(ids)
    assert ids[0].startswith("20240628133000000::")
    assert len({booking(new_account(), "JNLC", BEGAN, Decimal(1)).id for _ in range(20)}) == 20
