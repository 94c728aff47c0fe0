"""Replays of the nightly pass over three weeks: their result, what kills do to it, and the command."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from mlops_cli.config.paths import Project
from mlops_cli.errors import ConfigError
from mlops_cli.live.passes.live_pass import STEPS
from mlops_cli.live.passes.step import PassContext, StepOutcome, Trouble
from mlops_cli.live.replay.home import home_of
from mlops_cli.live.replay.notes import open_notes
from mlops_cli.pipeline.stages.tables import read_table
from tests.fakes.kill_fuse import KilledProcesses
from tests.fakes.live_replays import DAYS, START, replay_project, reported, run_replay
from tests.fakes.price_tables import random_prices
from tests.fakes.projects import SmallProject
from tests.fakes.team_project import commands_on

SESSIONS = 15
"""In the period; one pass more runs on the evening before."""
LINES = 4000
"""Of some passes."""
MOST_KILLS = 60


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return replay_project(tmp_path_factory.mktemp("trained") / "p").root


@pytest.fixture(scope="module")
def unkilled(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[SmallProject, dict, dict[str, bytes]]:
    """A project that was replayed, its result and its report."""
    small = copy(trained, tmp_path_factory.mktemp("unkilled"))
    return small, *reported(small)


def copy(trained: Path, folder: Path) -> SmallProject:
    return SmallProject(shutil.copytree(trained, folder / "p"))


def test_every_session_is_forecast_settled_and_traded(unkilled) -> None:
    _, result, _ = unkilled
    counts = result["journal"]["counts"]
    assert (counts["issued"], counts["settled"], counts["waiting"], counts["stale"]) == (32, 30, 2, 0)
    assert (counts["first_target"], counts["last_target"]) == ("2017-06-01", "2017-06-21")
    assert [row["issued"] for row in result["sessions"]] == [2] * (SESSIONS + 1)
    assert result["sessions"][0]["at"] == "2017-05-31T20:21:00+00:00"
    (red,) = [row for row in result["competition"]["rows"] if row["kind"] == "team"]
    assert red["orders"] > 0
    assert red["models"] == ["red-aaa", "red-bbb"]
    assert len(result["competition"]["equity"]["red"]) == SESSIONS + 1
    assert result["health"]["models"].keys() == {"main/red-aaa", "main/red-bbb"}


def test_the_journal_of_a_replay_is_a_replay(unkilled) -> None:
    _, result, _ = unkilled
    assert set(result["gap"]["causes"]) <= {"none", "other version"}
    assert result["gap"]["n"] == 32


def test_the_track_record_agrees_with_the_prices(unkilled) -> None:
    """The naive error by hand, from the prices that were generated."""
    _, result, _ = unkilled
    (row,) = [row for row in result["journal"]["summary"]["models"] if row["model"] == "red-aaa"]
    closes = random_prices(700, 0)["close"].loc["2017-05-31":"2017-06-21"]
    assert row["n"] == SESSIONS
    assert row["mae_naive"] == pytest.approx(closes.diff().abs().mean(), rel=1e-9)


def test_no_pass_knew_a_later_price(unkilled) -> None:
    """The tables end with the last session of the period, although the files go on for months."""
    small, _, _ = unkilled
    project = home_of(small.project, START).project
    table = read_table(project.prices("main"), "AAA")
    assert table is not None
    assert str(table.index[-1].date()) == "2017-06-21"
    real = read_table(small.project.prices("main"), "AAA")
    assert real is not None
    assert str(real.index[-1].date()) > "2017-10-01", "the real project is as it was"


def test_the_real_project_is_not_touched(trained: Path, unkilled) -> None:
    small, _, _ = unkilled
    for path in trained.rglob("*"):
        inside = path.relative_to(trained)
        if path.is_file() and path.suffix != ".lock":
            assert (small.root / inside).read_bytes() == path.read_bytes(), inside
    assert not small.project.journal.exists()
    assert not small.project.ledgers.exists()


def test_run_again_it_only_reports(unkilled) -> None:
    small, _, files = unkilled

    def fail(context: PassContext) -> StepOutcome:
        raise AssertionError("every pass has ended")

    assert reported(small, steps={"ingest": fail})[1] == files


def test_a_longer_replay_goes_on(trained: Path, unkilled, tmp_path: Path) -> None:
    _, _, files = unkilled
    small = copy(trained, tmp_path)
    assert reported(small, days=7)[0]["replay"]["passes"] == 6
    assert reported(small, days=DAYS)[1] == files
    with pytest.raises(ConfigError, match="has gone until 2017-06-21 already"):
        run_replay(small, days=7)
    assert reported(small, days=7, restart=True)[0]["replay"]["passes"] == 6


def test_killed_anywhere_it_ends_the_same_to_the_bit(trained: Path, unkilled, tmp_path: Path) -> None:
    _, _, files = unkilled
    small = copy(trained, tmp_path)
    chance = random.Random(13)
    runner = KilledProcesses("tests.fakes.live_replay_runner")
    kills = 0
    try:
        while True:
            kill_at = chance.randint(1, LINES) if kills < MOST_KILLS else None
            answer = runner.run(folder=str(small.root), days=DAYS, kill_at=kill_at)
            if answer["outcome"] != "killed":
                break
            kills += 1
    finally:
        runner.close()
    assert answer["outcome"] == "done", answer
    assert kills > 5
    folder = small.project.report(f"live-{START}")
    differing = [name for name, content in files.items() if (folder / name).read_bytes() != content]
    assert differing == [], f"after {kills} kills"
    assert {path.name for path in folder.iterdir()} == files.keys()


class Stop:
    """Progress port: a person presses Ctrl-C in the seventh pass."""

    def __init__(self) -> None:
        self.passes = 0

    def start(self, stage: str, total: int) -> None:
        self.total = total

    def doing(self, text: str) -> None:
        if self.passes == 7:
            raise KeyboardInterrupt

    def done(self, count: int = 1) -> None:
        self.passes += count


def test_ctrl_c_stops_it_and_it_goes_on(trained: Path, unkilled, tmp_path: Path) -> None:
    _, _, files = unkilled
    small = copy(trained, tmp_path)
    stop = Stop()
    with pytest.raises(KeyboardInterrupt):
        run_replay(small, progress=stop)
    assert stop.total == SESSIONS + 1
    with open_notes(home_of(small.project, START).notes) as notes:
        assert len(notes.finished()) == 7
    assert reported(small)[1] == files


def test_alerts_are_kept_and_not_sent(trained: Path, tmp_path: Path) -> None:
    def alarm(context: PassContext) -> StepOutcome:
        context.tools.alert([f"told at {context.now:%H:%M}"])
        return StepOutcome("alert", troubles=[Trouble("x", "y")])

    result, _ = reported(copy(trained, tmp_path), days=4, steps={**STEPS, "alert": alarm})
    assert result["alerts"] == [
        {"session": day, "line": "told at 20:21"} for day in ("2017-05-31", "2017-06-01", "2017-06-02")
    ]


def test_items_that_fail_do_not_stop_it(trained: Path, tmp_path: Path) -> None:
    """BBB has no model, and none may be trained: it issues nothing, and AAA does."""
    small = copy(trained, tmp_path)
    shutil.rmtree(small.project.models("main") / "red-bbb")
    lines = [line for line in small.project.params.read_text().splitlines() if not line.startswith("live:")]
    small.project.params.write_text("\n".join([*lines, "live: {retrain: {at_most: 0}}", ""]))
    replayed = run_replay(small, days=4)
    with open_notes(replayed.home.notes) as notes:
        assert notes.failures() >= 3
    result, _ = reported(small, days=4)
    assert [row["issued"] for row in result["sessions"]] == [1, 1, 1]


def test_a_model_that_is_not_trained_is_trained_in_the_first_pass(trained: Path, tmp_path: Path) -> None:
    small = copy(trained, tmp_path)
    shutil.rmtree(small.project.models("main") / "red-bbb")
    run_replay(small, days=4)
    result, _ = reported(small, days=4)
    assert [row["issued"] for row in result["sessions"]] == [2, 2, 2]


@pytest.fixture
def drifting(tmp_path: Path) -> Project:
    """A project of drift models, which the command can train without Ludwig."""
    small = SmallProject(tmp_path / "p")
    small.root.mkdir()
    (small.root / "params.yaml").write_text(
        "branches: {main: {collection: [configs/mine]}}\nsource: {kind: csv}\nsimulation: {scenario: mine}\n"
        "training: {validation_sessions: 60, min_sessions: 200}\n"
    )
    (small.root / "simulation").mkdir()
    (small.root / "simulation" / "mine.yaml").write_text(f"start: {START}\ndays: 90\n")
    small.prices("AAA", random_prices(700, 0))
    small.config("drift", "team: red\nticker: AAA\ntrainer: drift\n")
    small.run()
    return small.project


def test_the_command_shows_and_writes_the_result(drifting: Project) -> None:
    mlops = commands_on(drifting)
    done = mlops("live", "--replay", str(START), "--days", "5", "--trade-without-skill")
    assert done.exit_code == 0, done.output
    for words in (
        "4 passes, from the close of 2017-05-31 to that of 2017-06-05, of 1 model",
        "Journal: 4 forecasts issued, 3 settled, 1 waiting",
        "Gap between the journal and its replay: 4 none",
        "Health after the last pass",
        "simulation/reports/live-2017-06-01/",
        ".mlops/live-replay/2017-06-01/",
    ):
        assert words in done.output, done.output
    written = json.loads((drifting.report("live-2017-06-01") / "live.json").read_text())
    again = mlops("live", "--replay", str(START), "--days", "5", "--trade-without-skill", "--json")
    assert json.loads(again.stdout) == written


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--days", "5"], "--days is for the past: add --replay DATE"),
        (["--restart"], "--restart is for the past: add --replay DATE"),
        (["--replay", "2017-06-01", "--only", "issue"], "--only is for tonight's pass; a replay runs all steps"),
        (["--replay", "2017-06-01", "--dry-run"], "--dry-run is for tonight's pass; a replay runs all steps"),
        (["--replay", "June"], "--replay June: no day; write it as 2024-01-02"),
    ],
)
def test_options_that_do_not_fit_are_refused(drifting: Project, words: list[str], message: str) -> None:
    done = commands_on(drifting)("live", *words)
    assert done.exit_code == 2
    assert message in done.output
