"""What a gain is made of: a frame by hand, parts that add up, and collections whose parts are known."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.evaluation.decomposition import ADDS, ADDS_NOTHING, TAKES, decompose, part_losses, verdict_on_network
from mlops_cli.evaluation.frame import check_forecasts
from mlops_cli.evaluation.metrics import score_forecasts
from mlops_cli.evaluation.summary import summarise
from tests.fakes.forecast_frames import equal_shrinkage, forecast_frame, market_returns, noise, with_base


def payer(
    models: int, days: int, seed: int, drift: float = 0.0, network: float = 0.5, mean: float = 0.0
) -> pd.DataFrame:
    """Models of stocks that pay 1 % every 60 days, each on days of its own; the network knows nothing."""
    frame = forecast_frame(market_returns(models, days, seed, mean), noise(models, days, seed))
    dividend = np.zeros((models, days))
    for model in range(models):
        dividend[model, (7 * model) % 60 :: 60] = 0.01
    return with_base(frame, dividend.ravel(), drift, network)


def scores_of(frame: pd.DataFrame) -> pd.DataFrame:
    return score_forecasts(check_forecasts(frame))


def test_the_parts_of_two_days_by_hand() -> None:
    days = pd.bdate_range("2024-01-01", periods=3)
    frame = pd.DataFrame(
        {
            "model": "a", "team": "red", "ticker": "A", "session": days[:-1], "target_session": days[1:],
            "last_close": [100.0, 100.0], "actual_close": [97.0, 101.0], "announced_dividend": [2.0, 0.0],
            "base_predicted_close": [98.5, 100.5], "predicted_close": [98.0, 100.25],
            "raw_predicted_close": [97.0, 100.0], "drift_predicted_close": [100.1, 100.1],
        }
    )  # fmt: skip
    losses = part_losses(scores_of(frame))
    # naive errors 3 and 1, mean 2. Ex-day: 3 -> |98 - 97| = 1 -> 1.5 -> 1. Other day: 1 -> 1 -> 0.5 -> 0.75
    assert losses["dividends"].tolist() == pytest.approx([-2 / 2, 0.0])
    assert losses["drift"].tolist() == pytest.approx([0.5 / 2, -0.5 / 2])
    assert losses["network"].tolist() == pytest.approx([-0.5 / 2, 0.25 / 2])
    assert losses["together"].tolist() == pytest.approx([-2 / 2, -0.25 / 2])


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 80), st.floats(-0.002, 0.002), st.floats(0.05, 1.0))
def test_the_parts_add_up_to_the_whole(seed: int, models: int, days: int, drift: float, network: float) -> None:
    losses = part_losses(scores_of(payer(models, days, seed, drift, network)))
    parts = losses["dividends"] + losses["drift"] + losses["network"]
    assert (parts - losses["together"]).abs().max() < 1e-9


def test_the_means_of_each_kind_of_day_are_tested_by_day() -> None:
    frame = payer(3, 120, 1, drift=0.0005)
    found = decompose(scores_of(frame))
    losses, scores = part_losses(scores_of(frame)), scores_of(frame)
    ex_day = scores["announced_dividend"] > 0
    assert (found["all_days"]["n"], found["ex_days"]["n"], found["other_days"]["n"]) == (360, 6, 354)
    for name, rows in (("all_days", ex_day | True), ("other_days", ~ex_day)):
        for part in ("dividends", "drift", "network", "together"):
            daily = losses.loc[rows, part].groupby(scores["target_session"]).mean()
            assert found[name][part]["relative_loss"] == pytest.approx(daily.mean(), abs=1e-12)
            if daily.abs().max() > 0:
                t = daily.mean() / (daily.std(ddof=1) / np.sqrt(len(daily)))
                assert found[name][part]["t"] == pytest.approx(t, abs=1e-9)
    assert found["other_days"]["dividends"] == {"relative_loss": 0.0, "t": None, "p": None}
    assert found["ex_days"]["dividends"]["t"] is None, "six days are too few for a test"
    json.dumps(found, allow_nan=False)


def test_a_gain_from_dividends_alone_is_laid_to_dividends() -> None:
    found = decompose(scores_of(payer(8, 600, 2, network=0.0)))
    assert found["all_days"]["dividends"]["relative_loss"] < 0
    assert found["ex_days"]["dividends"]["t"] < -3
    assert found["all_days"]["network"] == {"relative_loss": pytest.approx(0.0, abs=1e-12), "t": None, "p": None}
    assert found["all_days"]["together"] == pytest.approx(found["all_days"]["dividends"])


def test_a_gain_from_the_drift_alone_is_laid_to_the_drift() -> None:
    frame = with_base(forecast_frame(market_returns(8, 400, 3, mean=0.004), noise(8, 400, 3)), np.zeros(3200), 0.004, 0)
    found = decompose(scores_of(frame))
    assert found["all_days"]["drift"]["t"] < -3
    assert found["all_days"]["dividends"]["relative_loss"] == 0.0
    assert found["ex_days"].pop("n") == 0
    assert all(part == {"relative_loss": None, "t": None, "p": None} for part in found["ex_days"].values())


def test_models_without_a_base_have_no_decomposition_and_no_second_verdict() -> None:
    frame = forecast_frame(market_returns(4, 60, 4), noise(4, 60, 4))
    summary = summarise(frame, equal_shrinkage(frame))
    assert summary["decomposition"] is None
    for row in (*summary["models"], *summary["teams"], summary["pooled"]):
        assert {row[key] for key in row if "base" in key} == {None}


def test_a_base_beside_models_without_one_is_judged_for_its_own_models_only() -> None:
    plain = forecast_frame(market_returns(2, 60, 4), noise(2, 60, 4))
    frame = pd.concat([plain[plain["model"] == "red-s000"], payer(2, 60, 5).query("model == 'blue-s001'")])
    summary = summarise(frame, equal_shrinkage(frame))
    blue, red = summary["models"]
    assert red["base_verdict"] is None
    assert red["mae_base"] is None
    assert blue["base_verdict"] == ADDS_NOTHING
    assert [row["base_verdict"] is None for row in sorted(summary["teams"], key=lambda row: row["team"])] == [
        False,
        True,
    ]
    assert summary["pooled"]["base_verdict"] == ADDS_NOTHING


@pytest.mark.parametrize(("sign", "verdict"), [(0.2, ADDS), (-0.2, TAKES)])
def test_what_the_network_earns_is_said_beside_the_verdict_against_naive(sign: float, verdict: str) -> None:
    returns = market_returns(4, 150, 6)
    frame = with_base(forecast_frame(returns, sign * returns), np.zeros(600), drift=0.0001)
    summary = summarise(frame, equal_shrinkage(frame))
    for row in (*summary["models"], *summary["teams"], summary["pooled"]):
        assert row["base_verdict"] == verdict


def test_rounding_to_float32_is_no_skill_of_the_network() -> None:
    """A graph with shrinkage 0 gives its base in float32: always a little above or below."""
    frame = payer(5, 300, 7, drift=0.0004, network=0.0)
    rounded = frame.assign(predicted_close=frame["base_predicted_close"] * (1 + 2e-7))
    summary = summarise(rounded, equal_shrinkage(rounded, 0.0))
    for row in (*summary["models"], *summary["teams"], summary["pooled"]):
        assert (row["base_verdict"], row["base_p"]) == (ADDS_NOTHING, None)
    assert summary["decomposition"]["all_days"]["network"]["t"] is None


@pytest.mark.parametrize(
    ("gain", "p", "verdict"),
    [
        (0.1, 0.049, ADDS), (-0.1, 0.049, TAKES), (0.1, 0.05, ADDS_NOTHING), (-0.1, 0.9, ADDS_NOTHING),
        (0.0, 0.0, ADDS_NOTHING), (0.1, np.nan, ADDS_NOTHING), (np.nan, np.nan, ADDS_NOTHING),
    ],
)  # fmt: skip
def test_verdicts_on_the_network(gain: float, p: float, verdict: str) -> None:
    assert verdict_on_network(gain, p, 0.05) == verdict
