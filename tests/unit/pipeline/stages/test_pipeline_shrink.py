"""The end of training: shrinkage, drift and widths are chosen, written into graph and manifest, and retrain nothing."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import ModelSpec
from mlops_cli.features.build import input_columns
from mlops_cli.features.column_names import ANNOUNCED
from mlops_cli.features.extras import Extras
from mlops_cli.models.base import wrap_graph
from mlops_cli.models.manifest import Validation, file_hashes, read_manifest
from mlops_cli.models.predict import Model
from mlops_cli.models.store import check_files
from mlops_cli.pipeline.stages.shrink import Constants, finish, group_constants, shrink_branch, validation_forecasts
from mlops_cli.pipeline.stages.train_plan import Inputs, Plan, group_of, model_rows, plan_model, with_pool_marks
from mlops_cli.training.rows import split_rows
from mlops_cli.training.shrinkage import GRID, MeanReturns, ValidationForecasts, choose_shrinkage
from tests.fakes.branches import TRAINING, branch_of, write_features
from tests.fakes.model_folders import INPUTS, INTERCEPT, WEIGHTS, model_folder
from tests.fakes.train_jobs import feature_table, model_spec

START = date(2016, 1, 4)
A, B = model_spec("red-a", ticker="A"), model_spec("red-b", ticker="B")
LEVELS = (80.0, 95.0)
CLOSES = np.linspace(10.0, 20.0, 30)
DAYS = pd.bdate_range("2015-01-05", periods=29).to_numpy()


def perfect(factor: float) -> ValidationForecasts:
    """Forecasts that are right when they are multiplied by `factor`."""
    moves = np.log(CLOSES[1:] / CLOSES[:-1])
    return ValidationForecasts(CLOSES[:-1], CLOSES[1:], moves / factor, DAYS)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def trained(project: Project, *specs: ModelSpec, pooled: bool = False) -> None:
    """Model folders as `train` leaves them before the shrinkage is chosen."""
    folder = project.features("main")
    for seed, spec in enumerate(specs):
        write_features(folder, spec, seed=seed)
    plans = [plan_model(folder, branch_of(*specs), START, spec, None) for spec in specs]
    for plan in with_pool_marks(plans) if pooled else plans:
        install(project, plan)


def install(project: Project, plan: Plan, **changes: object) -> None:
    spec = plan.spec
    values = {"fingerprint": plan.mark, "group": group_of(spec), "inputs": plan.inputs, "shrinkage": None}
    identity = spec.model_dump(include={"team", "ticker", "trainer", "target"})
    folder = model_folder(
        project.models("main"), spec.name, **{**values, **identity, "validation": {"mae_ratio_raw": 1.0}, **changes}
    )
    wrap(folder)


def wrap(folder: Path, levels: tuple[float, ...] = (), dividend: bool = False) -> Path:
    """What `train` does with the graph of a trainer."""
    wrap_graph(folder / "model.onnx", 3, len(levels), dividend)
    read_manifest(folder).model_copy(update={"files": file_hashes(folder), "levels": levels}).write(folder)
    return folder


def constants(shrinkage: float, drift: float = 0.0, factor: float = 1.0) -> Constants:
    return Constants(shrinkage, drift, factor, Validation(mae_ratio_raw=1.5, mae_ratio=0.999))


def manifests(project: Project, *specs: ModelSpec) -> list[float | None]:
    return [read_manifest(project.models("main") / spec.name).shrinkage for spec in specs]


def shrinkage_of(branch: Branch, spec: ModelSpec, *forecasts: ValidationForecasts) -> float:
    (choice,) = {constants.shrinkage for constants in group_constants(branch, spec, list(forecasts))}
    return choice


class TestGroupConstants:
    def test_pooled_is_the_best_of_the_grid_over_all_models(self) -> None:
        forecasts = [perfect(0.25), perfect(0.25)]
        assert shrinkage_of(branch_of(A), A, *forecasts) == choose_shrinkage(forecasts) == 0.25

    def test_a_fixed_number_is_taken_as_it_is(self) -> None:
        branch = branch_of(A, training=TRAINING.model_copy(update={"shrinkage": 0.333}))
        assert shrinkage_of(branch, A, perfect(1.0)) == 0.333

    @pytest.mark.parametrize("trainer", ["naive", "drift"])
    @pytest.mark.parametrize("shrinkage", ["pooled", 0.5])
    def test_baselines_are_not_shrunk(self, trainer: str, shrinkage: float | str) -> None:
        branch = branch_of(A, training=TRAINING.model_copy(update={"shrinkage": shrinkage}))
        assert shrinkage_of(branch, A.model_copy(update={"trainer": trainer}), perfect(0.25)) == 1.0

    def test_the_final_drift_is_of_all_rows_and_the_figures_are_of_the_training_rows_drift(self) -> None:
        branch = branch_of(A, training=TRAINING.model_copy(update={"shrinkage": 0.0}))
        moves = np.log(CLOSES[1:] / CLOSES[:-1])
        group = [
            ValidationForecasts(CLOSES[:-1], CLOSES[1:], moves, DAYS, means=MeanReturns(train=train, used=used))
            for train, used in ((0.01, 0.02), (0.03, 0.06))
        ]
        first, second = group_constants(branch, A, group)
        assert (first.drift, second.drift) == (pytest.approx(0.03), pytest.approx(0.05)), "half own, half of the group"
        assert first.validation.mae_ratio == group[0].mae_ratio(0.0, 0.015)
        assert first.validation.mae_ratio_raw == group[0].mae_ratio(1.0)

    def test_a_model_without_a_drift_has_none_beside_one_that_has(self) -> None:
        means = MeanReturns(train=0.01, used=0.02)
        drifting = ValidationForecasts(CLOSES[:-1], CLOSES[1:], CLOSES[1:] * 0, DAYS, means=means)
        first, second = group_constants(branch_of(A), A, [perfect(1.0), drifting])
        assert (first.drift, second.drift) == (0.0, pytest.approx(0.02))

    def test_models_with_a_base_do_not_change_the_factor_of_the_others(self) -> None:
        means = MeanReturns(train=0.0, used=0.0)
        based = ValidationForecasts(CLOSES[:-1], CLOSES[1:], -np.log(CLOSES[1:] / CLOSES[:-1]), DAYS, means=means)
        alone, beside = (
            [choice.shrinkage for choice in group_constants(branch_of(A), A, group)]
            for group in ([perfect(0.25)], [perfect(0.25), based])
        )
        assert alone == [0.25]
        assert beside == [0.25, 0.0]

    def test_an_unshrunk_model_with_large_errors_gets_wider_intervals(self) -> None:
        branch = branch_of(A, training=TRAINING.model_copy(update={"shrinkage": 1.0}))
        wild = perfect(0.25)  # forecasts four times what came: its errors are three times those of no change
        (choice,) = group_constants(branch, A, [wild])
        assert choice.width_factor == wild.width_factor(1.0) == pytest.approx(3.0, rel=0.05)
        (shrunk,) = group_constants(branch_of(A), A, [wild])
        assert shrunk.width_factor == 1.0


class TestValidationForecasts:
    def test_a_dividend_is_put_back_into_the_total_return(self, tmp_path: Path) -> None:
        extras = Extras([], LEVELS)
        table = feature_table(A.features, A.target, extras=extras)
        table[ANNOUNCED] = np.where(np.arange(len(table)) % 3, 0.0, 0.02)
        split = split_rows(table, START, TRAINING, "A")
        folder = wrap(model_folder(tmp_path), LEVELS, dividend=True)
        inputs = Inputs((*input_columns(A.features, A.target), *extras.columns), "drift_dividend", LEVELS)
        forecasts = validation_forecasts(folder, split, inputs)
        rows = split.unseen_validation
        network = rows[list(inputs.network)].to_numpy() @ WEIGHTS + INTERCEPT
        np.testing.assert_allclose(forecasts.log_return, network, atol=1e-6)
        np.testing.assert_allclose(forecasts.dividend, rows[ANNOUNCED] * rows["last_close"], rtol=1e-6)
        assert forecasts.means is not None
        total = np.log((split.used["next_close"] + split.used["paid_dividend"]) / split.used["last_close"])
        assert forecasts.means.train == pytest.approx(total[: -len(rows)].mean(), rel=1e-12)
        assert forecasts.means.used == pytest.approx(total.mean(), rel=1e-12)


class TestFinish:
    def test_graph_and_manifest_get_the_constants_and_the_folder_stays_whole(self, tmp_path: Path) -> None:
        folder = wrap(model_folder(tmp_path, shrinkage=None), LEVELS)
        finish(folder, tmp_path / "scratch", constants(0.35, 0.0004, 1.25))
        manifest = read_manifest(folder)
        assert (manifest.shrinkage, manifest.base_drift, manifest.width_factor) == (0.35, 0.0004, 1.25)
        assert manifest.validation == constants(0.35).validation
        check_files(folder, manifest)

    def test_the_same_again_touches_no_file(self, tmp_path: Path) -> None:
        folder = wrap(model_folder(tmp_path, shrinkage=None), LEVELS)
        finish(folder, tmp_path / "scratch", constants(0.35))
        before = {path.name: path.stat().st_ino for path in folder.iterdir()}
        finish(folder, tmp_path / "scratch", constants(0.35))
        assert {path.name: path.stat().st_ino for path in folder.iterdir()} == before

    def test_other_constants_replace_the_first_without_adding_up(self, tmp_path: Path) -> None:
        folder = wrap(model_folder(tmp_path, inputs=(*INPUTS, "width_80"), shrinkage=None), (80.0,))
        table = feature_table(A.features, A.target, extras=Extras(levels=(80.0,)))
        for choice in (constants(0.5, 0.002, 3.0), constants(0.1, 0.001, 2.0)):
            finish(folder, tmp_path / "scratch", choice)
            forecasts = Model.open(folder).forecasts(table)
            expected = choice.drift + choice.shrinkage * (forecasts.raw_log_return - choice.drift)
            np.testing.assert_allclose(forecasts.log_return, expected, rtol=1e-6, atol=1e-9)
            half = np.diff(forecasts.interval, axis=1)[:, 0] / 2
            np.testing.assert_allclose(half, choice.width_factor * table["width_80"], rtol=1e-5)


class TestBranch:
    def test_all_models_of_a_group_get_the_choice_over_all_of_them(self, project: Project) -> None:
        trained(project, A, B)
        shrink_branch(project, branch_of(A, B), START)
        (choice,) = set(manifests(project, A, B))
        forecasts = []
        for spec in (A, B):
            split, inputs = model_rows(project.features("main"), branch_of(spec), START, spec)
            forecasts.append(validation_forecasts(project.models("main") / spec.name, split, inputs))
        assert choice == choose_shrinkage(forecasts)
        assert choice in GRID

    def test_a_model_of_an_earlier_training_has_no_influence_and_stays_as_it_is(self, project: Project) -> None:
        trained(project, A)
        write_features(project.features("main"), B, seed=1)
        plan = plan_model(project.features("main"), branch_of(B), START, B, None)
        install(project, plan, fingerprint="0" * 64, shrinkage=0.9)
        shrink_branch(project, branch_of(A, B), START)
        with_stale = manifests(project, A)
        assert manifests(project, B) == [0.9]
        shutil.rmtree(project.models("main") / "red-b")
        shrink_branch(project, branch_of(A), START)
        assert manifests(project, A) == with_stale

    def test_models_that_are_missing_or_have_no_features_do_not_stop_the_others(self, project: Project) -> None:
        trained(project, A)
        untrained = model_spec("red-c", ticker="C")
        shrink_branch(project, branch_of(A, B, untrained), START)
        assert manifests(project, A)[0] is not None

    def test_groups_are_chosen_for_apart(self, project: Project) -> None:
        naive = model_spec("base-a", team="base", ticker="A", trainer="naive")
        trained(project, A, naive)
        shrink_branch(project, branch_of(A, naive), START)
        assert manifests(project, naive) == [1.0]
        assert manifests(project, A)[0] in GRID

    def test_the_name_of_the_small_variant_is_noted_without_training(self, project: Project) -> None:
        trained(project, A)
        shrink_branch(project, branch_of(A), START)
        renamed = A.model_copy(update={"small": "red-a-small"})
        before = (project.models("main") / "red-a" / "model.onnx").stat().st_ino
        shrink_branch(project, branch_of(renamed), START)
        assert read_manifest(project.models("main") / "red-a").small == "red-a-small"
        assert (project.models("main") / "red-a" / "model.onnx").stat().st_ino == before

    def test_members_of_a_pool_are_known_by_the_pools_fingerprint(self, project: Project) -> None:
        pool = [spec.model_copy(update={"pool": ("A", "B")}) for spec in (A, B)]
        trained(project, *pool, pooled=True)
        shrink_branch(project, branch_of(*pool), START)
        (choice,) = set(manifests(project, *pool))
        assert choice in GRID

    def test_a_member_trained_alone_is_none_of_the_pool(self, project: Project) -> None:
        pool = [spec.model_copy(update={"pool": ("A", "B")}) for spec in (A, B)]
        trained(project, *pool, pooled=False)
        shrink_branch(project, branch_of(*pool), START)
        assert manifests(project, *pool) == [None, None]
