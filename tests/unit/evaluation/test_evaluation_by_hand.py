"""Every headline figure of a report, recomputed from its frame of forecasts with numpy alone, to 1e-9."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops_cli.evaluation.frame import check_forecasts
from mlops_cli.evaluation.summary import summarise
from tests.fakes.forecast_frames import (
    equal_shrinkage,
    forecast_frame,
    market_returns,
    noise,
    with_base,
    with_intervals,
)

MODELS, DAYS = 6, 260


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Six stocks over a year: dividends of different size, a drift, a network; intervals that follow volatility."""
    random = np.random.default_rng(11)
    volatility = 0.7 + 0.6 * random.random((DAYS, MODELS))
    returns = market_returns(MODELS, DAYS, 11, mean=0.0005) * volatility
    dividend = np.where(random.random((MODELS, DAYS)) < 0.1, random.uniform(0.001, 0.03, (MODELS, DAYS)), 0.0)
    frame = with_base(forecast_frame(returns, noise(MODELS, DAYS, 11)), dividend.ravel(), drift=0.0004, network=0.3)
    width = 0.012 * volatility.T.ravel()
    width[:40] = np.nan  # the first model has no interval at first
    frame = with_intervals(frame, {80.0: width, 95.0: 2 * width}, {80.0: 0.013, 95.0: 0.026})
    return frame.sample(frac=1, random_state=0)


@pytest.fixture(scope="module")
def summary(frame: pd.DataFrame) -> dict[str, Any]:
    return summarise(frame, equal_shrinkage(frame))


@pytest.fixture(scope="module")
def grids(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Each column of numbers as an array, shape (models, days)."""
    rows = check_forecasts(frame)
    return {name: rows[name].to_numpy().reshape(MODELS, DAYS) for name in rows.columns[5:]}


def errors(grids: dict[str, np.ndarray], forecast: np.ndarray) -> np.ndarray:
    return np.abs(forecast - grids["actual_close"])


def t_of(days: np.ndarray) -> float:
    return days.mean() / (days.std(ddof=1) / np.sqrt(len(days)))


def close_to(value: float) -> Any:
    return pytest.approx(value, abs=1e-9, rel=1e-9)


def test_ratios_and_t(grids: dict[str, np.ndarray], summary: dict[str, Any]) -> None:
    own, naive = errors(grids, grids["predicted_close"]), errors(grids, grids["last_close"])
    base, drift = errors(grids, grids["base_predicted_close"]), errors(grids, grids["drift_predicted_close"])
    scale = naive.mean(axis=1, keepdims=True)
    pooled = summary["pooled"]
    assert pooled["mae_ratio"] == close_to((own.mean(axis=1) / naive.mean(axis=1)).mean())
    assert pooled["base_ratio"] == close_to((base.mean(axis=1) / naive.mean(axis=1)).mean())
    assert pooled["mae_base"] == close_to(base.mean())
    for other, key in ((naive, "dm_t"), (drift, "drift_t"), (base, "base_t")):
        assert pooled[key] == close_to(t_of(((own - other) / scale).mean(axis=0)))
    for row, own_mae, base_mae, naive_mae in zip(
        summary["models"], own.mean(axis=1), base.mean(axis=1), naive.mean(axis=1), strict=True
    ):
        assert row["mae_ratio"] == close_to(own_mae / naive_mae)
        assert (row["mae_base"], row["base_ratio"]) == (close_to(base_mae), close_to(base_mae / naive_mae))


def test_decomposition(grids: dict[str, np.ndarray], summary: dict[str, Any]) -> None:
    naive = errors(grids, grids["last_close"])
    less_dividend = errors(grids, grids["last_close"] - grids["announced_dividend"])
    base, own = errors(grids, grids["base_predicted_close"]), errors(grids, grids["predicted_close"])
    scale = naive.mean(axis=1, keepdims=True)
    steps = {
        "dividends": (less_dividend - naive) / scale,
        "drift": (base - less_dividend) / scale,
        "network": (own - base) / scale,
        "together": (own - naive) / scale,
    }
    ex = grids["announced_dividend"] > 0
    kinds = {"all_days": np.ones_like(ex), "ex_days": ex, "other_days": ~ex}
    for kind, chosen in kinds.items():
        found = summary["decomposition"][kind]
        assert found["n"] == chosen.sum()
        for part, loss in steps.items():
            days = np.array([loss[chosen[:, day], day].mean() for day in range(DAYS) if chosen[:, day].any()])
            assert found[part]["relative_loss"] == close_to(days.mean())
            if np.abs(days).max() > 0:
                assert found[part]["t"] == close_to(t_of(days))
    whole = summary["decomposition"]["all_days"]
    parts = sum(whole[part]["relative_loss"] for part in ("dividends", "drift", "network"))
    assert whole["together"]["relative_loss"] == close_to(parts)
    assert whole["together"]["t"] == close_to(summary["pooled"]["dm_t"])


@pytest.mark.parametrize("level", ["80", "95"])
def test_intervals(grids: dict[str, np.ndarray], summary: dict[str, Any], level: str) -> None:
    lower, upper, half = (grids[f"{name}_{level}"] for name in ("lower", "upper", "constant"))
    actual, last, dividend = grids["actual_close"], grids["last_close"], grids["announced_dividend"]
    there = ~np.isnan(lower)
    alpha = 1 - float(level) / 100

    def score(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        below, above = np.where(actual < low, low - actual, 0), np.where(actual > high, actual - high, 0)
        return (high - low + 2 / alpha * (below + above)) / last

    centre = grids["predicted_close"] + dividend
    own, constant = score(lower, upper), score(centre * np.exp(-half) - dividend, centre * np.exp(half) - dividend)
    inside = (lower <= actual) & (actual <= upper)
    pooled = summary["pooled"]["intervals"][level]
    assert (pooled["n"], pooled["left_out"]) == (there.sum(), (~there).sum()) == (MODELS * DAYS - 40, 40)
    assert pooled["coverage"] == close_to(inside[there].mean())
    assert pooled["width"] == close_to(((upper - lower) / last)[there].mean())
    assert pooled["score"] == close_to(own[there].mean())
    assert pooled["constant_score"] == close_to(constant[there].mean())
    edges = centre * np.exp(-half) - dividend, centre * np.exp(half) - dividend
    assert pooled["constant_width"] == close_to(((edges[1] - edges[0]) / last)[there].mean())
    assert pooled["constant_coverage"] == close_to(((edges[0] <= actual) & (actual <= edges[1]))[there].mean())
    ratios = [own[model, there[model]].mean() / constant[model, there[model]].mean() for model in range(MODELS)]
    assert pooled["score_ratio"] == close_to(np.mean(ratios))
    days = np.array([inside[there[:, day], day].mean() for day in range(DAYS)])
    assert pooled["coverage_t"] == close_to(t_of(days - float(level) / 100))
    for model, row in enumerate(summary["models"]):
        figures = row["intervals"][level]
        assert figures["coverage"] == close_to(inside[model, there[model]].mean())
        assert figures["score_ratio"] == close_to(ratios[model])
        assert figures["n"] == there[model].sum()


def test_worst_month(frame: pd.DataFrame, summary: dict[str, Any]) -> None:
    rows = frame[frame["lower_95"].notna()]
    month = rows["target_session"].dt.strftime("%Y-%m").to_numpy()
    inside = ((rows["lower_95"] <= rows["actual_close"]) & (rows["actual_close"] <= rows["upper_95"])).to_numpy()
    coverage = {name: inside[month == name].mean() for name in np.unique(month)}
    sessions = {name: rows.loc[month == name, "target_session"].nunique() for name in coverage}
    worst = min((name for name in coverage if sessions[name] >= 10), key=lambda name: coverage[name])
    assert summary["pooled"]["intervals"]["95"]["worst_month"] == {
        "month": worst,
        "coverage": close_to(coverage[worst]),
    }
