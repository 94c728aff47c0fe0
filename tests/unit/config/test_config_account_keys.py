"""Which keys open which team's account, and what the user reads if some are missing."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from mlops_cli.config.settings import KEY, SECRET, Settings, account_keys, load_settings, variable
from mlops_cli.errors import ConfigError
from tests.fakes.config_projects import make_project


@pytest.fixture(autouse=True)
def no_keys_in_the_environment(monkeypatch):
    for name in (KEY, SECRET, *(f"{word}_{team}" for word in (KEY, SECRET) for team in ("RED", "BLUE", "RED_2"))):
        monkeypatch.delenv(name, raising=False)


def settings_of(tmp_path, *lines: str) -> Settings:
    project = make_project(tmp_path)
    project.env_file.write_text("".join(f"{line}\n" for line in lines))
    return load_settings(project)


def shown(settings: Settings, *teams: str) -> dict[str, tuple[str, str]]:
    keys = account_keys(settings, teams)
    return {team: (pair.key.get_secret_value(), pair.secret.get_secret_value()) for team, pair in keys.items()}


def test_a_single_team_may_use_the_plain_pair(tmp_path):
    settings = settings_of(tmp_path, f"{KEY}=k", f"{SECRET}=s")
    assert shown(settings, "red") == {"red": ("k", "s")}


def test_a_single_teams_own_pair_wins_over_the_plain_one(tmp_path):
    settings = settings_of(tmp_path, f"{KEY}=k", f"{SECRET}=s", f"{KEY}_RED=own", f"{SECRET}_RED=secret")
    assert shown(settings, "red") == {"red": ("own", "secret")}


def test_several_teams_need_pairs_of_their_own(tmp_path):
    settings = settings_of(tmp_path, f"{KEY}_RED=r", f"{SECRET}_RED=x", f"{KEY}_BLUE=b", f"{SECRET}_BLUE=x")
    assert shown(settings, "red", "blue") == {"red": ("r", "x"), "blue": ("b", "x")}


def test_the_plain_pair_is_no_teams_if_several_trade(tmp_path):
    settings = settings_of(tmp_path, f"{KEY}=k", f"{SECRET}=s", f"{KEY}_BLUE=b", f"{SECRET}_BLUE=x")
    with pytest.raises(ConfigError) as raised:
        account_keys(settings, ["red", "blue"])
    assert raised.value.message == (
        "paper trading needs an account: ALPACA_API_KEY_RED and ALPACA_SECRET_KEY_RED are not set"
    )


def test_all_missing_pairs_are_listed_with_lines_to_copy(tmp_path):
    with pytest.raises(ConfigError) as raised:
        account_keys(settings_of(tmp_path), ["red", "blue"])
    assert "ALPACA_API_KEY_RED and ALPACA_SECRET_KEY_RED, ALPACA_API_KEY_BLUE and" in raised.value.message
    hint = raised.value.hint.splitlines()
    assert "  ALPACA_API_KEY_RED=..." in hint
    assert "  ALPACA_API_KEY_BLUE=blue" in hint
    assert hint[-1].endswith("mlops paper-trade --replay DATE")


def test_without_any_keys_a_single_team_is_told_of_the_plain_pair(tmp_path):
    with pytest.raises(ConfigError) as raised:
        account_keys(settings_of(tmp_path), ["red"])
    assert raised.value.message.endswith("ALPACA_API_KEY and ALPACA_SECRET_KEY are not set")
    assert "  ALPACA_API_KEY=red" in raised.value.hint.splitlines()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"{KEY}=hush", f"{KEY} is set, {SECRET} is not"),
        (f"{SECRET}=hush", f"{SECRET} is set, {KEY} is not"),
        (f"{KEY}_RED=hush", f"{KEY}_RED is set, {SECRET}_RED is not"),
        (f"{SECRET}_RED=hush", f"{SECRET}_RED is set, {KEY}_RED is not"),
    ],
)
def test_half_a_pair_is_a_mistake_that_shows_no_secret(tmp_path, line, said):
    with pytest.raises(ConfigError) as raised:
        account_keys(settings_of(tmp_path, line), ["red"])
    assert raised.value.message == said
    assert "hush" not in str(raised.value)


def test_an_own_half_pair_is_not_completed_by_the_plain_pair(tmp_path):
    settings = settings_of(tmp_path, f"{KEY}=k", f"{SECRET}=s", f"{KEY}_RED=own")
    with pytest.raises(ConfigError, match=f"{KEY}_RED is set"):
        account_keys(settings, ["red"])


def test_two_teams_with_one_key_are_refused_whatever_their_secrets(tmp_path):
    settings = settings_of(tmp_path, f"{KEY}_RED=same", f"{SECRET}_RED=x", f"{KEY}_BLUE=same", f"{SECRET}_BLUE=y")
    with pytest.raises(ConfigError) as raised:
        account_keys(settings, ["red", "blue"])
    assert raised.value.message.startswith("teams red and blue have the same key")
    assert "ALPACA_API_KEY_BLUE and ALPACA_SECRET_KEY_BLUE" in raised.value.hint


def test_equal_secrets_alone_are_no_shared_account(tmp_path):
    settings = settings_of(tmp_path, f"{KEY}_RED=a", f"{SECRET}_RED=x", f"{KEY}_BLUE=b", f"{SECRET}_BLUE=x")
    assert len(account_keys(settings, ["red", "blue"])) == 2


def test_the_environment_wins_over_the_file_for_team_keys_too(tmp_path, monkeypatch):
    monkeypatch.setenv(f"{KEY}_RED", "from-environment")
    settings = settings_of(tmp_path, f"{KEY}_RED=from-file", f"{SECRET}_RED=s")
    assert shown(settings, "red") == {"red": ("from-environment", "s")}


def test_keys_are_never_shown(tmp_path):
    settings = settings_of(tmp_path, f"{KEY}_RED=hush-hush", f"{SECRET}_RED=s3cret")
    keys = account_keys(settings, ["red"])
    for text in (repr(keys), str(keys["red"]), repr(settings), settings.model_dump_json()):
        assert "hush-hush" not in text
        assert "s3cret" not in text


def test_broker_keys_lists_what_is_set_by_variable(tmp_path):
    settings = settings_of(tmp_path, f"{KEY}=k", f"{SECRET}=", f"{KEY}_RED=r", f"{SECRET}_BLUE=", "ALPACA_API_KEYS=no")
    assert settings.broker_keys == {KEY: SecretStr("k"), f"{KEY}_RED": SecretStr("r")}


@pytest.mark.parametrize(
    ("team", "name"),
    [("red", "K_RED"), ("red-2", "K_RED_2"), ("a.b_c", "K_A_B_C"), ("x--y", "K_X_Y"), ("7", "K_7")],
)
def test_variables_of_teams(team, name):
    assert variable("K", team) == name
