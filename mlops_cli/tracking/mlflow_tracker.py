"""Tracking with MLflow: a parent run per `mlops run`, a child run per training, a version per model."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
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
BEGUN = "KILLED"
DONE = "FINISHED"


class MlflowTracker:
    """Tracks with MLflow. Making one costs nothing: mlflow is imported by `prepare`, or with the first thing to record.

    A child run is `KILLED` until all of it is written, then `FINISHED`: a process that dies leaves none `RUNNING`,
    and the next call with the same fingerprint completes it.

    Args:
        uri: `sqlite:///mlruns.db`, another database, or `http(s)://` of a server.
        artifact_root: folder for the files of runs; not used with a server, which has its own.
        experiment: MLflow experiment.
        log_models: keep the ONNX models and register them. On sqlite a model takes 0.09 s with and 0.055 s without;
            with some thousands of models you may want to do without.
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
        """See `Tracker`. Importing mlflow and making its database takes 3 s, and far longer without bytecode."""
        if self._connection is None and self._preparing is None:
            self._preparing = Thread(target=self._prepare)  # no daemon: a half-made database is beyond repair
            self._preparing.start()

    def _prepare(self) -> None:
        try:
            mlflow_connection.connect(self._uri, self._artifact_root, self._experiment)
        except mlflow_connection.outages() as error:
            logger.debug(
                "%s", mlflow_connection.reason(error)
            )  # met again, and told, when there is something to record
        else:
            if self._log_models:
                mlflow_registry.model_format()

    def trained(self, models: Sequence[TrainedModel], context: RunContext) -> None:
        """See `Tracker`. Models whose fingerprint is recorded already cost one question per hundred."""
        if self._log_models:
            _demand_onnx(models)
        if not models or self._down:
            return
        with self._warning_when_down():
            client, experiment = self._connected()
            known = self._children([model.key for model in models])
            new = [m for m in {m.key: m for m in models}.values() if m.key not in known or not _done(known[m.key])]
            if not new:
                return
            parent = _parent(client, experiment, context)
            for model in new:
                self._record(model, parent, context, known.get(model.key))
            client.set_terminated(parent)  # once more: its end is the end of its last stage

    def tested(self, metrics: Mapping[ModelKey, Mapping[str, float]], context: RunContext) -> None:
        """See `Tracker`. The metrics go onto the child runs as `test/<name>`, those that changed only."""
        if not metrics or self._down:
            return
        with self._warning_when_down():
            client, _ = self._connected()
            children = self._children(list(metrics))
            now = time.time_ns() // 1_000_000
            for key, child in children.items():
                fresh = mlflow_entities.grouped_metrics("test", metrics[key], now)
                changed = [metric for metric in fresh if child.data.metrics.get(metric.key) != metric.value]
                if changed:
                    tags = mlflow_entities.test_tags(context)
                    client.log_batch(child.info.run_id, metrics=changed, tags=tags)
            missing = [name for name, fingerprint in metrics if (name, fingerprint) not in children]
            if missing:
                logger.warning("no tracked training to put test metrics on: %s", bounded(missing))

    def trials(self, models: Sequence[str]) -> int:
        """See `Tracker`."""
        found: set[ModelKey] = set()
        if models and not self._down:
            with self._warning_when_down():
                client, experiment = self._connected()
                for some in batched(sorted(set(models)), FINGERPRINTS_PER_SEARCH):
                    token = None
                    while token != "":
                        page = client.search_runs([experiment], mlflow_entities.with_models(some), page_token=token)
                        found |= {_key(run) for run in page}
                        token = page.token or ""
        return len(found)

    def _record(self, model: TrainedModel, parent: str, context: RunContext, begun: Run | None) -> None:
        """Write one training, or finish writing it: every step may find its work done already."""
        from mlflow.entities import RunTag

        client, experiment = self._connected()
        tags = mlflow_entities.child_tags(model, parent, context)
        if begun is None:
            child = client.create_run(experiment, run_name=model.name, tags=tags)
            client.log_inputs(child.info.run_id, [mlflow_entities.training_input(model, context)])
            client.set_terminated(child.info.run_id, BEGUN)
        else:
            child = begun
        run_id = child.info.run_id
        client.log_batch(
            run_id,
            metrics=mlflow_entities.training_metrics(model, child.info.start_time),
            params=mlflow_entities.params_of(model, already=child.data.params),
            tags=[RunTag(key, value) for key, value in tags.items()] if begun else [],
        )
        if self._log_models:
            mlflow_registry.upload(client, model, child)
            mlflow_registry.register(client, model, child, maybe_registered=begun is not None)
        client.set_terminated(run_id, DONE)

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
            self._down = True  # a locked database would cost its time-out again with every model
            address = mlflow_connection.without_password(self._uri)
            logger.warning(
                "MLflow at %s is out of order, going on without it: %s", address, mlflow_connection.reason(error)
            )

    def _children(self, keys: Sequence[ModelKey]) -> dict[ModelKey, Run]:
        """The child runs of these trainings, as far as there are any; finished ones before others."""
        client, experiment = self._connected()
        wanted = set(keys)
        found: dict[ModelKey, Run] = {}
        for some in batched(sorted({fingerprint for _, fingerprint in keys}), FINGERPRINTS_PER_SEARCH):
            for run in client.search_runs([experiment], mlflow_entities.with_fingerprints(some), max_results=10_000):
                key = _key(run)
                if key in wanted and (key not in found or _done(run)):
                    found[key] = run
        return found


def _parent(client: MlflowClient, experiment: str, context: RunContext) -> str:
    """Id of the run that stands for the `mlops run` of this key; made when there is none yet.

    It is finished from the start: stages are processes of their own, and none knows whether it is the last.
    """
    if context.key:
        found = client.search_runs([experiment], f"tags.`{mlflow_entities.RUN_KEY}` = '{context.key}'", max_results=1)
        if found:
            return str(found[0].info.run_id)
    tags = mlflow_entities.source_tags(context) | {mlflow_entities.RUN_KEY: context.key}
    name = f"mlops run {context.key}" if context.key else context.command or "mlops"
    run_id = str(client.create_run(experiment, run_name=name, tags=tags).info.run_id)
    client.set_terminated(run_id, DONE)
    return run_id


def _key(run: Run) -> ModelKey:
    tags = run.data.tags
    return tags.get(mlflow_entities.MODEL, ""), tags.get(mlflow_entities.FINGERPRINT, "")


def _done(run: Run) -> bool:
    return bool(run.info.status == DONE)


def _demand_onnx(models: Sequence[TrainedModel]) -> None:
    missing = [str(model.folder) for model in models if not (model.folder / "model.onnx").is_file()]
    if missing:
        raise ModelError(f"no model.onnx to track in {bounded(missing)}", "train again: mlops train")
