"""Simulated stocks and forecasts with what makes false alarms: clustered volatility, fat tails and a common factor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

REFERENCE = 520
"""Sessions before the judged ones: 20 to warm up, 500 that count."""

DAILY = 0.01
"""Standard deviation of daily log returns."""


@dataclass(frozen=True)
class Fleet:
    """Log returns and forecasts of them, shape (sessions, models); the first `REFERENCE` sessions are the reference."""

    returns: np.ndarray
    forecasts: np.ndarray

    @property
    def names(self) -> list[str]:
        return [f"m{place:04d}" for place in range(self.returns.shape[1])]

    @property
    def versions(self) -> dict[str, str]:
        return dict.fromkeys(self.names, "1")

    def frame(self, start: int, end: int, version: str = "1") -> pd.DataFrame:
        """Settled forecasts of the sessions from start to before end."""
        days = pd.bdate_range("2020-01-01", periods=len(self.returns))[start:end]
        models = self.returns.shape[1]
        last = 100.0
        return pd.DataFrame(
            {
                "model": np.tile(self.names, len(days)),
                "version": version,
                "target_session": np.repeat(days, models),
                "last_close": last,
                "predicted_close": last * np.exp(self.forecasts[start:end].ravel()),
                "actual_close": last * np.exp(self.returns[start:end].ravel()),
            }
        )

    def reference(self) -> pd.DataFrame:
        return self.frame(0, REFERENCE)

    def live(self, sessions: int) -> pd.DataFrame:
        return self.frame(REFERENCE, REFERENCE + sessions)

    def broken(self, models: int, noise: float, seed: int, start: int = 0) -> Fleet:
        """Add normal noise to the forecasts of the first models, from this live session on, in sd of their returns."""
        changed = self.forecasts.copy()
        shape = (len(changed) - REFERENCE - start, models)
        scale = noise * self.returns[:REFERENCE, :models].std(axis=0)
        changed[REFERENCE + start :, :models] += scale * np.random.default_rng([seed, 9]).normal(size=shape)
        return Fleet(self.returns, changed)

    def crisis(self, start: int, days: int, times: float) -> Fleet:
        """Make all returns so many times as large for some live sessions."""
        changed = self.returns.copy()
        changed[REFERENCE + start : REFERENCE + start + days] *= times
        return Fleet(changed, self.forecasts)


def simulated_fleet(models: int, sessions: int, seed: int, size: float = 0.08) -> Fleet:
    """Simulate a fleet whose models never change.

    Returns: GARCH(1, 1) with t innovations of 5 degrees of freedom (a = 0.07, b = 0.92), 35 % of the variance from one
    common factor of the same kind. Forecasts: a drift of 0.03 sd and an autoregressive, partly common signal that knows
    nothing; of some models it follows the stock's volatility, of others it does not.

    Args:
        models: how many.
        sessions: after the reference.
        seed: of everything.
        size: typical standard deviation of the forecasts in sd of the returns (from 0.4 to 2.5 times that).
    """
    random = np.random.default_rng([seed, 13])
    days = REFERENCE + sessions
    beta = random.uniform(0.7, 1.3, models)
    returns = np.sqrt(0.35) * beta * _garch(random, days, 1) + np.sqrt(0.65) * _garch(random, days, models)
    noise = np.sqrt(0.3) * random.normal(size=(days, 1)) + np.sqrt(0.7) * random.normal(size=(days, models))
    signal = _smooth(np.sqrt(0.75) * noise, 0.5)
    follows = random.uniform(0.0, 1.0, models)
    volatility = np.sqrt(_lagged_variance(returns))
    sizes = size * np.exp(random.normal(0.0, 0.4, models))
    forecasts = random.normal(0.03, 0.02, models) + sizes * signal * (follows * volatility + 1.0 - follows)
    return Fleet(DAILY * returns, DAILY * forecasts)


def _garch(random: np.random.Generator, days: int, series: int, burn: int = 100) -> np.ndarray:
    innovations = random.standard_t(5, size=(days + burn, series)) / np.sqrt(5.0 / 3.0)
    values = np.empty_like(innovations)
    variance = np.ones(series)
    for day, innovation in enumerate(innovations):
        values[day] = np.sqrt(variance) * innovation
        variance = 0.01 + 0.07 * values[day] ** 2 + 0.92 * variance
    return values[burn:]


def _smooth(noise: np.ndarray, weight: float) -> np.ndarray:
    values = np.empty_like(noise)
    value = np.zeros(noise.shape[1])
    for day, step in enumerate(noise):
        value = weight * value + step
        values[day] = value
    return values


def _lagged_variance(returns: np.ndarray) -> np.ndarray:
    """Exponentially weighted variance of the sessions before each."""
    values = np.empty_like(returns)
    variance = np.ones(returns.shape[1])
    for day, step in enumerate(returns):
        values[day] = variance
        variance = 0.94 * variance + 0.06 * step**2
    return values
