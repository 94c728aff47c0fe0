"""The whole pipeline through DVC: what must be tried again is forced, the rest is DVC's own judgement."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.run_environment import POOL, RUN_KEY, RUN_PID, STOP_NOTE
from mlops_cli.errors import ConfigError, MlopsError, ServiceError, error_with
from mlops_cli.pipeline.stages.stage import ItemFailure, failures_of, read_failures
from mlops_cli.system.locks import held

STAGES = ("ingest", "featurize", "train", "evaluate")


def new_run_key() -> str:
    """A key that ties together what the stages of one run tell the tracker."""
    return uuid4().hex


def repro(project: Project, branches: Sequence[Branch], key: str, chosen_branch: str | None = None) -> None:
    """Run `dvc repro`, after forcing the stages whose failures must be tried again.

    Args:
        project: where.
        branches: of the whole collection.
        key: of this run.
        chosen_branch: only this branch's stages, up to its evaluation; all of them and `simulate` without it.

    Raises:
        MlopsError: a stage stopped; carries the stage's own exit code.
        ServiceError: DVC itself could not work, or another run is at work.
    """
    with _run_lock(project):
        _repro(project, branches, key, chosen_branch)


def _repro(project: Project, branches: Sequence[Branch], key: str, chosen_branch: str | None) -> None:
    from mlops_cli.pipeline.dvc.locks import release_dead_holders

    wanted = [branch for branch in branches if chosen_branch in (None, branch.name)]
    _check_ready(project, wanted)
    release_dead_holders(project.root)
    _stop_note(project, key).parent.mkdir(parents=True, exist_ok=True)
    again = [f"{stage}@{branch.name}" for branch in wanted for stage in _to_force(project, branch)]
    if chosen_branch is None and any(read_failures(folder) for folder in _reports(project, wanted)):
        again.append("simulate")
    if again:
        _dvc(project, key, ["repro", "--force", "--single-item", "--keep-going", *again])
    targets = [f"evaluate@{chosen_branch}"] if chosen_branch else []
    code = _dvc(project, key, ["repro", "--keep-going", *targets])
    if code:
        raise _stopped(project, key)


@contextmanager
def _run_lock(project: Project) -> Iterator[None]:
    busy = ServiceError(
        f"{project.root}: another mlops run is at work here", "wait until it has finished, then run again"
    )
    with held(project.state / "run.lock", busy):  # not among the branches' locks: a branch may be called run
        yield


def all_failures(project: Project, branches: Sequence[Branch]) -> list[ItemFailure]:
    """What the last run could not finish, each model of a branch once, with its first cause."""
    found: dict[tuple[str, str], ItemFailure] = {}
    for branch in branches:
        for failure in _first_causes(project, branch):
            found.setdefault((branch.name, failure.model), failure)
    retrained = [failure for folder in _reports(project, branches) for failure in read_failures(folder)]
    return [*found.values(), *retrained]


def _reports(project: Project, branches: Sequence[Branch]) -> list[Path]:
    """Where `simulate` notes which models of which branch it could not retrain."""
    return [project.report(scenario) for scenario in sorted({branch.scenario for branch in branches})]


def _first_causes(project: Project, branch: Branch) -> list[ItemFailure]:
    """Failures where they happened: those that a later stage carried on may be older than what DVC had in its cache."""
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
    # a network source goes on day by day, which DVC cannot see; what is there already is not fetched again
    if branch.source.kind == "yfinance" and branch.period.end is None and project.prices(branch.name).is_dir():
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
        # the stages call `mlops`: the one that belongs to this Python, activated or not
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        RUN_KEY: key,
        RUN_PID: str(os.getpid()),
        POOL: str(project.state / "pool" / key),
        STOP_NOTE: str(_stop_note(project, key)),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", *arguments], cwd=project.root, env=environment, stdout=sys.stderr
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
        return ServiceError("dvc repro failed; its own words stand above", "see also: dvc repro --verbose")
    stop = json.loads(note.read_text())
    note.unlink()
    return error_with(
        stop["exit_code"], f"a stage stopped: {stop['message']}", "what was finished is kept; mend it and run again"
    )
