"""What is known about a configured model: how it was trained, its verdict, its versions and its champion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import ModelSpec
from mlops_cli.errors import ModelError
from mlops_cli.evaluation.verdicts import base_verdicts, verdict_of, verdicts
from mlops_cli.models.manifest import manifest_values
from mlops_cli.models.versions import answering_version, champion, model_versions

Verdicts = Mapping[tuple[str, str], str]


@dataclass(frozen=True)
class ModelFacts:
    """One line of `mlops models list`. What is None is not known yet.

    Attributes:
        file: its config, relative to the project folder, as is `folder`, its model folder, or that of the live version
            that answers.
        trained_until: last session whose close the model saw, as YYYY-MM-DD.
        shrinkage: factor on its forecasts, 0 to 1.
        mae_ratio: its mean absolute error over the naive forecast's, on the validation sessions.
        verdict: of `mlops evaluate`, on the version that answers.
        base_verdict: the same on what its network adds to its base; None too if it has no base.
    """

    name: str
    branch: str
    team: str
    ticker: str
    trainer: str
    file: str
    folder: str
    trained_until: str | None
    shrinkage: float | None
    mae_ratio: float | None
    verdict: str | None
    base_verdict: str | None
    fingerprint: str | None


def model_facts(project: Project, branch: Branch, specs: Iterable[ModelSpec]) -> list[ModelFacts]:
    """Collect what is known about configured models of one branch, trained or not.

    Raises:
        ModelError: a manifest is no JSON.
    """
    evaluation = project.evaluation(branch.name)
    judged, on_base = verdicts(evaluation), base_verdicts(evaluation)
    facts = []
    for spec in specs:
        folder, manifest = _shown(project, branch.name, spec.name)
        values = manifest or {}
        facts.append(
            ModelFacts(
                **spec.model_dump(include={"name", "team", "ticker", "trainer", "file"}),
                branch=branch.name,
                folder=str(folder.relative_to(project.root)),
                trained_until=values.get("trained_until"),
                shrinkage=values.get("shrinkage"),
                mae_ratio=values.get("validation", {}).get("mae_ratio"),
                verdict=None if manifest is None else _verdict(project, branch.name, spec.name, judged),
                base_verdict=None if manifest is None else _verdict(project, branch.name, spec.name, on_base),
                fingerprint=values.get("fingerprint"),
            )
        )
    return facts


def model_details(project: Project, branch: Branch, spec: ModelSpec) -> dict[str, Any]:
    """Collect config, manifest, verdict, versions (newest first) and champion of a model, as values for JSON or YAML.

    Raises:
        ModelError: its manifest is no JSON, or the record of its champion is damaged.
    """
    _, manifest = _shown(project, branch.name, spec.name)
    record = champion(project.model_root, branch.name, spec.name)
    evaluation = project.evaluation(branch.name)
    judged, on_base = verdicts(evaluation), base_verdicts(evaluation)
    return {
        "branch": branch.name,
        "config": spec.model_dump(mode="json"),
        "manifest": manifest,
        "verdict": None if manifest is None else _verdict(project, branch.name, spec.name, judged),
        "base_verdict": None if manifest is None else _verdict(project, branch.name, spec.name, on_base),
        "versions": [
            {
                "version": version.version,
                "trained_until": str(version.manifest.trained_until),
                "live": version.manifest.live,
            }
            for version in model_versions(project.model_root, branch.name, spec.name)
        ],
        "champion": {
            "version": record.version,
            "pinned": record.pinned,
            "history": list(record.history),
            "by": record.by,
            "why": record.why,
        },
    }


def _verdict(project: Project, branch: str, model: str, judged: Verdicts) -> str | None:
    """The verdict on the version that answers; None if no version answers or it was not evaluated."""
    try:
        version = answering_version(project.model_root, branch, model).version
    except ModelError:
        return None
    return verdict_of(judged, project.model_root, branch, model, version)


def _shown(project: Project, branch: str, model: str) -> tuple[Path, dict[str, Any] | None]:
    """The folder and the manifest that are shown: of the live version if one answers, else of the pipeline's model."""
    with suppress(ModelError):
        version = answering_version(project.model_root, branch, model)
        if version.manifest.live:
            return version.folder, version.manifest.model_dump(mode="json")
    folder = project.models(branch) / model
    return folder, manifest_values(folder)
