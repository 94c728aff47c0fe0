"""The summary: every figure recomputed from the frame in plain Python, verdicts, and controls with known answers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.diagnostic import pesaran_timmermann
from statsmodels.stats.multitest import multipletests
from statsmodels.tsa.stattools import diebold_mariano_test

from mlops_cli.errors import DataError
from mlops_cli.evaluation.summary import NO_SKILL, SKILL, WORSE, summarise
from tests.fakes.forecast_frames import equal_shrinkage, forecast_frame, market_returns, noise

MODEL_KEYS = {
    "model", "team", "ticker", "n", "mae", "mae_raw", "mae_naive", "mae_drift", "skill", "mae_ratio",
    "direction_accuracy", "direction_se", "direction_calls", "always_up_rate", "shrinkage",
    "dm_p", "dm_p_fdr", "pt_p", "pt_p_fdr", "verdict",
    "mae_base", "base_ratio", "base_p", "base_p_fdr", "base_verdict", "intervals",
}  # fmt: skip
POOLED_KEYS = (MODEL_KEYS - {"model", "team", "ticker", "dm_p_fdr", "pt_p_fdr", "base_p_fdr"}) | {
    "n_models", "n_days", "n_sessions", "mae_ratio_se", "share_of_models_below_naive",
    "dm_t", "drift_t", "drift_p", "base_t", "pt_t",
}  # fmt: skip


def judge(returns: np.ndarray, raw: np.ndarray, shrinkage: float = 1.0) -> dict[str, Any]:
    frame = forecast_frame(returns, raw, shrinkage)
    return summarise(frame, equal_shrinkage(frame, shrinkage))


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Five models; one stock stands still now and then, one model makes no call now and then, one has fewer rows."""
    returns, raw = market_returns(5, 60, 1), noise(5, 60, 1)
    returns[::7, 1] = 0.0
    raw[::5, 2] = 0.0
    frame = forecast_frame(returns, raw, 0.4)
    return frame.drop(frame.index[(frame["model"] == "red-s004") & (frame["session"] < "2023-02-01")])


@pytest.fixture(scope="module")
def summary(frame: pd.DataFrame) -> dict[str, Any]:
    return summarise(frame, equal_shrinkage(frame, 0.4))


def test_keys(summary: dict[str, Any]) -> None:
    assert set(summary) == {"models", "teams", "pooled", "decomposition", "alarm"}
    assert all(set(row) == MODEL_KEYS for row in summary["models"])
    assert set(summary["pooled"]) == POOLED_KEYS
    assert all(
        set(row) == POOLED_KEYS - {"intervals"} | {"rank", "team", "dm_p_fdr", "base_p_fdr"} for row in summary["teams"]
    )


def test_every_figure_of_a_model_recomputed(frame: pd.DataFrame, summary: dict[str, Any]) -> None:
    assert [row["model"] for row in summary["models"]] == sorted(frame["model"].unique())
    for row in summary["models"]:
        rows = frame[frame["model"] == row["model"]].to_dict("records")
        for key, expected in recomputed(rows).items():
            assert row[key] == pytest.approx(expected, abs=1e-12), key
        assert row["shrinkage"] == 0.4
        assert (row["team"], row["ticker"]) == (rows[0]["team"], rows[0]["ticker"])


def recomputed(rows: list[dict[str, Any]]) -> dict[str, float]:
    """A model's figures with nothing but loops."""
    n = len(rows)
    mae, raw, naive, drift = (
        sum(abs(row[name] - row["actual_close"]) for row in rows) / n
        for name in ("predicted_close", "raw_predicted_close", "last_close", "drift_predicted_close")
    )
    moved = [row for row in rows if row["actual_close"] != row["last_close"]]
    called = [row for row in moved if row["raw_predicted_close"] != row["last_close"]]
    hits = sum((r["raw_predicted_close"] > r["last_close"]) == (r["actual_close"] > r["last_close"]) for r in called)
    accuracy = hits / len(called)
    columns = {
        name: np.array([row[name] for row in rows]) for name in ("actual_close", "predicted_close", "last_close")
    }
    actual_returns, raw_returns = (
        [math.log(row[name] / row["last_close"]) for row in called] for name in ("actual_close", "raw_predicted_close")
    )
    return {
        "n": n, "mae": mae, "mae_raw": raw, "mae_naive": naive, "mae_drift": drift,
        "skill": 1 - mae / naive, "mae_ratio": mae / naive,
        "direction_accuracy": accuracy, "direction_calls": len(called),
        "direction_se": math.sqrt(accuracy * (1 - accuracy) / (len(called) - 1)),
        "always_up_rate": sum(row["actual_close"] > row["last_close"] for row in moved) / len(moved),
        "dm_p": diebold_mariano_test(*columns.values(), criterion="mad", harvey_adj=True).pvalue,
        "pt_p": pesaran_timmermann(actual_returns, raw_returns).pvalue,
    }  # fmt: skip


def test_false_discovery_control_runs_over_all_models(summary: dict[str, Any]) -> None:
    for raw, adjusted in (("dm_p", "dm_p_fdr"), ("pt_p", "pt_p_fdr")):
        expected = multipletests([row[raw] for row in summary["models"]], method="fdr_by")[1]
        assert [row[adjusted] for row in summary["models"]] == pytest.approx(list(expected), abs=1e-12)


def test_pooled_figures_recomputed(frame: pd.DataFrame, summary: dict[str, Any]) -> None:
    pooled, rows, models = summary["pooled"], frame.to_dict("records"), summary["models"]
    plain = recomputed(rows)
    for key in ("n", "mae", "mae_raw", "mae_naive", "mae_drift", "skill", "direction_accuracy", "direction_calls"):
        assert pooled[key] == pytest.approx(plain[key], abs=1e-12), key
    assert pooled["always_up_rate"] == pytest.approx(plain["always_up_rate"], abs=1e-12)
    assert pooled["mae_ratio"] == pytest.approx(sum(row["mae_ratio"] for row in models) / 5, abs=1e-12)
    assert pooled["share_of_models_below_naive"] == sum(row["mae"] < row["mae_naive"] for row in models) / 5
    assert (pooled["n_models"], pooled["n_days"], pooled["n_sessions"]) == (5, 60, 60)
    assert pooled["shrinkage"] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("column", "t", "p"), [("last_close", "dm_t", "dm_p"), ("drift_predicted_close", "drift_t", "drift_p")]
)
def test_pooled_test_recomputed(frame: pd.DataFrame, summary: dict[str, Any], column: str, t: str, p: str) -> None:
    from scipy.stats import t as student

    scale = {row["model"]: row["mae_naive"] for row in summary["models"]}
    days: dict[Any, list[float]] = {}
    for row in frame.to_dict("records"):
        loss = abs(row["predicted_close"] - row["actual_close"]) - abs(row[column] - row["actual_close"])
        days.setdefault(row["target_session"], []).append(loss / scale[row["model"]])
    means = [sum(day) / len(day) for day in days.values()]
    mean = sum(means) / len(means)
    variance = sum((each - mean) ** 2 for each in means) / (len(means) - 1)
    expected = mean / math.sqrt(variance / len(means))
    assert summary["pooled"][t] == pytest.approx(expected, abs=1e-9)
    assert summary["pooled"][p] == pytest.approx(2 * student.sf(abs(expected), len(means) - 1), abs=1e-12)


def test_teams_are_pooled_collections_of_their_own(frame: pd.DataFrame, summary: dict[str, Any]) -> None:
    for row in summary["teams"]:
        alone = frame[frame["team"] == row["team"]]
        expected = summarise(alone, equal_shrinkage(alone, 0.4))["pooled"]
        figures = {key: value for key, value in expected.items() if key not in ("verdict", "intervals")}
        assert {key: row[key] for key in figures} == pytest.approx(figures, abs=1e-12)
    ratios = [row["mae_ratio"] for row in summary["teams"]]
    assert ratios == sorted(ratios)
    assert [row["rank"] for row in summary["teams"]] == [1, 2]


def test_equal_teams_are_ranked_by_direction() -> None:
    returns = market_returns(2, 40, 3)
    raw = np.abs(noise(2, 40, 3)) * np.sign(returns) * [-1, 1]
    summary = judge(returns, raw, shrinkage=0.0)
    assert [(row["team"], row["direction_accuracy"]) for row in summary["teams"]] == [("blue", 1.0), ("red", 0.0)]


def test_json_has_no_nan_and_comes_back_the_same(summary: dict[str, Any]) -> None:
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


@pytest.mark.parametrize(
    ("returns", "raw"),
    [
        (market_returns(2, 1, 0), noise(2, 1, 0)),
        (market_returns(2, 5, 0), noise(2, 5, 0)),
        (market_returns(2, 40, 0), np.zeros((40, 2))),
        (np.zeros((40, 2)), noise(2, 40, 0)),
        (np.zeros((40, 2)), np.zeros((40, 2))),
        (np.full((40, 2), 0.01), np.full((40, 2), 0.01)),
        (market_returns(1, 40, 0), 0.005 * market_returns(1, 40, 0)),
    ],
    ids=["one day", "five days", "no calls", "no moves", "nothing at all", "all up", "all right"],
)
def test_degenerate_collections_are_plain_json_and_no_warning(returns: np.ndarray, raw: np.ndarray) -> None:
    summary = judge(returns, raw)
    assert list(every_value(summary))
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def every_value(tree: Any) -> Iterator[Any]:
    if isinstance(tree, dict | list):
        for item in tree.values() if isinstance(tree, dict) else tree:
            yield from every_value(item)
    else:
        assert type(tree) in (str, int, float, bool, type(None))
        yield tree


@settings(max_examples=12)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 40))
def test_naive_forecasts_have_no_skill_whatever_the_raw_ones_were(seed: int, models: int, days: int) -> None:
    summary = judge(market_returns(models, days, seed), noise(models, days, seed), shrinkage=0.0)
    for row in [*summary["models"], summary["pooled"], *summary["teams"]]:
        assert (row["skill"], row["dm_p"], row["verdict"]) == (0.0, None, NO_SKILL)


@settings(max_examples=12)
@given(st.integers(0, 10_000))
def test_order_of_rows_changes_nothing_to_the_last_bit(seed: int) -> None:
    frame = forecast_frame(market_returns(3, 30, seed), noise(3, 30, seed))
    mixed = frame.sample(frac=1, random_state=seed)
    assert summarise(mixed, equal_shrinkage(frame)) == summarise(frame, equal_shrinkage(frame))


def test_skill_is_said() -> None:
    returns = market_returns(4, 125, 4)
    summary = judge(returns, 0.3 * returns)
    assert [row["verdict"] for row in [*summary["models"], *summary["teams"], summary["pooled"]]] == [SKILL] * 7
    assert summary["pooled"]["skill"] > 0.2
    assert summary["alarm"]["sounded"]


def test_worse_than_naive_is_said_as_plainly() -> None:
    returns = market_returns(4, 125, 4)
    summary = judge(returns, -0.3 * returns)
    assert [row["verdict"] for row in [*summary["models"], *summary["teams"], summary["pooled"]]] == [WORSE] * 7
    assert summary["pooled"]["skill"] < -0.2
    assert not summary["alarm"]["sounded"]


def test_looking_at_many_models_takes_a_lucky_one_its_skill() -> None:
    returns, raw = market_returns(60, 125, 6), noise(60, 125, 6)
    raw[:, 0] += 0.08 * returns[:, 0]
    alone = judge(returns[:, :1], raw[:, :1])["models"][0]
    among = judge(returns, raw)["models"]
    same = next(row for row in among if row["model"] == alone["model"])
    assert alone["dm_p"] == same["dm_p"] < 0.05
    assert alone["verdict"] == SKILL
    assert same["dm_p_fdr"] > 0.05
    assert same["verdict"] == NO_SKILL


def trained(seed: int, shuffle: bool) -> dict[str, Any]:
    """Fit least squares on a market whose returns one feature tells in part; judge on the later half."""
    random = np.random.default_rng(seed)
    models, days = 12, 400
    features = random.normal(size=(days, models, 5))
    returns = market_returns(models, days, seed) + 0.006 * features[:, :, 0]
    if shuffle:
        random.shuffle(returns)
    raw = np.empty((days // 2, models))
    for model in range(models):
        weights = np.linalg.lstsq(features[: days // 2, model], returns[: days // 2, model], rcond=None)[0]
        raw[:, model] = features[days // 2 :, model] @ weights
    return judge(returns[days // 2 :], raw, shrinkage=0.5)


def test_a_model_trained_on_the_true_target_shows_its_skill() -> None:
    assert trained(0, shuffle=False)["pooled"]["verdict"] == SKILL


@pytest.mark.parametrize("seed", range(8))
def test_the_same_model_on_shuffled_targets_shows_none(seed: int) -> None:
    summary = trained(seed, shuffle=True)
    assert summary["pooled"]["verdict"] != SKILL
    assert SKILL not in [row["verdict"] for row in [*summary["models"], *summary["teams"]]]
    assert summary["alarm"] == {"sounded": False, "reasons": []}


def test_a_planted_leak_sounds_through_the_summary() -> None:
    returns = market_returns(1, 120, 7)
    summary = judge(returns, 0.005 * returns)
    assert summary["alarm"]["sounded"]
    assert summary["models"][0]["direction_accuracy"] == 1.0
    assert summary["pooled"]["pt_t"] is None
    assert summary["pooled"]["pt_p"] == 0.0


def test_a_model_without_a_shrinkage_factor_is_refused(frame: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="no shrinkage factor for blue-s001, blue-s003"):
        summarise(frame, {"red-s000": 1.0, "red-s002": 1.0, "red-s004": 1.0})


def test_shrinkage_factors_of_other_models_are_ignored(frame: pd.DataFrame, summary: dict[str, Any]) -> None:
    assert summarise(frame, {**equal_shrinkage(frame, 0.4), "other": 0.9}) == summary


def test_a_broken_frame_is_refused(frame: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="prices not finite"):
        summarise(frame.assign(actual_close=np.nan), equal_shrinkage(frame))


def test_a_base_changes_no_figure_but_its_own(frame: pd.DataFrame, summary: dict[str, Any]) -> None:
    """The same forecasts, once of models without a base, once beside one: `base: none` shows what it always did."""
    beside = summarise(frame.assign(base_predicted_close=frame["last_close"] * 1.001), equal_shrinkage(frame, 0.4))
    for key in ("models", "teams"):
        assert [plain(row) for row in beside[key]] == [plain(row) for row in summary[key]]
    assert plain(beside["pooled"]) == plain(summary["pooled"])
    assert beside["alarm"] == summary["alarm"]
    assert all(row["base_verdict"] for row in beside["models"])


def plain(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if "base" not in key}
