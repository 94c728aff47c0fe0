"""Sending: what each failure becomes, and when sending ends early."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from mlops_cli.errors import ServiceError
from mlops_cli.trading.contract.broker import BrokerUnreachable, KeysRefused, OrderRefused, OutcomeUnknown
from mlops_cli.trading.contract.types import Rules
from mlops_cli.trading.ledger.ledger import Ledger
from mlops_cli.trading.ledger.opening import IN_MEMORY, open_ledger
from mlops_cli.trading.passes.halt import HaltFiles
from mlops_cli.trading.passes.order_window import Margins, ask_window
from mlops_cli.trading.passes.paper_pass import send
from mlops_cli.trading.passes.pass_report import PassContext, PassReport, PassSettings
from tests.fakes.ledgers import EVENING, SESSION, an_intent
from tests.fakes.scripted_broker import ScriptedBroker

TICKERS = ("AAPL", "MSFT", "NVDA")
NAMES = {ticker: an_intent(ticker).client_order_id for ticker in TICKERS}


@pytest.fixture
def broker() -> ScriptedBroker:
    return ScriptedBroker()


@pytest.fixture
def halts(tmp_path) -> HaltFiles:
    return HaltFiles(tmp_path, "red")


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    with open_ledger(IN_MEMORY, "red") as made:
        made.write_intents([an_intent(ticker) for ticker in TICKERS], EVENING)
        yield made


def sent(broker: ScriptedBroker, ledger: Ledger, halts: HaltFiles | None = None) -> PassReport:
    """Send all three; the report is that of a pass that began in the evening."""
    window = ask_window(broker, EVENING, Margins())
    assert window.target == SESSION
    report = PassReport("red")
    clock = ScriptedBroker().clock()
    send(PassContext(broker, ledger, Rules(), PassSettings(halts=halts), clock, window, report), ledger.unresolved())
    return report


def states(ledger: Ledger) -> dict[str, str]:
    return {row["ticker"]: row["state"] for row in ledger.rows("intents")}


def test_all_are_sent_in_their_order(broker, ledger):
    report = sent(broker, ledger)
    assert [intent.ticker for intent in broker.submitted] == list(TICKERS)
    assert report.sent == list(NAMES.values())
    assert (report.outcome, report.clean, report.alerts) == ("done", True, [])
    assert report.text == "3 orders sent for 2024-01-03"
    assert set(states(ledger).values()) == {"sent"}
    assert len(ledger.rows("orders")) == 3


def test_nothing_to_send_is_said(broker, ledger):
    for name in NAMES.values():
        ledger.set_state(name, "void", EVENING)
    report = sent(broker, ledger)
    assert (report.text, broker.submitted) == ("0 orders sent for 2024-01-03", [])


def test_a_refused_order_does_not_stop_the_others(broker, ledger):
    broker.failures["MSFT"] = OrderRefused("MSFT: insufficient buying power")
    report = sent(broker, ledger)
    assert states(ledger) == {"AAPL": "sent", "MSFT": "refused", "NVDA": "sent"}
    assert report.refused == {NAMES["MSFT"]: "MSFT: insufficient buying power"}
    assert report.alerts == [f"refused: {NAMES['MSFT']}: MSFT: insufficient buying power"]
    assert report.text == "2 orders sent for 2024-01-03, 1 refused"
    assert not report.clean
    event = ledger.last_event("refused")
    assert event is not None
    assert (event["ticker"], event["text"]) == ("MSFT", "MSFT: insufficient buying power")


def test_an_unknown_order_does_not_stop_the_others(broker, ledger):
    broker.failures["AAPL"] = OutcomeUnknown("AAPL: timeout")
    report = sent(broker, ledger)
    assert states(ledger) == {"AAPL": "unknown", "MSFT": "sent", "NVDA": "sent"}
    assert report.unknown == {NAMES["AAPL"]: "AAPL: timeout"}
    assert report.alerts == [f"unknown: {NAMES['AAPL']}: AAPL: timeout"]
    assert not report.clean


def test_an_unknown_order_that_turns_up_was_sent(broker, ledger):
    broker.failures["AAPL"] = OutcomeUnknown("AAPL: timeout")
    broker.taken_all_the_same.add("AAPL")
    report = sent(broker, ledger)
    assert states(ledger)["AAPL"] == "sent"
    assert (report.unknown, report.alerts, report.clean) == ({}, [], True)
    assert sorted(report.sent) == sorted(NAMES.values())


@pytest.mark.parametrize(
    "failure", [BrokerUnreachable("gone"), KeysRefused("no such keys"), ServiceError("something else")]
)
def test_a_broker_that_is_gone_ends_the_sending(broker, ledger, failure):
    broker.failures["MSFT"] = failure
    report = sent(broker, ledger)
    assert [intent.ticker for intent in broker.submitted] == ["AAPL", "MSFT"]
    assert states(ledger) == {"AAPL": "sent", "MSFT": "unknown", "NVDA": "written"}
    assert (report.outcome, report.text) == ("stopped", f"sending stopped: {failure}")
    assert report.alerts[0] == f"sending stopped: {failure}"
    assert NAMES["MSFT"] in report.unknown
    assert not report.clean


def test_a_broker_that_is_gone_after_the_orders_leaves_them_sent(broker, ledger):
    broker._asked_for_orders = 1
    broker.silent = BrokerUnreachable("gone")
    report = sent(broker, ledger)
    assert set(states(ledger).values()) == {"sent"}
    assert (report.outcome, report.text) == ("stopped", "after the orders: gone")


def test_a_halt_between_two_orders_holds_the_rest_back(broker, ledger, halts):
    class Halting(ScriptedBroker):
        def submit(self, intent):
            halts.halt("looking first")
            return super().submit(intent)

    broker = Halting()
    report = sent(broker, ledger, halts)
    assert [intent.ticker for intent in broker.submitted] == ["AAPL"]
    assert report.outcome == "halted"
    assert report.text.startswith("halted: looking first")
    assert states(ledger) == {"AAPL": "sent", "MSFT": "written", "NVDA": "written"}


@pytest.mark.parametrize(
    ("now", "may"),
    [
        (datetime.fromisoformat("2024-01-03T14:14:59+00:00"), True),
        (datetime.fromisoformat("2024-01-03T14:15:00+00:00"), False),
        (datetime.fromisoformat("2024-01-02T21:20:00+00:00"), True),
        (datetime.fromisoformat("2024-01-02T21:19:59+00:00"), False),
    ],
)
def test_the_time_is_asked_again_before_sending(broker, ledger, now, may):
    broker.now = now
    report = sent(broker, ledger)
    assert bool(broker.submitted) == may
    if not may:
        assert (report.outcome, report.text) == ("waiting", "it became too late to send for 2024-01-03")
        assert set(states(ledger).values()) == {"written"}


def test_a_slow_broker_s_own_time_ends_the_sending(broker, ledger):
    class Slow(ScriptedBroker):
        def submit(self, intent):
            self.now += timedelta(hours=9)
            return super().submit(intent)

    broker = Slow()
    report = sent(broker, ledger)
    assert [intent.ticker for intent in broker.submitted] == ["AAPL", "MSFT"]  # 6:30, then 15:30 UTC
    assert report.outcome == "waiting"
