"""Who must send a token to a server: the rule on open addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_cli.config.paths import Project
from mlops_cli.errors import ConfigError
from mlops_cli.serving.process.server_options import needs_token
from tests.fakes.config_projects import make_project

LOOPBACK = ["127.0.0.1", "127.8.9.10", "::1", "localhost"]
OPEN = [
    "0.0.0.0",
    "::",
    "192.168.1.7",
    "10.0.0.1",
    "example.org",
    "",
    "127.0.0.1.example.org",
    "localhost.",
    "::ffff:0:1",
]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.delenv("MLOPS_API_TOKEN", raising=False)
    return make_project(tmp_path)


@pytest.mark.parametrize("host", LOOPBACK)
def test_this_machine_alone_needs_no_token(project: Project, host: str) -> None:
    assert needs_token(project, host, no_auth=False) is False


@pytest.mark.parametrize("host", OPEN)
def test_an_open_address_without_a_token_is_refused(project: Project, host: str) -> None:
    with pytest.raises(ConfigError) as raised:
        needs_token(project, host, no_auth=False)
    assert raised.value.message.startswith(f"--host {host}: others could reach it")
    assert "--no-auth" in raised.value.hint


@pytest.mark.parametrize("host", [*LOOPBACK, *OPEN])
def test_a_token_that_is_set_is_asked_for_everywhere(project: Project, host: str) -> None:
    project.env_file.write_text("MLOPS_API_TOKEN=s3cret-token\n")
    assert needs_token(project, host, no_auth=False) is True


@pytest.mark.parametrize("host", [*LOOPBACK, *OPEN])
def test_no_auth_is_the_users_decision(project: Project, host: str) -> None:
    project.env_file.write_text("MLOPS_API_TOKEN=s3cret-token\n")
    assert needs_token(project, host, no_auth=True) is False


def test_an_empty_token_is_none(project: Project) -> None:
    project.env_file.write_text("MLOPS_API_TOKEN=\n")
    with pytest.raises(ConfigError, match="MLOPS_API_TOKEN is not set"):
        needs_token(project, "0.0.0.0", no_auth=False)


def test_the_environments_token_counts(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_API_TOKEN", "s3cret-token")
    assert needs_token(project, "0.0.0.0", no_auth=False) is True


def test_a_teams_token_counts_and_has_to_be_long_enough(project: Project) -> None:
    project.env_file.write_text("MLOPS_API_TOKEN_RED=s3cret-token\n")
    assert needs_token(project, "0.0.0.0", no_auth=False) is True
    project.env_file.write_text("MLOPS_API_TOKEN=s3cret-token\nMLOPS_API_TOKEN_RED=short\n")
    with pytest.raises(ConfigError, match="MLOPS_API_TOKEN_RED: expected at least 8"):
        needs_token(project, "127.0.0.1", no_auth=False)
