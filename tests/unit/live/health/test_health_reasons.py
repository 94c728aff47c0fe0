"""The sentences that users read."""

from __future__ import annotations

from datetime import date

import pytest

from mlops_cli.live.health.reasons import better, changed, missed, most, shock
from mlops_cli.live.health.state import Run

RUN = Run(began=date(2024, 2, 12), sessions=4, loss=0.5, total=2.0, squares=37.0)


def test_a_change_in_numbers() -> None:
    """The spread of the four signals is sqrt(37 / 4 - 0.5^2) = 3."""
    assert changed(RUN, 0.0061, 1 / 24_310) == (
        "its error less the naive error was +12.5% of the naive error in the 4 sessions from 2024-02-12, "
        "+0.6% in the reference, and varied 3.0 times as much; 1 in 24,310 gets this far within a year without a change"
    )


def test_one_session_is_no_plural() -> None:
    run = Run(began=date(2024, 2, 12), sessions=1, loss=-0.02, total=4.0, squares=16.0)
    assert "was -2.0% of the naive error in the session from 2024-02-12" in changed(run, 0.0, 0.5)


def test_tiny_probabilities_are_not_spelled_out() -> None:
    assert changed(RUN, 0.0, 1e-30).endswith("less than 1 in 1,000,000 get this far within a year without a change")


def test_better_is_said_to_be_suspicious() -> None:
    run = RUN.model_copy(update={"loss": -2.0, "total": -30.0})
    assert better(run, 0.01, 0.001) == (
        "its error less the naive error was -50.0% of the naive error in the 4 sessions from 2024-02-12, +1.0% in the "
        "reference: better than before, look for prices that it should not know; "
        "1 in 1,000 gets this far within a year without a change"
    )


@pytest.mark.parametrize(
    ("of_errors", "words"), [(True, "errors beside the naive errors got worse"), (False, "are much further from")]
)
def test_a_shock_says_which_figure_of_the_fleet_moved(of_errors: bool, words: str) -> None:
    text = shock(of_errors, 0.01)
    assert words in text
    assert text.endswith(", all together; 1 in 100 gets this far within a year without a change")


def test_counts_of_models() -> None:
    assert most(51, 100, at_once=True) == "51 of 100 models got worse at once"
    assert most(51, 100, at_once=False) == "51 of 100 models are broken"
    assert missed(10) == "none of its forecasts was settled in the last 10 sessions"
