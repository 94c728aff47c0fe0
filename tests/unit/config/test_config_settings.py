"""Secrets and endpoints: where they come from, and that they are never shown."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mlops_cli.config.secret_checks import team_tokens
from mlops_cli.config.settings import KEY, SECRET, Settings, load_settings, variables
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


def test_an_empty_variable_of_the_environment_hides_the_one_of_the_file(project, monkeypatch):
    project.env_file.write_text("MLOPS_API_TOKEN=from-file\nMLOPS_TRACKING=off\n")
    assert load_settings(project).api_token is not None
    monkeypatch.setenv("MLOPS_API_TOKEN", "")
    monkeypatch.setenv("MLOPS_TRACKING", "")
    assert load_settings(project).api_token is None
    assert load_settings(project).tracking is True


def test_without_a_project_only_the_environment_is_read(project, monkeypatch):
    project.env_file.write_text("MLOPS_API_TOKEN=from-file\n")
    monkeypatch.chdir(project.root)
    assert load_settings().api_token is None
    monkeypatch.setenv("MLOPS_API_TOKEN", "from-environment")
    for loaded in (load_settings(), load_settings(project)):
        assert loaded.api_token is not None
        assert loaded.api_token.get_secret_value() == "from-environment"


@pytest.mark.parametrize("secret", ["a${HOME}b", "$HOME", "a#b", "tab\there", "ünï"])
def test_secrets_with_special_characters_are_not_interpreted(project, secret):
    project.env_file.write_text(f"MLOPS_API_TOKEN='{secret}'\n", encoding="utf-8")
    token = load_settings(project).api_token
    assert token is not None
    assert token.get_secret_value() == secret


@pytest.mark.parametrize(
    ("text", "on"), [("yes", True), ("on", True), ("1", True), ("TRUE", True), ("no", False), ("0", False)]
)
def test_switches_take_the_usual_words(project, text, on):
    project.env_file.write_text(f"MLOPS_LIVE_TRADING={text}\nMLOPS_TRACKING={text}\n")
    assert load_settings(project).live_trading is on
    assert load_settings(project).tracking is on


@pytest.mark.parametrize("text", ["perhaps", "2", "yes please"])
def test_real_money_is_off_until_a_word_says_so_clearly(project, text):
    project.env_file.write_text(f"MLOPS_LIVE_TRADING={text}\n")
    with pytest.raises(ConfigError, match=r"^MLOPS_LIVE_TRADING: expected on or off"):
        load_settings(project)


@pytest.mark.parametrize(
    "name",
    [
        "mlops_tracking",
        "tracking",
        "api_token",
        "team_keys",
        "MLOPS_TOKEN",
        "alpaca_api_key",
        "_env_file",
        "_cli_parse_args",
    ],
)
def test_other_names_are_ignored(project, monkeypatch, name):
    project.env_file.write_text(f"{name}=nonsense\n")
    monkeypatch.setenv(name, "nonsense")
    assert load_settings(project) == load_settings()
    assert load_settings(project).model_dump() == Settings().model_dump()


def test_a_line_without_a_value_counts_as_not_set(project):
    project.env_file.write_text("MLOPS_API_TOKEN\nMLOPS_LIVE_TRADING\nMLOPS_TRACKING=\n# ALPACA_API_KEY=x\n")
    assert load_settings(project) == Settings()


def test_team_keys_are_found_by_their_names(project):
    lines = [f"{KEY}_RED=r", f"{SECRET}_RED_2=s", f"{KEY}_=x", f"{KEY}S=x", f"MY_{KEY}_RED=x", f"{SECRET}_BLUE="]
    project.env_file.write_text("\n".join(lines))
    assert set(load_settings(project).team_keys) == {f"{KEY}_RED", f"{SECRET}_RED_2"}


@given(
    in_file=st.dictionaries(st.sampled_from(sorted(variables().values())), st.sampled_from(["", "on", "http://file"])),
    in_environment=st.dictionaries(
        st.sampled_from(sorted(variables().values())), st.sampled_from(["", "off", "http://environment"])
    ),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_reading_is_merging_the_file_under_the_environment(project, monkeypatch, in_file, in_environment):
    project.env_file.write_text("".join(f"{name}={value}\n" for name, value in in_file.items()))
    with monkeypatch.context() as patch:
        for name, value in in_environment.items():
            patch.setenv(name, value)
        separately = outcome(project)
    project.env_file.unlink()
    with monkeypatch.context() as patch:
        for name, value in {**in_file, **in_environment}.items():
            patch.setenv(name, value)
        assert outcome(project) == separately


def outcome(project) -> Settings | str:
    try:
        return load_settings(project)
    except ConfigError as error:
        return error.message


def test_settings_are_frozen_and_leave_the_environment_alone(project):
    before = dict(os.environ)
    project.env_file.write_text("MLOPS_TRACKING=off\n")
    loaded = load_settings(project)
    with pytest.raises(ValidationError, match="frozen"):
        loaded.tracking = True
    assert dict(os.environ) == before


def test_tokens_of_teams(project):
    lines = [
        "MLOPS_API_TOKEN=common-token",
        "MLOPS_API_TOKEN_RED_2=red-2-token",
        "MLOPS_API_TOKEN_BIG_FUND=fund-token",
        "MLOPS_API_TOKEN_NEW=new-token",
        "MLOPS_API_TOKEN_BLUE=",
        "MLOPS_API_TOKENS=x",
    ]
    project.env_file.write_text("\n".join(lines))
    settings = load_settings(project)
    assert list(settings.tokens) == [line.partition("=")[0] for line in lines[:4]]
    teams = team_tokens(settings, ["red-2", "big.fund"])
    assert teams == {"red-2-token": "red-2", "fund-token": "big.fund", "new-token": "new"}
    assert "fund-token" not in repr(settings)


@pytest.mark.parametrize("other", ["MLOPS_API_TOKEN", "MLOPS_API_TOKEN_BLUE"])
def test_two_owners_of_one_token_are_refused_without_showing_it(project, other):
    project.env_file.write_text(f"{other}=same-token\nMLOPS_API_TOKEN_RED=same-token\n")
    with pytest.raises(ConfigError) as error:
        team_tokens(load_settings(project), ["red"])
    assert other in error.value.message
    assert "MLOPS_API_TOKEN_RED" in error.value.message
    assert "same-token" not in error.value.message
