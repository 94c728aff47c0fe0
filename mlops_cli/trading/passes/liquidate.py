"""Selling everything: cancel open orders, then close each position with an order that the ledger knows of.

Shares that no order of the team explains are somebody else's, and stay.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from itertools import count

from mlops_cli.errors import BrokerError
from mlops_cli.trading.contract.broker import Broker, BrokerUnreachable, OutcomeUnknown
from mlops_cli.trading.contract.types import Holding, OrderIntent, Side, client_order_id
from mlops_cli.trading.ledger.ledger import Ledger
from mlops_cli.trading.passes.order_window import Margins, ask_window
from mlops_cli.trading.passes.reconcile import Reconciled, reconcile

LIQUIDATION = "liquidation"


@dataclass
class Liquidation:
    """What a liquidation did.

    Attributes:
        failed: closing orders that failed, and why, by client order id.
        unfilled: earlier orders that were not completely filled; a later pass does not report them again.
        left: shares that stay in the account, by ticker, because nothing of the team explains them.
    """

    cancelled: int = 0
    sent: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    unfilled: tuple[str, ...] = ()
    left: dict[str, Decimal] = field(default_factory=dict)


def liquidate(broker: Broker, ledger: Ledger) -> Liquidation:
    """Cancel all open orders and close all positions at the market; run again, it does only what is missing.

    Raises:
        BrokerUnreachable, KeysRefused: the broker cannot be asked.
    """
    now = broker.clock().now
    target = ask_window(broker, now, Margins()).target
    done = Liquidation(cancelled=_cancel_open_orders(broker, ledger))
    state = reconcile(broker, ledger, now, target)
    done.unfilled = state.unfilled
    intents = _closing_intents(ledger, state, target)
    done.left = {
        ticker: rest for ticker, held in state.holdings.items() if (rest := held.qty - _closable(held, state.own))
    }
    _void_others(ledger, intents, now)
    ledger.write_intents(intents, now)
    ledger.event(now, "liquidation", None, f"{len(intents)} positions")
    for intent in intents:
        _submit(broker, ledger, intent, done, now)
    return done


def _cancel_open_orders(broker: Broker, ledger: Ledger) -> int:
    own = ledger.client_order_ids_of(LIQUIDATION)
    orders = broker.orders_since(ledger.query_from())
    to_cancel = [order for order in orders if not order.final and order.client_order_id not in own]
    for order in to_cancel:
        broker.cancel(order.id)
    return len(to_cancel)


def _closing_intents(ledger: Ledger, state: Reconciled, target: date) -> list[OrderIntent]:
    closing = tickers_in_liquidation(ledger)
    over = {row["client_order_id"] for row in ledger.rows("orders") if row["final"]}
    of_team = [replace(held, qty=_closable(held, state.own)) for held in state.holdings.values()]
    return [_close(ledger.team, held, target, over) for held in of_team if held.qty and held.ticker not in closing]


def _closable(held: Holding, own: Mapping[str, Decimal]) -> Decimal:
    """The shares of a position that are the team's; below 0: sold short."""
    shares = own.get(held.ticker, Decimal(0))
    if shares * held.qty <= 0:
        return Decimal(0)
    return min(held.qty, shares, key=abs)


def _void_others(ledger: Ledger, intents: Sequence[OrderIntent], now: datetime) -> None:
    """Void every intent that was not sent; a pass would send it once the team is resumed."""
    names = {intent.client_order_id for intent in intents}
    for intent in ledger.unresolved():
        if intent.client_order_id not in names:
            ledger.set_state(intent.client_order_id, "void", now, "never taken, and liquidated since")


def _submit(broker: Broker, ledger: Ledger, intent: OrderIntent, done: Liquidation, now: datetime) -> None:
    try:
        order = broker.submit(intent)
    except (BrokerError, BrokerUnreachable) as error:
        state = "unknown" if isinstance(error, OutcomeUnknown | BrokerUnreachable) else "refused"
        ledger.set_state(intent.client_order_id, state, now, error.message)
        done.failed[intent.client_order_id] = error.message
    else:
        ledger.record_orders([order], now)
        done.sent.append(intent.client_order_id)


def tickers_in_liquidation(ledger: Ledger) -> set[str]:
    """Tickers in which an order of a liquidation is still open."""
    own = ledger.client_order_ids_of(LIQUIDATION)
    return {row["ticker"] for row in ledger.open_orders() if row["client_order_id"] in own}


def _close(team: str, holding: Holding, target: date, over: Container[str]) -> OrderIntent:
    """The order that closes a position. It gets a new name if an order of its first name is over already."""
    side: Side = "sell" if holding.qty > 0 else "buy"
    # the quantity is part of the name: what a first order left over is closed by a second one
    mark = hashlib.sha256(f"{holding.qty.normalize():f}".encode()).hexdigest()[:8]
    names = (client_order_id(team, holding.ticker, target, side, f"liq{mark}", part) for part in count())
    return OrderIntent(
        team=team,
        ticker=holding.ticker,
        session=target,
        side=side,
        qty=abs(holding.qty),
        notional=None,
        type="market",
        limit_price=None,
        time_in_force="day",
        client_order_id=next(name for name in names if name not in over),
        model=LIQUIDATION,
        version=f"liq{mark}",
        forecast_bps=0.0,
        price_seen=holding.last_price,
        reasons=("liquidation",),
    )
