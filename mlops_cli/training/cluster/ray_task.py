"""The function that runs on a node of a Ray cluster: it trains a task and returns results and model files.

The node shares no folder with the caller, so feature tables and model files are sent as bytes. Ray uses a worker
process for one task after another, so Ludwig is imported once per worker process.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mlops_cli.training.local.ludwig_worker import Fit, load_ludwig
from mlops_cli.training.tasks import result_to_json, task_from_json
from mlops_cli.training.trainer import FailedJob, Fitted, TrainJob

LIBRARIES = ("ludwig", "numpy", "torch")
"""Their releases must be the same on every node as on the caller's machine: another release may train another model."""


@dataclass(frozen=True)
class Returned:
    """The outcome of one job.

    Attributes:
        result: from `tasks.result_to_json`; its folder is the one on the node.
        files: content of the files in the model folder, by relative path; empty if the job failed.
        node: id of the node and its host name.
    """

    result: dict[str, Any]
    files: dict[str, bytes]
    node: str


def library_versions() -> dict[str, str]:
    """The installed releases of `LIBRARIES`; "missing" for one that is not installed."""
    releases = {}
    for library in LIBRARIES:
        try:
            releases[library] = version(library)
        except PackageNotFoundError:
            releases[library] = "missing"
    return releases


def train_task(line: str, libraries: Mapping[str, str], *tables: bytes | None) -> Returned | list[Returned]:
    """Train a task's jobs in a temporary folder of this node; one result per job, in their order.

    Ray requires the bare result instead of a list if there is one job.

    Args:
        line: from `tasks.task_to_json`; its paths are those of the caller.
        libraries: `library_versions` of the caller.
        tables: the parquet file of each job; None if it could not be read.
    """
    task, node = task_from_json(line), _node()
    difference = library_difference(library_versions(), libraries)
    if difference:
        reason = f"node {node} has other libraries: {difference}"
        failures = [FailedJob(job, f"{job.spec.name}: {reason}", 8) for job in task.jobs]
        return _unlisted([Returned(result_to_json(failed), {}, node) for failed in failures])
    if task.settings.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before torch is loaded: Ludwig itself would take a GPU that it sees
    root = _root()
    root.mkdir(mode=0o700, exist_ok=True)
    try:
        local = [
            _unpacked(job, root / str(number), table)
            for number, (job, table) in enumerate(zip(task.jobs, tables, strict=True))
        ]
        # no progress messages: a node has no way to send them while a task runs
        fitted = _ludwig()(replace(task, jobs=tuple(local)), lambda _text: None)
        results = {result.job.folder: result for result in fitted}
        packed = [_packed(results[here.folder], job.features, node) for here, job in zip(local, task.jobs, strict=True)]
    finally:
        shutil.rmtree(root)  # after each task, because Ray kills its processes
    return _unlisted(packed)


@cache
def _ludwig() -> Fit:
    return load_ludwig(_root() / "graphs")


@cache
def _root() -> Path:
    return Path(tempfile.mkdtemp(prefix="mlops-ray-"))


def _unpacked(job: TrainJob, folder: Path, table: bytes | None) -> TrainJob:
    model, features = folder / "model", folder / "features.parquet"
    model.mkdir(parents=True)
    if table is not None:
        features.write_bytes(table)
    return replace(job, features=features, folder=model)


def _packed(result: Fitted | FailedJob, features: Path, node: str) -> Returned:
    if isinstance(result, FailedJob):  # the user knows the table by another path
        told = replace(result, reason=result.reason.replace(str(result.job.features), str(features)))
        return Returned(result_to_json(told), {}, node)
    folder = result.job.folder
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
    return Returned(result_to_json(result), files, node)


def _unlisted(returned: list[Returned]) -> Returned | list[Returned]:
    return returned if len(returned) > 1 else returned[0]


def _node() -> str:
    import ray

    return f"{ray.get_runtime_context().get_node_id()[:8]} ({socket.gethostname()})"


def library_difference(installed: Mapping[str, str], expected: Mapping[str, str]) -> str:
    """The releases (by library) that differ from those expected, e.g. "torch 2.1, not torch 2.0"; "" if none does."""
    other = [name for name, release in installed.items() if release != expected[name]]
    return f"{_named(installed, other)}, not {_named(expected, other)}" if other else ""


def _named(releases: Mapping[str, str], libraries: list[str]) -> str:
    return ", ".join(f"{library} {releases[library]}" for library in libraries)
