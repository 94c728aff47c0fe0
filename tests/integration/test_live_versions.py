"""Live versions from the feature tables of a project to every reader: passes, serving, export, lists, simulation."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_cli.config.load import load_params, load_scenario
from mlops_cli.evaluation.verdicts import verdict_of, verdicts
from mlops_cli.live.journal.opening import read_journal
from mlops_cli.live.passes.issue import issue_step
from mlops_cli.live.passes.judge import judge_step
from mlops_cli.live.passes.live_pass import STEPS
from mlops_cli.live.passes.retrain import retrain_step
from mlops_cli.models.promotion import promote, rollback
from mlops_cli.models.shared.weight_files import WeightFiles
from mlops_cli.models.store import check_files
from mlops_cli.models.versions import answering_version, archive, champion, model_versions
from mlops_cli.pipeline.stages.featurize import featurize
from mlops_cli.pipeline.stages.ingest import IngestSources, ingest
from mlops_cli.pipeline.stages.train import TrainTools, train
from mlops_cli.pipeline.versions.model_facts import model_details, model_facts
from mlops_cli.prices.sources.csv_source import CsvSource
from mlops_cli.serving.catalog.load_catalog import CatalogLoader, select
from mlops_cli.serving.export import export_triton
from mlops_cli.tracking.tracker import NullTracker, RunContext, Tracking
from tests.fakes.linear_trainer import LinearTrainer
from tests.fakes.live_nights import LiveNights
from tests.fakes.projects import Silent

NAMES = ("red-aaa", "red-bbb")
KILLED = """
import os, signal, sys
from datetime import date, timedelta
from pathlib import Path
from mlops_cli.models.versions import install_live_version
from mlops_cli.pipeline.versions.live_training import LiveTraining, train_live
from tests.fakes.linear_trainer import LinearTrainer
from tests.fakes.projects import Silent, SmallProject

small, day, where = SmallProject(Path(sys.argv[1])), date.fromisoformat(sys.argv[2]), sys.argv[3]
trainer = lambda branch, kind: small.trainer(kind, LinearTrainer())
training = LiveTraining(small.project, small.branch, day, trainer, Silent())
for staged in train_live(training, ["red-aaa", "red-bbb"]):
    if where == "installed":
        install_live_version(staged.folder, small.project.model_root, "main", staged.name)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> LiveNights:
    return LiveNights(tmp_path_factory.mktemp("trained") / "p", nights=4)


@pytest.fixture
def nights(trained: LiveNights, tmp_path: Path) -> LiveNights:
    """A project of its own, as it is after the steps before `retrain` of its first night."""
    root = tmp_path / "p"
    shutil.copytree(trained.small.root, root)
    nights = LiveNights.__new__(LiveNights)
    nights.small = type(trained.small)(root)
    nights.prices, nights.sessions = trained.prices, trained.sessions
    prepare(nights, 0)
    return nights


def prepare(nights: LiveNights, night: int) -> None:
    nights.show(night)
    branch = nights.small.branch
    ingest(nights.project, branch, IngestSources(CsvSource(nights.small.root / "data" / "incoming")), Silent())
    featurize(nights.project, branch, Silent())


def answers(nights: LiveNights, name: str = "red-aaa") -> str:
    return answering_version(nights.project.model_root, "main", name).version


def kill(nights: LiveNights, where: str) -> None:
    """Let a process train the models, and kill it before or after the first installation."""
    day = (nights.sessions[0] + nights.sessions.freq if nights.sessions.freq else nights.sessions[1]).date()
    command = [sys.executable, "-c", KILLED, str(nights.small.root), str(day), where]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("where", ["trained", "installed"])
def test_a_kill_between_training_and_installation_loses_nothing(nights: LiveNights, tmp_path: Path, where: str) -> None:
    shutil.copytree(nights.small.root, tmp_path / "undisturbed")
    kill(nights, where)
    for name in NAMES:
        for version in model_versions(nights.project.model_root, "main", name):
            check_files(version.folder, version.manifest)  # no half version, at any time
    trainer = LinearTrainer()
    context = nights.context(0, trainer=lambda branch, kind: nights.small.trainer(kind, trainer))
    assert retrain_step(context).failures == []
    assert trainer.trained == []  # the killed process had finished both trainings
    judge_step(context)
    other = type(nights.small)(tmp_path / "undisturbed")
    undisturbed = LiveNights.__new__(LiveNights)
    undisturbed.small, undisturbed.prices, undisturbed.sessions = other, nights.prices, nights.sessions
    retrain_step(undisturbed.context(0))
    for name in NAMES:
        expected, found = (
            # but for why they were trained, which only a pass notes
            [
                (version.version, version.manifest.model_copy(update={"facts": {}}))
                for version in model_versions(project.model_root, "main", name)
            ]
            for project in (other.project, nights.project)
        )
        assert expected == found
        records = [champion(project.model_root, "main", name) for project in (other.project, nights.project)]
        assert (records[0].version, records[0].pinned, records[0].history) == (
            records[1].version, records[1].pinned, records[1].history,
        )  # fmt: skip
        assert answers(nights, name) == expected[0][0]
    left = nights.project.live_staging("main")
    assert [path for path in left.iterdir() if not path.name.startswith("red-aaa")] == []


def test_everybody_agrees_which_version_answers(nights: LiveNights, tmp_path: Path) -> None:
    project = nights.project
    frozen = answers(nights)
    before = sorted((path.name, path.read_bytes()) for path in (project.models("main") / "red-aaa").glob("*.*"))
    assert retrain_step(nights.context(0)).done == 2
    live = answers(nights)
    assert live != frozen
    assert before == sorted((path.name, path.read_bytes()) for path in (project.models("main") / "red-aaa").glob("*.*"))

    issue_step(nights.context(0))
    with read_journal(project.journal) as journal:
        assert {issued.forecast.version for issued in journal.forecasts() if issued.forecast.model == "red-aaa"} == {
            live
        }

    facts = model_facts(project, nights.small.branch, nights.small.branch.models)
    assert facts[0].trained_until == str(nights.sessions[0].date())
    assert facts[0].folder == f"models/.versions/main/red-aaa/{live}"
    details = model_details(project, nights.small.branch, nights.small.branch.models[0])
    assert details["manifest"]["live"]
    assert [version["version"] for version in details["versions"]] == [live, frozen]
    assert details["champion"]["version"] == live

    serving = load_params(project).serving
    loader = CatalogLoader(project, serving, select(project, None), WeightFiles(tmp_path / "weights"))
    served = loader.scan(trial_seconds=60).models["red-aaa"]
    assert served.default is not None
    assert served.default.version == live
    judged = verdicts(project.evaluation("main"))
    assert served.verdicts[live] == served.verdicts[frozen] == judged["red-aaa", frozen]
    assert verdict_of(judged, project.model_root, "main", "red-aaa", live) == judged["red-aaa", frozen]

    exported = export_triton(project.model_root, [("main", "red-aaa")], tmp_path / "triton")
    assert exported.models["red-aaa"][-1] == live


def test_a_person_may_go_back_and_forth(nights: LiveNights) -> None:
    project = nights.project
    frozen = answers(nights)
    retrain_step(nights.context(0))
    live = answers(nights)
    assert rollback(project, "main", "red-aaa", routed=False).after == frozen
    assert answers(nights) == frozen
    assert retrain_step(nights.context(1)).done == 0, "the version that was not judged is waited for"
    judge_step(nights.context(1))
    assert answers(nights) == frozen, "a pin by hand stays"
    promote(project, "main", "red-aaa")
    assert answers(nights) == live
    record = champion(project.model_root, "main", "red-aaa")
    assert (record.by, record.pinned) == ("hand", False)


def test_the_pipeline_trains_simulates_and_prunes_as_without_live_versions(nights: LiveNights) -> None:
    project, small = nights.project, nights.small
    frozen = answers(nights)
    retrain_step(nights.context(0))
    trainer = LinearTrainer()
    scenario = load_scenario(project, small.branch.scenario)
    tools = TrainTools(lambda kind: small.trainer(kind, trainer), Tracking(NullTracker(), RunContext()))
    report = train(project, small.branch, scenario, tools, Silent())
    assert (report.done, sorted(report.unchanged), trainer.trained) == ([], list(NAMES), [])
    assert answers(nights) != frozen
    summary, replayed = small.simulate()
    assert replayed.failures == []
    assert {row["model"] for row in summary["models"]} == set(NAMES)

    small.config("linear", (small.root / "configs/mine/linear.yaml").read_text().replace("AAA, BBB", "BBB"))
    train(project, small.branch, scenario, tools, Silent())
    assert not archive(project.model_root, "main", "red-aaa").exists()
    assert model_versions(project.model_root, "main", "red-bbb")[0].manifest.live


def test_a_model_with_live_versions_only_is_served_issued_exported_and_listed(
    nights: LiveNights, tmp_path: Path
) -> None:
    """As one that a job asked for: the pipeline has no folder of it."""
    project = nights.project
    shutil.rmtree(project.models("main"))
    shutil.rmtree(project.model_root / ".versions")
    first = retrain_step(nights.context(0))
    assert (first.done, first.figures["due"]) == (2, {"config": 2})
    live = answers(nights)
    assert issue_step(nights.context(0)).done == 2
    facts = model_facts(project, nights.small.branch, nights.small.branch.models)
    assert [model.trained_until for model in facts] == [str(nights.sessions[0].date())] * 2
    loader = CatalogLoader(
        project, load_params(project).serving, select(project, None), WeightFiles(tmp_path / "weights")
    )
    served = loader.scan(trial_seconds=60).models["red-aaa"]
    assert [version.version for version in served.versions] == [live]
    assert served.quarantined == ()
    assert export_triton(project.model_root, [("main", "red-aaa")], tmp_path / "triton").models == {"red-aaa": [live]}
    assert promote(project, "main", "red-aaa", live[:6]).after == live


def test_an_edited_config_is_trained_in_the_next_pass_and_answers(nights: LiveNights) -> None:
    """`mlops run` is not needed; until then the old version answers as long as it can."""
    retrain_step(nights.context(0))
    path = nights.small.root / "configs/mine/linear.yaml"
    path.write_text(path.read_text().replace("volatility: [5]", "volatility: [10]"))
    result = nights.run(1, STEPS)
    retrained = next(outcome for outcome in result.outcomes if outcome.step == "retrain")
    assert (retrained.done, retrained.figures["due"]) == (2, {"features": 2})
    version = answering_version(nights.project.model_root, "main", "red-aaa")
    assert "volatility_10" in version.manifest.inputs
    assert version.manifest.trained_until == nights.sessions[1].date()
    again = nights.run(1, STEPS)
    assert next(outcome for outcome in again.outcomes if outcome.step == "retrain").done == 0
