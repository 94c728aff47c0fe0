"""Shrinkage: chosen by group, written into graph and manifest, and never a reason to train."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import ModelSpec
from mlops_cli.models.manifest import read_manifest
from mlops_cli.models.predict import Model
from mlops_cli.models.store import check_files
from mlops_cli.pipeline.stages.shrink import finish, group_choice, shrink_branch, validation_forecasts
from mlops_cli.pipeline.stages.train_plan import Plan, group_of, model_rows, plan_model, with_pool_marks
from mlops_cli.training.shrinkage import GRID, ValidationForecasts, choose_shrinkage
from tests.fakes.branches import TRAINING, branch_of, write_features
from tests.fakes.model_folders import model_folder
from tests.fakes.train_jobs import model_spec

START = date(2016, 1, 4)
A, B = model_spec("red-a", ticker="A"), model_spec("red-b", ticker="B")
CLOSES = np.linspace(10.0, 20.0, 30)


def perfect(factor: float) -> ValidationForecasts:
    """Forecasts that are right when they are multiplied by `factor`."""
    moves = np.log(CLOSES[1:] / CLOSES[:-1])
    return ValidationForecasts(CLOSES[:-1], CLOSES[1:], moves / factor)


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
    model_folder(
        project.models("main"), spec.name, **{**values, **identity, "validation": {"mae_ratio_raw": 1.0}, **changes}
    )


def manifests(project: Project, *specs: ModelSpec) -> list[float | None]:
    return [read_manifest(project.models("main") / spec.name).shrinkage for spec in specs]


class TestGroupChoice:
    def test_pooled_is_the_best_of_the_grid_over_all_models(self) -> None:
        forecasts = [perfect(0.25), perfect(0.25)]
        assert group_choice(branch_of(A), A, forecasts) == choose_shrinkage(forecasts) == 0.25

    def test_a_fixed_number_is_taken_as_it_is(self) -> None:
        branch = branch_of(A, training=TRAINING.model_copy(update={"shrinkage": 0.333}))
        assert group_choice(branch, A, [perfect(1.0)]) == 0.333

    @pytest.mark.parametrize("trainer", ["naive", "drift"])
    @pytest.mark.parametrize("shrinkage", ["pooled", 0.5])
    def test_baselines_are_not_shrunk(self, trainer: str, shrinkage: float | str) -> None:
        branch = branch_of(A, training=TRAINING.model_copy(update={"shrinkage": shrinkage}))
        assert group_choice(branch, A.model_copy(update={"trainer": trainer}), [perfect(0.25)]) == 1.0


class TestFinish:
    def test_graph_and_manifest_get_the_factor_and_the_folder_stays_whole(self, tmp_path: Path) -> None:
        folder = model_folder(tmp_path, shrinkage=None)
        finish(folder, tmp_path / "scratch", 0.35, perfect(1.0))
        manifest = read_manifest(folder)
        assert manifest.shrinkage == 0.35
        assert manifest.validation.mae_ratio == perfect(1.0).mae_ratio(0.35)
        assert manifest.validation.mae_ratio_raw == perfect(1.0).mae_ratio(1.0)
        check_files(folder, manifest)

    def test_the_same_again_touches_no_file(self, tmp_path: Path) -> None:
        folder = model_folder(tmp_path, shrinkage=None)
        finish(folder, tmp_path / "scratch", 0.35, perfect(1.0))
        before = {path.name: path.stat().st_ino for path in folder.iterdir()}
        finish(folder, tmp_path / "scratch", 0.35, perfect(1.0))
        assert {path.name: path.stat().st_ino for path in folder.iterdir()} == before

    def test_another_factor_replaces_the_first_without_adding_up(self, tmp_path: Path) -> None:
        project = Project(tmp_path)
        trained(project, A)
        folder = project.models("main") / "red-a"
        table = write_features(project.features("main"), A)
        for factor in (0.5, 0.1):
            finish(folder, project.staging("main"), factor, perfect(1.0))
            shrunk, raw = Model.open(folder).log_returns(table)
            np.testing.assert_allclose(shrunk, factor * raw, rtol=1e-6, atol=1e-9)


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
