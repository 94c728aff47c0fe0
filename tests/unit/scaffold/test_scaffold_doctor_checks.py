"""What `mlops doctor` finds in a project: mistakes, keys without their other half, old prices, stray results."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta

import pytest

from mlops_cli.config.paths import Project
from mlops_cli.config.requested import REQUESTED
from mlops_cli.scaffold.doctor import Check, examine, stray_results
from tests.fakes.config_projects import make_project

RED = "team: red\nticker: AAPL\n"


@pytest.fixture
def project(tmp_path, monkeypatch) -> Project:
    for name in list(os.environ):
        if name.startswith("ALPACA_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", str(tmp_path / "no-programs"))
    return make_project(tmp_path / "project", {"configs/mine/red.yaml": RED})


def checks(project: Project) -> dict[str, Check]:
    return {check.name: check for check in examine(project.root)}


def note(project: Project, ticker: str, last: str, days_ago: float) -> None:
    folder = project.prices("main")
    folder.mkdir(parents=True, exist_ok=True)
    fetched = datetime.now(UTC) - timedelta(days=days_ago)
    (folder / f"{ticker}.json").write_text(json.dumps({"last": last, "fetched_at": fetched.isoformat()}))


def source(project: Project, kind: str) -> None:
    project.params.write_text(f"{project.params.read_text()}\nsource: {{kind: {kind}}}\n")


def test_outside_of_a_project_only_the_machine_is_checked(tmp_path):
    found = list(examine(tmp_path))
    assert [check.name for check in found][-1] == "project"
    assert found[-1].status == "warning"
    assert found[-1].hint


def test_a_folder_that_is_not_there_yet(tmp_path):
    disk = next(check for check in examine(tmp_path / "a" / "b") if check.name == "disk")
    assert disk.found.endswith("GB free")


def test_a_program_that_is_missing_fails(project):
    git = checks(project)["git"]
    assert (git.status, git.found, git.hint) == ("failed", "not found", "install git")


def test_dvc_is_found_beside_the_interpreter(project):
    assert checks(project)["dvc"].status == "ok"


def test_no_pipeline(project):
    assert checks(project)["pipeline"].status == "failed"
    (project.root / ".dvc").mkdir()
    (project.root / ".dvc" / "config").write_text("")
    project.pipeline.write_text("stages: {}\n")
    assert checks(project)["pipeline"].status == "ok"


def test_configs_are_counted(project):
    assert checks(project)["configs"] == Check("configs", "ok", "branches: 1, models: 1")


def test_a_mistake_in_a_config_fails_with_its_place(project):
    (project.root / "configs/mine/red.yaml").write_text(RED + "trainr: ludwig\n")
    configs = checks(project)["configs"]
    assert configs.status == "failed"
    assert "configs/mine/red.yaml" in configs.found
    assert configs.hint


def test_broken_params_end_the_checks_without_an_error(project):
    project.params.write_text("branches: [")
    found = checks(project)
    assert found["configs"].status == "failed"
    assert "prices main" not in found


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ((), "ok"),
        (("ALPACA_API_KEY",), "warning"),
        (("ALPACA_SECRET_KEY",), "warning"),
        (("ALPACA_API_KEY", "ALPACA_SECRET_KEY"), "ok"),
    ],
)
def test_a_key_needs_its_secret(project, given, status):
    (project.root / ".env").write_text("".join(f"{name}=abcdefgh-value\n" for name in given))
    settings = checks(project)["settings"]
    assert settings.status == status
    assert "abcdefgh-value" not in settings.found + settings.hint
    for name in ("ALPACA_API_KEY", "ALPACA_SECRET_KEY"):
        assert f"{name} {'set' if name in given else 'not set'}" in settings.found


def test_a_team_needs_a_secret_of_its_own(project):
    (project.root / ".env").write_text("ALPACA_API_KEY_RED=a\nALPACA_SECRET_KEY_BLUE=b\n")
    settings = checks(project)["settings"]
    assert settings.status == "warning"
    assert "ALPACA_SECRET_KEY_RED not set" in settings.found
    assert "ALPACA_API_KEY_BLUE not set" in settings.found
    assert "ALPACA_API_KEY set" not in settings.found


def test_no_prices_yet(project):
    assert checks(project)["prices main"] == Check("prices main", "warning", "none yet", "mlops run")


@pytest.mark.parametrize(
    ("kind", "days", "status"),
    [("yfinance", 7.5, "ok"), ("yfinance", 8.5, "warning"), ("sample", 8.5, "ok"), ("csv", 8.5, "ok")],
)
def test_only_prices_that_can_be_fetched_grow_old(project, kind, days, status):
    source(project, kind)
    note(project, "AAPL", "2020-01-03", days)
    assert checks(project)["prices main"].status == status


def test_the_ticker_fetched_longest_ago_counts(project):
    note(project, "AAPL", "2020-01-03", 1)
    note(project, "IBM", "2020-01-06", 3.5)
    assert checks(project)["prices main"].found == "2 tickers up to 2020-01-06, fetched 3 days ago"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"last": 5}', '{"last": "no day", "fetched_at": "x"}'])
def test_other_json_beside_prices_is_passed_over(project, text):
    note(project, "AAPL", "2020-01-03", 0)
    (project.prices("main") / "failures.json").write_text(text)
    assert checks(project)["prices main"].found.startswith("1 tickers up to 2020-01-03")


def test_results_of_no_branch_are_listed(project):
    for folder in (project.prices("old"), project.models("main"), project.evaluation("older")):
        folder.mkdir(parents=True)
    assert stray_results(project, ["main"]) == sorted([project.prices("old"), project.evaluation("older")])
    results = checks(project)["results"]
    assert results.status == "warning"
    assert "old" in results.found


def test_hidden_folders_and_files_are_no_results(project):
    project.models(".hidden").mkdir(parents=True)
    (project.models("x").parent / "README.md").write_text("")
    assert stray_results(project, []) == []


def test_much_repaired_prices_are_a_warning_with_the_command_to_look_at_them(project):
    folder = project.prices("main")
    folder.mkdir(parents=True)
    for ticker, count in (("A", 60), ("B", 1)):
        repairs = [{"rule": "missing_open", "count": count, "examples": []}]
        (folder / f"{ticker}.json").write_text(json.dumps({"ticker": ticker, "sessions": 100, "repairs": repairs}))
    check = checks(project)["repairs main"]
    assert check.status == "warning"
    assert check.found == "A: 60 of 100 rows repaired or dropped (60 %): missing_open 60"
    assert check.hint == "look at them: mlops prices show A"


def test_little_repaired_prices_need_no_line(project):
    note(project, "A", "2024-01-02", 0)
    assert "repairs main" not in checks(project)


@pytest.mark.parametrize(
    ("live", "warned"),
    [
        ("{}", False),
        ("{retrain: {max_age_sessions: 20}}", True),
        ("{retrain: {max_age_sessions: 20}, promotion: tested}", False),
        ("{retrain: {max_age_sessions: }}", False),
    ],
)
def test_versions_that_are_never_judged_are_a_warning(project, live, warned):
    project.params.write_text(f"{project.params.read_text()}\nlive: {live}\n")
    found = checks(project).get("live")
    assert (found is not None) == warned
    if found:
        assert (found.status, "after 20 sessions" in found.found) == ("warning", True)


def test_requested_models_are_no_strays(project):
    project.prices(REQUESTED).mkdir(parents=True)
    assert "results" not in checks(project)
    project.prices("old").mkdir(parents=True)
    assert checks(project)["results"].status == "warning"
