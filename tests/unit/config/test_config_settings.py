"""Secrets and endpoints: where they come from, and that they are never shown."""

from __future__ import annotations

import pytest

from mlops_cli.config.settings import Settings, load_settings, variables
from mlops_cli.errors import ConfigError
from mlops_cli.scaffold.init import Template, template_files
from tests.fakes.config_projects import make_project


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for variable in variables().values():
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def project(tmp_path):
    return make_project(tmp_path)


def test_nothing_set_is_fine(project):
    assert load_settings(project) == load_settings() == Settings()
    assert load_settings().tracking is True
    assert load_settings().alpaca_api_key is None


def test_the_environment_wins_over_the_file(project, monkeypatch):
    project.env_file.write_text("MLOPS_TRACKING=off\nMLFLOW_TRACKING_URI=http://file\nYAHOO_BASE_URL=http://one/\n")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://environment")
    monkeypatch.setenv("YAHOO_BASE_URL", "")
    settings = load_settings(project)
    assert settings.tracking is False
    assert settings.mlflow_tracking_uri == "http://environment"
    assert settings.yahoo_base_url is None, "an empty variable counts as none"


def test_secrets_are_read_as_written_and_never_shown(project):
    project.env_file.write_text("ALPACA_API_KEY='a$HOME b'\nexport ALPACA_SECRET_KEY=\"s3cret\" # mine\nOTHER=1\n")
    settings = load_settings(project)
    assert settings.alpaca_api_key is not None
    assert settings.alpaca_secret_key is not None
    assert settings.alpaca_api_key.get_secret_value() == "a$HOME b"
    assert settings.alpaca_secret_key.get_secret_value() == "s3cret"
    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert "s3cret" not in text
        assert "HOME" not in text


def test_all_wrong_variables_at_once_without_their_values(project, monkeypatch):
    project.env_file.write_text("MLOPS_TRACKING=hush-hush\nALPACA_BASE_URL=not-an-address\n")
    monkeypatch.setenv("YAHOO_BASE_URL", "ftp://x")
    with pytest.raises(ConfigError) as raised:
        load_settings(project)
    assert raised.value.message.splitlines() == [
        "MLOPS_TRACKING: expected on or off",
        "ALPACA_BASE_URL: expected an address such as https://example.org",
        "YAHOO_BASE_URL: expected an address such as https://example.org",
    ]
    assert "hush" not in str(raised.value)
    assert raised.value.__suppress_context__, "the cause would print the values"


def test_addresses_have_no_slash_at_the_end(project):
    project.env_file.write_text("ALPACA_DATA_URL=http://127.0.0.1:8000/v2/\n")
    assert load_settings(project).alpaca_data_url == "http://127.0.0.1:8000/v2"


def test_a_file_that_is_no_text(project):
    project.env_file.write_bytes(b"A=\xff\xfe\n")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_settings(project)


def test_the_example_names_every_variable_and_is_valid(project):
    example = template_files(Template.DEMO)[".env.example"]
    project.env_file.write_text(example)
    assert load_settings(project) == Settings()
    named = {line.partition("=")[0] for line in example.splitlines() if "=" in line and not line.startswith("#")}
    assert named == set(variables().values())
