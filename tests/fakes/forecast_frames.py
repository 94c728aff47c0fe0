"""Generated frames of forecasts that fulfil `evaluation.frame`'s contract, for any test that judges forecasts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mlops_cli.evaluation.frame import FORECAST_COLUMNS, forecast_columns, interval_columns


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
        "base_predicted_close": last,
        "announced_dividend": np.zeros_like(last),
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


def with_base(forecasts: pd.DataFrame, dividend: np.ndarray, drift: float = 0.0, network: float = 1.0) -> pd.DataFrame:
    """Give forecasts of `forecast_frame` a base: C exp(drift) - D.

    The returns of the frame are taken as total returns: the dividend is subtracted from each actual close.

    Args:
        forecasts: as `forecast_frame` makes them; the network's total return is their log return.
        dividend: share of the last close that is paid on the target session, one per row.
        drift: mu of the base.
        network: shrinkage to the base: 1 = the network's own forecast, 0 = the base.
    """
    last = forecasts["last_close"]
    paid = last * dividend
    raw = np.log(forecasts["raw_predicted_close"] / last)
    return forecasts.assign(
        actual_close=forecasts["actual_close"] - paid,
        predicted_close=last * np.exp(drift + network * (raw - drift)) - paid,
        raw_predicted_close=last * np.exp(raw) - paid,
        base_predicted_close=last * np.exp(drift) - paid,
        announced_dividend=paid,
    )


def with_intervals(
    forecasts: pd.DataFrame, widths: dict[float, np.ndarray | float], constants: dict[float, float]
) -> pd.DataFrame:
    """Add intervals around the forecasts: by level, the half width in log total return (NaN: no interval)."""
    total = forecasts["predicted_close"] + forecasts["announced_dividend"]
    for level, width in widths.items():
        lower, upper, constant = interval_columns(level)
        bounds = {lower: total * np.exp(-width), upper: total * np.exp(width)}
        columns = {name: bound - forecasts["announced_dividend"] for name, bound in bounds.items()}
        forecasts = forecasts.assign(**columns, **{constant: constants[level]})
    return forecasts[forecast_columns(tuple(widths))]


def equal_shrinkage(forecasts: pd.DataFrame, factor: float = 1.0) -> dict[str, float]:
    """The same shrinkage factor for every model of a frame."""
    return dict.fromkeys(forecasts["model"].unique(), factor)
