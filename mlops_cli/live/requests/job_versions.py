"""The versions that jobs install: each is known by the facts in its manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.requested import REQUESTED, store_requested
from mlops_cli.config.schemas.project import ModelSpec
from mlops_cli.live.jobs.job import Job
from mlops_cli.models.versions import ARCHIVE, model_versions
from mlops_cli.pipeline.versions.live_install import StagedVersion, install_live


@dataclass(frozen=True)
class TrainedRequest:
    """What the training of a job gave.

    Attributes:
        branch: that the model belongs to.
        spec: its config.
        staged: the trained model.
    """

    branch: Branch
    spec: ModelSpec
    staged: StagedVersion


def facts_of(job: Job) -> dict[str, Any]:
    """Facts for the manifest of a version that a job installs: with a new queue, the numbers begin with 1 again."""
    return {"job": job.number, "job_fingerprint": job.fingerprint}


class JobVersions:
    """See `VersionStore`: live versions of the project's models.

    Args:
        promotion: which version of a model answers after an installation, as in `live.promotion`.
    """

    def __init__(self, project: Project, promotion: Literal["always", "tested"]) -> None:
        self._project, self._promotion = project, promotion

    def version_of(self, job: Job) -> str | None:
        """See `VersionStore`."""
        root, facts = self._project.model_root, facts_of(job)
        for home in sorted((root / ARCHIVE).glob(f"*/{job.model}")):
            for version in model_versions(root, home.parent.name, job.model):
                if facts.items() <= version.manifest.facts.items():
                    return version.version
        return None

    def put(self, job: Job, trained: TrainedRequest) -> str:
        """See `VersionStore`."""
        if trained.branch.name == REQUESTED:
            store_requested(self._project, trained.spec)
        why = f"asked for by job {job.number}"
        return install_live(self._project, trained.branch, trained.staged, self._promotion, why)
