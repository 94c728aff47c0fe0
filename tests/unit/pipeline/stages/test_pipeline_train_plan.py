"""Plans of trainings: what changes a model's fingerprint, and what must not."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.config.schemas.project import FeatureSpec, ModelSpec
from mlops_cli.errors import DataError
from mlops_cli.features.column_names import ANNOUNCED
from mlops_cli.pipeline.stages.stage import ItemFailure
from mlops_cli.pipeline.stages.tables import write_table
from mlops_cli.pipeline.stages.train_plan import (
    Inputs,
    by_group,
    group_of,
    model_rows,
    model_table,
    plan_model,
    plan_rows,
    training_mark,
    versions,
)
from mlops_cli.training.rows import RowSplit
from tests.fakes.branches import TRAINING, branch_of, write_features
from tests.fakes.train_jobs import model_spec

START = date(2016, 1, 4)
SPEC = model_spec()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_features(tmp_path, SPEC)
    return tmp_path


def mark(folder: Path, spec: ModelSpec = SPEC, start: date = START, **branch: Any) -> str:
    return plan_model(folder, branch_of(spec, **branch), start, spec, None).mark


class TestPlan:
    def test_rows_before_the_start_are_split_into_training_and_validation(self, folder: Path) -> None:
        table, _ = model_table(folder, SPEC)
        plan = plan_model(folder, branch_of(SPEC), START, SPEC, None)
        rows = table.loc[(table["target_session"] < pd.Timestamp(START)) & table["target"].notna()]
        assert plan.train.sessions + plan.validation.sessions == len(rows)
        assert plan.validation.sessions == 40
        assert (plan.train.first, plan.validation.last) == (rows.index[0].date(), rows.index[-1].date())
        assert plan.train.last == rows.index[-41].date()
        assert plan.trained_until == rows["target_session"].iloc[-1].date() < START

    def test_the_drift_is_the_mean_log_return_of_the_training_rows_alone(self, folder: Path) -> None:
        split, inputs = model_rows(folder, branch_of(SPEC), START, SPEC)
        plan = plan_rows(split, inputs, branch_of(SPEC), SPEC)
        returns = np.log(split.train["next_close"] / split.train["last_close"])
        assert plan.drift == pytest.approx(returns.mean(), rel=1e-12)
        assert plan.drift != pytest.approx(np.log(split.used["next_close"] / split.used["last_close"]).mean())

    def test_the_inputs_are_those_that_featurize_noted(self, folder: Path) -> None:
        (folder / "red-acme.json").write_text('{"inputs": ["return_5", "return_1"]}')
        assert plan_model(folder, branch_of(SPEC), START, SPEC, None).inputs == ("return_5", "return_1")

    def test_a_missing_table_is_explained_by_the_failure_of_an_earlier_stage(self, tmp_path: Path) -> None:
        upstream = ItemFailure("red-acme", "ingest", "ACME: the service knows no such ticker", 4)
        with pytest.raises(DataError, match="no such ticker") as caught:
            plan_model(tmp_path, branch_of(SPEC), START, SPEC, upstream)
        assert caught.value.hint == ""

    @pytest.mark.parametrize("suffix", ["json", "parquet"])
    def test_a_table_without_its_note_and_a_note_without_its_table_are_no_features(
        self, folder: Path, suffix: str
    ) -> None:
        (folder / f"red-acme.{suffix}").unlink()
        with pytest.raises(DataError, match="red-acme: no features in") as caught:
            plan_model(folder, branch_of(SPEC), START, SPEC, None)
        assert "mlops featurize" in caught.value.hint

    def test_too_few_rows_are_refused(self, folder: Path) -> None:
        with pytest.raises(DataError, match="history too short"):
            plan_model(folder, branch_of(SPEC), date(2015, 3, 2), SPEC, None)


class TestWhatChangesTheFingerprint:
    @pytest.mark.parametrize(
        "change",
        [
            {"target": "close"},
            {"team": "blue"},
            {"exchange": "XNAS"},
            {"ludwig": {"trainer": {"epochs": 3}}},
            {"trainer": "drift"},
            {"pool": ("ACME", "OTHER")},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_a_setting_of_the_model(self, folder: Path, change: dict[str, Any]) -> None:
        assert mark(folder, SPEC.model_copy(update=change)) != mark(folder)

    def test_the_seed(self, folder: Path) -> None:
        assert mark(folder, seed=8) != mark(folder)

    @pytest.mark.parametrize("change", [{"median_stopping": 5}, {"bf16": True}, {"validation_sessions": 41}])
    def test_a_setting_of_the_branch_that_changes_what_is_learnt(self, folder: Path, change: dict[str, Any]) -> None:
        assert mark(folder, training=TRAINING.model_copy(update=change)) != mark(folder)

    def test_the_start_of_the_held_out_time(self, folder: Path) -> None:
        assert mark(folder, start=date(2016, 1, 5)) != mark(folder)

    @pytest.mark.parametrize("column", ["return_1", "target", "last_close", "next_close"])
    def test_one_number_in_one_row_before_the_start(self, folder: Path, column: str) -> None:
        before = mark(folder)
        table, _ = model_table(folder, SPEC)
        table.loc[table.index[60], column] *= 1 + 1e-9
        write_table(folder, "red-acme", table)
        assert mark(folder) != before

    def test_the_order_of_the_inputs(self, folder: Path) -> None:
        split, inputs = model_rows(folder, branch_of(SPEC), START, SPEC)
        marks = {training_mark(split, order, branch_of(SPEC), SPEC) for order in (inputs, Inputs(inputs.columns[::-1]))}
        assert len(marks) == 2

    @pytest.mark.parametrize("other", [Inputs(("return_1",), "drift"), Inputs(("return_1",), levels=(80.0,))])
    def test_the_base_and_the_levels_which_are_in_the_graph(self, folder: Path, other: Inputs) -> None:
        split, _ = model_rows(folder, branch_of(SPEC), START, SPEC)
        marks = {training_mark(split, inputs, branch_of(SPEC), SPEC) for inputs in (Inputs(("return_1",)), other)}
        assert len(marks) == 2


class TestInputs:
    inputs = Inputs(("return_1", ANNOUNCED, "width_80", "width_95"), "drift_dividend", (80.0, 95.0))

    def test_the_network_gets_neither_dividend_nor_widths(self) -> None:
        assert self.inputs.network == ("return_1",)
        assert self.inputs.without_widths == ("return_1", ANNOUNCED)

    def test_a_plan_has_what_featurize_noted(self, folder: Path) -> None:
        names = ["return_1", "return_5", "volatility_5"]
        note = {"inputs": names, "base": "drift", "levels": [90.0]}
        (folder / "red-acme.json").write_text(json.dumps(note))
        plan = plan_model(folder, branch_of(SPEC), START, SPEC, None)
        assert plan.graph_inputs == Inputs(tuple(names), "drift", (90.0,))
        assert plan.network_inputs == tuple(names)


class TestWhatMustNotChangeTheFingerprint:
    def test_the_values_of_the_widths(self, folder: Path) -> None:
        """Those of a fleet change with every stock that joins: nothing is learnt from them."""
        split, inputs = model_rows(folder, branch_of(SPEC), START, SPEC)
        marks = set()
        for width in (0.01, 0.02):
            rows = RowSplit(split.train.assign(width_80=width), split.validation.assign(width_80=width))
            columns = Inputs((*inputs.columns, "width_80"), levels=(80.0,))
            marks.add(training_mark(rows, columns, branch_of(SPEC), SPEC))
        assert len(marks) == 1

    def test_anything_from_the_start_on(self, folder: Path) -> None:
        before = mark(folder)
        table, _ = model_table(folder, SPEC)
        late = table["target_session"] >= pd.Timestamp(START)
        numbers = table.columns.drop("target_session")
        table.loc[late, numbers] = 1e6
        write_table(folder, "red-acme", table)
        assert mark(folder) == before

    def test_later_rows_that_come_or_go(self, folder: Path) -> None:
        before = mark(folder)
        table, _ = model_table(folder, SPEC)
        write_table(folder, "red-acme", table.loc[table["target_session"] < pd.Timestamp("2016-01-20")])
        assert mark(folder) == before

    def test_a_column_that_is_no_input(self, folder: Path) -> None:
        before = mark(folder)
        table, _ = model_table(folder, SPEC)
        write_table(folder, "red-acme", table.assign(comment=1.0))
        assert mark(folder) == before

    @pytest.mark.parametrize("change", [{"file": "configs/moved.yaml"}, {"small": "tiny"}, {"small_of": "large"}])
    def test_where_the_config_is_and_which_model_stands_in_for_it(self, folder: Path, change: dict[str, Any]) -> None:
        assert mark(folder, SPEC.model_copy(update=change)) == mark(folder)

    @pytest.mark.parametrize(
        "change",
        [
            {"strategy": "fleet"},
            {"device": "cpu"},
            {"workers": 3},
            {"memory_gb": 2.0},
            {"executor": "ray"},
            {"ray_address": "ray://host:1"},
            {"shrinkage": 0.5},
            {"min_sessions": 101},
            {"median_stopping": None},
            {"bf16": False},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_how_and_where_the_branch_computes(self, folder: Path, change: dict[str, Any]) -> None:
        assert mark(folder, training=TRAINING.model_copy(update=change)) == mark(folder)

    def test_the_name_of_the_branch_and_what_it_holds_besides(self, folder: Path) -> None:
        other = model_spec("blue-acme", team="blue")
        branch = replace(branch_of(SPEC, other), name="other", scenario="another", keep_versions=9)
        assert plan_model(folder, branch, START, SPEC, None).mark == mark(folder)


class TestVersions:
    def test_only_ludwig_models_depend_on_libraries(self) -> None:
        assert set(versions("ludwig")) == {"ludwig", "torch"}
        assert all(versions("ludwig").values())
        assert versions("naive") == versions("drift") == {}


class TestGroups:
    def test_models_that_differ_in_ticker_alone_are_one_group(self) -> None:
        other = model_spec("red-other", ticker="OTHER", file="configs/other.yaml")
        assert group_of(other) == group_of(SPEC)
        assert len(group_of(SPEC)) == 12

    @given(
        st.sampled_from(
            [
                {"team": "blue"},
                {"target": "close"},
                {"trainer": "naive"},
                {"exchange": "XNAS"},
                {"features": FeatureSpec(returns=(1,))},
                {"ludwig": {"combiner": {"type": "concat"}}},
                {"pool": ("ACME", "OTHER")},
            ]
        )
    )
    def test_any_other_setting_makes_another_group(self, change: dict[str, Any]) -> None:
        assert group_of(SPEC.model_copy(update=change)) != group_of(SPEC)

    def test_groups_keep_the_order_of_the_models(self) -> None:
        specs = [model_spec(f"red-{name}", ticker=name.upper()) for name in ("c", "a", "b")]
        blue = model_spec("blue-a", team="blue")
        groups = by_group([specs[0], blue, specs[1], specs[2]])
        assert [[spec.name for spec in group] for group in groups.values()] == [["red-c", "red-a", "red-b"], ["blue-a"]]
        assert by_group([]) == {}


def test_the_fingerprint_of_a_known_training_stays_what_it_was() -> None:
    """A change of this program must not train a project again, unless GRAPH_VERSION or WRAP_VERSION is raised."""
    days = pd.bdate_range("2020-01-06", periods=40, name="session")
    count = np.arange(40.0)  # every number below is exact, so that no processor rounds it in another way
    columns = {"return_1": (count % 7 - 3) / 64, "target": (count % 5 - 2) / 128, "last_close": 100 + count / 4}
    table = pd.DataFrame({**columns, "next_close": 100.25 + count / 4, "target_session": days.shift(1)}, index=days)
    split = RowSplit(table.iloc[:30], table.iloc[30:])
    spec = model_spec(trainer="naive", features=FeatureSpec(returns=(1,)))  # whose result depends on no library
    assert training_mark(split, Inputs(("return_1",)), branch_of(spec), spec) == KNOWN_MARK
    assert group_of(spec) == KNOWN_GROUP


KNOWN_MARK = "80f9c6d85a01c7b7dade668fc64a62c47e4b98f865f28d86a939722840945e32"
KNOWN_GROUP = "18d539d58a26"
