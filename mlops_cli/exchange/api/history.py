"""The equity of an account by day, and the profit of a position within a day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import takewhile
from typing import Any

from mlops_cli.exchange.book.records import ZERO, Account, Position, unprocessable
from mlops_cli.exchange.book.state import State
from mlops_cli.market.hours import in_new_york, midnight, parse_time

MAX_PERIOD_DAYS = 36_500
PERIOD_DAYS = {"D": 1, "W": 7, "M": 30, "A": 365}


@dataclass(frozen=True, slots=True)
class DayRange:
    """A period of days, both ends included."""

    first: date
    last: date

    def contains(self, day: date) -> bool:
        """Whether a day belongs to the period."""
        return self.first <= day <= self.last


def read_days(query: Mapping[str, str], today: date) -> DayRange:
    """Read a period from at most two of `start`, `end` and `period`; `RefusedError` if one is wrong, or for three."""
    start, end, period = query.get("start"), query.get("end") or query.get("date_end"), query.get("period")
    if start and end and period:
        raise unprocessable("only two of start, end and period can be specified")
    try:
        length = read_period(period or "1M")
        last = in_new_york(parse_time(end)).date() if end else today
        if not start:
            return DayRange(last - length, last)
        first = in_new_york(parse_time(start)).date()
        return DayRange(first, first + length if period else last)
    except ValueError:
        raise unprocessable("invalid start, end or period") from None


def read_period(text: str) -> timedelta:
    """Read a period such as 5D, 2W, 1M or 1A; `ValueError` for other text, or `MAX_PERIOD_DAYS` or more."""
    unit = PERIOD_DAYS.get(text[-1:].upper())
    if unit is None or not 0 < int(text[:-1]) * unit < MAX_PERIOD_DAYS:
        raise ValueError(f"no period: {text}")
    return timedelta(days=int(text[:-1]) * unit)


def history_view(state: State, account: Account, query: Mapping[str, str]) -> dict[str, Any]:
    """Schema `PortfolioHistory`: one point for each session, at its close, and one for the present.

    Profits are relative to the equity at the last close before the period, or at the first point if there is none.

    Raises:
        RefusedError: the timeframe is not 1D, or the period is invalid.
    """
    if query.get("timeframe", "1D") != "1D":
        raise unprocessable("this exchange keeps portfolio history by day: timeframe must be 1D")
    days = read_days(query, in_new_york(state.now).date())
    points = _points(state, account, days)
    values = list(points.values())
    before = max((day for day in account.equity if day < days.first), default=None)
    base = _base(account, before, values)
    return {
        "timestamp": [int(midnight(day).timestamp()) for day in points],
        "equity": values,
        "profit_loss": [round(value - base, 6) for value in values],
        "profit_loss_pct": [round(value / base - 1, 8) if base else 0.0 for value in values],
        "base_value": base,
        **({} if before is None else {"base_value_asof": before.isoformat()}),
        "timeframe": "1D",
    }


def _base(account: Account, before: date | None, values: list[float]) -> float:
    """The equity that profits are relative to, in USD."""
    if before is not None:
        return float(account.equity[before])
    return values[0] if values else float(account.base_value)


def _points(state: State, account: Account, days: DayRange) -> dict[date, float]:
    """Equity in USD by day, oldest first; today's is the current equity."""
    points = {day: value for day, value in account.equity.items() if days.contains(day)}
    today = in_new_york(state.now).date()
    if today not in points and days.contains(today) and state.hours.between(today, today):
        points[today] = state.worth(account).equity
    return {day: float(points[day]) for day in sorted(points)}


@dataclass(slots=True)
class _DayShares:
    """The shares of a position that were traded today; negative if they were sold short."""

    qty: Decimal = ZERO
    cost: Decimal = ZERO

    def trade(self, shares: Decimal, price: Decimal) -> None:
        """Add bought shares (negative: sold ones). Closing shares reduces the cost in proportion."""
        after = self.qty + shares
        if self.qty * shares >= 0:
            self.cost += shares * price
        elif self.qty * after >= 0:
            self.cost = self.cost * after / self.qty
        else:
            self.cost = after * price
        self.qty = after


def day_basis(state: State, account: Account, position: Position, yesterday: Decimal) -> Decimal:
    """The value that a position's profit of the day is relative to, in USD.

    Shares held overnight count at yesterday's close, shares traded today at their average cost. Trades close
    overnight shares first. `yesterday` is the close of the last session before today.
    """
    fills = _fills_of_today(state, account, position.symbol)
    trades = [Decimal(fill["qty"]) * (1 if fill["side"] == "buy" else -1) for fill in fills]
    overnight = position.qty - sum(trades, ZERO)
    today = _DayShares()
    for shares, fill in zip(trades, fills, strict=True):
        closing = _closing_part(shares, overnight)
        overnight += closing
        today.trade(shares - closing, Decimal(fill["price"]))
    return overnight * yesterday + today.cost


def _fills_of_today(state: State, account: Account, symbol: str) -> list[dict[str, Any]]:
    """The bodies of the fills since midnight, oldest first."""
    start = midnight(in_new_york(state.now).date())
    today = takewhile(lambda activity: activity.at >= start, reversed(account.activities))
    bodies = [activity.body for activity in today]
    return [body for body in reversed(bodies) if body["activity_type"] == "FILL" and body["symbol"] == symbol]


def _closing_part(shares: Decimal, held: Decimal) -> Decimal:
    """The part of traded shares that closes held ones; zero if both have the same sign."""
    if held * shares >= 0:
        return ZERO
    return shares if abs(shares) <= abs(held) else -held
