"""How old the data of a forecast is.

A forecast is stale if its data are older than the last finished session of its exchange. It is made for the session
after that of its data, so it is stale once its target session has closed. That time is in the forecast itself: whoever
reads the journal needs no calendar (`records.Forecast.is_stale`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime

import numpy as np
import numpy.typing as npt
import pandas as pd

from mlops_cli.live.journal.records import Forecast, Refusal
from mlops_cli.market.sessions import last_finished_session, sessions


def sessions_behind(exchange: str, session: date, now: datetime) -> int:
    """How many sessions of an exchange have finished after `session` by `now`.

    Returns:
        0: `session` is the last finished one; more: the forecasts made on it are stale; -1: it has not finished, so
        `now` comes from a clock that is wrong.

    Raises:
        ConfigError: the exchange has no calendar.
    """
    last = last_finished_session(exchange, pd.Timestamp(now))
    day = pd.Timestamp(session)
    if day > last:
        return -1
    return len(sessions(exchange, day + pd.Timedelta(days=1), last))


def premature(forecasts: Iterable[Forecast], now: datetime) -> list[Refusal]:
    """The forecasts whose session has not finished by `now`: the clock is wrong, and they must not be issued with it.

    The time at which a forecast was issued says that it knew nothing of its target. With a clock that was set back, it
    would say this wrongly.
    """
    behind: dict[tuple[str, date], int] = {}
    refused = []
    for forecast in forecasts:
        place = forecast.exchange, forecast.session
        if place not in behind:
            behind[place] = sessions_behind(*place, now)
        if behind[place] < 0:
            reason = f"its session has not finished by {now:%Y-%m-%d %H:%M %Z}: the clock of this machine is wrong"
            refused.append(Refusal(forecast.key, reason))
    return refused


def stale_when_issued(frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Whether each forecast of `frames.journal_frame` was stale already when it was issued: bool (len(frame),)."""
    return (frame["issued_at"] >= frame["target_closes_at"]).to_numpy(np.bool_)
