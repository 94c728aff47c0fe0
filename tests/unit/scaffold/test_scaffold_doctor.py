"""The doctor's checks, one by one."""

from __future__ import annotations

import json
import shutil
import sys
from collections import namedtuple
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlops_cli.cli.app import app
from mlops_cli.config.paths import Project
from mlops_cli.scaffold import doctor
from mlops_cli.scaffold.doctor import MIN_DISK_GB, PACKAGES, Check, examine, stray_results
from mlops_cli.scaffold.init import Template, template_files
from tests.fakes.team_project import PARAMS, team_project

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name in ("ALPACA_API_KEY", "ALPACA_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    return team_project(tmp_path / "p")


def checks(folder: Path) -> dict[str, Check]:
    return {check.name: check for check in examine(folder)}


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


# the machine


def test_outside_of_a_project_only_the_machine_is_checked(tmp_path: Path) -> None:
    named = checks(tmp_path)
    assert list(named) == ["python", "packages", "git", "dvc", "processors", "gpu", "disk", "project"]
    assert named["project"].status == "warning"
    assert "mlops init" in named["project"].hint


def test_a_folder_that_is_not_there_yet_is_on_its_parents_disk(tmp_path: Path) -> None:
    assert checks(tmp_path / "not" / "yet")["disk"].found.endswith(" GB free")


@pytest.mark.parametrize(("spare", "status"), [(0, "ok"), (-1e6, "warning"), (1e9, "ok")])
def test_the_limit_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spare: float, status: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, MIN_DISK_GB * 1e9 + spare))
    check = checks(tmp_path)["disk"]
    assert (check.status, bool(check.hint)) == (status, status == "warning")


@pytest.mark.parametrize(("release", "status"), [((3, 12, 1), "ok"), ((3, 13, 0), "failed"), ((3, 11, 9), "failed")])
def test_only_python_3_12_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, release: tuple[int, ...], status: str
) -> None:
    monkeypatch.setattr(sys, "version_info", release)
    assert doctor._python().status == status


def test_packages_are_named_with_their_versions(tmp_path: Path) -> None:
    check = checks(tmp_path)["packages"]
    assert (check.status, check.hint) == ("ok", "")
    assert [item.split()[0] for item in check.found.split(", ")] == list(PACKAGES)


def test_a_missing_package_is_named() -> None:
    check = doctor._packages(("pandas", "no-such-package"))
    assert check.status == "failed"
    assert "no-such-package missing" in check.found
    assert check.hint == "install the missing packages: no-such-package"


def test_a_missing_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    named = checks(tmp_path)
    assert named["git"] == Check("git", "failed", "not found", "install git")
    assert named["dvc"].status == "ok", "it lies beside this Python"


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("echo 'NVIDIA H100, 81559 MiB'", "NVIDIA H100, 81559 MiB"),
        ("printf 'A, 1 MiB\\nB, 2 MiB\\n'", "A, 1 MiB; B, 2 MiB"),
        ("true", "none; models train on the processors"),
        ("echo 'NVIDIA-SMI has failed'; exit 9", "none; models train on the processors"),
    ],
)
def test_what_nvidia_smi_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, found: str) -> None:
    program(tmp_path / "bin", "nvidia-smi", script)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    assert checks(tmp_path)["gpu"] == Check("gpu", "ok", found)


# the project


def test_the_pipeline_needs_both_dvc_yaml_and_dot_dvc(project: Project) -> None:
    assert checks(project.root)["pipeline"].status == "failed"
    project.pipeline.touch()
    assert checks(project.root)["pipeline"].status == "failed"
    (project.root / ".dvc").mkdir()
    (project.root / ".dvc" / "config").touch()
    assert checks(project.root)["pipeline"] == Check("pipeline", "ok", "dvc.yaml")
    template = template_files(Template.DEMO)["dvc.yaml"]
    project.pipeline.write_text(template)
    assert checks(project.root)["pipeline"] == Check("pipeline", "ok", "dvc.yaml")
    project.pipeline.write_text(template.replace("        - intervals\n", ""))
    assert "does not watch the key intervals" in checks(project.root)["pipeline"].found


def test_good_configs_are_counted_and_bad_ones_explained(project: Project) -> None:
    assert checks(project.root)["configs"] == Check("configs", "ok", "branches: 1, models: 4")
    (project.configs / "red" / "models.yaml").write_text("teem: red\n")
    check = checks(project.root)["configs"]
    assert check.status == "failed"
    assert "did you mean team?" in check.found


def test_a_broken_params_ends_the_checks_without_a_crash(project: Project) -> None:
    project.params.write_text("branches: [")
    named = checks(project.root)
    assert named["configs"].status == "failed"
    assert "settings" in named
    assert not [name for name in named if name.startswith("prices")]


PLAIN = ("ALPACA_API_KEY", "ALPACA_SECRET_KEY")
RED = ("ALPACA_API_KEY_RED", "ALPACA_SECRET_KEY_RED")
BLUE = ("ALPACA_API_KEY_BLUE", "ALPACA_SECRET_KEY_BLUE")


@pytest.mark.parametrize(
    ("given", "listed", "status"),
    [
        ((), PLAIN, "ok"),
        (PLAIN, PLAIN, "ok"),
        (PLAIN[:1], PLAIN, "warning"),
        (PLAIN[1:], PLAIN, "warning"),
        (RED, RED, "ok"),
        (RED[1:], RED, "warning"),
        ((*RED, *BLUE), (*BLUE, *RED), "ok"),
        ((*RED, *PLAIN), (*PLAIN, *RED), "ok"),
        ((*RED, BLUE[0]), (*BLUE, *RED), "warning"),
        ((*RED, PLAIN[0]), (*PLAIN, *RED), "warning"),
    ],
)
def test_the_keys_of_each_account(
    project: Project, given: tuple[str, ...], listed: tuple[str, ...], status: str
) -> None:
    project.env_file.write_text("".join(f"{name}=s3cret\n" for name in given))
    check = checks(project.root)["settings"]
    assert check.found == ", ".join(f"{name} {'set' if name in given else 'not set'}" for name in listed)
    assert (check.status, check.hint) == (status, "" if status == "ok" else "Alpaca needs both keys")
    assert "s3cret" not in check.found


@pytest.mark.parametrize(
    ("line", "status", "words"),
    [
        ("ALPACA_BASE_URL=http://127.0.0.2:18305", "failed", "ALPACA_BASE_URL: plain http to another machine"),
        ("ALPACA_BASE_URL=http://127.0.0.1:8081", "ok", "ALPACA_API_KEY"),
        ("MLOPS_ALERT_WEBHOOK=http://example.org/secret", "warning", "MLOPS_ALERT_WEBHOOK"),
    ],
)
def test_secrets_that_would_travel_in_the_clear(project: Project, line: str, status: str, words: str) -> None:
    project.env_file.write_text(f"{line}\n")
    check = checks(project.root)["settings"]
    assert (check.status, words in check.found, "example.org" in check.found) == (status, True, False)


def test_files_with_secrets_that_others_may_read(project: Project) -> None:
    project.ledgers.mkdir(parents=True)
    for file in (project.env_file, project.ledger("red"), project.tracking_database):
        file.touch()
        file.chmod(0o600)
    assert checks(project.root)["private files"].status == "ok"
    project.env_file.chmod(0o644)
    project.ledger("red").chmod(0o604)
    check = checks(project.root)["private files"]
    assert check.status == "warning"
    assert check.hint == "chmod 600 .env .mlops/ledger/red.db"


def test_wrong_settings_are_explained(project: Project) -> None:
    project.env_file.write_text("MLOPS_TRACKING=perhaps\n")
    check = checks(project.root)["settings"]
    assert (check.status, bool(check.hint)) == ("failed", True)


def prices(project: Project, ticker: str, last: str, days_ago: float) -> None:
    folder = project.prices("main")
    folder.mkdir(parents=True, exist_ok=True)
    fetched = (datetime.now(UTC) - timedelta(days=days_ago)).isoformat()
    (folder / f"{ticker}.json").write_text(json.dumps({"last": last, "fetched_at": fetched}))


@pytest.mark.parametrize(
    ("kind", "days_ago", "status"),
    [("yfinance", 6.5, "ok"), ("yfinance", 7.5, "ok"), ("yfinance", 8.5, "warning"), ("csv", 400, "ok")],
)
def test_old_prices_of_the_network_are_a_warning(project: Project, kind: str, days_ago: float, status: str) -> None:
    project.params.write_text(PARAMS.replace("kind: csv", f"kind: {kind}"))
    prices(project, "AAA", "2024-05-03T00:00:00", days_ago)
    check = checks(project.root)["prices main"]
    assert check.status == status
    assert check.found == f"1 tickers up to 2024-05-03, fetched {int(days_ago)} days ago"
    assert check.hint == ("mlops ingest --branch main" if status == "warning" else "")


def test_the_newest_session_and_the_oldest_fetch_count(project: Project) -> None:
    prices(project, "AAA", "2024-05-03", 3.5)
    prices(project, "BBB", "2024-05-01", 5.5)
    assert checks(project.root)["prices main"].found == "2 tickers up to 2024-05-03, fetched 5 days ago"


@pytest.mark.parametrize("text", ["[]", "{", "{}", '{"last": "soon", "fetched_at": "now"}', "null"])
def test_notes_that_tell_no_age_are_left_out(project: Project, text: str) -> None:
    folder = project.prices("main")
    folder.mkdir(parents=True)
    (folder / "failures.json").write_text(text)
    assert checks(project.root)["prices main"] == Check("prices main", "warning", "none yet", "mlops run")


def test_a_branchs_own_source_decides(project: Project) -> None:
    project.params.write_text(PARAMS.replace("blue]\n", "blue]\n    source: {kind: yfinance}\n"))
    prices(project, "AAA", "2024-05-03", 30)
    assert checks(project.root)["prices main"].status == "warning"


def test_results_of_no_branch(project: Project) -> None:
    for branch in ("main", "gone"):
        for folder in (project.prices(branch), project.features(branch), project.models(branch)):
            folder.mkdir(parents=True)
    (project.model_root / ".versions" / "gone").mkdir(parents=True)
    (project.model_root / "README.md").touch()
    strays = [str(path.relative_to(project.root)) for path in stray_results(project, ["main"])]
    assert strays == ["data/features/gone", "data/prices/gone", "models/.versions/gone", "models/gone"]
    assert checks(project.root)["results"].status == "warning"
    assert "results" not in checks(project.root / "configs")
    assert len(stray_results(project, [])) == 7


# the command


@pytest.mark.parametrize("output", [[], ["--json"]])
def test_a_failed_check_ends_with_10(project: Project, output: list[str]) -> None:
    done = CliRunner().invoke(app, ["doctor", "--project", str(project.root), *output])
    assert done.exit_code == 10, "no pipeline"
    assert "no dvc.yaml or .dvc" in done.stdout


def test_warnings_alone_end_with_0(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", "--project", str(tmp_path), "--json"])
    assert done.exit_code == 0
    assert {check["status"] for check in json.loads(done.stdout)} == {"ok", "warning"}
