"""Forecasts of linear models on real prices, for `bench_health.py --prices FOLDER`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from tests.fakes.simulated_fleets import REFERENCE, Fleet

TRAINING, YEAR = 1000, 252
SHRINKAGE = 0.4
RIDGE = 10.0


def real_fleets(folder: Path) -> Iterator[tuple[str, Fleet]]:
    """One fleet a year: trained on 1,000 sessions, then frozen over the reference and the year that is judged.

    Args:
        folder: one parquet file per ticker with the columns `Date` and `Close`.

    Yields:
        The first session of the judged year, and the fleet of all stocks with a close on each of the sessions.
    """
    closes = pd.DataFrame({path.stem: _closes(path) for path in sorted(folder.glob("*.parquet"))})
    closes = closes.sort_index()
    returns = np.log(closes).diff()
    features = np.stack([feature.to_numpy() for feature in _features(closes, returns)], axis=2)[:-1]
    targets = returns.to_numpy()[1:]
    for start in range(60, len(targets) - TRAINING - REFERENCE - YEAR + 1, YEAR):
        end = start + TRAINING + REFERENCE + YEAR
        years = slice(start + TRAINING, end)
        full = np.isfinite(features[start:end]).all(axis=(0, 2)) & np.isfinite(targets[start:end]).all(axis=0)
        if full.any():
            fit = slice(start, start + TRAINING)
            forecasts = [
                _forecasts(features[fit, place], targets[fit, place], features[years, place])
                for place in np.flatnonzero(full)
            ]
            yield (
                f"{closes.index[start + TRAINING + REFERENCE + 1]:%Y-%m-%d}",
                Fleet(targets[years][:, full], np.array(forecasts).T),
            )


def _closes(path: Path) -> pd.Series:
    return pd.read_parquet(path, columns=["Date", "Close"]).set_index("Date")["Close"].astype("float64")


def _features(closes: pd.DataFrame, returns: pd.DataFrame) -> list[pd.DataFrame]:
    """Features of each session, made of it and of those before: returns, trend, volatility."""
    lags = [returns.shift(lag) for lag in range(5)]
    trend = np.log(closes / closes.rolling(50).mean())
    return [*lags, returns.rolling(20).mean(), returns.rolling(20).std(), trend]


def _forecasts(rows: np.ndarray, targets: np.ndarray, later: np.ndarray) -> np.ndarray:
    """Ridge regression, shrunk to the mean; inputs are cut at 5 standard deviations."""
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    inputs, later = (np.clip((part - mean) / spread, -5.0, 5.0) for part in (rows, later))
    weights = np.linalg.solve(
        inputs.T @ inputs + RIDGE * np.eye(inputs.shape[1]), inputs.T @ (targets - targets.mean())
    )
    return targets.mean() + SHRINKAGE * later @ weights
