"""Generated price tables that fulfil the price table's contract, for any test that needs prices."""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np
import pandas as pd


@lru_cache(maxsize=1)
def xnys_sessions() -> pd.DatetimeIndex:
    """The New York Stock Exchange's sessions from 2000 to 2030."""
    with warnings.catch_warnings():
        # exchange_calendars 4.13 reads Series.values of time zone data, which pandas 3.1 deprecates.
        warnings.simplefilter("ignore", DeprecationWarning)
        import exchange_calendars

        calendar = exchange_calendars.get_calendar("XNYS", start="2000-01-03", end="2030-12-31")
    return pd.DatetimeIndex(calendar.sessions, freq=None, name="session")


def random_prices(
    sessions: int = 600,
    seed: int = 0,
    *,
    start: str = "2015-01-02",
    halts: int = 0,
    awkward: bool = False,
) -> pd.DataFrame:
    """A random walk with fat tails as a valid price table; the same arguments always give the same table.

    Args:
        sessions: rows, before halts are taken out.
        seed: of the random numbers.
        start: first day; the first row is the first session on or after it.
        halts: how many sessions in the middle are missing from the table.
        awkward: with stretches where price and volume stand still, days without volume, and twentyfold jumps.

    Returns:
        Index `session` (real XNYS sessions, tz-naive), columns `open high low close adj_close volume`, float64.
    """
    random = np.random.default_rng(seed)
    calendar = xnys_sessions()
    first = calendar.searchsorted(pd.Timestamp(start))
    index = calendar[first : first + sessions]
    if len(index) < sessions:
        raise ValueError(f"the calendar ends before {sessions} sessions after {start}")
    moves = 0.0003 + 0.012 * random.standard_t(4, size=sessions).clip(-12, 12)
    overnight = 0.4 * moves + 0.003 * random.standard_normal(sessions)
    reach = 0.006 * np.abs(random.standard_normal((2, sessions)))
    volume = np.round(np.exp(14 + 0.5 * random.standard_normal(sessions)))
    if awkward:
        still = np.zeros(sessions, dtype=bool)
        for begin in random.integers(0, sessions, size=3):
            still[begin : begin + int(random.integers(1, 60))] = True
        jumps = random.integers(0, sessions, size=2)
        moves[jumps] += np.log(20) * random.choice([-1, 1], size=2)
        for changes in (moves, overnight, reach):
            changes[..., still] = 0
        volume[still | (random.random(sessions) < 0.1)] = 0
    close = random.uniform(5, 500) * np.exp(np.cumsum(moves))
    before = np.append(close[0], close[:-1])
    open_ = np.where(overnight == 0, before, before * np.exp(overnight))
    dividends = np.exp(-0.00004 * np.arange(sessions)[::-1])
    table = pd.DataFrame(
        {
            "open": open_,
            "high": np.maximum(open_, close) * np.exp(reach[0]),
            "low": np.minimum(open_, close) * np.exp(-reach[1]),
            "close": close,
            "adj_close": close * dividends,
            "volume": volume,
        },
        index=index,
    )
    missing = random.choice(np.arange(1, sessions - 1), size=halts, replace=False) if halts else []
    return table.drop(index=index[missing])
