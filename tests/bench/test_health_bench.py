"""The benchmark of health on fleets so small that it takes a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tests.bench.bench_health import WITHIN, YEAR, alarms_with_retraining, measure, seconds_per_session
from tests.bench.health_prices import TRAINING, real_fleets
from tests.fakes.simulated_fleets import REFERENCE, simulated_fleet


def test_one_seed() -> None:
    seed = measure(simulated_fleet(30, YEAR, 1), broken=2, seed=1, noise=1.0)
    assert (seed.found, seed.false, seed.alarms) == (2, 0, 0)
    assert len(seed.delays) == 2
    assert all(1 <= delay <= WITHIN for delay in seed.delays)
    assert (seed.shock, seed.shock_alarms) == ("broken", 0)


def test_a_year_of_two_versions() -> None:
    fleet = simulated_fleet(30, YEAR, 1)
    assert alarms_with_retraining(fleet, YEAR // 2, 0) == 0
    assert alarms_with_retraining(fleet.broken(3, 1.0, 1, start=140), YEAR // 2, 0) == 3


def test_times_are_positive() -> None:
    assert min(seconds_per_session(25)) > 0.0


def test_forecasts_on_price_files_know_no_later_price(tmp_path: Path) -> None:
    sessions = pd.bdate_range("2010-01-01", periods=60 + TRAINING + REFERENCE + YEAR + 1)
    returns = np.random.default_rng(1).normal(size=(len(sessions), 2)) * 0.01

    def fleets() -> list[tuple[str, object]]:
        for place, name in enumerate("AB"):
            closes = 50.0 * np.exp(returns[:, place].cumsum())
            pd.DataFrame({"Date": sessions, "Close": closes}).to_parquet(tmp_path / f"{name}.parquet")
        return list(real_fleets(tmp_path))

    [(day, fleet)] = fleets()
    assert day == f"{sessions[60 + TRAINING + REFERENCE + 1]:%Y-%m-%d}"
    assert fleet.returns.shape == fleet.forecasts.shape == (REFERENCE + YEAR, 2)
    np.testing.assert_allclose(fleet.returns, returns[60 + TRAINING + 1 :])
    returns[-100:] = 0.5
    [(_, changed)] = fleets()
    np.testing.assert_array_equal(changed.forecasts[:-99], fleet.forecasts[:-99])
    assert (changed.forecasts[-99:] != fleet.forecasts[-99:]).all()
