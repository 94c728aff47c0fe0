"""`mlops run`: the pipeline through DVC, which decides what has to run; stages with failures are forced to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.run_environment import RUN_KEY, RUN_PID, STOP_NOTE, WORKERS
from mlops_cli.errors import ConfigError, MlopsError, ServiceError, error_with
from mlops_cli.pipeline.stages.stage import ItemFailure, failures_of, read_failures
from mlops_cli.system.files import write_text
from mlops_cli.system.lifetime import end_with_parent
from mlops_cli.system.locks import file_lock

RWLOCK = Path(".dvc") / "tmp" / "rwlock"
WRITTEN_WITHIN_SECONDS = 1.0  # DVC writes the file in place, so that a reader may see half of it
STAGES = ("ingest", "featurize", "train", "evaluate")


def new_run_key() -> str:
    """A key by which the tracker groups what the stages of one run record."""
    return uuid4().hex


def repro(project: Project, branches: Sequence[Branch], key: str, chosen_branch: str | None = None) -> None:
    """Run `dvc repro`, after forcing the stages that noted failures.

    With `chosen_branch` only this branch's stages run, up to its evaluation; else all branches, and `simulate`.

    Raises:
        MlopsError: a stage stopped; it has the stage's own exit code.
        ServiceError: DVC itself failed, or another run is in progress.
    """
    busy = ServiceError(
        f"{project.root}: another mlops run is in progress here", "wait until it has finished, then run again"
    )
    with file_lock(project.state / "run.lock", busy):  # not among the branches' locks: a branch may be called run
        _repro(project, branches, key, chosen_branch)


def _repro(project: Project, branches: Sequence[Branch], key: str, chosen_branch: str | None) -> None:
    to_run = [branch for branch in branches if chosen_branch in (None, branch.name)]
    _check_ready(project, to_run)
    release_dead_holders(project.root)
    _stop_note(project, key).parent.mkdir(parents=True, exist_ok=True)
    forced = forced_stages(project, to_run, with_simulate=chosen_branch is None)
    if forced:
        _dvc(project, key, ["repro", "--force", "--single-item", "--keep-going", *forced])
    targets = [f"evaluate@{chosen_branch}"] if chosen_branch else []
    code = _dvc(project, key, ["repro", "--keep-going", *targets])
    if code:
        raise _stopped(project, key)


def all_failures(project: Project, branches: Sequence[Branch]) -> list[ItemFailure]:
    """The failures of the last run: each model of a branch once, with its first cause."""
    failures: dict[tuple[str, str], ItemFailure] = {}
    for branch in branches:
        for failure in _first_causes(project, branch):
            failures.setdefault((branch.name, failure.model), failure)
    retrained = [failure for folder in _reports(project, branches) for failure in read_failures(folder)]
    return [*failures.values(), *retrained]


def forced_stages(project: Project, branches: Sequence[Branch], *, with_simulate: bool) -> list[str]:
    """The DVC stages that must run even if DVC takes them for up to date.

    These are the stages that noted failures, and `ingest` from a service whose prices go on day by day.
    """
    stages = [f"{stage}@{branch.name}" for branch in branches for stage in _to_force(project, branch)]
    if with_simulate and any(read_failures(folder) for folder in _reports(project, branches)):
        stages.append("simulate")
    return stages


def _reports(project: Project, branches: Sequence[Branch]) -> list[Path]:
    """Folders in which `simulate` notes the models that it could not retrain."""
    return [project.report(scenario) for scenario in sorted({branch.scenario for branch in branches})]


def _first_causes(project: Project, branch: Branch) -> list[ItemFailure]:
    """Failures noted by the stage in which they happened; a later stage's copy may be restored from DVC's cache."""
    return [
        failure
        for stage, folder in _outs(project, branch).items()
        for failure in failures_of(folder, branch.models).values()
        if failure.stage == stage
    ]


def _outs(project: Project, branch: Branch) -> dict[str, Path]:
    return {
        "ingest": project.prices(branch.name),
        "featurize": project.features(branch.name),
        "train": project.models(branch.name),
        "evaluate": project.evaluation(branch.name),
    }


def _to_force(project: Project, branch: Branch) -> list[str]:
    stages = {failure.stage for failure in _first_causes(project, branch)}
    # DVC cannot see that there are newer prices or dividends; ingest does not fetch prices again that are there
    asks_a_service = branch.source.kind == "yfinance" or branch.source.actions.kind in ("alpaca", "yfinance")
    if asks_a_service and branch.period.end is None and project.prices(branch.name).is_dir():
        stages.add("ingest")
    return [stage for stage in STAGES if stage in stages]


def _check_ready(project: Project, branches: Sequence[Branch]) -> None:
    if not branches:
        raise ConfigError(
            f"{project.params}: branches: there is none, so there is nothing to run",
            "add one: mlops run --set branches.main.collection='[configs/mine]'",
        )
    for needed, remedy in ((project.pipeline, "mlops init DIR"), (project.root / ".dvc", "git init; dvc init")):
        if not needed.exists():
            raise ConfigError(f"{needed} is missing", f"make it with: {remedy}")


def _dvc(project: Project, key: str, arguments: list[str]) -> int:
    environment = {
        **os.environ,
        # the stages call `mlops`: it must be the one of this Python, even if its environment is not activated
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        RUN_KEY: key,
        RUN_PID: str(os.getpid()),
        WORKERS: str(project.state / "pool" / key),
        STOP_NOTE: str(_stop_note(project, key)),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=project.root,
        env=environment,
        stdout=sys.stderr,
        preexec_fn=end_with_parent(),  # noqa: PLW1509 - between two stages nothing else would end DVC
    )
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()  # DVC itself ignores Ctrl-C while a stage runs, and would begin the next one
        process.wait()
        raise


def _stop_note(project: Project, key: str) -> Path:
    return project.state / "stops" / f"{key}.json"


def _stopped(project: Project, key: str) -> MlopsError:
    note = _stop_note(project, key)
    if not note.is_file():
        return ServiceError("dvc repro failed; its output is above", "see also: dvc repro --verbose")
    stop = json.loads(note.read_text())
    note.unlink()
    return error_with(
        stop["exit_code"],
        f"a stage stopped: {stop['message']}",
        "finished results are kept; solve the problem and run again",
    )


def release_dead_holders(root: Path) -> None:
    """Remove killed processes from DVC's lock file.

    DVC itself removes process ids that do not exist. A zombie (in a container without an init process zombies stay) and
    another program that has the id by now would block every run. A half-written file, left by a process that was killed
    while it wrote, is removed: DVC would refuse every run.
    """
    path = root / RWLOCK
    _remove_half_written(path)
    try:
        before: dict[str, dict[str, Any]] = json.loads(path.read_text())
        writers = {locked: holder for locked, holder in before.get("write", {}).items() if _is_dvc(holder["pid"])}
        readers = {
            locked: [holder for holder in holders if _is_dvc(holder["pid"])]
            for locked, holders in before.get("read", {}).items()
        }
    except (FileNotFoundError, ValueError, LookupError, TypeError, AttributeError):
        return  # there is no file, or it has another format, which DVC will complain about
    after = {"write": writers, "read": {locked: holders for locked, holders in readers.items() if holders}}
    if after != before:
        write_text(path, json.dumps(after))


def _remove_half_written(path: Path) -> None:
    until = time.monotonic() + WRITTEN_WITHIN_SECONDS
    while True:
        try:
            json.loads(path.read_text())
        except FileNotFoundError:
            return
        except ValueError:
            if time.monotonic() > until:
                path.unlink(missing_ok=True)
                return
            time.sleep(WRITTEN_WITHIN_SECONDS / 20)
        else:
            return


def _is_dvc(pid: int) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and any("dvc" in word for word in process.cmdline())
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
