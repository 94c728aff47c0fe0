"""The results in sentences."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from mlops_cli.evaluation.summary import summarise
from mlops_cli.simulation.result_lines import evaluation_line, result_lines
from tests.fakes.forecast_frames import equal_shrinkage, forecast_frame, market_returns
from tests.fakes.judged_forecasts import judged, judged_payers, scenario_summary, walked


@pytest.fixture(scope="module")
def small() -> tuple[pd.DataFrame, dict[str, Any]]:
    return judged(4)


@pytest.fixture(scope="module")
def payers() -> dict[str, Any]:
    """Stocks with dividends, a base and intervals."""
    return judged_payers(6, 60)[1]


def test_lines_say_what_the_gain_is_made_of(payers: dict[str, Any]) -> None:
    lines = result_lines(payers)
    assert lines[1] == "  The network adds nothing to the base: no difference from the base alone could be shown."
    assert "base " in lines[2]
    place = next(number for number, line in enumerate(lines) if "Change of the error by each part" in line)
    assert lines[place + 1].split() == ["forecasts", "dividends", "drift", "network", "together"]
    kinds = {"all days": "all_days", "ex-days": "ex_days", "other days": "other_days"}
    for line, (name, key) in zip(lines[place + 2 :], kinds.items(), strict=False):
        figures = payers["decomposition"][key]
        cells = line.removeprefix(f"    {name}").split()
        assert cells[0] == str(figures["n"])
        parts = ("dividends", "drift", "network", "together")
        assert [float(cell) for cell in cells[1::2]] == pytest.approx(
            [100 * figures[part]["relative_loss"] for part in parts], abs=0.0006
        )
    assert all(len(line) <= 120 for line in lines)


def test_lines_say_how_good_the_intervals_are() -> None:
    summary = judged_payers(6, 60)[1]
    figures = summary["pooled"]["intervals"]["95"]
    lines = result_lines(summary)
    place = next(number for number, line in enumerate(lines) if line.startswith("  Intervals "))
    assert [line.split()[0] for line in lines[place + 1 : place + 3]] == ["80", "95"]
    worst = figures["worst_month"]
    assert lines[place + 2].split() == [
        "95", "%", "360", f"{100 * figures['coverage']:.1f}", "%", f"{100 * worst['coverage']:.1f}", "%",
        worst["month"], f"{100 * figures['width']:.2f}", "%", f"{figures['score_ratio']:.3f}",
    ]  # fmt: skip


def test_retrained_models_have_their_verdicts_and_decomposition_too() -> None:
    frame, summary = judged_payers(4, 60)
    walk = summarise(frame, equal_shrinkage(frame))
    walk.pop("alarm")
    facts = {"retrain": "yearly", "dates": [], "left_out": [], "comparison": None}
    lines = result_lines(summary | {"walk_forward": walk | facts})
    place = next(number for number, line in enumerate(lines) if line.startswith("Walk-forward"))
    assert lines[place + 1].startswith("  Over the whole period: NO SKILL, ADDS NOTHING TO THE BASE. MAE / naive MAE ")
    assert any("Change of the error by each part" in line for line in lines[place:])
    assert any(line.startswith("  Intervals ") for line in lines[place:])


def test_lines_say_verdict_teams_and_alarm(small: tuple[pd.DataFrame, dict[str, Any]]) -> None:
    lines = result_lines(small[1])
    assert lines[0] == "Verdict on the collection: NO SKILL - no difference from 'tomorrow = today' could be shown."
    assert "  Per model: 0 skill, 4 no skill, 0 worse than naive." in lines
    places = [line.split()[:2] for line in lines if line.lstrip().startswith(("1.", "2."))]
    assert places == [[f"{row['rank']}.", row["team"]] for row in small[1]["teams"]]
    assert lines[-1] == "Look-ahead alarm: silent."
    assert all(len(line) <= 120 for line in lines)


@pytest.mark.parametrize(
    ("sign", "said"),
    [
        (0.3, "SKILL - the forecasts are better than 'tomorrow = today', by more than chance explains."),
        (-0.3, "WORSE THAN NAIVE - 'tomorrow = today' is better than the forecasts, by more than chance explains."),
    ],
)
def test_success_and_failure_are_said_alike(sign: float, said: str) -> None:
    returns = market_returns(2, 60, 3)
    frame = forecast_frame(returns, sign * returns)
    lines = result_lines(summarise(frame, equal_shrinkage(frame)))
    assert lines[0] == f"Verdict on the collection: {said}"
    assert ("LOOK-AHEAD ALARM" in "\n".join(lines)) == (sign > 0)


@pytest.mark.parametrize(
    ("verdict", "retrain", "said"),
    [
        (
            "no difference",
            "monthly",
            "retrained monthly: no difference between the retrained and the frozen models could be shown.",
        ),
        ("better", 20, "retrained every 20 sessions: retraining lowers the error, by more than chance explains."),
        ("worse", "quarterly", "retrained quarterly: retraining raises the error, by more than chance explains."),
    ],
)
def test_lines_say_what_retraining_does(verdict: str, retrain: str | int, said: str) -> None:
    summary = walked(4)
    walk = summary["walk_forward"]
    walk |= {"retrain": retrain, "comparison": walk["comparison"] | {"verdict": verdict}}
    lines = result_lines(summary)
    place = lines.index(f"Walk-forward, {said}")
    assert "after the first retraining; day-clustered test: t = " in lines[place + 1]
    assert lines[place + 2] == "  1 model is left out of it: its retraining failed."
    assert lines[-1].startswith("Look-ahead alarm")
    assert all(len(line) <= 150 for line in lines)


def test_one_team_needs_no_leaderboard() -> None:
    frame, _ = judged(1)
    lines = result_lines(summarise(frame, equal_shrinkage(frame)))
    assert not any("Teams" in line for line in lines)


def test_much_repaired_prices_are_a_warning() -> None:
    words = {f"main/T{number}": "400 of 800 rows repaired or dropped (50 %): missing_open 400" for number in range(7)}
    lines = result_lines({**scenario_summary(40, 40, {}), "repaired_prices": words})
    assert "  main/T0: 400 of 800 rows repaired or dropped (50 %): missing_open 400" in lines
    assert lines[-1] == "  and 2 more: mlops doctor"


def test_the_line_of_an_evaluated_model_names_base_and_coverage_if_there_are_any(payers: dict[str, Any]) -> None:
    row = {"version": "0123", "pinned": True, **payers["models"][0]}
    inside = [
        f"{100 * row['intervals'][level]['coverage']:.1f} % of closes in the {level} % interval"
        for level in ("80", "95")
    ]
    assert evaluation_line(row) == (
        f"{row['model']} (pinned 0123): MAE {row['mae']:.4g} (naive {row['mae_naive']:.4g}, "
        f"base {row['mae_base']:.4g}), skill {100 * row['skill']:+.2f} %, "
        f"{row['verdict']}, {row['base_verdict']}, {inside[0]}, {inside[1]}"
    )
    old = {"model": "red-a", "mae": 1.5, "mae_naive": 1.25, "skill": -0.2, "verdict": "no skill"}
    assert evaluation_line(old) == "red-a: MAE 1.5 (naive 1.25), skill -20.00 %, no skill"
    assert "skill - %" in evaluation_line(old | {"skill": None}), "a close that never changed"
