"""Trains the models of jobs: fetches their prices, computes their features, and trains them together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pandas as pd

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.requested import REQUESTED, forget_requested, requested_branch, store_requested
from mlops_cli.config.schemas.project import ModelSpec, TrainerKind
from mlops_cli.errors import ConfigError, DataError, MlopsError, ServiceError
from mlops_cli.live.jobs.job import Job
from mlops_cli.live.jobs.worker import NotTrained, Trained
from mlops_cli.live.requests.job_versions import TrainedRequest, facts_of
from mlops_cli.live.requests.places import Places
from mlops_cli.live.requests.told_progress import ToldProgress
from mlops_cli.market.sessions import last_finished_session
from mlops_cli.models.versions import model_versions
from mlops_cli.pipeline.stages.featurize import featurize
from mlops_cli.pipeline.stages.ingest import IngestSources, ingest
from mlops_cli.pipeline.stages.stage import ItemFailure, Progress
from mlops_cli.pipeline.versions.live_training import LiveTraining, train_live
from mlops_cli.training.trainer import Trainer

_FINAL = (ConfigError.exit_code, DataError.exit_code)
"""Exit codes of failures that another try would meet again: a wrong config, an unknown ticker, too few rows."""

type Outcome = Trained[TrainedRequest] | NotTrained


@dataclass(frozen=True)
class RequestTools:
    """The adapters that training on request needs.

    Attributes:
        sources: where the prices and dividends of a branch come from.
        trainer: a branch's trainer of a kind.
    """

    sources: Callable[[Branch], IngestSources]
    trainer: Callable[[Branch, TrainerKind], Trainer]


@dataclass(frozen=True)
class _Asked:
    """A job and the model that it asks for."""

    job: Job
    spec: ModelSpec


class RequestTraining:
    """Trains batches of jobs; `live.jobs.worker.Training` says what a worker expects of it.

    The prices of a model are fetched first, so that it is trained on everything that is known now. While a model that
    no file of configs/ has is trained, its config is stored, so that a nightly pass keeps its prices and features; it
    is removed again if no version of the model comes of it.
    """

    def __init__(self, project: Project, tools: RequestTools, progress: Progress) -> None:
        self._project, self._tools, self._progress = project, tools, progress

    def __call__(self, jobs: Sequence[Job], report: Callable[[str], None]) -> Iterator[Outcome]:
        """Train the models of these jobs, and give one outcome for each.

        Raises:
            ServiceError: nothing can be trained now, for example because the source of prices does not answer.
        """
        try:
            places = Places.of(self._project)
        except ConfigError as error:  # no fault of the jobs
            raise ServiceError(f"the project's configs have mistakes: {error.message}", error.hint) from error
        asked: dict[str, dict[str, _Asked]] = {}
        for job in jobs:
            try:
                spec = job.model_spec()
                branch = places.branch_of(spec)
            except MlopsError as error:
                yield NotTrained(job, error.message, final=True)
                continue
            if asked.setdefault(branch, {}).setdefault(spec.name, _Asked(job, spec)).job is not job:
                yield NotTrained(job, f"another job trains a model {spec.name} now")
        for name, models in asked.items():
            yield from self._train(places, name, models, ToldProgress(self._progress, report))

    def _train(self, places: Places, name: str, asked: dict[str, _Asked], progress: Progress) -> Iterator[Outcome]:
        if name != REQUESTED:
            yield from self._train_branch(places.branches[name], asked, progress)
            return
        known = {spec.name: spec for spec in (places.branches[name].models if name in places.branches else ())}
        branch = requested_branch(
            places.params, {**known, **{each.spec.name: each.spec for each in asked.values()}}.values()
        )
        try:
            for each in asked.values():
                store_requested(self._project, each.spec)
            yield from self._train_branch(branch, asked, progress)
        finally:
            for model in asked.keys() - known.keys():
                if not model_versions(self._project.model_root, REQUESTED, model):
                    forget_requested(self._project, model)

    def _train_branch(self, branch: Branch, asked: dict[str, _Asked], progress: Progress) -> Iterator[Outcome]:
        ingest(self._project, branch, self._tools.sources(branch), progress, asked.keys())
        failures = featurize(self._project, branch, progress, asked.keys()).failures  # those of ingest are among them
        left = dict(asked)
        for failure in failures:
            yield _failed(left.pop(failure.model).job, failure)
        training = LiveTraining(self._project, branch, _first_unknown_day(branch, left), self._tools.trainer, progress)
        facts = {name: facts_of(each.job) for name, each in left.items()}
        for result in train_live(training, list(left), facts) if left else ():
            if isinstance(result, ItemFailure):
                yield _failed(left[result.model].job, result)
            else:
                each = left[result.name]
                yield Trained(each.job, TrainedRequest(branch, each.spec, result))


def _failed(job: Job, failure: ItemFailure) -> NotTrained:
    blamed = failure.exit_code != ServiceError.exit_code
    return NotTrained(job, failure.reason, final=failure.exit_code in _FINAL, blamed=blamed)


def _first_unknown_day(branch: Branch, models: Collection[str]) -> date:
    """The day after the last session whose close is known: no target session from then on can be trained on."""
    exchanges = {spec.exchange for spec in branch.models if spec.name in models}
    now = pd.Timestamp(datetime.now(UTC))
    return max((last_finished_session(exchange, now).date() for exchange in exchanges), default=now.date()) + timedelta(
        1
    )
