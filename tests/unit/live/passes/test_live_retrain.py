"""Steps `retrain` and `judge` of a pass: what they do, what they say, and what they note for the next pass."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.live import Live, LiveRetrain
from mlops_cli.config.schemas.project import Params, TrainerKind
from mlops_cli.errors import DataError, ServiceError
from mlops_cli.live.health.state import Health, ModelHealth, State
from mlops_cli.live.passes.judge import judge_step, read_judged, tell_judgements
from mlops_cli.live.passes.retrain import retrain_step
from mlops_cli.live.passes.step import PassContext, PassTools, StepOutcome
from mlops_cli.live.watch.states import write_states
from mlops_cli.models.versions import Champion, answering_version, archive, champion, model_versions, write_champion
from mlops_cli.pipeline.stages.tables import read_table, write_table
from mlops_cli.pipeline.versions.challenge import Judgement
from mlops_cli.pipeline.versions.live_install import StagedVersion, install_live
from mlops_cli.pipeline.versions.live_training import LiveTraining, train_live
from mlops_cli.training.trainer import FailedJob, Fitted, Trainer, TrainJob
from tests.fakes.branches import Progress, branch_of, write_features
from tests.fakes.linear_trainer import LinearTrainer
from tests.fakes.train_jobs import model_spec
from tests.fakes.trained_models import trained_branch, trained_model

A, B, C = (model_spec(f"red-{ticker}", ticker=ticker.upper()) for ticker in "abc")
NOW = datetime(2016, 3, 11, 22, 0, tzinfo=UTC)  # after the close of the last known target


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def context(project: Project, branch: Branch, trainer: LinearTrainer | None = None, **live: Any) -> PassContext:
    fits = trainer or LinearTrainer()

    def of_kind(_: Branch, kind: TrainerKind) -> Trainer:
        return fits

    tools = PassTools(prices=no_source, actions=lambda _: None, trainer=of_kind)
    params = Params.model_validate({"branches": {"main": {"collection": ["configs"]}}})
    params = params.model_copy(update={"live": Live(**live)})
    return PassContext(project, params, {branch.name: branch}, NOW, tools, Progress())


def no_source(branch: Branch) -> Any:
    raise AssertionError("these steps fetch nothing")


def answers(project: Project, name: str) -> date:
    """Until when the version that answers was trained."""
    return answering_version(project.model_root, "main", name).manifest.trained_until


def retrain_notes(project: Project) -> dict[str, Any]:
    return json.loads((project.live / "retrain.json").read_text())


def test_frozen_models_are_too_old_and_get_a_version_of_today_once(project: Project) -> None:
    branch = trained_branch(project, A, B)
    trainer = LinearTrainer()
    outcome = retrain_step(context(project, branch, trainer))
    assert (outcome.done, outcome.unchanged, outcome.failures) == (2, 0, [])
    assert outcome.figures == {"due": {"age": 2}, "waiting": 0}
    assert outcome.lines == ["2 trained, too old: red-a, red-b"]
    assert answers(project, "red-a") == date(2016, 3, 11)
    assert champion(project.model_root, "main", "red-a").why.startswith("fresher: trained 48 sessions ago")
    again = retrain_step(context(project, branch, trainer))
    assert (again.done, again.unchanged, again.lines) == (0, 2, [])
    assert len(trainer.trained) == 2


def test_where_nothing_is_due_no_trainer_is_made_and_no_file_written(project: Project) -> None:
    branch = trained_branch(project, A)
    retrain_step(context(project, branch))

    def none(*_: object) -> Trainer:
        raise AssertionError("nothing is due")

    quiet = context(project, branch)
    quiet = replace(quiet, tools=replace(quiet.tools, trainer=none))
    before = sorted(path for path in project.root.rglob("*"))
    assert retrain_step(quiet).done == 0
    assert sorted(path for path in project.root.rglob("*")) == before


def test_a_pass_trains_so_many_and_the_next_one_the_rest(project: Project) -> None:
    branch = trained_branch(project, A, B, C)
    retrain = LiveRetrain(at_most=2)
    first = retrain_step(context(project, branch, retrain=retrain))
    assert (first.done, first.figures["waiting"]) == (2, 1)
    assert first.lines[-1] == "1 more are due and wait for the next pass (live.retrain.at_most)"
    second = retrain_step(context(project, branch, retrain=retrain))
    assert (second.done, second.figures["waiting"]) == (1, 0)
    assert {answers(project, spec.name) for spec in (A, B, C)} == {date(2016, 3, 11)}


def test_a_dry_run_says_what_would_be_trained_and_writes_nothing(project: Project) -> None:
    branch = trained_branch(project, A)
    before = sorted(path for path in project.root.rglob("*"))
    outcome = retrain_step(replace(context(project, branch), dry_run=True))
    assert (outcome.done, outcome.lines) == (1, ["1 would be trained, too old: red-a"])
    assert sorted(path for path in project.root.rglob("*")) == before


def test_a_model_that_fails_keeps_its_version_and_comes_last_next_time(project: Project) -> None:
    branch = trained_branch(project, A, B)
    until = answers(project, "red-a")
    outcome = retrain_step(context(project, branch, LinearTrainer(refuse=("red-a",))))
    assert [(failure.model, failure.stage) for failure in outcome.failures] == [("red-a", "retrain")]
    (trouble,) = outcome.troubles
    assert (trouble.key, trouble.command) == ("retrain", "mlops live --only retrain")
    assert answers(project, "red-a") == until
    assert retrain_notes(project)["failed"] == {"main/red-a": 1}
    other = branch_of(A, B, C)
    write_features(project.features("main"), C)
    trained_model(project, other, C, shrinkage=1.0)
    second = retrain_step(context(project, other, LinearTrainer(refuse=("red-a",)), retrain=LiveRetrain(at_most=1)))
    assert (second.done, answers(project, "red-c")) == (1, date(2016, 3, 11))
    third = retrain_step(context(project, other))
    assert (third.done, third.failures) == (1, [])
    assert retrain_notes(project)["failed"] == {}


def test_a_pass_that_was_killed_ends_as_if_it_had_not_been(project: Project) -> None:
    """It trains what it had chosen and no more, and the shrinkage of the group is the same to the bit."""
    results = []
    for name, promotion, after in (("whole", "tested", None), ("cut", "tested", 2), ("late", "tested", 1)):
        home = Project(project.root / name)
        branch = trained_branch(home, A, B, C)
        retrain = LiveRetrain(at_most=2)
        if after is not None:
            assert len(list(islice(interrupted(home, branch, retrain, promotion), after))) == after
        outcome = retrain_step(context(home, branch, retrain=retrain, promotion=promotion))
        assert outcome.figures["waiting"] == 1
        versions = {spec.name: model_versions(home.model_root, "main", spec.name) for spec in (A, B, C)}
        results.append({model: [folder.manifest for folder in folders] for model, folders in versions.items()})
        assert sum(len(folders) for folders in versions.values()) == 5
    assert results[0] == results[1] == results[2]


def interrupted(home: Project, branch: Branch, retrain: LiveRetrain, promotion: str) -> Iterator[str]:
    """A pass up to some installation: it stops where the caller leaves it."""
    notes = {"failed": {}, "checked": {}, "begun": {"2016-03-11": ["main/red-a", "main/red-b"]}}
    home.live.mkdir(parents=True)
    (home.live / "retrain.json").write_text(json.dumps(notes))
    step = context(home, branch, retrain=retrain, promotion=promotion)
    training = LiveTraining(home, branch, date(2016, 3, 12), step.tools.trainer, Progress())
    why = "trained 48 sessions ago"
    for staged in train_live(training, ["red-a", "red-b"], {name: {"why": why} for name in ("red-a", "red-b")}):
        assert isinstance(staged, StagedVersion)
        install_live(home, branch, staged, "tested", why)
        yield staged.name


def test_a_trainer_that_does_not_start_fails_its_models_and_not_the_pass(project: Project) -> None:
    branch = trained_branch(project, A)
    broken = context(project, branch)

    def no_trainer(*_: object) -> Trainer:
        from mlops_cli.errors import TrainingError

        raise TrainingError("Ludwig does not start", "")

    outcome = retrain_step(replace(broken, tools=replace(broken.tools, trainer=no_trainer)))
    assert (outcome.done, [failure.model for failure in outcome.failures]) == (0, ["red-a"])


def test_a_broken_model_is_trained_before_older_ones(project: Project) -> None:
    branch = trained_branch(project, A, B)
    number = answering_version(project.model_root, "main", "red-b").version
    broken = ModelHealth(version=number, state=State.BROKEN, since=date(2016, 3, 9))
    write_states(project, Health(models={"main/red-b": broken}))
    outcome = retrain_step(context(project, branch, retrain=LiveRetrain(at_most=1)))
    assert outcome.lines[0] == "1 trained, broken: red-b"
    assert "broken since 2016-03-09" in champion(project.model_root, "main", "red-b").why


def test_states_that_cannot_be_read_stop_the_step(project: Project) -> None:
    branch = trained_branch(project, A)
    project.live.mkdir(parents=True)
    (project.live / "health.json").write_text("{")
    with pytest.raises(DataError, match="state of health"):
        retrain_step(context(project, branch))


def test_corrected_prices_that_a_check_saw_are_looked_at(project: Project) -> None:
    branch = trained_branch(project, A)
    retrain_step(context(project, branch))
    seen = {"table": "t", "last": "2016-03-11", "closes": "c", "restated": "2016-03-14"}
    (project.live / "prices.json").write_text(json.dumps({"main": {"A": seen}}))
    assert retrain_step(context(project, branch)).done == 0
    number = answering_version(project.model_root, "main", "red-a").version
    assert retrain_notes(project)["checked"] == {"main/red-a": f"{number} 2016-03-14"}
    write_features(project.features("main"), A, seed=9)
    (project.live / "retrain.json").unlink()
    outcome = retrain_step(context(project, branch))
    assert outcome.lines == ["1 trained, with corrected prices: red-a"]


def test_a_pool_is_trained_whole_and_said_once(project: Project) -> None:
    pool = [spec.model_copy(update={"pool": ("A", "B")}) for spec in (A, B)]
    branch = branch_of(*pool)
    for seed, spec in enumerate(pool):
        write_features(project.features("main"), spec, seed=seed)
    outcome = retrain_step(context(project, branch, retrain=LiveRetrain(at_most=1)))
    assert outcome.done == 2
    assert {answers(project, spec.name) for spec in pool} == {date(2016, 3, 11)}


def test_the_step_loads_neither_ludwig_nor_torch() -> None:
    code = (
        "import sys\n"
        "import mlops_cli.live.passes.retrain, mlops_cli.live.passes.judge\n"
        "print([name for name in ('torch', 'ludwig', 'mlflow', 'statsmodels') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def two_versions(project: Project) -> Branch:
    """A model with a frozen version and a live one, both trained until the end of 2015 or before."""
    branch = trained_branch(project, A)
    write_champion(
        project.model_root, "main", "red-a", Champion(answering_version(project.model_root, "main", "red-a").version)
    )
    early = replace(context(project, branch), now=datetime(2016, 1, 20, 22, 0, tzinfo=UTC))
    assert (
        retrain_step(
            replace(
                early, params=early.params.model_copy(update={"live": Live(retrain=LiveRetrain(max_age_sessions=1))})
            )
        ).done
        == 1
    )
    return branch


def test_new_versions_are_judged_once_after_each_session(project: Project) -> None:
    branch = two_versions(project)
    first = judge_step(context(project, branch))
    assert (first.done + first.unchanged, first.figures["compared"]) == (1, 1)
    assert first.lines[0].startswith("1 new versions judged")
    again = judge_step(context(project, branch))
    assert (again.figures["compared"], again.unchanged, again.lines) == (0, 1, [])
    later = replace(context(project, branch), now=datetime(2016, 3, 14, 22, 0, tzinfo=UTC))
    assert judge_step(later).figures["compared"] == 1


def test_without_enough_closes_nothing_is_read(project: Project) -> None:
    branch = two_versions(project)
    (project.features("main") / "red-a.parquet").unlink()
    early = replace(context(project, branch), now=datetime(2016, 2, 10, 22, 0, tzinfo=UTC))
    outcome = judge_step(early)
    assert (outcome.figures["compared"], outcome.unchanged, outcome.failures) == (0, 1, [])
    assert not (project.live / "judged.json").exists()


def test_a_judgement_that_fails_is_reported_for_its_model(project: Project) -> None:
    branch = two_versions(project)
    (project.features("main") / "red-a.parquet").unlink()
    outcome = judge_step(context(project, branch))
    assert [(failure.model, failure.stage, failure.exit_code) for failure in outcome.failures] == [
        ("red-a", "judge", 4)
    ]


def test_a_dry_run_of_judging_writes_nothing(project: Project) -> None:
    branch = two_versions(project)
    before = champion(project.model_root, "main", "red-a")
    outcome = judge_step(replace(context(project, branch), dry_run=True))
    assert outcome.lines == ["1 models would be judged"]
    assert champion(project.model_root, "main", "red-a") == before
    assert not (project.live / "judged.json").exists()


def test_judging_finishes_what_a_killed_installation_began(project: Project) -> None:
    """Between the rename of a live version and the record of the champion."""
    branch = two_versions(project)
    root = project.model_root
    new = model_versions(root, "main", "red-a")[0].version
    own = model_versions(root, "main", "red-a")[1].version
    write_champion(
        root, "main", "red-a", Champion(own, True, (), "live", "answers until a newer version proves better")
    )
    judge_step(context(project, branch, promotion="always"))
    assert champion(root, "main", "red-a").version == new
    assert answering_version(root, "main", "red-a").version == new


def test_tested_holds_the_champion_from_the_first_live_version_on(project: Project) -> None:
    branch = trained_branch(project, A)
    own = answering_version(project.model_root, "main", "red-a").version
    retrain_step(context(project, branch, promotion="tested"))
    assert answering_version(project.model_root, "main", "red-a").version == own
    assert len(model_versions(project.model_root, "main", "red-a")) == 2
    assert retrain_step(context(project, branch, promotion="tested")).done == 0
    assert judge_step(context(project, branch, promotion="tested")).figures["compared"] == 0


def test_an_installation_that_fails_is_that_models_failure(project: Project) -> None:
    branch = trained_branch(project, A, B)
    path = archive(project.model_root, "main", "red-a") / "champion.json"
    path.parent.mkdir(parents=True)
    outcome = retrain_step(context(project, branch, retrain=LiveRetrain(max_age_sessions=None)))
    assert outcome.done == 0
    path.write_text("{")
    outcome = retrain_step(context(project, branch))
    assert [failure.model for failure in outcome.failures] == ["red-a"]
    assert answers(project, "red-b") == date(2016, 3, 11)
    assert ServiceError.exit_code not in {failure.exit_code for failure in outcome.failures}


def test_a_version_taken_back_is_told_once_and_never_said_to_be_over(project: Project) -> None:
    outcome = StepOutcome("judge")
    back = Judgement("main", "red-a", "old", "new", rolled_back=True, reason="not nearer, with p below 0.1")
    tell_judgements([back, replace(back, challenger="newer")], outcome)
    assert [(trouble.key, trouble.is_event) for trouble in outcome.troubles] == [
        ("judge:main/red-a:new", True),
        ("judge:main/red-a:newer", True),
    ]
    assert (outcome.done, outcome.figures["rolled_back"]) == (2, 2)


def test_only_a_comparison_that_was_made_is_noted(project: Project) -> None:
    branch = two_versions(project)
    table = read_table(project.features("main"), "red-a")
    assert table is not None
    holes = table.copy()
    holes.loc[holes.index[-30:-5], "next_close"] = float("nan")
    write_table(project.features("main"), "red-a", holes)
    now = context(project, branch)
    assert judge_step(now).figures["compared"] == 1
    assert read_judged(project) == {}
    write_table(project.features("main"), "red-a", table)
    assert judge_step(now).figures["compared"] == 1
    noted = read_judged(project)
    assert list(noted) == ["main/red-a"]
    write_table(project.features("main"), "red-a", holes)
    later = replace(now, now=datetime(2016, 3, 14, 22, 0, tzinfo=UTC))
    assert judge_step(later).figures["compared"] == 1
    assert read_judged(project) == noted  # the pair was compared once


class Killed(BaseException):
    """Stands for the end of a process without a word: nothing in the step handles it."""


class DeadlyTrainer(LinearTrainer):
    """A trainer whose process ends when it trains one of these models."""

    def fit(self, jobs: Sequence[TrainJob], progress: Callable[[str], None]) -> Iterator[Fitted | FailedJob]:
        for job in jobs:
            if job.spec.name in self.refuse:
                raise Killed
            yield from super().fit([job], progress)


def passes_that_end_by_themselves(project: Project, branch: Branch, *days: int) -> list[bool]:
    """Run the step on some days of March 2016, with a trainer that dies of red-a."""
    ended = []
    for day in days:
        try:
            retrain_step(replace(context(project, branch, DeadlyTrainer(refuse=("red-a",))), now=on(day)))
        except Killed:
            ended.append(False)
        else:
            ended.append(True)
    return ended


def on(day: int) -> datetime:
    return datetime(2016, 3, day, 22, 0, tzinfo=UTC)


def test_a_model_whose_training_ended_two_passes_is_left_out_for_a_week(project: Project) -> None:
    branch = trained_branch(project, A)
    assert passes_that_end_by_themselves(project, branch, 1, 1, 1, 2) == [False, False, True, True]
    assert retrain_notes(project)["died"] == {"main/red-a": ["2016-03-01", "2016-03-01"]}
    write_features(project.features("main"), B)
    trained_model(project, branch, B)
    both = branch_of(A, B)
    outcome = retrain_step(replace(context(project, both), now=on(3)))
    assert (outcome.done, answers(project, "red-b")) == (1, date(2016, 3, 3))
    (trouble,) = outcome.troubles
    assert (trouble.key, "killed 2 times" in trouble.text, "red-a" in trouble.text) == ("retrain killed", True, True)
    assert passes_that_end_by_themselves(project, both, 7, 8, 9) == [True, False, True]
    healed = retrain_step(replace(context(project, both), now=datetime(2016, 3, 15, 22, 0, tzinfo=UTC)))
    assert (healed.troubles, answers(project, "red-a")) == ([], date(2016, 3, 11))
    assert retrain_notes(project)["died"] == {}


def test_a_pass_that_a_person_interrupts_is_not_held_against_its_models(project: Project) -> None:
    branch = trained_branch(project, A)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            retrain_step(context(project, branch, LinearTrainer(interrupt_after=0)))
    assert retrain_notes(project)["begun"] == {"2016-03-11": ["main/red-a"]}
    assert retrain_step(context(project, branch)).done == 1
