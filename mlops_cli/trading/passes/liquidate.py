"""Selling everything: open orders are cancelled, and each position is closed by an order of the ledger's own."""

from __future__ import annotations

import hashlib
from collections.abc import Container
from dataclasses import dataclass, field
from datetime import date
from itertools import count

from mlops_cli.errors import BrokerError
from mlops_cli.trading.contract.broker import Broker, BrokerUnreachable, OutcomeUnknown
from mlops_cli.trading.contract.types import Holding, OrderIntent, Side, client_order_id
from mlops_cli.trading.ledger.ledger import Ledger
from mlops_cli.trading.passes.order_window import Margins, ask_window
from mlops_cli.trading.passes.reconcile import reconcile

LIQUIDATION = "liquidation"


@dataclass
class Liquidation:
    """What was done: how many orders were cancelled, which were sent, and what failed, by order, and why.

    Attributes:
        unfilled: earlier orders that came to nothing, told here and not again.
    """

    cancelled: int = 0
    sent: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    unfilled: tuple[str, ...] = ()


def liquidate(broker: Broker, ledger: Ledger) -> Liquidation:
    """Cancel all open orders and close all positions at the market; again after a failure, only what is missing.

    Raises:
        BrokerUnreachable, KeysRefused: the broker cannot be asked.
    """
    done = Liquidation()
    now = broker.clock().now
    target = ask_window(broker, now, Margins()).target
    for order in broker.orders_since(ledger.horizon()):
        if not order.final and order.client_order_id not in ledger.names_of(LIQUIDATION):
            broker.cancel(order.id)
            done.cancelled += 1
    state = reconcile(broker, ledger, now, target)
    done.unfilled = state.unfilled
    closing = being_closed(ledger)
    over = {row["client_order_id"] for row in ledger.rows("orders") if row["final"]}
    intents = [
        _close(ledger.team, held, target, over) for held in state.holdings.values() if held.ticker not in closing
    ]
    for left in ledger.unresolved():  # else they would be sent once the team is resumed
        if left.client_order_id not in {intent.client_order_id for intent in intents}:
            ledger.set_state(left.client_order_id, "void", now, "never taken, and liquidated since")
    ledger.write_intents(intents, now)
    ledger.event(now, "liquidation", None, f"{len(intents)} positions")
    for intent in intents:
        try:
            order = broker.submit(intent)
        except (BrokerError, BrokerUnreachable) as error:
            unknown = isinstance(error, OutcomeUnknown | BrokerUnreachable)
            ledger.set_state(intent.client_order_id, "unknown" if unknown else "refused", now, error.message)
            done.failed[intent.client_order_id] = error.message
        else:
            ledger.record_orders([order], now)
            done.sent.append(intent.client_order_id)
    return done


def being_closed(ledger: Ledger) -> set[str]:
    """Tickers in which an order of a liquidation is still open."""
    own = ledger.names_of(LIQUIDATION)
    return {row["ticker"] for row in ledger.open_orders() if row["client_order_id"] in own}


def _close(team: str, holding: Holding, target: date, over: Container[str]) -> OrderIntent:
    """The order that closes a position; under a new name where one of that name came to nothing, as at a close."""
    side: Side = "sell" if holding.qty > 0 else "buy"
    # another quantity is another order: what a first one has left over is closed by a second
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
