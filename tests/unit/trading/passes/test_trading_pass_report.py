"""The report of a pass: what needs a person."""

from __future__ import annotations

import pytest

from mlops_cli.trading.passes.pass_report import PassReport, PassSettings


def test_a_new_report_is_clean():
    report = PassReport("red")
    assert (report.outcome, report.clean, report.now, report.error) == ("done", True, None, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"unknown": {"name": "timeout"}},
        {"refused": {"name": "no"}},
        {"blocked": {"AAPL": "why"}},
        {"needs_attention": ["no model has a forecast"]},
        {"outcome": "stopped"},
    ],
)
def test_what_needs_a_person(changes):
    assert not PassReport("red", **changes).clean


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": "waiting"},
        {"outcome": "halted"},
        {"missing": {"red-aapl": "no features"}},
        {"notes": ["a note"]},
        {"sent": ["name"]},
    ],
)
def test_what_needs_nobody(changes):
    assert PassReport("red", **changes).clean


def test_ending_sets_outcome_and_words():
    report = PassReport("red").end("waiting", "the session is on")
    assert (report.outcome, report.text) == ("waiting", "the session is on")


def test_reports_share_no_lists():
    PassReport("red").alerts.append("words")
    assert PassReport("blue").alerts == []


def test_settings_by_default():
    settings = PassSettings()
    assert (settings.dry_run, settings.halts) == (False, None)
    assert (settings.margins.opens_minutes, settings.margins.closes_minutes) == (20, 15)
