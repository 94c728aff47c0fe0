"""A hostile or broken broker: every odd answer ends in a documented error, in bounded time and memory."""

from __future__ import annotations

import json
import time
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from mlops_cli.errors import BrokerError, ServiceError
from mlops_cli.trading.alpaca.alpaca_answers import fill_of, number_of, order_of, word_of
from mlops_cli.trading.alpaca.alpaca_broker import AlpacaBroker
from mlops_cli.trading.alpaca.alpaca_client import AlpacaAccess, Patience
from mlops_cli.trading.contract.broker import BrokerUnreachable, OutcomeUnknown
from tests.fakes.ledgers import an_intent
from tests.fakes.odd_servers import SLOW, OddServer, odd_server

QUICK = Patience((0.5, 0.5), 2, 0.001, deadline=0.3)


def broker_at(server: OddServer, patience: Patience = QUICK) -> AlpacaBroker:
    return AlpacaBroker(AlpacaAccess("key", "secret", server.url), patience)


@pytest.mark.parametrize("kind", SLOW)
def test_one_deadline_for_a_request_to_the_trading_api(kind):
    with odd_server(kind) as server:
        start = time.monotonic()
        with pytest.raises(BrokerUnreachable, match="no whole answer"):
            broker_at(server).account()
        assert time.monotonic() - start < 2, "and it is not tried again"
        assert len(server.asked) == 1


def test_one_deadline_for_a_request_to_the_data_api():
    with odd_server("drip-body") as server:
        with pytest.raises(BrokerUnreachable, match="no whole answer"):
            broker_at(server).quotes(["AAPL"])
        with pytest.raises(BrokerUnreachable, match="no whole answer"):
            broker_at(server).bars(["AAPL"], date(2024, 1, 2))


def test_an_order_that_takes_too_long_is_asked_for_by_name_and_never_sent_again():
    with odd_server("drip-body") as server:
        with pytest.raises((BrokerUnreachable, OutcomeUnknown)):
            broker_at(server).submit(an_intent())
        assert [line.split("?")[0] for line in server.asked] == ["POST /v2/orders", "GET /v2/orders:by_client_order_id"]


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        ("deep", 7, "nested too deeply"),
        ("deep-refusal", 7, "nested too deeply"),
        ("flood-redirect", 7, "more than 50 MB"),
        ("long-number", 8, "does not answer"),
        ("html", 8, "does not answer"),
        ("empty", 8, "empty answer"),
    ],
)
def test_answers_that_are_none_have_documented_exit_codes(kind, code, words):
    with odd_server(kind) as server:
        broker = broker_at(server, Patience((0.5, 0.5), 2, 0.001, deadline=20))
        asks = (broker.account, broker.positions, lambda: broker.bars(["AAPL", "IBM"], date(2024, 1, 2)))
        for ask in asks[: 1 if kind in ("deep-refusal", "empty") else 3]:
            with pytest.raises((BrokerError, ServiceError)) as raised:
                ask()
            assert (raised.value.exit_code, words in raised.value.message) == (code, True), raised.value


def test_an_answer_of_gigabytes_is_not_read(monkeypatch):
    monkeypatch.setattr("mlops_cli.trading.alpaca.alpaca_client.LARGEST_ANSWER", 10**6)
    with odd_server("flood") as server:
        patience = Patience((5, 5), 3, 0.001)
        with pytest.raises(BrokerError, match="an answer of more than 1 MB"):
            broker_at(server, patience).orders_since(datetime(2024, 1, 2, tzinfo=UTC))
        assert len(server.asked) == 1
        with pytest.raises(OutcomeUnknown, match="an answer of more than 1 MB"):
            broker_at(server, patience).submit(an_intent())


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-inf", "1e999", "1e-999", float("inf"), True, "x", [], {}, None])
def test_what_is_no_amount_is_refused(value):
    with pytest.raises((ValueError, ArithmeticError, TypeError)):
        number_of(value)


@pytest.mark.parametrize(("value", "number"), [("1.50", "1.50"), (0, "0"), ("-3e2", "-300"), (0.1, "0.1")])
def test_amounts_are_exact(value, number):
    assert number_of(value) == Decimal(number)


RAW = {"id": "1", "client_order_id": "2", "symbol": "AAPL", "side": "buy", "type": "market", "time_in_force": "day",
       "status": "new", "qty": "1", "filled_qty": "0", "submitted_at": "2024-01-02T21:30:00Z"}  # fmt: skip


class TestWords:
    @pytest.mark.parametrize("value", [None, 3, {}, [], "x" * 501])
    def test_what_is_no_word_is_refused(self, value):
        with pytest.raises(ValueError, match="no name"):
            word_of(value)

    def test_control_characters_and_halves_of_characters_are_escaped(self):
        order = order_of({**RAW, "status": "\x1b[31mnew", "id": json.loads(r'"\ud800"'), "symbol": "A\u202e"})
        assert (order.status, order.id, order.ticker) == (r"\x1b[31mnew", r"\ud800", r"A\u202e")

    def test_an_order_and_a_fill_may_lack_what_would_say_whose_they_are(self):
        assert order_of({name: value for name, value in RAW.items() if name != "client_order_id"}).client_order_id == ""
        raw = {"id": "1", "symbol": "AAPL", "side": "buy", "qty": "1", "price": "1", "transaction_time": "2024-01-02"}
        assert fill_of(raw).order_id == ""


def test_an_answer_about_another_order_is_not_taken_for_ours():
    class Other(AlpacaBroker):
        def _ask(self, call, *, empty=False):
            return dict(RAW)

        def order_by_client_id(self, client_order_id):
            return None

    with odd_server() as server, pytest.raises(OutcomeUnknown, match="no order"):
        Other(AlpacaAccess("key", "secret", server.url), QUICK).submit(an_intent())
