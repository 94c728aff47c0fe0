"""Checks of the secrets in the settings: that none travels in the clear, and whose each token is."""

from __future__ import annotations

from collections.abc import Iterable

from mlops_cli.config.addresses import has_password, in_the_clear
from mlops_cli.config.settings import TOKEN, Settings, variable
from mlops_cli.errors import ConfigError


def refuse_keys_in_the_clear(settings: Settings) -> None:
    """Raise ConfigError where the keys of an account would go over plain http to another machine."""
    addresses = {"ALPACA_BASE_URL": settings.alpaca_base_url, "ALPACA_DATA_URL": settings.alpaca_data_url}
    wrong = [name for name, address in addresses.items() if in_the_clear(address)]
    if wrong:
        raise ConfigError(
            f"{' and '.join(wrong)}: plain http to another machine would show the account's keys on the way",
            "use https; for an exchange on another machine a tunnel: ssh -L 8081:127.0.0.1:8081 HOST, and "
            "http://127.0.0.1:8081",
        )


def secrets_in_the_clear(settings: Settings) -> list[str]:
    """The variables, besides those of the keys, whose address holds a secret and is plain http to another machine."""
    webhook = settings.alert_webhook.get_secret_value() if settings.alert_webhook else None
    tracking = settings.mlflow_tracking_uri or ""
    secret_uri = tracking if tracking.startswith("http:") and has_password(tracking) else None
    addresses = {"MLOPS_ALERT_WEBHOOK": webhook, "MLFLOW_TRACKING_URI": secret_uri}
    return [name for name, address in addresses.items() if in_the_clear(address)]


def team_tokens(settings: Settings, teams: Iterable[str]) -> dict[str, str]:
    """The tokens of teams, each with its team. A variable that fits none of the known `teams` names a new one.

    Raises:
        ConfigError: two variables have the same token, so that nobody could tell whose request it is.
    """
    by_variable = {variable(TOKEN, team): team for team in sorted(teams, reverse=True)}
    owners: dict[str, str] = {}
    for name, secret in settings.tokens.items():
        token = secret.get_secret_value()
        if token in owners:
            raise ConfigError(f"{owners[token]} and {name} have the same token", "make one: openssl rand -hex 24")
        owners[token] = name
    return {
        token: by_variable.get(name, name.removeprefix(f"{TOKEN}_").lower().replace("_", "-"))
        for token, name in owners.items()
        if name != TOKEN
    }
