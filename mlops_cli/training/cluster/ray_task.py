"""What a node of a Ray cluster does: a task and its feature tables in, results and the files of its models out.

A node shares no folder with who asked, so both travel as bytes. Ludwig is imported once per Ray worker process, which
Ray uses for one task after another.
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
from mlops_cli.training.tasks.task_json import result_to_json, task_from_json
from mlops_cli.training.trainer import FailedJob, Fitted, TrainJob

LIBRARIES = ("ludwig", "numpy", "torch")
"""The same on every node as where the manifest is written: another release may give another model."""


@dataclass(frozen=True)
class Returned:
    """What became of one job.

    Attributes:
        result: of `task_json.result_to_json`; its folder is the one on the node.
        files: of the model folder, by path below it; empty where the job failed.
        node: id of the node and its host name.
    """

    result: dict[str, Any]
    files: dict[str, bytes]
    node: str


def library_versions() -> dict[str, str]:
    """What is installed here, of `LIBRARIES`."""
    found = {}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = "missing"
    return found


def train_task(line: str, libraries: Mapping[str, str], *tables: bytes | None) -> Returned | list[Returned]:
    """Train a task's jobs in a temporary folder of this node.

    Args:
        line: of `task_json.task_to_json`; its paths are those of who asks.
        libraries: of `library_versions` there.
        tables: the parquet file of each job, None where it could not be read.

    Returns:
        One per job, in their order; without a list around it where there is one, as Ray wants it.
    """
    task, node = task_from_json(line), _node()
    other = {name: known for name, known in library_versions().items() if known != libraries[name]}
    if other:
        reason = f"node {node} has other libraries: {_named(other)}, not {_named({n: libraries[n] for n in other})}"
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
        results = {result.job.folder: result for result in _ludwig()(replace(task, jobs=tuple(local)), _say_nothing)}
        packed = [_packed(results[here.folder], job.features, node) for here, job in zip(local, task.jobs, strict=True)]
    finally:
        shutil.rmtree(root)  # after each task: Ray ends its processes without a word
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


def _named(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {known}" for name, known in versions.items())


def _say_nothing(_text: str) -> None:
    """Nobody listens while a task is at work on a node."""
