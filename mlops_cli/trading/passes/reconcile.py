"""Ledger against broker: book what the ledger does not know yet, and block every ticker where the two do not agree.

Fail closed: what cannot be explained blocks new orders in its ticker until a later look, or a person, explains it. A
broker that does not answer stops the whole pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from mlops_cli.errors import ConfigError
from mlops_cli.trading.contract.broker import Broker
from mlops_cli.trading.contract.types import AccountState, Holding
from mlops_cli.trading.ledger.ledger import Ledger

CASH_TOLERANCE = Decimal(1)
"""Dollars; fees are booked by brokers a day later."""


@dataclass(frozen=True)
class Reconciled:
    """What ledger and broker agree on, and what they do not.

    Attributes:
        account: money.
        holdings: positions by ticker, as the broker has them.
        blocked: by ticker, why nothing may be sent in it.
        newly_blocked: those that were not blocked at the last look.
        booked: how many fills and other movements were new.
        unfilled: orders that the broker had taken, and that came to nothing all the same.
        notes: what else a person should know.
    """

    account: AccountState
    holdings: Mapping[str, Holding]
    blocked: Mapping[str, str]
    newly_blocked: tuple[str, ...]
    booked: int
    unfilled: tuple[str, ...]
    notes: tuple[str, ...]


def reconcile(broker: Broker, ledger: Ledger, now: datetime, target: date) -> Reconciled:
    """Bring the ledger up to the broker's state.

    Args:
        broker: is only asked.
        ledger: is written to.
        now: the broker's time.
        target: the next session to open; intents of earlier sessions that were never taken are void.

    Raises:
        BrokerUnreachable, KeysRefused: the broker cannot be asked.
        ConfigError: the ledger is of another account.
    """
    _check_account(broker, ledger, now)
    since = ledger.horizon()
    ledger.record_orders(broker.orders_since(since), now)
    _resolve(broker, ledger, now, target)
    booked = ledger.record_activities(broker.activities_since(since))
    holdings = broker.positions()
    differences = _differences(ledger, holdings, now)
    if differences:  # perhaps something was told late: all there is
        booked += ledger.record_activities(broker.activities_since(ledger.opened_at()))
        differences = _differences(ledger, holdings, now)
    ledger.settle_rest(sorted(differences))
    blocked = {**differences, **_unclear_orders(ledger, target)}
    account = broker.account()
    newly = ledger.set_blocks(blocked, now)
    unfilled = tuple(ledger.note_unfilled(now))
    ledger.set_meta("reconciled_at", now.isoformat())
    return Reconciled(account, holdings, blocked, tuple(newly), booked, unfilled, _cash_note(ledger, account))


def _check_account(broker: Broker, ledger: Ledger, now: datetime) -> None:
    known = ledger.meta("account")
    account = broker.account_id()
    if known is None:
        held = {ticker: holding.qty for ticker, holding in broker.positions().items()}
        ledger.open_account(account, broker.account().cash, held, now)
    elif known != account:
        raise ConfigError(
            f"team {ledger.meta('team')}: its ledger is of account {known}, the keys are of account {account}",
            "put that account's keys back into .env; to begin anew with another account, move the ledger away",
        )


def _resolve(broker: Broker, ledger: Ledger, now: datetime, target: date) -> None:
    """Ask for each intent of unknown fate by its name; one that was never taken is sent later, or is void."""
    for intent in ledger.unresolved():
        order = broker.order_by_client_id(intent.client_order_id)
        if order is not None:
            ledger.record_orders([order], now)
        elif intent.session < target:
            ledger.set_state(intent.client_order_id, "void", now, "never taken, and its session is over")
        else:
            ledger.set_state(intent.client_order_id, "written", now, "the broker does not have it")


def _differences(ledger: Ledger, holdings: Mapping[str, Holding], now: datetime) -> dict[str, str]:
    expected = ledger.expected_positions()
    found: dict[str, str] = {}
    for ticker in sorted(expected.keys() | holdings.keys()):
        booked = expected.get(ticker, Decimal(0))
        held = holdings[ticker].qty if ticker in holdings else Decimal(0)
        if booked != held and not _explained(ledger, ticker, held - booked, now):
            found[ticker] = f"position: {booked:f} shares by the ledger, {held:f} at the broker"
    for one in ledger.unbooked():
        found[one.ticker] = (
            f"order {one.client_order_id}: {one.filled:f} shares filled by the broker's word, {one.booked:f} booked"
        )
    return found


def _explained(ledger: Ledger, ticker: str, difference: Decimal, now: datetime) -> bool:
    """Whether a split, a merger or a delisting accounts for a difference exactly.

    Brokers do not agree on what the quantity of such an entry is: the shares that came, those held afterwards, or, of
    a company that is gone, those that were paid out. Only an exact fit counts.
    """
    entries = ledger.unsettled(ticker)
    if not entries:
        return False
    last = Decimal(entries[-1]["qty"])
    before = ledger.expected_positions(date.fromisoformat(entries[0]["day"])).get(ticker, Decimal(0))
    came = sum((Decimal(entry["qty"]) for entry in entries), Decimal(0))
    if difference not in (came, last - before, -last):
        return False
    ledger.settle(entries[-1]["id"], difference, now)
    return True


def _unclear_orders(ledger: Ledger, target: date) -> dict[str, str]:
    found = {}
    for row in ledger.open_orders():
        if row["session"] is None:
            found[row["ticker"]] = f"order {row['client_order_id']} of somebody else is open"
        elif date.fromisoformat(row["session"]) < target:
            found[row["ticker"]] = (
                f"order {row['client_order_id']} is still {row['status']} after its session {row['session']}"
            )
    for intent in ledger.unresolved():
        if intent.session < target:
            found[intent.ticker] = f"order {intent.client_order_id}: not known whether it was taken"
    return found


def _cash_note(ledger: Ledger, account: AccountState) -> tuple[str, ...]:
    expected = ledger.expected_cash()
    if abs(expected - account.cash) <= CASH_TOLERANCE:
        return ()
    return (f"cash: {expected:.2f} USD by the ledger, {account.cash:.2f} at the broker (fees, transfers, interest?)",)
