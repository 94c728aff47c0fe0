"""Model folders beside the feature tables that their models forecast from, made without training."""

from __future__ import annotations

from datetime import date
from typing import Any

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import ModelSpec
from mlops_cli.pipeline.stages.train_plan import group_of, plan_model
from tests.fakes.branches import branch_of, write_features
from tests.fakes.model_folders import model_folder

START = date(2016, 1, 4)
"""First held-out day; the tables of `write_features` reach to 2016-03-14."""


def trained_branch(project: Project, *specs: ModelSpec, shrinkage: float | None = 1.0, **changes: Any) -> Branch:
    """Write features and a finished linear model of every spec; the branch of them."""
    branch = branch_of(*specs)
    for seed, spec in enumerate(specs):
        write_features(project.features(branch.name), spec, seed=seed)
        trained_model(project, branch, spec, **{"shrinkage": shrinkage, **changes})
    return branch


def trained_model(project: Project, branch: Branch, spec: ModelSpec, **changes: Any) -> None:
    """A finished linear model with the fingerprint that stage `train` would give it."""
    plan = plan_model(project.features(branch.name), branch, START, spec, None)
    values = {
        **spec.model_dump(include={"team", "ticker", "trainer", "target"}),
        "fingerprint": plan.mark,
        "group": group_of(spec),
        "inputs": plan.inputs,
        "trained_until": plan.trained_until,
        "drift": plan.drift,
    }
    model_folder(project.models(branch.name), spec.name, **{**values, **changes})
