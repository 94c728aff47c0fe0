"""A team's ledger against the exchange itself: what must be so after any number of faults and kills."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path

from mlops_cli.exchange.book.engine import Exchange
from mlops_cli.trading.ledger.opening import open_ledger
from mlops_cli.trading.passes.liquidate import LIQUIDATION

CASH = Decimal(100_000)


def check_ledger(exchange: Exchange, ledger_file: Path, seed: int) -> int:
    """The only account of the exchange against the ledger of team red; how many orders there were."""
    (account,) = exchange.state.accounts.values()
    with open_ledger(ledger_file, "red") as ledger:
        intents = {row["client_order_id"]: row for row in ledger.rows("intents")}
        orders = {row["client_order_id"]: row for row in ledger.rows("orders")}
        fills = {row["id"]: row for row in ledger.rows("fills")}
        expected, cash = ledger.expected_positions(), ledger.expected_cash()
    taken = [order.client_order_id for order in account.orders.values()]
    assert sorted(taken) == sorted(orders), f"seed {seed}: orders of the exchange and of the ledger"
    assert set(taken) == {name for name, row in intents.items() if row["state"] == "sent"}, f"seed {seed}: intents"
    decided = [row for row in intents.values() if row["model"] != LIQUIDATION]
    doubled = [pair for pair, n in Counter((r["ticker"], r["session"]) for r in decided).items() if n > 1]
    assert doubled == [], f"seed {seed}: two orders for one session"
    told = {one.body["id"]: one.body for one in account.activities if one.body["activity_type"] == "FILL"}
    assert told.keys() == fills.keys(), f"seed {seed}: fills"
    assert all(Decimal(told[name]["qty"]) == Decimal(fills[name]["qty"]) for name in told)
    running: Counter[str] = Counter()
    for one in told.values():  # in their order: what a pass and a liquidation both sell is sold once
        running[one["symbol"]] += (1 if one["side"] == "buy" else -1) * Decimal(one["qty"])
        assert running[one["symbol"]] >= 0, f"seed {seed}: {one['symbol']} sold short by a team that is long only"
    held = {symbol: position.qty for symbol, position in account.positions.items()}
    assert expected == held, f"seed {seed}: positions"
    assert cash == account.cash, f"seed {seed}: cash"
    moved = sum(
        (-1 if one["side"] == "buy" else 1) * Decimal(one["qty"]) * Decimal(one["price"]) for one in told.values()
    )
    assert account.cash == CASH + moved, f"seed {seed}: cash is conserved"
    return len(taken)
