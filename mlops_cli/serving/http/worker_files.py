"""Small files by which the workers of one server exchange their counters and the names of unloaded models.

The folder lives as long as the server. Any worker may get a request for /metrics or to unload a model, and both concern
all workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from mlops_cli.errors import MlopsError
from mlops_cli.serving.data_plane import DataPlane
from mlops_cli.serving.http.counters import Counters
from mlops_cli.system.files import write_text

STEP_SECONDS = 0.5
REPORT_SECONDS = 10.0


class WorkerFiles:
    """One worker's view of the folder. A worker that replaces a dead one takes its number; they start from 0."""

    def __init__(self, folder: Path, worker: int = 0) -> None:
        self._folder = folder
        self._own = folder / f"counters-{worker}.json"
        self._unloaded = folder / "unloaded"
        self._unloaded.mkdir(exist_ok=True)

    def resume(self) -> Counters:
        """Counters to start with: those of the worker that had this number before. So counts never fall."""
        counters = Counters()
        with contextlib.suppress(FileNotFoundError):
            counters.add(json.loads(self._own.read_text())["counters"])
        return counters

    def publish(self, counters: Counters, plane: DataPlane) -> None:
        """Show this worker's counters and measures to the others."""
        text = json.dumps({"counters": counters.to_dict(), "measures": plane.measures()})
        write_text(self._own, text)

    def everyone(self) -> tuple[Counters, list[dict[str, float]]]:
        """Counters of all workers together, and the measures of each worker; up to `STEP_SECONDS` old."""
        total = Counters()
        measures = []
        for path in sorted(self._folder.glob("counters-*.json")):
            values: dict[str, Any] = json.loads(path.read_text())
            total.add(values["counters"])
            measures.append(values["measures"])
        return total, measures

    def mark_unloaded(self, model: str, unloaded: bool) -> None:
        """Let every worker unload this model, or load it again."""
        path = self._unloaded / quote(model, safe="")
        if unloaded:
            path.touch()
        else:
            path.unlink(missing_ok=True)

    def unloaded(self) -> set[str]:
        """Models that no worker answers for until they are loaded again."""
        return {unquote(path.name) for path in self._unloaded.iterdir()}


async def keep_in_step(plane: DataPlane, counters: Counters, worker_files: WorkerFiles) -> None:
    """Publish counters, and unload and load the models that other workers were told to, until cancelled."""
    unloaded: set[str] = set()
    while True:
        with contextlib.suppress(OSError):  # such as a full disk: the figures get old, but requests are answered
            worker_files.publish(counters, plane)
        requested = worker_files.unloaded()
        for model in requested ^ unloaded:
            # removed meanwhile, or quarantined: a request for it is told why
            with contextlib.suppress(MlopsError):
                await (plane.unload(model) if model in requested else plane.load(model))
        unloaded = requested
        await asyncio.sleep(STEP_SECONDS)


async def report_counts(worker_files: WorkerFiles, path: Path) -> None:
    """Write how many requests were answered with which status, of all workers, until cancelled.

    The nightly pass reads the file, and tells if too many were errors of the server.
    """
    try:
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            write_report(worker_files, path)
    finally:
        write_report(worker_files, path)


def write_report(worker_files: WorkerFiles, path: Path) -> None:
    """Write the file of `report_counts` once."""
    with contextlib.suppress(OSError):  # a full disk does not stop a server
        statuses = worker_files.everyone()[0].statuses
        if statuses:
            write_text(path, json.dumps({"at": datetime.now(UTC).isoformat(), "statuses": statuses}) + "\n")
