"""What a reader of a report must know: few sessions, short scenarios, dividends, and intervals that are off."""

from __future__ import annotations

import numpy as np
import pytest

from mlops_cli.evaluation.summary import summarise
from mlops_cli.simulation.remarks import remarks
from mlops_cli.simulation.result_lines import result_lines
from tests.fakes.forecast_frames import equal_shrinkage, forecast_frame, market_returns, noise, with_base
from tests.fakes.judged_forecasts import judged_payers, printed, scenario_summary


@pytest.mark.parametrize(("width", "said"), [(0.012, "too narrow"), (0.5, "too wide"), (0.03, "")])
def test_intervals_that_are_off_are_a_remark(width: float, said: str) -> None:
    summary = judged_payers(20, 80, width=width)[1]
    about = [line for line in remarks(summary) if line.startswith("The 95 % intervals are")]
    assert len(about) == bool(said)
    assert all(
        line.startswith(f"The 95 % intervals are {said}: ") and "chance does not explain" in line for line in about
    )


def test_skill_from_dividends_is_called_no_profit() -> None:
    summary = judged_payers(12, 300, network=0.0)[1]
    assert summary["pooled"]["verdict"] == "skill"
    said = "This is skill in the quoted close; it is no profit: the holder receives the dividend."
    assert said in remarks(summary)
    assert f"  {said}" in result_lines(summary)
    assert said in " ".join(printed(summary, 100).split())


def test_no_skill_and_skill_without_dividends_need_no_such_sentence() -> None:
    returns = market_returns(4, 125, 4)
    skill = with_base(forecast_frame(returns, 0.3 * returns), np.zeros(500), drift=0.0001)
    plain = forecast_frame(returns, 0.3 * returns)
    no_skill = with_base(forecast_frame(returns, noise(4, 125, 4)), np.full(500, 1e-5), network=0.5)
    for summary in (summarise(frame, equal_shrinkage(frame)) for frame in (skill, plain, no_skill)):
        assert not any("no profit" in line for line in remarks(summary))


def test_a_scenario_that_the_data_do_not_fill_says_how_much_of_it_there_was() -> None:
    summary = scenario_summary(275, 40, {"red-s000": 40})
    for text in (printed(summary, 120), "\n".join(result_lines(summary))):
        assert "ONLY 40 OF THE SCENARIO'S 275 SESSIONS" in " ".join(text.split())
    assert "days 40 of 275" in "\n".join(result_lines(summary))


def test_a_model_that_ends_early_is_named() -> None:
    text = "\n".join(result_lines(scenario_summary(40, 40, {"red-s001": 12})))
    assert "red-s001 12" in text
    assert "ONLY" not in text


def test_a_filled_scenario_needs_no_warning() -> None:
    text = "\n".join(result_lines(scenario_summary(40, 39, {})))
    assert "ONLY" not in text
    assert "fewer" not in text
