"""The figures of `make bench-skill`, from forecasts small enough to reckon by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.bench.bench_processes import BenchError
from tests.bench.bench_skill import Errors, skill_rows

DAYS = pd.to_datetime(["2018-08-30", "2018-08-31", "2018-09-04", "2018-09-05"])


def forecasts() -> pd.DataFrame:
    """Two stocks over four days: the naive errors are 1 and 2, the models' errors 0.5 and 2."""
    frames = []
    for model, naive, own in (("a", 1.0, 0.5), ("b", 2.0, 2.0)):
        actual = np.array([10.0, 11.0, 12.0, 13.0])
        frames.append(
            pd.DataFrame(
                {
                    "model": model,
                    "target_session": DAYS,
                    "last_close": actual + naive,
                    "predicted_close": actual + own + np.array([0.0, 0.0, 0.1, 0.1]),
                    "base_predicted_close": actual + naive - np.array([0.25, 0.5, 0.25, 0.25]),
                    "announced_dividend": [0.0, 0.0, 0.5, 0.0],
                    "actual_close": actual,
                    "lower_95": actual + np.array([-1.0, -1.0, 1.0, -1.0]),
                    "upper_95": actual + 2.0,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def test_ratios_days_and_years() -> None:
    errors = Errors.of(forecasts())
    assert errors.ratios("model").tolist() == pytest.approx([0.55, 1.025])
    assert errors.ratio("dividend") == pytest.approx(1 - (0.5 / 4 + 0.5 / 8) / 2)
    assert errors.daily("model", "naive").tolist() == pytest.approx([-0.25, -0.25, -0.175, -0.175])
    assert errors.by_year() == pytest.approx({2017: 0.75, 2018: 0.825})
    days = np.array([-0.25, -0.25, -0.175, -0.175])
    assert errors.t("model", "naive") == pytest.approx(days.mean() / (days.std(ddof=1) / 2))


def test_targets_are_met_or_missed() -> None:
    errors = Errors.of(forecasts())
    pooled = {"mae_ratio": errors.ratio("model"), "dm_t": errors.t("model", "naive")}
    rows = {row.what: row for row in skill_rows(forecasts(), pooled)}
    assert rows["MAE / naive MAE, mean over stocks"].cells()[1:3] == ("0.78750", "<= 0.9979: met")
    assert rows["worst stock: MAE / naive MAE"].met is False
    assert rows["95 % interval: coverage of 8 forecasts"].cells()[1:3] == ("75.00 %", "94 to 96 %: missed")


def test_a_summary_that_says_otherwise_stops_the_benchmark() -> None:
    errors = Errors.of(forecasts())
    pooled = {"mae_ratio": errors.ratio("model") + 2e-9, "dm_t": errors.t("model", "naive")}
    with pytest.raises(BenchError, match="mae_ratio"):
        skill_rows(forecasts(), pooled)
