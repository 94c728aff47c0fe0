"""Every job has exactly one result, whatever its trainer does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from mlops_cli.errors import TrainingError
from mlops_cli.training.trainer import FailedJob, Fitted, Trainer, TrainJob, fit_each
from tests.fakes.train_jobs import model_spec


@dataclass
class Forgetful:
    """A trainer that fits the first jobs, in reverse order, and then stops, or fails as a whole."""

    count: int
    error: Exception | None = None
    name: str = "forgetful"

    def fit(self, jobs: Sequence[TrainJob], progress: Callable[[str], None]) -> Iterator[Fitted | FailedJob]:
        for job in reversed(jobs[: self.count]):
            yield Fitted(job)
        if self.error is not None:
            raise self.error


def jobs(count: int) -> list[TrainJob]:
    """Jobs of one model, at several dates."""
    spec = model_spec()
    return [TrainJob(spec, Path("t"), (), date(2020, 1, 1), date(2020, 2, 1), 1, Path(str(n))) for n in range(count)]


def results(trainer: Callable[[], Trainer], count: int) -> dict[str, str]:
    """By folder, why a job failed; empty where it did not."""
    given = list(fit_each(trainer, jobs(count), lambda text: None))
    assert len(given) == count
    return {str(each.job.folder): each.reason if isinstance(each, FailedJob) else "" for each in given}


def test_results_come_as_the_trainer_gives_them() -> None:
    assert results(lambda: Forgetful(3), 3) == {"0": "", "1": "", "2": ""}


def test_jobs_without_a_result_have_failed() -> None:
    found = results(lambda: Forgetful(1), 3)
    assert found["0"] == ""
    assert found["1"] == found["2"] == "red-acme: the trainer gave no result for it"


def test_a_trainer_that_fails_as_a_whole_fails_the_jobs_that_are_left() -> None:
    found = results(lambda: Forgetful(2, TrainingError("out of memory", "use fewer")), 3)
    assert (found["0"], found["1"]) == ("", "")
    assert found["2"] == "out of memory\nuse fewer"


def test_a_trainer_that_cannot_be_made_fails_all_jobs_with_its_exit_code() -> None:
    def none() -> Trainer:
        raise TrainingError("no Ludwig", "")

    given = list(fit_each(none, jobs(2), lambda text: None))
    assert [each.exit_code for each in given if isinstance(each, FailedJob)] == [TrainingError.exit_code] * 2


def test_another_error_is_a_bug_and_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        results(lambda: Forgetful(1, ZeroDivisionError()), 2)


def test_without_jobs_no_result() -> None:
    assert results(lambda: Forgetful(1), 0) == {}
