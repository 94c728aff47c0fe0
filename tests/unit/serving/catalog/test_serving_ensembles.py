"""Ensembles: what makes one unservable, the weights of its members, and the average of their answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.serving import Ensemble
from mlops_cli.serving.catalog.ensembles import (
    averaged,
    ensemble_inputs,
    ensemble_levels,
    ensemble_team,
    ensemble_version,
    ensembles,
    recent_errors,
)
from tests.fakes.served_catalogs import answer, ensemble, model

RED, BLUE = model("red-acme", "1"), model("blue-acme", "2", team="blue", inputs=("b", "c"))
OTHER = model("red-other", "3", ticker="OTHER")
EMPTY = model("red-empty")
MODELS = {served.name: served for served in (RED, BLUE, OTHER, EMPTY)}


def build(project: Project, *models: str, **settings: Any) -> Any:
    wanted = Ensemble.model_validate({"models": models, **settings})
    return ensembles(project, {"both": wanted}, MODELS)["both"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "params.yaml").write_text("branches: {main: {collection: [configs]}}\n")
    return Project.at(tmp_path)


def evaluated(project: Project, errors: dict[str, list[float]]) -> None:
    """Forecasts that were off by these prices, session after session; NaN: the close is not known."""
    folder = project.evaluation("main")
    folder.mkdir(parents=True)
    sessions = pd.date_range("2024-01-01", periods=max(map(len, errors.values())), freq="B")
    rows = [
        {"model": name, "session": session, "predicted_close": 10.0 + off, "actual_close": 10.0 + 0 * off}
        for name, offs in errors.items()
        for session, off in zip(sessions, offs, strict=False)
    ]
    pd.DataFrame(rows).to_parquet(folder / "forecasts.parquet")


def weights(served: Any) -> dict[str, float]:
    return {member.name: weight for member, weight in served.members}


@pytest.mark.parametrize(
    ("models", "settings", "reason"),
    [
        (("red-acme", "gone"), {}, "cannot be served without gone"),
        (("red-acme", "red-empty"), {}, "cannot be served without red-empty"),
        (("red-acme", "red-other"), {}, "its models forecast different tickers: ACME, OTHER"),
        (("red-acme", "blue-acme"), {"weights": {"red-acme": 1}}, "weights and models differ in: blue-acme"),
        (
            ("red-acme", "blue-acme"),
            {"weights": {"red-acme": 1, "blue-acme": 1, "x": 1}},
            "weights and models differ in: x",
        ),
        (("red-acme", "blue-acme"), {"weights": {"red-acme": 0, "blue-acme": 0}}, "all weights are 0"),
    ],
)
def test_an_ensemble_that_cannot_be_served_gives_the_reason(project, models, settings, reason) -> None:
    served = build(project, *models, **settings)
    assert served.reason == f"serving.ensembles.both: {reason}"
    assert served.members == ()


def test_an_ensemble_with_the_name_of_a_model_is_left_out(project: Project) -> None:
    settings = {"red-acme": Ensemble(models=("red-acme", "blue-acme"))}
    assert ensembles(project, settings, MODELS) == {}


def test_given_weights_are_scaled_to_a_sum_of_one(project: Project) -> None:
    served = build(project, "red-acme", "blue-acme", weights={"red-acme": 3, "blue-acme": 1})
    assert weights(served) == {"red-acme": 0.75, "blue-acme": 0.25}


def test_equal_weights(project: Project) -> None:
    assert weights(build(project, "red-acme", "blue-acme", weights="equal")) == {"red-acme": 0.5, "blue-acme": 0.5}


def test_inverse_errors_count_the_last_sessions_with_a_known_close(project: Project) -> None:
    evaluated(project, {"red-acme": [90, 1, 1, 1, 1, 1, np.nan], "blue-acme": [-3.0] * 6})
    served = build(project, "red-acme", "blue-acme", weights="inverse_mae", sessions=5)
    assert weights(served) == {"red-acme": pytest.approx(0.75), "blue-acme": pytest.approx(0.25)}


@pytest.mark.parametrize("errors", [{"red-acme": [1.0] * 5}, {"red-acme": [1.0] * 5, "blue-acme": [0.0] * 5}])
def test_weights_are_equal_where_a_member_has_no_error_to_compare(project: Project, errors: Any) -> None:
    evaluated(project, errors)
    assert weights(build(project, "red-acme", "blue-acme")) == {"red-acme": 0.5, "blue-acme": 0.5}


def test_a_damaged_or_missing_evaluation_has_no_recent_errors(project: Project) -> None:
    assert recent_errors(project, "main", ["red-acme"], 5) == {}
    folder = project.evaluation("main")
    folder.mkdir(parents=True)
    (folder / "forecasts.parquet").write_bytes(b"no parquet")
    assert recent_errors(project, "main", ["red-acme"], 5) == {}
    pd.DataFrame({"model": ["red-acme"]}).to_parquet(folder / "forecasts.parquet")
    assert recent_errors(project, "main", ["red-acme"], 5) == {}


def test_inputs_are_those_of_all_members_each_once() -> None:
    assert ensemble_inputs(ensemble("both", (RED, 0.5), (BLUE, 0.5))) == ("a", "b", "c")


def test_the_team_is_the_members_if_they_have_one() -> None:
    assert ensemble_team(ensemble("both", (RED, 0.5), (OTHER, 0.5))) == "red"
    assert ensemble_team(ensemble("both", (RED, 0.5), (BLUE, 0.5))) == "ensemble"


def test_the_version_changes_with_versions_weights_and_order() -> None:
    parts = [("1", 0.5), ("2", 0.5)]
    others = [[("1", 0.4), ("2", 0.6)], [("3", 0.5), ("2", 0.5)], parts[::-1], parts[:1]]
    numbers = {ensemble_version(part) for part in [parts, *others]}
    assert len(numbers) == 5
    assert ensemble_version(list(parts)) in numbers
    assert all(len(number) == 12 for number in numbers)


def test_an_average_has_the_lowest_rung_and_the_oldest_age_of_its_members() -> None:
    both = ensemble("both", (RED, 0.75), (BLUE, 0.25))
    answers = [answer("red-acme", 0.4, 0.8, age=2.0), answer("blue-acme", 0.0, -0.8, number="2", rung="cached")]
    average = averaged(both, answers)
    assert (average.model, average.answered_by, average.rung, average.age) == ("both", "both", "cached", 2.0)
    assert average.version == ensemble_version([("1", 0.75), ("2", 0.25)])
    np.testing.assert_allclose(average.log_return, [0.3, 0.4], rtol=1e-6)
    np.testing.assert_allclose(average.raw_log_return, [0.6, 0.8], rtol=1e-6)
    assert average.log_return.dtype == np.float32


@given(
    st.lists(st.floats(-0.5, 0.5, width=32), min_size=2, max_size=5),
    st.lists(st.floats(0.01, 1), min_size=5, max_size=5),
)
def test_an_average_lies_between_its_members(values: list[float], raw: list[float]) -> None:
    shares = [weight / sum(raw[: len(values)]) for weight in raw[: len(values)]]
    both = ensemble("both", *((model(f"m{n}", "1"), share) for n, share in enumerate(shares)))
    average = averaged(both, [answer(f"m{n}", value) for n, value in enumerate(values)])
    assert min(values) - 1e-6 <= average.log_return[0] <= max(values) + 1e-6


LEVELS = (80.0, 95.0)
WIDTHS = ("width_80", "width_95")
WIDE_RED = model("red-acme", "1", inputs=("a", "b", *WIDTHS), levels=LEVELS)
WIDE_BLUE = model("blue-acme", "2", inputs=("b", "c", *WIDTHS), levels=LEVELS)
NARROW_BLUE = model("blue-acme", "2", inputs=("b", "c", "width_90"), levels=(90.0,))


def test_an_ensemble_has_the_levels_that_all_its_members_have() -> None:
    alike = ensemble("both", (WIDE_RED, 0.5), (WIDE_BLUE, 0.5))
    assert ensemble_levels(alike) == LEVELS
    assert ensemble_inputs(alike) == ("a", "b", "c", *WIDTHS), "each width once, at the end"
    for other in (NARROW_BLUE, BLUE):
        mixed = ensemble("both", (WIDE_RED, 0.5), (other, 0.5))
        assert ensemble_levels(mixed) == ()
        assert ensemble_inputs(mixed) == ("a", "b", "c")


def test_bounds_are_averaged_like_forecasts_if_all_members_give_them() -> None:
    both = ensemble("both", (WIDE_RED, 0.75), (WIDE_BLUE, 0.25))
    bounds = np.array([[-1, 1, -2, 2]], np.float32)
    red, blue = answer("red-acme", 0.0)._replace(interval=bounds), answer("blue-acme", 0.0)
    average = averaged(both, [red, blue._replace(interval=3 * bounds)]).interval
    assert average is not None
    np.testing.assert_allclose(average, 1.5 * bounds)
    assert averaged(both, [red, blue]).interval is None
    assert averaged(both, [red, blue._replace(interval=bounds[:, :2])]).interval is None
