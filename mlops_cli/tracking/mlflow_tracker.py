"""Tracking with MLflow: a parent run for each `mlops run`, a child run and a model version for each training."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import batched
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from mlops_cli.errors import ModelError, bounded
from mlops_cli.tracking import mlflow_connection, mlflow_entities, mlflow_registry
from mlops_cli.tracking.tracker import ModelKey, RunContext, TrainedModel

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

logger = logging.getLogger("mlops.tracking")

FINGERPRINTS_PER_SEARCH = 100
UNFINISHED_STATUS = "KILLED"
FINISHED_STATUS = "FINISHED"


class MlflowTracker:
    """Tracks with MLflow, which is imported by `prepare` or when the first thing is recorded.

    A child run has the status `KILLED` until all of it is written, then `FINISHED`. So a process that dies leaves no
    run `RUNNING`, and the next call with the same fingerprint completes the run.

    For `uri`, `artifact_root` and `experiment` see `mlflow_connection.connect`. With `log_models` the ONNX models are
    stored and registered; on sqlite, recording a model then takes 0.09 s instead of 0.055 s.
    """

    name = "mlflow"

    def __init__(self, uri: str, artifact_root: Path, experiment: str = "mlops", log_models: bool = True) -> None:
        self._uri = uri
        self._artifact_root = artifact_root
        self._experiment = experiment
        self._log_models = log_models
        self._connection: tuple[MlflowClient, str] | None = None
        self._down = False
        self._preparing: Thread | None = None

    def prepare(self) -> None:
        """See `Tracker`. Importing mlflow and creating its database takes 3 s, far more without cached bytecode."""
        if self._connection is None and self._preparing is None:
            self._preparing = Thread(target=self._prepare)  # not a daemon: it must finish creating a database
            self._preparing.start()

    def _prepare(self) -> None:
        try:
            mlflow_connection.connect(self._uri, self._artifact_root, self._experiment)
        except mlflow_connection.outages() as error:
            # the call that records something gets the same error, and warns
            logger.debug("%s", mlflow_connection.reason(error))
        else:
            if self._log_models:
                mlflow_registry.model_format()

    def record_training(self, models: Sequence[TrainedModel], context: RunContext) -> bool:
        """See `Tracker`. Models that are recorded already cost one search per hundred fingerprints."""
        if self._log_models:
            _require_onnx(models)
        if not models or self._down:
            return not models
        with self._warning_when_down():
            runs = self._children({model.key for model in models})
            finished = {key for key, run in runs.items() if _done(run)}
            self._record_all({model.key: model for model in models if model.key not in finished}, runs, context)
        return not self._down

    def record_test(self, metrics: Mapping[ModelKey, Mapping[str, float]], context: RunContext) -> bool:
        """See `Tracker`. Metrics that changed are written to the child runs, as `test/<name>`."""
        if not metrics or self._down:
            return not metrics
        with self._warning_when_down():
            client, _ = self._connected()
            children = self._children(metrics.keys())
            now = time.time_ns() // 1_000_000
            for key, child in children.items():
                fresh = mlflow_entities.grouped_metrics("test", metrics[key], now)
                changed = [metric for metric in fresh if child.data.metrics.get(metric.key) != metric.value]
                if changed:
                    tags = mlflow_entities.test_tags(context)
                    client.log_batch(child.info.run_id, metrics=changed, tags=tags)
            missing = [name for name, fingerprint in metrics if (name, fingerprint) not in children]
            if missing:
                logger.warning("no tracked training for the test metrics of: %s", bounded(missing))
        return not self._down

    def catch_up(self) -> int:
        """See `Tracker`; nothing waits here: see `QueuedTracker`."""
        return 0

    def count_trainings(self, models: Sequence[str]) -> int:
        """See `Tracker`."""
        keys: set[ModelKey] = set()
        if models and not self._down:
            with self._warning_when_down():
                client, experiment = self._connected()
                for names in batched(sorted(set(models)), FINGERPRINTS_PER_SEARCH):
                    token = None
                    while token != "":
                        page = client.search_runs([experiment], mlflow_entities.with_models(names), page_token=token)
                        keys |= {_key(run) for run in page}
                        token = page.token or ""
        return len(keys)

    def _record_all(
        self, models: Mapping[ModelKey, TrainedModel], runs: Mapping[ModelKey, Run], context: RunContext
    ) -> None:
        """Record these models; `runs` are child runs that an earlier call began."""
        if not models:
            return
        client, experiment = self._connected()
        parent = _parent(client, experiment, context)
        for key, model in models.items():
            self._record(model, parent, context, runs.get(key))
        client.set_terminated(parent)  # again, so that it ends with its last stage

    def _record(self, model: TrainedModel, parent: str, context: RunContext, begun: Run | None) -> None:
        """Record one training, or complete a child run; any part of it may be written already."""
        from mlflow.entities import RunTag

        client, experiment = self._connected()
        tags = mlflow_entities.child_tags(model, parent, context)
        if begun is None:
            child = client.create_run(experiment, run_name=model.name, tags=tags)
            client.log_inputs(child.info.run_id, [mlflow_entities.training_input(model, context)])
            client.set_terminated(child.info.run_id, UNFINISHED_STATUS)
        else:
            child = begun
        run_id = child.info.run_id
        client.log_batch(
            run_id,
            metrics=mlflow_entities.training_metrics(model, child.info.start_time),
            params=mlflow_entities.params_of(model, already=child.data.params),
            tags=[RunTag(key, value) for key, value in tags.items()] if begun else [],
        )
        if self._log_models and model.folder is not None:
            mlflow_registry.upload(client, model, model.folder, child)
            mlflow_registry.register(client, model, child, maybe_registered=begun is not None)
        client.set_terminated(run_id, FINISHED_STATUS)

    def _connected(self) -> tuple[MlflowClient, str]:
        if self._preparing is not None:
            self._preparing.join()
        if self._connection is None:
            self._connection = mlflow_connection.connect(self._uri, self._artifact_root, self._experiment)
        return self._connection

    @contextmanager
    def _warning_when_down(self) -> Iterator[None]:
        try:
            yield
        except mlflow_connection.outages() as error:
            self._down = True  # else every model would wait for a locked database again
            address = mlflow_connection.without_password(self._uri)
            logger.warning(
                "MLflow at %s cannot be used, going on without it: %s", address, mlflow_connection.reason(error)
            )

    def _children(self, keys: Collection[ModelKey]) -> dict[ModelKey, Run]:
        """The child runs of these trainings; if a training has several, a finished one is preferred."""
        client, experiment = self._connected()
        fingerprints = sorted({fingerprint for _, fingerprint in keys})
        runs: dict[ModelKey, Run] = {}
        for batch in batched(fingerprints, FINGERPRINTS_PER_SEARCH):
            for run in client.search_runs([experiment], mlflow_entities.with_fingerprints(batch), max_results=10_000):
                key = _key(run)
                if key in keys and (key not in runs or _done(run)):
                    runs[key] = run
        return runs


def _parent(client: MlflowClient, experiment: str, context: RunContext) -> str:
    """Id of the parent run of this `mlops run`, which is created if it is missing.

    It has the status `FINISHED` from the start, because stages are separate processes and none knows whether it is the
    last one.
    """
    if context.key:
        runs = client.search_runs([experiment], f"tags.`{mlflow_entities.RUN_KEY}` = '{context.key}'", max_results=1)
        if runs:
            return str(runs[0].info.run_id)
    tags = mlflow_entities.source_tags(context) | {mlflow_entities.RUN_KEY: context.key}
    name = f"mlops run {context.key}" if context.key else context.command or "mlops"
    run_id = str(client.create_run(experiment, run_name=name, tags=tags).info.run_id)
    client.set_terminated(run_id, FINISHED_STATUS)
    return run_id


def _key(run: Run) -> ModelKey:
    tags = run.data.tags
    return tags.get(mlflow_entities.MODEL, ""), tags.get(mlflow_entities.FINGERPRINT, "")


def _done(run: Run) -> bool:
    return bool(run.info.status == FINISHED_STATUS)


def _require_onnx(models: Sequence[TrainedModel]) -> None:
    folders = [model.folder for model in models if model.folder is not None]
    missing = [str(folder) for folder in folders if not (folder / "model.onnx").is_file()]
    if missing:
        raise ModelError(f"no model.onnx to track in {bounded(missing)}", "train again: mlops train")
