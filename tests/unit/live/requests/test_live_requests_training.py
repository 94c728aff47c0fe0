"""Workers that train what was asked for: real ingest, features and installation, with a trainer that is cheap."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from mlops_cli.cli.app import app
from mlops_cli.config.load import load_branches, load_params
from mlops_cli.config.requested import REQUESTED, requested_specs, store_requested, with_requested
from mlops_cli.errors import ServiceError
from mlops_cli.live.jobs.installer import FencedInstaller
from mlops_cli.live.jobs.job import Job
from mlops_cli.live.jobs.job_requests import requested_models
from mlops_cli.live.jobs.queue import JobQueue
from mlops_cli.live.jobs.retries import RetryPolicy
from mlops_cli.live.jobs.sqlite_database import SqliteDatabase
from mlops_cli.live.jobs.worker import Trained, WorkDone, WorkerSettings, work
from mlops_cli.live.requests.intake import Intake
from mlops_cli.live.requests.job_versions import JobVersions
from mlops_cli.live.requests.places import with_finished
from mlops_cli.live.requests.training import RequestTools, RequestTraining, _failed
from mlops_cli.models.versions import answering_version, champion, model_versions
from mlops_cli.pipeline.stages.featurize import featurize
from mlops_cli.pipeline.stages.ingest import IngestSources, ingest
from mlops_cli.pipeline.stages.stage import FAILURES, ItemFailure, read_failures
from mlops_cli.prices.sources.csv_source import CsvSource
from mlops_cli.training.trainer import FailedJob, Fitted, TrainJob
from tests.fakes.linear_trainer import LinearTrainer
from tests.fakes.price_tables import random_prices
from tests.fakes.projects import Silent, SmallProject, small_project

KEYS = {"features": {"returns": [1, 2, 5], "volatility": [5], "ranges": True}}


@dataclass
class Trains(LinearTrainer):
    """Notes which models each call trains."""

    calls: list[list[str]] = field(default_factory=list)

    def fit(self, jobs: Sequence[TrainJob], progress: Callable[[str], None]) -> Iterator[Fitted | FailedJob]:
        self.calls.append(sorted(job.spec.name for job in jobs))
        return super().fit(jobs, progress)


class Shop:
    """A project with a queue, and workers."""

    def __init__(self, made: SmallProject, trainer: Trains | None = None) -> None:
        self.made, self.project, self.trainer = made, made.project, trainer or Trains()
        policy = RetryPolicy(tries=3, first_seconds=0.01, longest_seconds=0.02)
        self.queue = JobQueue(SqliteDatabase(self.project.jobs_database), policy=policy)
        self.store = JobVersions(self.project, "always")
        self.told: list[str] = []

    def submit(self, team: str = "red", **body: Any) -> list[Job]:
        return [each.job for each in self.queue.submit(Intake(self.project).requests(team, body))]

    def training(self) -> RequestTraining:
        source = CsvSource(self.project.root / "data" / "incoming")
        tools = RequestTools(lambda _: IngestSources(source), lambda _, kind: self.made.trainer(kind, self.trainer))
        return RequestTraining(self.project, tools, Silent())

    def work(self, stop: threading.Event | None = None) -> WorkDone:
        settings = WorkerSettings(poll=0.005, until_empty=True, tell=self.told.append, stop=stop or threading.Event())
        return work(
            self.queue, self.training(), FencedInstaller(self.queue, self.project.state / "l", self.store), settings
        )

    def versions(self, model: str, branch: str = REQUESTED) -> list[str]:
        return [version.version for version in model_versions(self.project.model_root, branch, model)]

    def states(self) -> dict[str, str]:
        return {job.model: job.state for job in self.queue.jobs()}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A project with AAA and BBB in its collection, which are not trained, and prices of two stocks more."""
    made = small_project(tmp_path / "p", ("AAA", "BBB"), sessions=420)
    params = made.root / "params.yaml"
    params.write_text(params.read_text().replace("min_sessions: 200", "min_sessions: 150"))
    for seed, ticker in enumerate(("NEW", "TWO"), 10):
        made.prices(ticker, random_prices(420, seed))
    found = Shop(made)
    yield found
    found.queue.close()


def test_a_new_ticker_is_fetched_trained_and_installed(shop: Shop) -> None:
    (job,) = shop.submit(ticker="NEW", **KEYS)
    assert shop.work() == WorkDone(installed=1)
    done = shop.queue.show(job.number)
    assert (done.state, done.reason, [done.version]) == ("done", "", shop.versions("red-new"))
    manifest = answering_version(shop.project.model_root, REQUESTED, "red-new").manifest
    assert (manifest.ticker, manifest.branch, manifest.live) == ("NEW", REQUESTED, True)
    last = random_prices(420, 10).index
    assert (str(manifest.trained_until), manifest.facts["job"]) == (f"{last[-1]:%F}", job.number)
    assert [spec.name for spec in requested_specs(shop.project)] == ["red-new"]
    assert (shop.project.features(REQUESTED) / "red-new.parquet").is_file()
    assert not shop.project.models(REQUESTED).exists()  # DVC's folders hold nothing of it
    assert not shop.project.prices("main").exists()


def test_jobs_of_one_architecture_are_one_training(shop: Shop) -> None:
    shop.submit(tickers=["NEW", "TWO"], **KEYS)
    shop.submit("blue", ticker="NEW", **KEYS)
    assert shop.work() == WorkDone(installed=3)
    assert shop.trainer.calls == [["blue-new", "red-new", "red-two"]]


def test_a_later_request_keeps_what_the_earlier_ones_have(shop: Shop) -> None:
    shop.submit(ticker="NEW", **KEYS)
    shop.work()
    before = {path: path.read_bytes() for path in shop.project.prices(REQUESTED).glob("*")}
    shop.submit(ticker="TWO", **KEYS)
    shop.work()
    assert all(path.read_bytes() == content for path, content in before.items())
    params = load_params(shop.project)
    branch = with_requested(shop.project, params, load_branches(shop.project, params))[REQUESTED]
    assert [spec.name for spec in branch.models] == ["red-new", "red-two"]
    assert len(shop.versions("red-new")) == len(shop.versions("red-two")) == 1


def test_a_model_of_the_collection_gets_a_live_version_in_its_own_branch(shop: Shop) -> None:
    shop.submit(ticker="AAA")
    assert shop.work() == WorkDone(installed=1)
    assert len(shop.versions("red-aaa", "main")) == 1
    assert shop.versions("red-aaa") == []
    assert requested_specs(shop.project) == []
    assert "job 1" in champion(shop.project.model_root, "main", "red-aaa").why


def test_an_unknown_ticker_is_dead_at_once_and_leaves_no_config(shop: Shop) -> None:
    shop.submit(tickers=["GONE", "NEW"], **KEYS)
    assert shop.work() == WorkDone(installed=1, failed=1)
    job = shop.queue.show(1)
    assert (job.state, job.failures) == ("dead", 1)
    assert "GONE" in job.reason
    assert [spec.name for spec in requested_specs(shop.project)] == ["red-new"]
    assert {failure.model for failure in read_failures(shop.project.prices(REQUESTED))} == {"red-gone"}


def test_too_few_rows_are_dead_at_once(shop: Shop) -> None:
    shop.made.prices("YOUNG", random_prices(100, 5))
    shop.submit(ticker="YOUNG", **KEYS)
    assert shop.work() == WorkDone(failed=1)
    job = shop.queue.show(1)
    assert (job.state, job.failures) == ("dead", 1)
    assert requested_specs(shop.project) == []


def test_a_training_that_fails_is_tried_again_and_harms_no_other(shop: Shop) -> None:
    shop.trainer.refuse = ("red-new",)
    shop.submit(tickers=["NEW", "TWO"], **KEYS)
    assert shop.work() == WorkDone(installed=1, failed=3)
    assert shop.states() == {"red-new": "dead", "red-two": "done"}
    assert "refused by the test" in shop.queue.show(1).reason
    assert [spec.name for spec in requested_specs(shop.project)] == ["red-two"]
    shop.trainer.refuse = ()
    shop.queue.retry(1)
    assert shop.work() == WorkDone(installed=1)
    assert [spec.name for spec in requested_specs(shop.project)] == ["red-new", "red-two"]


def test_a_worker_that_died_after_its_installation_does_not_install_again(shop: Shop) -> None:
    shop.submit(ticker="NEW", **KEYS)
    batch = shop.queue.take("killed", 1)
    assert batch is not None
    (outcome,) = list(shop.training()(batch.jobs, lambda line: None))
    assert isinstance(outcome, Trained)
    version = shop.store.put(outcome.job, outcome.model)
    shop.queue.give_back(batch, "killed", crashed=True)
    shop.trainer.calls.clear()
    assert shop.work() == WorkDone()
    assert shop.trainer.calls == []
    assert (shop.versions("red-new"), shop.queue.show(1).version) == ([version], version)


def test_a_worker_that_died_before_its_installation_does_not_train_again(shop: Shop) -> None:
    shop.submit(ticker="NEW", **KEYS)
    batch = shop.queue.take("killed", 1)
    assert batch is not None
    training = iter(shop.training()(batch.jobs, lambda line: None))
    assert isinstance(next(training), Trained)
    shop.queue.give_back(batch, "killed", crashed=True)
    shop.trainer.calls.clear()
    assert shop.work() == WorkDone(installed=1)
    assert shop.trainer.calls == []
    assert len(shop.versions("red-new")) == 1
    training.close()  # type: ignore[attr-defined]


def test_a_new_queue_begins_with_1_again_and_mistakes_no_version_for_its_own(shop: Shop) -> None:
    (job,) = shop.submit(ticker="NEW", **KEYS)
    shop.work()
    assert shop.store.version_of(job) is not None
    assert shop.store.version_of(replace(job, fingerprint="0" * 64)) is None
    assert shop.store.version_of(replace(job, number=2)) is None
    assert shop.store.version_of(replace(job, model="red-two")) is None


def test_a_config_that_came_meanwhile_is_not_overwritten(shop: Shop) -> None:
    (job,) = shop.submit(ticker="NEW", **KEYS)
    other = job.model_spec().model_copy(update={"target": "close"})
    store_requested(shop.project, other)
    assert shop.work() == WorkDone(failed=1)
    assert shop.queue.show(1).state == "dead"
    assert "another config" in shop.queue.show(1).reason
    assert requested_specs(shop.project)[0].target == "close"


def test_mistakes_in_the_projects_configs_are_no_fault_of_the_jobs(shop: Shop) -> None:
    shop.submit(ticker="NEW", **KEYS)
    params = shop.project.params.read_text()
    shop.project.params.write_text(params + "nonsense: 1\n")
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    shop.work(stop)
    job = shop.queue.show(1)
    assert (job.state, job.failures) == ("waiting", 0)
    assert "nonsense" in "".join(shop.told)
    shop.project.params.write_text(params)
    assert shop.work() == WorkDone(installed=1)


def test_progress_is_told_line_by_line(shop: Shop) -> None:
    shop.submit(ticker="NEW", **KEYS)
    batch = shop.queue.take("w", 1)
    assert batch is not None
    lines: list[str] = []
    list(shop.training()(batch.jobs, lines.append))
    stages = list(dict.fromkeys(line.split()[0] for line in lines))
    assert stages == ["ingest", "featurize", "retrain"]
    assert "ingest requested: 1 of 1" in lines


def test_failures_of_other_models_stay_noted(shop: Shop) -> None:
    shop.submit(ticker="GONE", **KEYS)
    shop.work()
    shop.submit(ticker="NEW", **KEYS)
    shop.work()
    folder = shop.project.prices(REQUESTED)
    assert not (folder / FAILURES).exists()  # red-gone is no model of the branch: nothing was kept of it


def test_a_nightly_pass_takes_care_of_requested_models_too(shop: Shop) -> None:
    shop.submit(ticker="NEW", **KEYS)
    shop.work()
    shop.made.prices("NEW", random_prices(421, 10))
    before = pd.read_parquet(shop.project.features(REQUESTED) / "red-new.parquet")
    done = CliRunner().invoke(app, ["live", "--only", "ingest", "--json", "--project", str(shop.project.root)])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["steps"][0]["done"] == 3
    after = pd.read_parquet(shop.project.features(REQUESTED) / "red-new.parquet")
    assert len(after) == len(before) + 1


def test_a_pass_removes_nothing_of_models_that_a_job_adds_meanwhile(shop: Shop) -> None:
    shop.submit(ticker="NEW", **KEYS)
    shop.work()
    params = load_params(shop.project)
    branch = with_requested(shop.project, params, load_branches(shop.project, params))[REQUESTED]
    shop.submit(ticker="TWO", **KEYS)
    shop.work()
    source = IngestSources(CsvSource(shop.project.root / "data" / "incoming"))
    ingest(shop.project, branch, source, Silent())  # with the models of before
    featurize(shop.project, branch, Silent())
    for model, ticker in (("red-new", "NEW"), ("red-two", "TWO")):
        assert (shop.project.prices(REQUESTED) / f"{ticker}.parquet").is_file()
        assert (shop.project.features(REQUESTED) / f"{model}.parquet").is_file()


def test_a_pass_leaves_models_alone_that_no_job_has_finished(shop: Shop) -> None:
    params = load_params(shop.project)
    (spec,) = requested_models(shop.project, "red", {"ticker": "NEW", **KEYS})
    store_requested(shop.project, spec)  # as a worker that was killed leaves it
    branches = load_branches(shop.project, params)
    assert REQUESTED in with_requested(shop.project, params, branches)
    assert REQUESTED not in with_finished(shop.project, params, branches)
    shop.submit(ticker="NEW", **KEYS)
    shop.work()
    assert [spec.name for spec in with_finished(shop.project, params, branches)[REQUESTED].models] == ["red-new"]


def test_a_source_that_does_not_answer_for_one_ticker_costs_no_try(shop: Shop) -> None:
    failure = ItemFailure("red-new", "ingest", "Yahoo refuses more requests for now", ServiceError.exit_code)
    (job,) = shop.submit(ticker="NEW", **KEYS)
    refused = _failed(job, failure)
    assert (refused.final, refused.blamed) == (False, False)
