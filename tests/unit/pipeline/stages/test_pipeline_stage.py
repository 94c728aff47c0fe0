"""What all stages share: the report, the failures file, the choice of models, the lock."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.config.paths import Project
from mlops_cli.errors import ConfigError, DataError, ServiceError, TrainingError
from mlops_cli.pipeline.stages import stage
from mlops_cli.pipeline.stages.stage import (
    FAILURES,
    ItemFailure,
    StageReport,
    branch_lock,
    chosen,
    close_stage,
    failures_of,
    read_failures,
    read_note,
    write_failures,
    write_text,
)
from tests.fakes.branches import Progress, branch_of
from tests.fakes.train_jobs import model_spec

A, B, C = (model_spec(f"red-{name}", ticker=name.upper()) for name in "abc")


def failure(model: str, name: str = "train", code: int = 5) -> ItemFailure:
    return ItemFailure(model, name, "why", code)


class TestReport:
    def test_the_exit_code_is_0_without_failures(self) -> None:
        assert StageReport("train", "main").exit_code == 0
        assert StageReport("train", "main", done=["red-a"]).exit_code == 0

    def test_it_is_the_failures_own_code_where_nothing_else_is_left(self) -> None:
        assert StageReport("train", "main", failures=[failure("red-a"), failure("red-b")]).exit_code == 5
        assert StageReport("ingest", "main", failures=[failure("red-a", code=8)]).exit_code == 8

    @pytest.mark.parametrize("rest", [{"done": ["red-b"]}, {"unchanged": ["red-b"]}])
    def test_it_is_9_where_some_models_failed(self, rest: dict[str, list[str]]) -> None:
        assert StageReport("train", "main", failures=[failure("red-a")], **rest).exit_code == 9

    def test_it_is_9_where_models_failed_for_different_reasons(self) -> None:
        failures = [failure("red-a", code=4), failure("red-b", code=5)]
        assert StageReport("train", "main", failures=failures).exit_code == 9

    def test_an_error_becomes_a_failure_of_this_stage_with_its_hint_and_code(self) -> None:
        report = StageReport("featurize", "main")
        report.fail("red-a", DataError("A: no prices", "run: mlops ingest"))
        (item,) = report.failures
        assert (item.model, item.stage, item.exit_code) == ("red-a", "featurize", 4)
        assert "A: no prices" in item.reason
        assert "mlops ingest" in item.reason

    def test_a_failure_of_an_earlier_stage_replaces_what_followed_from_it(self) -> None:
        report = StageReport("train", "main")
        report.fail("red-a", TrainingError("no features", ""))
        report.fail("red-b", TrainingError("no memory", ""))
        first = failure("red-a", "ingest", 4)
        report.carry({"red-a": first, "red-c": failure("red-c", "ingest", 4)})
        assert {item.model: item.stage for item in report.failures} == {
            "red-a": "ingest",
            "red-b": "train",
            "red-c": "ingest",
        }
        assert first in report.failures


class TestFailuresFile:
    def test_what_is_written_is_read_sorted_by_model(self, tmp_path: Path) -> None:
        write_failures(tmp_path / "deep", [failure("red-b"), failure("red-a", "ingest", 4)])
        assert read_failures(tmp_path / "deep") == [failure("red-a", "ingest", 4), failure("red-b")]

    def test_no_failures_leave_no_file(self, tmp_path: Path) -> None:
        write_failures(tmp_path, [failure("red-a")])
        write_failures(tmp_path, [])
        assert list(tmp_path.iterdir()) == []
        write_failures(tmp_path, [])
        assert read_failures(tmp_path) == []

    def test_a_stage_that_never_ran_has_no_failures(self, tmp_path: Path) -> None:
        assert read_failures(tmp_path / "absent") == []
        assert failures_of(tmp_path / "absent", [A]) == {}

    def test_failures_of_models_that_left_the_branch_are_not_asked_for(self, tmp_path: Path) -> None:
        write_failures(tmp_path, [failure("red-a"), failure("red-gone")])
        assert failures_of(tmp_path, [A, B]) == {"red-a": failure("red-a")}

    @given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["ingest", "train"]), st.integers(3, 8))))
    def test_any_failures_survive_the_file(self, items: list[tuple[str, str, int]]) -> None:
        import tempfile

        failures = [failure(*item) for item in items]
        with tempfile.TemporaryDirectory() as folder:
            write_failures(Path(folder), failures)
            key = lambda item: (item.model, item.stage, item.exit_code)  # noqa: E731
            assert sorted(read_failures(Path(folder)), key=key) == sorted(failures, key=key)


class TestCloseStage:
    def test_the_whole_branch_replaces_all_failures(self, tmp_path: Path) -> None:
        write_failures(tmp_path, [failure("red-a"), failure("red-gone")])
        close_stage(tmp_path, StageReport("train", "main", failures=[failure("red-b")]), branch_of(A, B), None)
        assert read_failures(tmp_path) == [failure("red-b")]

    def test_a_part_keeps_those_of_the_other_models_of_the_branch(self, tmp_path: Path) -> None:
        write_failures(tmp_path, [failure("red-a"), failure("red-b"), failure("red-gone")])
        close_stage(tmp_path, StageReport("train", "main", failures=[]), branch_of(A, B, C), "red-a")
        assert read_failures(tmp_path) == [failure("red-b")]

    def test_a_part_that_fails_again_is_noted_once(self, tmp_path: Path) -> None:
        write_failures(tmp_path, [failure("red-a", code=4)])
        report = StageReport("train", "main", failures=[failure("red-a", code=5)])
        close_stage(tmp_path, report, branch_of(A, B), "red-*")
        assert read_failures(tmp_path) == [failure("red-a", code=5)]


class TestChosen:
    def test_all_of_them_a_glob_or_a_name(self) -> None:
        models = (A, B, C)
        assert chosen(models, None) == [A, B, C]
        assert chosen(models, "red-[bc]") == [B, C]
        assert chosen(models, "red-b") == [B]

    def test_a_name_that_fits_none_is_refused_with_those_there_are(self) -> None:
        with pytest.raises(ConfigError, match="--only RED-A: no model of that name") as caught:
            chosen((A, B), "RED-A")
        assert "red-a" in caught.value.hint


class TestSmallFiles:
    def test_a_note_is_read_as_it_was_written(self, tmp_path: Path) -> None:
        write_text(tmp_path / "deep" / "red-a.json", json.dumps({"rows": 3}))
        assert read_note(tmp_path / "deep" / "red-a.json") == {"rows": 3}
        assert [path.name for path in (tmp_path / "deep").iterdir()] == ["red-a.json"]

    @pytest.mark.parametrize("text", ["", "{", "[1, 2]", "3", "null", '"text"'])
    def test_a_damaged_note_is_as_good_as_none(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "note.json").write_text(text)
        assert read_note(tmp_path / "note.json") is None
        assert read_note(tmp_path / "absent.json") is None


class TestLock:
    @pytest.fixture
    def project(self, tmp_path: Path) -> Project:
        return Project(tmp_path)

    def test_it_is_free_again_afterwards_even_after_an_error(self, project: Project) -> None:
        with pytest.raises(KeyError), branch_lock(project, "main", Progress()):
            raise KeyError
        progress = Progress()
        with branch_lock(project, "main", progress):
            pass
        assert progress.texts == [], "nobody was waited for"

    def test_another_branch_is_not_locked(self, project: Project) -> None:
        progress = Progress()
        with branch_lock(project, "main", progress), branch_lock(project, "other", progress):
            pass
        assert progress.texts == []

    def test_a_held_branch_is_waited_for_and_then_refused(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(stage, "LOCK_WAIT_SECONDS", 0.1)
        path = project.state / "locks" / "main.lock"
        path.parent.mkdir(parents=True)
        progress = Progress()
        with (
            FileLock(path),
            pytest.raises(ServiceError, match="branch main: another mlops has been working on it"),
            branch_lock(project, "main", progress),
        ):
            raise AssertionError("two hold one branch")
        assert progress.texts == ["waiting for another mlops on branch main"]
        assert FAILURES == "failures.json", "its name is part of dvc.yaml"
