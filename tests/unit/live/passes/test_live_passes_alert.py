"""The step that tells people: each trouble once, also when a pass is killed or nobody can be reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from mlops_cli.live.passes.alert import NOBODY, alert_step
from mlops_cli.live.passes.step import PassContext, StepOutcome, Trouble
from mlops_cli.live.watch.told import FILE, read_told
from tests.fakes.watched_fleet import WatchedFleet

BROKEN = Trouble("health:main/red-t0", "main/red-t0 is broken", "mlops models health red-t0")
STALE = Trouble("stale:main", "no prices of 2024-01-05")


@pytest.fixture
def context(tmp_path) -> PassContext:
    return WatchedFleet(tmp_path, models=1, sessions=200).context(190)


def after(context: PassContext, *outcomes: StepOutcome) -> PassContext:
    return replace(context, outcomes=list(outcomes))


def found(step: str, *troubles: Trouble, error: str | None = None) -> StepOutcome:
    return StepOutcome(step, troubles=list(troubles), error=error)


class Told:
    """The alert of a pass; keeps what was told, and may not reach anybody."""

    def __init__(self, reaches: bool = True) -> None:
        self.lines: list[str] = []
        self.reaches = reaches

    def __call__(self, lines: Sequence[str]) -> bool:
        self.lines += lines
        return self.reaches


def telling(context: PassContext, told: Told, *outcomes: StepOutcome) -> StepOutcome:
    tools = replace(context.tools, alert=told)
    return alert_step(replace(context, tools=tools, outcomes=list(outcomes)))


class TestOnce:
    def test_a_trouble_is_told_with_its_command(self, context):
        told = Told()
        outcome = telling(context, told, found("health", BROKEN), found("check", STALE))
        assert told.lines == [
            "main/red-t0 is broken - type: mlops models health red-t0",
            "no prices of 2024-01-05",
        ]
        assert (outcome.done, outcome.figures) == (2, {"new": 2, "over": 0, "lasting": 0})

    def test_as_long_as_it_lasts_it_is_not_told_again(self, context):
        telling(context, Told(), found("health", BROKEN))
        told = Told()
        worse = replace(BROKEN, text="main/red-t0 is still broken")
        outcome = telling(context, told, found("health", worse))
        assert told.lines == []
        assert outcome.unchanged == 1

    def test_that_it_is_over_is_told_once(self, context):
        telling(context, Told(), found("health", BROKEN))
        told = Told()
        telling(context, told, found("health"))
        telling(context, told, found("health"))
        assert told.lines == ["over: main/red-t0 is broken"]

    def test_one_that_comes_back_is_told_again(self, context):
        told = Told()
        for troubles in ([STALE], [], [STALE]):
            telling(context, told, found("check", *troubles))
        assert told.lines == [STALE.text, f"over: {STALE.text}", STALE.text]

    def test_an_event_is_never_over(self, context):
        told = Told()
        telling(context, told, found("check", replace(STALE, is_event=True)))
        telling(context, told, found("check"))
        assert told.lines == [STALE.text]
        assert read_told(context.project.live) == {}


class TestSteps:
    @pytest.mark.parametrize("outcomes", [[], [found("check")], [found("health", error="disk full")]])
    def test_a_step_that_did_not_run_to_its_end_ends_no_trouble(self, context, outcomes):
        telling(context, Told(), found("health", BROKEN))
        told = Told()
        telling(context, told, *outcomes)
        assert told.lines == []
        assert list(read_told(context.project.live)) == [BROKEN.key]

    def test_a_failed_step_that_runs_again_is_over(self, context):
        failed = Trouble("step:health", "step health failed: disk full")
        told = Told()
        telling(context, told, found("health", failed, error="disk full"))
        telling(context, told, found("health"))
        assert told.lines == [failed.text, f"over: {failed.text}"]


class TestMany:
    def test_of_many_of_a_kind_the_first_ones_and_their_number(self, context):
        troubles = [Trouble(f"health:main/m{place}", f"m{place} is broken") for place in range(300)]
        told = Told()
        telling(context, told, found("health", *troubles), found("check", STALE))
        record = f".mlops/live/passes/{context.session}.json"
        assert told.lines == [
            *(f"m{place} is broken" for place in range(5)),
            f"and 295 more like these: see {record}",
            STALE.text,
        ]
        assert len(read_told(context.project.live)) == 301


class TestNobodyReached:
    def test_the_next_pass_tries_again(self, context):
        outcome = telling(context, Told(reaches=False), found("health", BROKEN))
        assert outcome.lines[-1] == NOBODY
        assert outcome.done == 0
        told = Told()
        telling(context, told, found("health", BROKEN))
        assert len(told.lines) == 1

    def test_so_it_does_with_what_is_over(self, context):
        telling(context, Told(), found("health", BROKEN))
        telling(context, Told(reaches=False), found("health"))
        told = Told()
        telling(context, told, found("health"))
        assert told.lines == ["over: main/red-t0 is broken"]


class Killed(BaseException):
    """Stands for a kill."""


def test_a_pass_that_is_killed_after_sending_tells_again(context):
    lines: list[str] = []

    def dies(told: Sequence[str]) -> bool:
        lines.extend(told)
        raise Killed

    killed = replace(context, tools=replace(context.tools, alert=dies), outcomes=[found("health", BROKEN)])
    with pytest.raises(Killed):
        alert_step(killed)
    told = Told()
    telling(context, told, found("health", BROKEN))
    assert told.lines == lines


def test_a_dry_run_sends_and_writes_nothing(context):
    told = Told()
    dry = replace(context, dry_run=True)
    outcome = telling(dry, told, found("health", BROKEN))
    assert (told.lines, len(outcome.lines)) == ([], 1)
    assert not (context.project.live / FILE).exists()


def test_a_damaged_note_tells_again(context):
    telling(context, Told(), found("health", BROKEN))
    (context.project.live / FILE).write_text('{"health:')
    told = Told()
    telling(context, told, found("health", BROKEN))
    assert len(told.lines) == 1
