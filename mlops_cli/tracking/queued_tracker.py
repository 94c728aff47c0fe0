"""A tracker that keeps on disk what could not be recorded, and records it later."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlops_cli.errors import ServiceError
from mlops_cli.models.versions import model_versions
from mlops_cli.system.files import write_text
from mlops_cli.system.locks import file_lock
from mlops_cli.tracking.tracker import ModelKey, RunContext, Tracker, TrainedModel

logger = logging.getLogger("mlops.tracking")

TRAINED, TESTED = "trained", "tested"


@dataclass(frozen=True)
class _Waiting[Content]:
    """Something to record, the run it belongs to, and the file that it waits in."""

    file: Path
    context: RunContext
    content: Content


class QueuedTracker:
    """A tracker around another one, `inner`.

    What `inner` could not record waits in `folder`: one small JSON file for each training, and one for the newest
    metrics of each training. Models are found again by their fingerprint, in their folder or among earlier versions. A
    model that is gone by then is recorded without its files.
    """

    def __init__(self, inner: Tracker, folder: Path) -> None:
        self.name = inner.name
        self._inner = inner
        self._folder = folder

    def prepare(self) -> None:
        """See `Tracker`."""
        self._inner.prepare()

    def record_training(self, models: Sequence[TrainedModel], context: RunContext) -> bool:
        """See `Tracker`; what cannot be recorded now is written to the queue."""
        self.catch_up()
        if self._inner.record_training(models, context):
            return True
        for model in models:
            content = {**asdict(model), "folder": str(model.folder)}
            self._write(TRAINED, model.key, {"context": asdict(context), "model": content})
        return False

    def record_test(self, metrics: Mapping[ModelKey, Mapping[str, float]], context: RunContext) -> bool:
        """See `Tracker`; what cannot be recorded now is written to the queue."""
        self.catch_up()
        if self._inner.record_test(metrics, context):
            return True
        for key, values in metrics.items():
            content = {"name": key[0], "fingerprint": key[1], "metrics": dict(values)}
            self._write(TESTED, key, {"context": asdict(context), "test": content})
        return False

    def count_trainings(self, models: Sequence[str]) -> int:
        """See `Tracker`."""
        return self._inner.count_trainings(models)

    def catch_up(self) -> int:
        """See `Tracker`. Does nothing while another process does it."""
        if not any(self._folder.glob("*/*.json")):
            return 0
        recorded = 0
        try:
            with self._locked():
                recorded += self._record_trained()
                recorded += self._record_tested()
        except ServiceError:  # another process is at it
            logger.debug("%s: another process records what waits there", self._folder)
        return recorded

    def _record_trained(self) -> int:
        waiting: list[_Waiting[TrainedModel]] = list(self._waiting(TRAINED, _model_of))
        recorded = 0
        for context in dict.fromkeys(entry.context for entry in waiting):
            entries = [entry for entry in waiting if entry.context == context]
            if not self._inner.record_training([entry.content for entry in entries], context):
                break
            recorded += _remove(entries)
        return recorded

    def _record_tested(self) -> int:
        if any((self._folder / TRAINED).glob("*.json")):
            return 0  # metrics belong to a training that is recorded
        waiting: list[_Waiting[Any]] = list(self._waiting(TESTED, _metrics_of))
        for context in dict.fromkeys(entry.context for entry in waiting):
            entries = [entry for entry in waiting if entry.context == context]
            metrics = {key: values for entry in entries for key, values in entry.content.items()}
            if not self._inner.record_test(metrics, context):
                break
            _remove(entries)
        return 0  # counted with their trainings

    def _waiting[Content](self, kind: str, read: Callable[[Any], Content]) -> Iterator[_Waiting[Content]]:
        for file in sorted((self._folder / kind).glob("*.json"), key=lambda file: (file.stat().st_mtime_ns, file.name)):
            try:
                record = json.loads(file.read_text(encoding="utf-8"))
                yield _Waiting(file, RunContext(**record["context"]), read(record))
            except (ValueError, LookupError, TypeError, RecursionError) as error:
                logger.warning("%s cannot be read and is removed: %s", file, type(error).__name__)
                file.unlink()

    def _write(self, kind: str, key: ModelKey, record: Mapping[str, Any]) -> None:
        name, fingerprint = key
        write_text(self._folder / kind / f"{name}-{fingerprint}.json", json.dumps(record))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with file_lock(self._folder / "queue.lock", ServiceError("another process records what waits")):
            yield


def _model_of(record: Mapping[str, Any]) -> TrainedModel:
    fields = record["model"]
    written_from = Path(fields["folder"])
    versions = model_versions(written_from.parents[1], fields["branch"], fields["name"])
    matching = [version.folder for version in versions if version.manifest.fingerprint == fields["fingerprint"]]
    return TrainedModel(**{**fields, "folder": matching[0] if matching else None})


def _metrics_of(record: Mapping[str, Any]) -> dict[ModelKey, dict[str, float]]:
    test = record["test"]
    return {(test["name"], test["fingerprint"]): test["metrics"]}


def _remove(entries: Sequence[_Waiting[Any]]) -> int:
    for entry in entries:
        entry.file.unlink(missing_ok=True)
    return len(entries)
