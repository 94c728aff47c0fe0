"""Generated frames of forecasts that fulfil `evaluation.frame`'s contract, for any test that judges forecasts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mlops_cli.evaluation.frame import FORECAST_COLUMNS


def market_returns(models: int, days: int, seed: int, mean: float = 0.0) -> np.ndarray:
    """Log returns, shape (days, models): fat-tailed, and half of each day's is the whole market's."""
    random = np.random.default_rng([seed, 1])
    market = random.standard_t(4, size=(days, 1)) * 0.006 + mean
    return market + random.standard_t(4, size=(days, models)) * 0.009


def noise(models: int, days: int, seed: int, size: float = 0.002) -> np.ndarray:
    """Forecast log returns that know nothing, shape (days, models)."""
    return np.random.default_rng([seed, 2]).normal(size=(days, models)) * size


def forecast_frame(returns: np.ndarray, raw: np.ndarray, shrinkage: float = 1.0, drift: float = 0.0003) -> pd.DataFrame:
    """Turn actual and forecast log returns, shape (days, models), into a frame of forecasts.

    Models are named team-stock, alternately of teams red and blue; first closes run from 20 to some hundreds.
    """
    days, models = returns.shape
    sessions = pd.bdate_range("2023-01-02", periods=days + 1)
    closes = np.linspace(20.0, 400.0, models) * np.exp(np.vstack([np.zeros(models), returns.cumsum(axis=0)]))
    last = closes[:-1]
    teams = ["red" if place % 2 == 0 else "blue" for place in range(models)]
    prices = {
        "last_close": last,
        "predicted_close": last * np.exp(shrinkage * raw),
        "raw_predicted_close": last * np.exp(raw),
        "actual_close": closes[1:],
        "drift_predicted_close": last * np.exp(drift),
    }
    return pd.DataFrame(
        {
            "model": np.repeat([f"{team}-s{place:03d}" for place, team in enumerate(teams)], days),
            "team": np.repeat(teams, days),
            "ticker": np.repeat([f"S{place:03d}" for place in range(models)], days),
            "session": np.tile(sessions[:-1], models),
            "target_session": np.tile(sessions[1:], models),
            **{name: values.T.ravel() for name, values in prices.items()},
        }
    )[list(FORECAST_COLUMNS)]


def equal_shrinkage(forecasts: pd.DataFrame, factor: float = 1.0) -> dict[str, float]:
    """The same shrinkage factor for every model of a frame."""
    return dict.fromkeys(forecasts["model"].unique(), factor)
