"""Metrics of equity curves and of trading: return, Sharpe ratio, drawdown, turnover, cost, hit rate. Pure; float64."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import kurtosis, norm, skew

from mlops_cli.market.hours import NEW_YORK

SESSIONS_A_YEAR = 252
FILL_COLUMNS = ("session", "ticker", "qty", "price")


def fill_frame(fills: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows of a ledger's table of fills as a frame.

    Returns:
        Columns `session` (tz-naive day in New York), `ticker`, `qty` (below 0: sold), `price` in dollars.
    """
    rows = [
        (
            pd.Timestamp(datetime.fromisoformat(fill["time"]).astimezone(NEW_YORK).date()),
            fill["ticker"],
            float(fill["qty"]) * (1 if fill["side"] == "buy" else -1),
            float(fill["price"]),
        )
        for fill in fills
    ]
    frame = pd.DataFrame(rows, columns=list(FILL_COLUMNS)).astype({"session": "datetime64[ns]"})
    # sorted, because sums must not depend on the order of the broker's random ids
    return frame.sort_values(list(FILL_COLUMNS), ignore_index=True)


def curve_figures(equity: pd.Series) -> dict[str, float | None]:
    """Metrics of an equity curve: dollars by session, oldest first; the first value is the starting equity.

    Returns:
        `return` (over the whole period, as a fraction), `sharpe` (mean over standard deviation of daily returns, times
        sqrt(252); cash earns nothing), `sharpe_se` (Lo 2002: sqrt((1 + sr^2 / 2) / T) for daily sr, times sqrt(252)),
        `max_drawdown` (largest loss since a peak, as a share, at least 0). Undefined metrics are None: the
        Sharpe ratio of fewer than two returns, or of equal returns.
    """
    values = equity.to_numpy(np.float64)
    returns = daily_returns(equity)
    drawdown = float((1.0 - values / np.maximum.accumulate(values)).max()) if len(values) else None
    figures: dict[str, float | None] = {
        "return": float(values[-1] / values[0] - 1.0) if len(values) else None,
        "sharpe": None,
        "sharpe_se": None,
        "max_drawdown": drawdown,
    }
    spread = float(returns.std(ddof=1)) if len(returns) > 1 else 0.0
    if spread > 1e-12:
        daily = float(returns.mean()) / spread
        figures["sharpe"] = daily * math.sqrt(SESSIONS_A_YEAR)
        figures["sharpe_se"] = math.sqrt((1.0 + daily**2 / 2.0) / len(returns) * SESSIONS_A_YEAR)
    return figures


def daily_returns(equity: pd.Series) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Simple returns from session to session, one fewer than `equity` has values."""
    values = equity.to_numpy(np.float64)
    return np.asarray(values[1:] / values[:-1] - 1.0)


def trade_figures(
    fills: pd.DataFrame, opens: pd.DataFrame, gains: pd.DataFrame, equity: pd.Series
) -> dict[str, float | int | None]:
    """Metrics of trading.

    `fills`: from `fill_frame`. `opens`: dollars, sessions by tickers. `gains`: from `gains_of`. `equity` has one
    session more at the start.

    Returns:
        `fills` (their number), `traded` (dollars), `turnover` (dollars traded over mean equity), `cost` (dollars paid
        above, or got below, the opening price of the session), `cost_bps` (of the dollars traded), `hit_rate` (share
        of days and stocks with a position, or a trade, that ended with a gain; None without any), `hit_days` (their
        number; days without any gain or loss are left out of both).
    """
    values = gains.to_numpy()
    moved = values[np.abs(values) > 1e-9]
    figures: dict[str, float | int | None] = {
        "fills": len(fills),
        "traded": 0.0,
        "turnover": 0.0,
        "cost": 0.0,
        "cost_bps": None,
        "hit_rate": float((moved > 0).mean()) if len(moved) else None,
        "hit_days": len(moved),
    }
    if len(fills):
        traded = float((fills["qty"].abs() * fills["price"]).sum())
        cost = float((fills["qty"] * (fills["price"] - _at(opens, fills))).sum())
        figures |= {
            "traded": traded,
            "turnover": traded / float(equity.mean()),
            "cost": cost,
            "cost_bps": 1e4 * cost / traded,
        }
    return figures


def gains_of(fills: pd.DataFrame, closes: pd.DataFrame, dividends: pd.DataFrame) -> pd.DataFrame:
    """Gain of each stock on each session in dollars: sessions (but the first) by tickers.

    Cash at the end less cash at the start, plus what the position is worth at the close less what it was worth at the
    close before. A dividend (dollars per share, by ex-date) is cash of the position that was held at the close before;
    a short position pays it.
    """
    bought = _pivot(fills, "qty", closes)
    paid = _pivot(fills.assign(paid=fills["qty"] * fills["price"]), "paid", closes)
    held = bought.cumsum()
    before = held - bought
    return (held * closes - before * (closes.shift() - dividends) - paid).iloc[1:].fillna(0.0)


def _pivot(fills: pd.DataFrame, column: str, like: pd.DataFrame) -> pd.DataFrame:
    table = fills.pivot_table(index="session", columns="ticker", values=column, aggfunc="sum")
    return table.reindex(index=like.index, columns=like.columns).fillna(0.0)


def _at(prices: pd.DataFrame, fills: pd.DataFrame) -> pd.Series:
    """The session's price for each fill; if there is none, the fill's own price, so that its cost is 0."""
    at_fills = prices.stack().reindex(pd.MultiIndex.from_frame(fills[["session", "ticker"]]))
    return pd.Series(at_fills.to_numpy(), fills.index).fillna(fills["price"])


def deflated_sharpe(returns: npt.NDArray[np.float64], trials: int) -> float | None:
    """Probability that the true Sharpe ratio of daily returns is above 0, given that the best of `trials` was chosen.

    Bailey and Lopez de Prado (2014), "The Deflated Sharpe Ratio", equations 1 and 2. The Sharpe ratios of trials that
    were never traded are unknown. Their standard deviation is assumed to be 1 / sqrt(T - 1), that of an estimate from
    T days if the true ratio is 0. None where the probability is undefined: fewer than three returns, or
    all the same.
    """
    days, spread = len(returns), float(np.std(returns, ddof=1)) if len(returns) > 2 else 0.0
    if spread < 1e-12:
        return None
    sharpe = float(np.mean(returns)) / spread
    variance = 1 - float(skew(returns)) * sharpe + (float(kurtosis(returns, fisher=False)) - 1) / 4 * sharpe**2
    if variance <= 0:
        return None
    benchmark = _expected_best(trials) / math.sqrt(days - 1)
    return float(norm.cdf((sharpe - benchmark) * math.sqrt(days - 1) / math.sqrt(variance)))


def _expected_best(trials: int) -> float:
    """Approximate expected maximum of `trials` independent standard normal variables; 0 for one."""
    if trials <= 1:
        return 0.0
    return float((1 - np.euler_gamma) * norm.ppf(1 - 1 / trials) + np.euler_gamma * norm.ppf(1 - 1 / (trials * math.e)))
