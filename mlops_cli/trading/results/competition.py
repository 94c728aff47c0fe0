"""The competition: the teams' equity beside buy-and-hold and cash, as one JSON-ready dictionary. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from mlops_cli.config.schemas.trading import Costs
from mlops_cli.trading.results.performance import curve_figures, daily_returns, deflated_sharpe, gains_of, trade_figures

BUY_AND_HOLD, CASH = "buy-and-hold", "cash"


@dataclass(frozen=True)
class TeamResult:
    """What a team did.

    Attributes:
        equity: dollars at the close of each session; the first value is the starting equity, on the session before.
        fills: as `performance.fill_frame` returns it.
        idle: how many models did not trade, by reason.
        trials: trainings that MLflow recorded, from which its models were chosen; 0 if none are recorded.
    """

    team: str
    equity: pd.Series
    fills: pd.DataFrame
    models: tuple[str, ...]
    idle: dict[str, int]
    orders: int
    trials: int


@dataclass(frozen=True)
class Market:
    """Prices of the competition's stocks by session, in dollars. `closes` begins one session earlier than `opens`.

    `dividends` has the sessions and stocks of `closes`: per share, paid to who held the stock at the close before; 0
    where there is none.
    """

    opens: pd.DataFrame
    closes: pd.DataFrame
    dividends: pd.DataFrame

    def between(self, days: Sequence[date]) -> Market:
        """The prices of some sessions, rising; the first is the one before the competition."""
        index = pd.DatetimeIndex(list(days))
        return Market(
            self.opens.reindex(index[1:]), self.closes.reindex(index), self.dividends.reindex(index, fill_value=0.0)
        )


def compete(books: Sequence[TeamResult], market: Market, costs: Costs, notes: Sequence[str] = ()) -> dict[str, Any]:
    """Compare the teams with each other, with buy-and-hold (which pays `costs` to buy) and with cash.

    The curves of `books` have the sessions of `market.closes`.

    Returns:
        A dictionary of str, int, float, bool and None only: `period` (first, last, sessions, tickers), `rows` (teams,
        best return first, then buy-and-hold and cash: name, kind, rank, return, sharpe, sharpe_se, deflated_sharpe,
        trials, max_drawdown, turnover, cost, cost_bps, hit_rate, hit_days, orders, fills, models, idle), `equity` (by
        name, dollars, one value per session of `sessions`), `notes`.
    """
    closes = market.closes
    start = float(books[0].equity.iloc[0]) if books else 100_000.0
    teams = sorted((_team_row(book, market) for book in books), key=lambda row: (-row["return"], row["name"]))
    held, cash = buy_and_hold(market, start, costs), pd.Series(start, index=closes.index)
    rows = [{**row, "rank": place} for place, row in enumerate(teams, start=1)]
    rows += [_benchmark_row(BUY_AND_HOLD, held), _benchmark_row(CASH, cash)]
    curves = {**{book.team: book.equity for book in books}, BUY_AND_HOLD: held, CASH: cash}
    return {
        "period": {
            "first": _iso(closes.index[1]),
            "last": _iso(closes.index[-1]),
            "sessions": len(closes) - 1,
            "tickers": [str(ticker) for ticker in closes.columns],
        },
        "rows": rows,
        "sessions": [_iso(session) for session in closes.index],
        "equity": {name: [round(float(value), 2) for value in curve] for name, curve in curves.items()},
        "notes": list(notes),
    }


def buy_and_hold(market: Market, start: float, costs: Costs) -> pd.Series:
    """Equity of equal dollar amounts in all stocks, bought at the first open plus half the spread and slippage.

    Dividends stay in cash; those of the first session go to the seller. A stock without a price on
    the first session is left out; a missing close is replaced by the last known one.
    """
    first = market.opens.iloc[0].dropna()
    price = first * (1.0 + (costs.half_spread_bps + costs.slippage_bps) / 1e4)
    shares = start / max(1, len(first)) / price
    received = market.dividends[first.index].iloc[1:].cumsum() - market.dividends[first.index].iloc[1]
    per_share = market.closes[first.index].ffill().iloc[1:] + received
    worth = (per_share * shares).sum(axis=1) if len(first) else start
    values = [start, *pd.Series(worth, market.closes.index[1:])]
    return pd.Series(values, market.closes.index, dtype="float64")


def _team_row(book: TeamResult, market: Market) -> dict[str, Any]:
    gains = gains_of(book.fills, market.closes.ffill(), market.dividends)
    traded = trade_figures(book.fills, market.opens, gains, book.equity)
    return {
        "name": book.team,
        "kind": "team",
        **_finite({**curve_figures(book.equity), **traded}),
        "deflated_sharpe": deflated_sharpe(daily_returns(book.equity), book.trials),
        "trials": book.trials,
        "orders": book.orders,
        "models": list(book.models),
        "idle": dict(sorted(book.idle.items())),
    }


def _benchmark_row(name: str, curve: pd.Series) -> dict[str, Any]:
    return {"name": name, "kind": "benchmark", "rank": None, **_finite(curve_figures(curve))}


def _finite(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    """The figures with None in place of infinity and NaN, which JSON does not have."""
    return {name: None if value is None or not math.isfinite(value) else value for name, value in figures.items()}


def _iso(session: Any) -> str:
    return str(pd.Timestamp(session).date())


def normalised(curve: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """A curve of dollars as percent gained since its start."""
    values = np.asarray(curve, np.float64)
    return np.asarray(100.0 * (values / values[0] - 1.0))
