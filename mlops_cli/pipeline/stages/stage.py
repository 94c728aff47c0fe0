"""Code that all stages share: progress, report, failures file, and the lock on a branch."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.project import ModelSpec
from mlops_cli.errors import ConfigError, MlopsError, ServiceError, bounded
from mlops_cli.system.files import write_text
from mlops_cli.system.locks import file_lock

FAILURES = "failures.json"
LOCK_WAIT_SECONDS = 30

type Only = str | Collection[str] | None
"""Which models of a branch a stage works on: a glob over their names, or names; None: all."""


class Progress(Protocol):
    """Port: shows what a stage does."""

    def start(self, stage: str, total: int) -> None:
        """A stage with `total` items begins."""
        ...

    def doing(self, text: str) -> None:
        """Show what is being done now."""
        ...

    def done(self, count: int = 1) -> None:
        """`count` more items are finished."""
        ...


@dataclass(frozen=True)
class ItemFailure:
    """One model that a stage could not finish; `stage` is where it failed first, and later stages report that too."""

    model: str
    stage: str
    reason: str
    exit_code: int


@dataclass
class StageReport:
    """The results of a stage, by model, and notes for the user."""

    stage: str
    branch: str
    done: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    failures: list[ItemFailure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def fail(self, model: str, error: MlopsError) -> None:
        """Add the failure of a model."""
        self.refuse(model, str(error), error.exit_code)

    def refuse(self, model: str, reason: str, exit_code: int) -> None:
        """Add the failure of a model that is known by its reason, not as an error."""
        self.failures.append(ItemFailure(model, self.stage, reason, exit_code))

    def carry(self, upstream: dict[str, ItemFailure]) -> None:
        """Add the failures of an earlier stage; for the same model they replace this stage's failure."""
        self.failures = list({**{failure.model: failure for failure in self.failures}, **upstream}.values())

    @property
    def exit_code(self) -> int:
        """0; 9 when some models failed; the failures' own code when all failed with the same code."""
        codes = {failure.exit_code for failure in self.failures}
        if not codes:
            return 0
        return codes.pop() if len(codes) == 1 and not (self.done or self.unchanged) else 9


def read_failures(folder: Path) -> list[ItemFailure]:
    """Failures noted in the folder of a stage's results; empty where the stage has not run."""
    path = folder / FAILURES
    return [ItemFailure(**item) for item in json.loads(path.read_text())] if path.is_file() else []


def failures_of(folder: Path, models: Sequence[ModelSpec]) -> dict[str, ItemFailure]:
    """The failures noted in `folder` for these models, by model."""
    names = {spec.name for spec in models}
    return {failure.model: failure for failure in read_failures(folder) if failure.model in names}


def write_failures(folder: Path, failures: list[ItemFailure]) -> None:
    """Note failures in the folder of a stage's results; an empty list removes the file."""
    path = folder / FAILURES
    if failures:
        ordered = sorted(failures, key=lambda failure: (failure.model, failure.stage))
        write_text(path, json.dumps([asdict(failure) for failure in ordered], indent=2) + "\n")
    else:
        path.unlink(missing_ok=True)


def read_note(path: Path) -> dict[str, Any] | None:
    """Read the JSON file of a table; None where it is missing or damaged, so that the table is written again."""
    try:
        note = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return note if isinstance(note, dict) else None


def chosen(models: tuple[ModelSpec, ...], only: Only) -> list[ModelSpec]:
    """The models that `only` chooses.

    Raises:
        ConfigError: nothing matches.
    """
    matching = [spec for spec in models if _matches(spec.name, only)]
    if not matching:
        raise ConfigError(f"--only {only}: no model of that name", f"models: {bounded([spec.name for spec in models])}")
    return matching


def _matches(name: str, only: Only) -> bool:
    if isinstance(only, str):
        return fnmatchcase(name, only)
    return only is None or name in only


def close_stage(folder: Path, report: StageReport, branch: Branch, only: Only) -> None:
    """Write a stage's failures; with `only`, the noted failures of the other models are kept."""
    others = {spec.name for spec in branch.models if not _matches(spec.name, only)}
    kept = [failure for failure in read_failures(folder) if failure.model in others]
    write_failures(folder, report.failures + kept)


@contextmanager
def branch_lock(project: Project, branch: str, progress: Progress) -> Iterator[None]:
    """Lock a branch, so that two processes never write the same results.

    Raises:
        ServiceError: another process has held the lock for too long.
    """
    busy = ServiceError(
        f"branch {branch}: another mlops has been working on it for over {LOCK_WAIT_SECONDS} s",
        "wait until it has finished, then run again",
    )
    path = project.state / "locks" / f"{branch}.lock"
    with file_lock(
        path, busy, LOCK_WAIT_SECONDS, lambda: progress.doing(f"waiting for another mlops on branch {branch}")
    ):
        yield
