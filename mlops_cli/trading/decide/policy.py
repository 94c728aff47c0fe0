"""From forecasts to orders: the whole decision of a team for one session, as a pure function.

1. `signals.combine`: the forecasts of a stock's models become one signal.
2. `stocks.stock_of`: what is held of each stock, in lots, and what forbids trading it.
3. `targets.set_targets`: which stocks get a position, and how many lots each.
4. `orders.decide_stock`, stock by stock: what the constraints (`action_mask`) leave of that, and the order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from mlops_cli.errors import DataError
from mlops_cli.trading.contract.types import AccountState, Decision, DecisionContext, Holding, Rules, TradeForecast
from mlops_cli.trading.decide.action_mask import Budgets
from mlops_cli.trading.decide.orders import decide_stock
from mlops_cli.trading.decide.signals import combine
from mlops_cli.trading.decide.stocks import PolicyInputs, Stock, stock_of
from mlops_cli.trading.decide.targets import set_targets


def decide(
    forecasts: Sequence[TradeForecast],
    account: AccountState,
    holdings: Mapping[str, Holding],
    prices: Mapping[str, Decimal],
    rules: Rules,
    context: DecisionContext,
) -> list[Decision]:
    """Decide on every stock that is forecast or held.

    Orders that reduce positions come before orders that open them or add to them, and these by strength of forecast:
    what is left of cash, turnover and the limits of a session goes to the strongest. The result depends on the
    arguments alone (no clock, no file, no random number), and not on their order. Where `prices` lacks a ticker, the
    close that its forecast starts from stands for it.

    Returns:
        One decision per stock, sorted by ticker; orders are the `intent`s.

    Raises:
        DataError: forecasts of several teams, for another session, or of one ticker from different closes.
    """
    if any((each.team, each.target_session) != (forecasts[0].team, context.target_session) for each in forecasts):
        raise DataError(f"forecasts are not all of one team and for {context.target_session}", "run: mlops run")
    inputs = PolicyInputs(forecasts[0].team if forecasts else "", account, rules, context)
    signals = combine(forecasts, rules)
    stocks = [
        stock_of(ticker, signals.get(ticker), holdings.get(ticker), prices.get(ticker), inputs)
        for ticker in sorted(signals.keys() | holdings.keys())
    ]
    set_targets(stocks, inputs)
    budgets = Budgets.of(account, _values(stocks, holdings), context.sent_notional, rules)
    decisions = [decide_stock(stock, inputs, budgets) for stock in sorted(stocks, key=_turn)]
    return sorted(decisions, key=lambda decision: decision.ticker)


def _turn(stock: Stock) -> tuple[bool, float, str]:
    """Sort key: reductions first (a position above its cap may be among them), then the strongest forecasts."""
    return stock.adds, -abs(stock.forecast or 0.0) if stock.adds else 0.0, stock.ticker


def _values(stocks: Sequence[Stock], holdings: Mapping[str, Holding]) -> list[Decimal]:
    """Values of all positions; where no price is known, that of the broker."""
    priced = [stock.position.value for stock in stocks if stock.position]
    unpriced = [stock.ticker for stock in stocks if not stock.position]
    return priced + [holdings[ticker].market_value for ticker in unpriced if ticker in holdings]
