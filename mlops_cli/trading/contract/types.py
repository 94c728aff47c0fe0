"""The types that the parts of paper trading share. Money and quantities are Decimal, forecasts are float."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Literal

from mlops_cli.config.schemas.trading import Rules

Side = Literal["buy", "sell"]
Action = Literal["buy", "sell", "hold"]
LONGEST_ORDER_ID = 48
TOTAL_DECIMALS = 6
"""An expected total return is rounded to 1e-6 (0.01 basis points). A model computes in float32, so what is left of its
forecast once the dividend is added back may be 1e-7 where it should be 0; its sign must not sell a position."""

__all__ = [
    "AccountState", "Action", "Decision", "DecisionContext", "Holding", "Interval", "OrderIntent", "Rules", "Side",
    "TradeForecast", "client_order_id", "order_name_start",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Interval:
    """The prices between which the next close lies in `level` percent of all sessions, as a forecast says.

    Attributes:
        level: percent, such as 80.
        lower: ln(lowest price / last close).
        upper: ln(highest price / last close).
    """

    level: float
    lower: float
    upper: float

    @property
    def width(self) -> float:
        """Half of the interval, in log return."""
        return (self.upper - self.lower) / 2


@dataclass(frozen=True, slots=True)
class TradeForecast:
    """One model's forecast for one stock.

    Attributes:
        session: on whose close the forecast was made.
        target_session: whose close is forecast; orders are for its open.
        last_close: close of `session`, in dollars.
        log_return: forecast of ln(close of target_session / last_close), after shrinkage.
        version: of the model, 12 hex digits.
        verdict: on sessions that the model has not seen: `skill`, `no skill`, `worse than naive`; None if it was
            never judged.
        dividend: of `target_session`, in dollars per share, as far as the forecast subtracts it; 0 if it knows none.
        intervals: by rising level; none where the model has none, or too few sessions for them.
    """

    model: str
    ticker: str
    team: str
    session: date
    target_session: date
    last_close: Decimal
    log_return: float
    version: str
    verdict: str | None = None
    dividend: float = 0.0
    intervals: tuple[Interval, ...] = ()

    @property
    def total_log_return(self) -> float:
        """What a holder of the stock expects: ln((forecast close + dividend) / last close)."""
        if not self.dividend:
            return self.log_return
        total = math.exp(self.log_return) + self.dividend / float(self.last_close)
        return round(math.log(total), TOTAL_DECIMALS)


@dataclass(frozen=True, slots=True)
class Holding:
    """A position: `qty` shares (negative: sold short), its value and average price paid, and the last price."""

    ticker: str
    qty: Decimal
    market_value: Decimal
    average_price: Decimal
    last_price: Decimal


@dataclass(frozen=True, slots=True)
class AccountState:
    """An account's money: equity and cash now, equity at the previous close, and what the broker lets it buy."""

    equity: Decimal
    cash: Decimal
    last_equity: Decimal
    buying_power: Decimal


@dataclass(frozen=True, slots=True)
class DecisionContext:
    """What else a decision rests on.

    Attributes:
        volatilities: by ticker, standard deviation of its one-day log returns; for sizing by inverse volatility.
        sent_notional: value of what was sent for this session already; counts against the limits of a session.
        blocked: by ticker, why nothing may be sent for it (an order in an unknown state, a halted symbol).
    """

    target_session: date
    volatilities: Mapping[str, float] = field(default_factory=dict)
    sent_notional: Decimal = Decimal(0)
    blocked: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OrderIntent:
    """An order that is meant to be sent.

    Attributes:
        session: the order is for its open.
        qty: shares, above 0; None where `notional` is given.
        notional: dollars, above 0; None where `qty` is given.
        model: name of the model, or of the models joined by `+`.
        version: of the model; of several one hash.
        forecast_bps: forecast log return of the price, in basis points.
        price_seen: what the decision took for the price.
    """

    team: str
    ticker: str
    session: date
    side: Side
    qty: Decimal | None
    notional: Decimal | None
    type: Literal["market", "limit"]
    limit_price: Decimal | None
    time_in_force: str
    client_order_id: str
    model: str
    version: str
    forecast_bps: float
    price_seen: Decimal
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision on one stock of one team, and everything it was based on.

    Attributes:
        lots: steps bought (above 0) or sold (below 0).
        allowed: lowest and highest number of lots that the action mask left.
        wanted_lots: what would have been done without constraints.
        bound: the constraint that made `lots` differ from `wanted_lots`; None if none did.
        forecast_bps: forecast of the team's models together for the price, basis points of log return; None without a
            forecast.
        cost_bps: what opening and closing the position is expected to cost.
        current_weight: value of the position over equity, before.
        target_weight: the same after the order, at `price`.
        price: what the decision took for the price; None where none is known.
        models: by model, its forecast of the price in basis points, version and verdict.
        intent: the order; None for hold.
        dividend: announced for the session, in dollars per share; 0 if the forecast knows none.
        total_bps: expected total return, which the decision rests on: `forecast_bps` with the dividend.
        intervals: the joint forecast's intervals as (level, lowest price, highest price), by rising level.
    """

    team: str
    ticker: str
    session: date
    action: Action
    lots: int
    allowed: tuple[int, int]
    wanted_lots: int
    bound: str | None
    forecast_bps: float | None
    cost_bps: float
    current_weight: float
    target_weight: float
    price: Decimal | None
    models: tuple[tuple[str, float, str, str | None], ...]
    reasons: tuple[str, ...]
    intent: OrderIntent | None
    dividend: float = 0.0
    total_bps: float | None = None
    intervals: tuple[tuple[float, float, float], ...] = ()


def client_order_id(team: str, ticker: str, session: date, side: Side, version: str, part: int = 0) -> str:
    """The name of an order. Equal arguments give the same name, and the broker refuses a second order of a name.

    Returns:
        At most 48 characters; where they do not suffice, a hash stands for team and ticker.

    >>> client_order_id("red", "AAPL", date(2024, 1, 5), "buy", "1a2b3c4d5e6f")
    'red-AAPL-20240105-b-1a2b3c4d5e6f'
    >>> client_order_id("red", "AAPL", date(2024, 1, 5), "sell", "1a2b3c4d5e6f", part=2)
    'red-AAPL-20240105-s-1a2b3c4d5e6f-2'
    >>> len(client_order_id("a" * 40, "BRK-B", date(2024, 1, 5), "buy", "1a2b3c4d5e6f"))
    36
    """
    tail = f"{session:%Y%m%d}-{side[0]}-{version[:12]}" + (f"-{part}" if part else "")
    plain, hashed = order_name_start(team, ticker)
    return plain + tail if len(plain + tail) <= LONGEST_ORDER_ID else hashed + tail


def order_name_start(team: str, ticker: str) -> tuple[str, str]:
    """How the names of a team's orders of a ticker begin: the plain form, and the form where that is too long."""
    # a slash cannot stand in either name, so that a-b/c and a/b-c differ
    return f"{team}-{ticker}-", f"x{hashlib.sha256(f'{team}/{ticker}'.encode()).hexdigest()[:10]}-"
