"""Alpaca's JSON and the port's types: exact decimals, UTC, New York's days, and answers that are not Alpaca's."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.errors import BrokerError
from mlops_cli.trading.alpaca.alpaca_answers import (
    MOVES_SHARES,
    activity_of,
    as_alpaca,
    bar_of,
    decimal_of,
    fields_of,
    fill_of,
    holding_of,
    hours_of,
    order_of,
    quote_of,
    said_of,
    time_of,
    why,
)
from tests.fakes.ledgers import an_intent

D = Decimal
ORDER = {
    "id": "o1",
    "client_order_id": "name",
    "symbol": "BRK.B",
    "side": "buy",
    "type": "limit",
    "time_in_force": "day",
    "status": "partially_filled",
    "qty": "10",
    "notional": None,
    "limit_price": "101.5",
    "filled_qty": "4",
    "filled_avg_price": "101.25",
    "submitted_at": "2024-01-02T21:30:00Z",
    "created_at": "2024-01-02T21:29:59Z",
}


class TestOrders:
    def test_an_order(self):
        order = order_of(ORDER)
        assert (order.ticker, order.qty, order.limit_price, order.filled_qty) == ("BRK-B", D(10), D("101.5"), D(4))
        assert (order.filled_average_price, order.submitted_at) == (
            D("101.25"),
            datetime(2024, 1, 2, 21, 30, tzinfo=UTC),
        )
        assert not order.final

    @pytest.mark.parametrize("filled", [None, ""])
    def test_nothing_filled_is_zero(self, filled):
        assert order_of({**ORDER, "filled_qty": filled}).filled_qty == 0

    def test_an_order_that_was_not_submitted_has_its_time_of_creation(self):
        assert order_of({**ORDER, "submitted_at": None}).submitted_at == datetime(2024, 1, 2, 21, 29, 59, tzinfo=UTC)

    def test_the_body_of_an_order(self):
        fields = fields_of(an_intent("BRK-B", type="limit", limit_price=D("101.50"), qty="10"))
        assert fields == {
            "symbol": "BRK.B",
            "side": "buy",
            "type": "limit",
            "time_in_force": "day",
            "client_order_id": an_intent("BRK-B").client_order_id,
            "qty": "10",
            "limit_price": "101.50",
        }

    @given(st.decimals(D("0.000000001"), 10**9, places=9))
    def test_quantities_are_sent_in_plain_digits(self, qty):
        sent = fields_of(an_intent(qty=str(qty)))["qty"]
        assert "E" not in sent
        assert D(sent) == qty


class TestAccount:
    def test_a_position_without_a_price_is_worth_nothing(self):
        held = holding_of({"symbol": "AAPL", "qty": "-3", "avg_entry_price": "100", "market_value": None})
        assert (held.qty, held.market_value, held.last_price, held.average_price) == (D(-3), 0, 0, D(100))

    @pytest.mark.parametrize(("side", "read"), [("buy", "buy"), ("sell", "sell"), ("sell_short", "sell")])
    def test_sides_of_fills(self, side, read):
        raw = {"id": "f", "order_id": "o", "symbol": "AAPL", "side": side, "qty": "1.5", "price": "100.25"}
        fill = fill_of({**raw, "transaction_time": "2024-01-03T14:30:00.5Z"})
        assert (fill.side, fill.qty, fill.price) == (read, D("1.5"), D("100.25"))

    @pytest.mark.parametrize("kind", sorted(MOVES_SHARES))
    def test_activities_that_move_shares(self, kind):
        raw = {"id": "a", "activity_type": kind, "symbol": "AAPL", "qty": "30", "date": "2024-01-03"}
        assert (activity_of(raw).qty, activity_of(raw).cash) == (D(30), 0)

    @pytest.mark.parametrize("kind", ["DIV", "FEE", "INT", "CSD"])
    def test_activities_that_move_cash_alone(self, kind):
        raw = {"id": "a", "activity_type": kind, "qty": "30", "net_amount": "-1.25", "date": "2024-01-03T00:00:00Z"}
        made = activity_of(raw)
        assert (made.qty, made.cash, made.ticker, made.day) == (0, D("-1.25"), "", date(2024, 1, 3))

    def test_the_time_of_an_activity(self):
        raw = {"id": "a", "activity_type": "DIV", "date": "2024-01-03"}
        assert activity_of(raw).time == datetime(2024, 1, 3, tzinfo=UTC)
        late = activity_of({**raw, "created_at": "2024-01-04T05:00:00Z"})
        assert late.time == datetime(2024, 1, 4, 5, tzinfo=UTC)


class TestMarketData:
    @pytest.mark.parametrize(
        ("day", "opens", "closes"),
        [
            ("2024-01-03", "14:30", "21:00"),
            ("2024-07-03", "13:30", "20:00"),
        ],
    )
    def test_hours_are_new_york_s(self, day, opens, closes):
        hours = hours_of({"date": day, "open": "09:30", "close": "16:00"})
        assert (f"{hours.open:%H:%M}", f"{hours.close:%H:%M}") == (opens, closes)
        assert hours.open.tzinfo is UTC

    def test_a_bar_belongs_to_new_york_s_day(self):
        raw = {"t": "2024-01-03T05:00:00Z", "o": 1.1, "h": 1.2, "l": 1.0, "c": 1.15, "v": 100}
        bar = bar_of("BRK.B", raw)
        assert (bar.ticker, bar.session, bar.close, bar.volume) == ("BRK-B", date(2024, 1, 3), D("1.15"), D(100))
        assert bar_of("AAPL", {**raw, "t": "2024-01-03T04:59:59Z"}).session == date(2024, 1, 2)

    @pytest.mark.parametrize(
        ("bid", "ask", "middle"), [(99.5, 100.5, "100"), (0, 100, None), (100, 0, None), (101, 100, None), (5, 5, "5")]
    )
    def test_the_middle_of_a_quote(self, bid, ask, middle):
        quote = quote_of("AAPL", {"bp": bid, "ap": ask, "t": "2024-01-02T21:30:00Z"})
        assert quote.middle == (None if middle is None else D(middle))

    @pytest.mark.parametrize(("value", "read"), [(None, None), ("", None), ("0", D(0)), (0.1, D("0.1"))])
    def test_decimals(self, value, read):
        assert decimal_of(value) == read

    @given(st.datetimes(timezones=st.just(UTC)))
    def test_times_come_back(self, moment):
        assert time_of(moment.isoformat().replace("+00:00", "Z")) == moment


class TestErrors:
    class Broker:
        address = "http://example.org"

        def __init__(self, error: Exception | None) -> None:
            self.error = error

        @as_alpaca
        def ask(self) -> str:
            """Answer, or fail."""
            if self.error is not None:
                raise self.error
            return "answer"

    def test_an_answer_is_passed_on(self):
        assert self.Broker(None).ask() == "answer"

    @pytest.mark.parametrize("error", [KeyError("id"), TypeError(), ValueError(), ArithmeticError(), AttributeError()])
    def test_an_answer_that_cannot_be_read_is_another_server(self, error):
        with pytest.raises(BrokerError, match="answers, but not as Alpaca does") as raised:
            self.Broker(error).ask()
        assert type(error).__name__ in str(raised.value)

    def test_other_errors_stay_what_they_are(self):
        with pytest.raises(OSError, match="disk"):
            self.Broker(OSError("disk")).ask()

    def test_of_long_words_the_system_s_own_are_kept(self):
        text = "HTTPConnectionPool(host='x'): ... [Errno 111] Connection refused'))"
        assert why(requests.ConnectionError(text)) == "ConnectionError: Connection refused"
        assert why(ValueError("no JSON")) == "ValueError: no JSON"

    def test_what_alpaca_said(self):
        class Error:
            status_code = 403

            def __init__(self, code, message):
                self.code, self.message = code, message

        assert said_of(Error("40310000", "insufficient buying power")) == (40310000, "insufficient buying power")
        assert said_of(Error("<html>", "x")) == (0, "HTTP 403")
