"""Which addresses are this machine's, and which would carry secrets in the clear."""

from __future__ import annotations

import pytest

from mlops_cli.config.addresses import has_password, in_the_clear, is_local
from mlops_cli.config.secret_checks import refuse_keys_in_the_clear, secrets_in_the_clear
from mlops_cli.config.settings import Settings
from mlops_cli.errors import ConfigError

LOCAL = ["http://127.0.0.1:8081", "http://localhost", "http://LOCALHOST:1", "http://[::1]:8081", "http://u:p@localhost"]
ELSEWHERE = [
    "http://127.0.0.2:18305",  # what tunnels and containers are bound to
    "http://10.0.0.1",
    "http://localhost.example.org",
    "http://localhost@example.org",
    "http://127.0.0.1.example.org",
    "http://0.0.0.0:8081",
    "http://[::ffff:10.0.0.1]",
    "http://[::",
]


@pytest.mark.parametrize("address", LOCAL)
def test_this_machine_s_addresses(address):
    assert is_local(address)
    assert not in_the_clear(address)


@pytest.mark.parametrize("address", ELSEWHERE)
def test_all_others_are_elsewhere(address):
    assert not is_local(address)
    assert in_the_clear(address)


@pytest.mark.parametrize("address", ELSEWHERE[:-1])
def test_https_is_never_in_the_clear(address):
    assert not in_the_clear(address.replace("http:", "https:"))


def test_no_address_is_in_the_clear_of_nothing():
    assert not in_the_clear(None)
    assert not in_the_clear("")


@pytest.mark.parametrize("address", ELSEWHERE[:-1])
@pytest.mark.parametrize("name", ["ALPACA_BASE_URL", "ALPACA_DATA_URL"])
def test_keys_never_go_over_plain_http_to_another_machine(name, address):
    settings = Settings(**{name: address})
    with pytest.raises(ConfigError, match=f"{name}: plain http") as raised:
        refuse_keys_in_the_clear(settings)
    assert "ssh -L" in raised.value.hint
    assert address not in str(raised.value), "it may hold a password"


def test_keys_may_go_to_this_machine_and_over_https():
    refuse_keys_in_the_clear(Settings())
    refuse_keys_in_the_clear(Settings(ALPACA_BASE_URL="http://[::1]:8081", ALPACA_DATA_URL="https://example.org"))


@pytest.mark.parametrize("value", ["http://a.org\\@127.0.0.1", "http://127.0.0.1\\@a.org", "http://local host"])
def test_addresses_that_programs_read_differently_are_refused(value):
    with pytest.raises(ValueError, match="ALPACA_BASE_URL"):
        Settings(ALPACA_BASE_URL=value)


def test_other_secrets_in_addresses_are_named():
    open_ones = Settings(MLOPS_ALERT_WEBHOOK="http://a.org/x", MLFLOW_TRACKING_URI="http://me:pw@a.org")
    assert secrets_in_the_clear(open_ones) == ["MLOPS_ALERT_WEBHOOK", "MLFLOW_TRACKING_URI"]
    for webhook, tracking in [
        ("https://a.org/x", "https://me:pw@a.org"),
        ("http://127.0.0.1/x", "http://me:pw@localhost"),
        (None, "http://a.org"),
        (None, "postgresql://me:pw@a.org/runs"),
        (None, "sqlite:///runs.db"),
    ]:
        given = {"MLOPS_ALERT_WEBHOOK": webhook, "MLFLOW_TRACKING_URI": tracking}
        assert secrets_in_the_clear(Settings(**{name: value for name, value in given.items() if value})) == []


def test_a_user_in_an_address():
    assert has_password("http://me:secret@example.org")
    assert not has_password("http://example.org/@me")
