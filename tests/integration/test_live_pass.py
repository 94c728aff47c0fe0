"""Passes of a project whose prices grow: what each step does, what a second pass does, and what goes wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from mlops_cli.errors import ConfigError, DataError, ServiceError
from mlops_cli.live.journal.journal import Selection
from mlops_cli.live.journal.opening import open_journal, read_journal
from mlops_cli.live.passes.live_pass import STEPS, PassResult, chosen_steps, run_pass
from mlops_cli.live.passes.record import ended_steps, finished_sessions, last_pass, read_record
from mlops_cli.live.passes.step import PassContext, StepOutcome, Trouble
from mlops_cli.models.versions import answering_version
from mlops_cli.system.locks import file_lock
from tests.fakes.live_nights import LiveNights


@pytest.fixture
def nights(tmp_path: Path) -> LiveNights:
    return LiveNights(tmp_path / "p")


def step(result: PassResult, name: str) -> StepOutcome:
    return next(outcome for outcome in result.outcomes if outcome.step == name)


def counts(result: PassResult) -> dict[str, tuple[int, int, int]]:
    return {
        outcome.step: (outcome.done, outcome.unchanged, len(outcome.failures))
        for outcome in result.outcomes
        if outcome.step in {"ingest", "settle", "issue"}
    }


def test_a_pass_issues_and_the_next_one_settles(nights: LiveNights):
    first = nights.run(0)
    assert first.exit_code == 0
    assert counts(first)["issue"] == (2, 0, 0)
    assert counts(nights.run(0)) == {"ingest": (0, 2, 0), "settle": (0, 2, 0), "issue": (0, 2, 0)}, "nothing is missing"
    second = nights.run(1)
    assert counts(second) == {"ingest": (2, 0, 0), "settle": (2, 0, 0), "issue": (2, 0, 0)}
    with read_journal(nights.project.journal) as journal:
        forecasts = list(journal.forecasts())
    assert [(str(f.forecast.session), f.forecast.model) for f in forecasts] == [
        (str(day.date()), name) for day in nights.sessions[:2] for name in ("red-aaa", "red-bbb")
    ]
    settled = forecasts[0].settled
    assert settled is not None
    assert settled.actual.actual_close == pytest.approx(nights.prices["AAA"]["close"][nights.sessions[1]])
    assert forecasts[1].forecast.version == answering_version(nights.project.model_root, "main", "red-bbb").version
    assert forecasts[2].issued_at == nights.now(1)


def test_what_was_done_is_noted(nights: LiveNights):
    nights.run(0)
    day = nights.sessions[0].date()
    assert list(read_record(nights.project, day)["steps"]) == list(STEPS)
    assert finished_sessions(nights.project, list(STEPS)) == [day]
    began = nights.now(0).isoformat()
    expected = {"began": began, "finished": began, "session": str(day), "ok": True, "latest": began}
    assert last_pass(nights.project) == expected


def test_a_dry_run_writes_nothing(nights: LiveNights):
    nights.show(0)
    before = {path: path.read_bytes() for path in nights.small.root.rglob("*") if path.is_file()}
    result = run_pass(nights.context(0, dry_run=True), STEPS)
    assert step(result, "issue").done == 0, "the prices in the project end earlier"
    assert result.exit_code == 0, "a pass would fetch them"
    nights.run(0)
    nights.show(1)
    journal = nights.project.journal.read_bytes()
    run_pass(nights.context(1, dry_run=True), STEPS)
    assert nights.project.journal.read_bytes() == journal
    after = {path: path.read_bytes() for path in before if path.is_file() and "lock" not in path.name}
    assert {path for path in after if "features" in path.parts} == {path for path in before if "features" in path.parts}


def test_a_ticker_that_is_late_is_said_and_the_others_go_on(nights: LiveNights):
    nights.run(0)
    nights.show(1, only=["AAA"])
    result = run_pass(nights.context(1), STEPS)
    assert result.exit_code == 9
    assert counts(result)["issue"] == (1, 0, 1)
    (trouble,) = step(result, "check").troubles
    assert trouble.key == "stale:main:BBB"
    assert step(result, "check").lines == [f"main: 1 of 2 tickers have no prices of {nights.sessions[1].date()}: BBB"]
    assert not step(result, "issue").troubles, "the check has told it"
    assert step(result, "issue").failures[0].model == "red-bbb"
    nights.show(1)
    assert counts(run_pass(nights.context(1), STEPS))["issue"] == (1, 1, 0), "later that evening"


def test_a_restated_history_is_said_once_and_settled_again(nights: LiveNights):
    nights.run(0)
    nights.run(1)
    nights.prices["AAA"].loc[nights.sessions[1], "close"] *= 1.01
    nights.prices["AAA"]["high"] = nights.prices["AAA"][["high", "close"]].max(axis=1)
    result = nights.run(2)
    assert step(result, "check").figures["main"]["restated"] == ["AAA"]
    assert step(result, "settle").figures["restated"] == 1
    with read_journal(nights.project.journal) as journal:
        first, _ = [f for f in journal.forecasts(Selection(models=["red-aaa"])) if f.settled]
    assert first.settled is not None
    assert first.settled.actual.actual_close == pytest.approx(nights.prices["AAA"]["close"][nights.sessions[1]])
    assert first.settled.restatements == 1
    assert step(nights.run(3), "check").figures["main"]["restated"] == []


def test_one_ticker_that_stays_away_does_not_hide_that_all_do(nights: LiveNights):
    nights.run(0)
    nights.show(1, only=["AAA"])
    told: list[str] = []
    run_pass(nights.context(1, alert=told.extend), STEPS)
    assert ["main: BBB has no prices of" in line for line in told] == [True]
    told.clear()
    run_pass(nights.context(2, alert=told.extend), STEPS)
    assert any("2 of 2 tickers have no prices of" in line for line in told)
    assert any("2 models issue nothing" in line for line in told)


def test_corrections_are_settled_by_a_later_pass_if_the_first_one_was_killed(nights: LiveNights):
    nights.run(0)
    nights.run(1)
    nights.prices["AAA"].loc[nights.sessions[1], "close"] *= 1.01
    nights.prices["AAA"]["high"] = nights.prices["AAA"][["high", "close"]].max(axis=1)
    nights.run(2, {name: STEPS[name] for name in ("ingest", "check")})
    assert step(nights.run(3), "settle").figures["restated"] == 1
    assert step(nights.run(3), "settle").figures["restated"] == 0


def test_a_damaged_note_of_prices_counts_as_none(nights: LiveNights):
    nights.run(0)
    (nights.project.live / "prices.json").write_text('{"main": {"AAA": {"old": 1}}}')
    assert nights.run(1).exit_code == 0


def test_a_note_of_the_last_pass_that_lacks_something_counts_as_none(nights: LiveNights):
    nights.run(0)
    (nights.project.live / "last-pass.json").write_text("{}")
    assert nights.run(1).exit_code == 0


def test_a_ticker_that_is_unreadable_for_a_night_is_compared_when_it_is_back(nights: LiveNights):
    nights.run(0)
    table = nights.project.prices("main") / "AAA.parquet"
    note = nights.project.prices("main") / "AAA.json"
    kept = table.read_bytes(), note.read_bytes()
    table.unlink()
    note.unlink()
    check = {"check": STEPS["check"]}
    gone = run_pass(nights.context(0), check)
    assert [trouble.key for trouble in step(gone, "check").troubles] == ["missing:main:AAA"]
    table.write_bytes(kept[0])
    note.write_bytes(kept[1])
    nights.prices["AAA"].loc[nights.sessions[0], "close"] *= 1.01
    nights.prices["AAA"]["high"] = nights.prices["AAA"][["high", "close"]].max(axis=1)
    assert step(nights.run(1), "check").figures["main"]["restated"] == ["AAA"]


def test_an_event_of_a_killed_pass_is_told_by_the_next(nights: LiveNights):
    def found(context: PassContext) -> StepOutcome:
        return StepOutcome("judge", troubles=[Trouble("back:x", "x answers again", is_event=True)])

    told: list[str] = []
    nights.run(0, {"judge": found})
    steps = {"judge": lambda context: StepOutcome("judge"), "alert": STEPS["alert"]}
    nights.run(0, steps, alert=told.extend)
    nights.run(0, steps, alert=told.extend)
    assert told == ["x answers again"]


def test_a_bug_in_a_step_does_not_keep_the_later_ones_from_their_work(nights: LiveNights):
    def broken(context: PassContext) -> StepOutcome:
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError):
        nights.run(0, {**STEPS, "health": broken})
    steps = read_record(nights.project, nights.sessions[0].date())["steps"]
    assert steps["health"]["error"] == "a bug"
    assert steps["issue"]["done"] == 2
    assert last_pass(nights.project)["ok"] is False


def test_a_day_without_data_issues_nothing(nights: LiveNights):
    nights.run(0)
    result = run_pass(nights.context(1), STEPS)
    assert counts(result)["issue"] == (0, 0, 2)
    assert "2 of 2 tickers have no prices" in step(result, "check").lines[0]


def test_a_source_that_is_away_leaves_what_is_stored(nights: LiveNights):
    def away(branch: object) -> None:
        raise ServiceError("the source does not answer", "try again later")

    nights.show(0)
    result = run_pass(nights.context(0, prices=away), STEPS)
    assert [failure.exit_code for failure in step(result, "ingest").failures] == [8, 8]
    assert counts(result)["issue"] == (0, 0, 2), "its prices end earlier"
    assert result.exit_code == 9


def test_a_clock_that_was_set_back_stops_the_pass(nights: LiveNights):
    nights.run(2)
    with pytest.raises(ServiceError, match="but a pass began at") as refused:
        run_pass(nights.context(0), STEPS)
    assert "last-pass.json" in refused.value.hint
    nights.show(2)
    assert run_pass(nights.context(2), STEPS).exit_code == 0, "the same evening"


def test_a_step_that_fails_does_not_stop_the_later_ones(nights: LiveNights):
    def broken(context: PassContext) -> StepOutcome:
        raise DataError("the journal is damaged", "restore it")

    def full(context: PassContext) -> StepOutcome:
        raise OSError(28, "No space left on device")

    result = nights.run(0, {"settle": broken, "health": full, "issue": STEPS["issue"]})
    assert [bool(outcome.error) for outcome in result.outcomes] == [True, True, False]
    assert result.exit_code == 9
    assert last_pass(nights.project)["ok"] is False
    assert [trouble.key for outcome in result.outcomes for trouble in outcome.troubles[:1]][:2] == [
        "step:settle",
        "step:health",
    ]


def test_two_passes_at_once(nights: LiveNights):
    held = file_lock(nights.project.live / "lock", ServiceError("busy"))
    with held, pytest.raises(ServiceError, match="another pass is running"):
        nights.run(0)


def test_the_steps_are_chosen():
    assert list(chosen_steps(["issue", "settle"], [])) == ["settle", "issue"]
    assert "trade" not in chosen_steps([], ["trade"])
    with pytest.raises(ConfigError, match="there is no such step"):
        chosen_steps(["isue"], [])
    with pytest.raises(ConfigError, match="leave no step"):
        chosen_steps(["issue"], ["issue"])


def test_a_forecast_that_was_issued_stays_when_the_row_changes(nights: LiveNights):
    nights.run(0)
    nights.prices["AAA"].loc[nights.sessions[0], "close"] *= 1.02
    nights.prices["AAA"]["high"] = nights.prices["AAA"][["high", "close"]].max(axis=1)
    assert counts(nights.run(0))["issue"] == (0, 2, 0)
    with open_journal(nights.project.journal) as journal:
        assert len(list(journal.forecasts())) == 2


def test_the_command_says_what_it_did(nights: LiveNights):
    """The real command, by the real clock: the prices are old, which it says."""
    command = [sys.executable, "-m", "mlops_cli", "live", "--project", str(nights.small.root)]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 9, done.stderr
    steps = {outcome["step"]: outcome for outcome in json.loads(done.stdout)["steps"]}
    assert list(steps) == list(STEPS)
    assert "have no prices of" in steps["check"]["lines"][0]
    wrong = subprocess.run([*command, "--only", "isue"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 3
    assert "isue: there is no such step" in wrong.stderr


def test_the_time_of_a_pass_is_that_of_its_context(nights: LiveNights):
    nights.run(0)
    notes = json.loads((nights.project.prices("main") / "AAA.json").read_text())
    assert notes["fetched_at"] == nights.now(0).isoformat(timespec="seconds")
    assert nights.now(1) - nights.now(0) >= timedelta(days=1)


def test_what_steps_did_can_be_read_again(nights: LiveNights):
    """A replay that was killed in a pass goes on after the steps that had ended."""
    small = nights.project
    (small.models("main") / "red-bbb" / "manifest.json").unlink()
    result = nights.run(0)
    assert any(outcome.failures for outcome in result.outcomes)
    ended = ended_steps(small, result.session, nights.now(0))
    assert [replace(each, figures={}) for each in ended] == [replace(each, figures={}) for each in result.outcomes]
    assert ended_steps(small, result.session, nights.now(1)) == [], "those of another pass"
