"""Reconcile the ledger with the broker: book what is new, and block every ticker where the two do not agree.

Fails closed: a difference that cannot be explained blocks new orders in its ticker until a later pass, or a person,
explains it. So does every share that no order of the team explains, even where ledger and broker agree on it. A broker
that does not answer stops the whole pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

from mlops_cli.errors import ConfigError
from mlops_cli.trading.contract.broker import Broker
from mlops_cli.trading.contract.types import AccountState, Holding
from mlops_cli.trading.ledger.ledger import Ledger
from mlops_cli.trading.ledger.unexplained import MOVED, filled_by_team

CASH_TOLERANCE = Decimal(1)
"""Dollars of cash that may differ without a note: brokers book fees a day later."""
POSITION = "position:"
LONG_AGO = datetime(1971, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Reconciled:
    """The broker's account after reconciling, and where ledger and broker do not agree.

    Attributes:
        holdings: positions by ticker, as the broker has them.
        own: shares by ticker that the team's orders, splits and accepted positions explain.
        newly_blocked: tickers that were not blocked before.
        unfilled: orders that the broker took and did not fill completely; each is returned once.
    """

    account: AccountState
    holdings: Mapping[str, Holding]
    own: Mapping[str, Decimal]
    blocked: Mapping[str, str]
    newly_blocked: tuple[str, ...]
    booked: int
    unfilled: tuple[str, ...]
    notes: tuple[str, ...]


def reconcile(broker: Broker, ledger: Ledger, now: datetime, target: date) -> Reconciled:
    """Bring the ledger up to the broker's state at `now`; untaken intents of sessions before `target` become void.

    Raises:
        BrokerUnreachable, KeysRefused: the broker cannot be asked.
        ConfigError: the ledger is of another account.
    """
    _check_account(broker, ledger, now)
    since = ledger.query_from()
    ledger.record_orders(broker.orders_since(since), now)
    _resolve(broker, ledger, now, target)
    booked = ledger.record_activities(broker.activities_since(since))
    holdings = broker.positions()
    differences = _differences(ledger, holdings, now)
    if differences:  # the broker may have booked something late: ask for everything since the opening
        booked += ledger.record_activities(broker.activities_since(ledger.opened_at()))
        differences = _differences(ledger, holdings, now)
    ledger.settle_rest(sorted(differences))
    blocked = {**differences, **_unexplained(ledger, holdings, now), **_unclear_orders(ledger, target)}
    account = broker.account()
    newly = ledger.set_blocks(blocked, now)
    unfilled = tuple(ledger.note_unfilled(now))
    ledger.set_meta("reconciled_at", now.isoformat())
    notes = _cash_note(ledger, account)
    return Reconciled(account, holdings, _own_shares(ledger), blocked, tuple(newly), booked, unfilled, notes)


def _check_account(broker: Broker, ledger: Ledger, now: datetime) -> None:
    opened_with = ledger.meta("account")
    account = broker.account_id()
    if opened_with is None:
        held = {ticker: holding.qty for ticker, holding in broker.positions().items()}
        # of a lost ledger the team's orders are still at the broker; all else was there before the team
        own = filled_by_team(broker.orders_since(LONG_AGO), ledger.team) if held else {}
        unexplained = {ticker for ticker, qty in held.items() if own.get(ticker) != qty}
        ledger.open_account(account, broker.account().cash, held, unexplained, now)
    elif opened_with != account:
        raise ConfigError(
            f"team {ledger.meta('team')}: its ledger is of account {opened_with}, the keys are of account {account}",
            "put that account's keys back into .env; to start again with another account, move the ledger away",
        )


def _resolve(broker: Broker, ledger: Ledger, now: datetime, target: date) -> None:
    """Ask the broker for each intent of unknown fate; one that was never taken is sent later, or void."""
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
    differences: dict[str, str] = {}
    for ticker in sorted(expected.keys() | holdings.keys()):
        booked = expected.get(ticker, Decimal(0))
        held = holdings[ticker].qty if ticker in holdings else Decimal(0)
        if booked != held and not _explained(ledger, ticker, held - booked, now):
            text = f"{POSITION} {booked:f} shares by the ledger, {held:f} at the broker"
            differences[ticker] = f"{text}; {_way_on(ledger, ticker, held)}"
    for order in ledger.unbooked():
        name = order.client_order_id
        differences[order.ticker] = (
            f"order {name}: {order.filled:f} shares filled by the broker's word, {order.booked:f} booked"
        )
    return differences


def _way_on(ledger: Ledger, ticker: str, held: Decimal) -> str:
    return f"if that is right: mlops ledger accept {ticker} --qty {held:f} --team {ledger.team}"


def _unexplained(ledger: Ledger, holdings: Mapping[str, Holding], now: datetime) -> dict[str, str]:
    """Tickers with shares that no order of the team explains, each with a message; each is an event once."""
    reasons: dict[str, str] = {}
    for entry in ledger.unexplained():
        ledger.tell_once(now, "unexplained", entry.words, entry.ticker)
        held = holdings[entry.ticker].qty if entry.ticker in holdings else Decimal(0)
        before = f"{reasons[entry.ticker].rsplit('; ', 1)[0]}; " if entry.ticker in reasons else ""
        reasons[entry.ticker] = f"{before}{entry.words}; {_way_on(ledger, entry.ticker, held)}"
    return reasons


def _own_shares(ledger: Ledger) -> dict[str, Decimal]:
    own = ledger.expected_positions()
    for entry in ledger.unexplained():
        own[entry.ticker] = own.get(entry.ticker, Decimal(0)) - entry.qty
    return own


def _explained(ledger: Ledger, ticker: str, difference: Decimal, now: datetime) -> bool:
    """Whether a split, a merger or a delisting accounts for a difference exactly.

    Brokers do not agree on the quantity of such an entry: shares added, shares held afterwards, or, for a company that
    was delisted, shares paid out. Only an exact fit counts. Shares of a new ticker (a rename, a spin-off) may have come
    from shares that nothing explains. If there are any, a person must accept the new ones too.
    """
    entries = ledger.unsettled(ticker)
    if not entries:
        return False
    last = Decimal(entries[-1]["qty"])
    before = ledger.expected_positions(date.fromisoformat(entries[0]["day"])).get(ticker, Decimal(0))
    added = sum((Decimal(entry["qty"]) for entry in entries), Decimal(0))
    if difference not in (added, last - before, -last):
        return False
    if not before and (ledger.unexplained() or _positions_differed(ledger)):
        ledger.note_unexplained(MOVED, ticker, difference)
    ledger.settle(entries[-1]["id"], difference, now)
    return True


def _positions_differed(ledger: Ledger) -> bool:
    return any(row["reason"].startswith(POSITION) for row in ledger.rows("blocks"))


def _unclear_orders(ledger: Ledger, target: date) -> dict[str, str]:
    unclear = {}
    for row in ledger.open_orders():
        if row["session"] is None:
            unclear[row["ticker"]] = f"order {row['client_order_id']} of somebody else is open"
        elif date.fromisoformat(row["session"]) < target:
            unclear[row["ticker"]] = (
                f"order {row['client_order_id']} is still {row['status']} after its session {row['session']}"
            )
    for intent in ledger.unresolved():
        if intent.session < target:
            unclear[intent.ticker] = f"order {intent.client_order_id}: not known whether it was taken"
    return unclear


def _cash_note(ledger: Ledger, account: AccountState) -> tuple[str, ...]:
    expected = ledger.expected_cash()
    if abs(expected - account.cash) <= CASH_TOLERANCE:
        return ()
    return (f"cash: {expected:.2f} USD by the ledger, {account.cash:.2f} at the broker (fees, transfers, interest?)",)
