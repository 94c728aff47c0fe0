"""The forecasts of a journal once more, from the feature tables of today: the other side of `gap`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from mlops_cli.live.journal.frames import frame_of
from mlops_cli.live.journal.making import Forecaster, forecasts_of
from mlops_cli.live.journal.records import Forecast
from mlops_cli.models.manifest import Manifest


class Replayer(NamedTuple):
    """A version of a model: its manifest, and what forecasts with it."""

    manifest: Manifest
    forecaster: Forecaster


Versions = Callable[[str, str, str], Replayer | None]
"""Opens a version of a model by branch, model and version: the one named, or the one that answers today if that is
gone; None if there is none."""
Tables = Callable[[str, str], "pd.DataFrame | None"]
"""The feature table of a model by branch and model; None if there is none."""


def replay_issued(
    frame: pd.DataFrame, versions: Versions, tables: Tables, last: Mapping[str, date] | None = None
) -> pd.DataFrame:
    """Replay what a journal holds, each session with the version that issued it.

    A model is replayed from its first session in the journal to the last one of its exchange there, so that sessions
    show on which it issued nothing; they are replayed with the version that issued before.

    Args:
        frame: of `frames.journal_frame`.
        versions: opens versions.
        tables: reads feature tables.
        last: by exchange, the last session to replay; without it, the last one in `frame`.

    Returns:
        As `frames.frame_of`.

    Raises:
        ModelError: a version is damaged, or cannot forecast a row.
    """
    ends: dict[Any, Any] = frame.groupby("exchange", observed=True)["session"].max().to_dict()
    ends |= {exchange: pd.Timestamp(day) for exchange, day in (last or {}).items()}
    groups = frame.groupby(["branch", "model"], observed=True, sort=True)
    return frame_of(
        forecast
        for places in groups.indices.values()
        for forecast in _replay(frame.iloc[places], ends, versions, tables)
    )


def _replay(
    rows: pd.DataFrame, last: Mapping[str, pd.Timestamp], versions: Versions, tables: Tables
) -> Iterator[Forecast]:
    """The rows of one model."""
    branch, model, exchange = rows[["branch", "model", "exchange"]].iloc[-1]
    table = tables(branch, model)
    if table is None or table.empty:
        return
    ordered = rows.sort_values("session")
    issued, names = pd.DatetimeIndex(ordered["session"]), ordered["version"].to_numpy()
    days = pd.DatetimeIndex(table.index)
    days = days[(days >= issued[0]) & (days <= last[exchange])]
    of_day = names[np.searchsorted(issued, days, side="right") - 1]
    for version in pd.unique(of_day):
        opened = versions(branch, model, version)
        if opened is not None:
            yield from forecasts_of(opened.manifest, branch, table, days[of_day == version], opened.forecaster)
