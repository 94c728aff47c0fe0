"""Secrets and endpoints, from the environment and from `.env`, and the keys of each team's account.

`mlops --help` must not load this module: pydantic-settings takes about 0.1 s to import.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, AnyHttpUrl, Field, SecretStr, TypeAdapter, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.descriptions import type_in_words
from mlops_cli.config.schemas.field_types import Expect
from mlops_cli.errors import ConfigError

KEY, SECRET = "ALPACA_API_KEY", "ALPACA_SECRET_KEY"
TOKEN = "MLOPS_API_TOKEN"
_BY_TEAM = {"team_keys": re.compile(rf"(?:{KEY}|{SECRET})_\w+"), "team_tokens": re.compile(rf"{TOKEN}_\w+")}
"""Fields that hold the variables of all teams, by the names of these variables."""


def _address(value: str) -> str:
    TypeAdapter(AnyHttpUrl).validate_python(value)
    if re.search(r"[\\\s\x00-\x1f]", value):  # programs disagree about which host such an address names
        raise ValueError("an address without blanks and backslashes")
    return value.rstrip("/")


Address = Annotated[str, AfterValidator(_address), Expect("an address such as https://example.org")]
OnOff = Annotated[bool, Expect("on or off")]


class Settings(BaseSettings):
    """The variables that mlops reads; each field's alias is its variable.

    The environment overrides values given to the constructor (those of `.env`). Build it with `load_settings`.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", case_sensitive=True, hide_input_in_errors=True)

    tracking: OnOff = Field(True, validation_alias="MLOPS_TRACKING", description="whether runs are tracked in MLflow")
    mlflow_tracking_uri: str | None = Field(
        None,
        validation_alias="MLFLOW_TRACKING_URI",
        description="where MLflow keeps runs; empty: mlruns.db in the project",
    )
    api_token: SecretStr | None = Field(
        None,
        validation_alias=TOKEN,
        description="bearer token that callers of `mlops serve` must send, at least 8 characters",
    )
    team_tokens: dict[str, SecretStr] = Field(
        {},
        validation_alias="MLOPS_API_TOKEN_<TEAM>",
        description="bearer token of a team's callers, whose jobs are then that team's; at least 8 characters",
    )
    jobs_url: SecretStr | None = Field(
        None,
        validation_alias="MLOPS_JOBS_URL",
        description="Postgres database of the queue of trainings on request, as postgresql://USER:PASSWORD@HOST/NAME; "
        "empty: .mlops/jobs.db in the project",
    )
    alpaca_api_key: SecretStr | None = Field(
        None, validation_alias=KEY, description="key of the Alpaca paper account, where one team trades"
    )
    alpaca_secret_key: SecretStr | None = Field(
        None, validation_alias=SECRET, description="secret key of the Alpaca paper account, where one team trades"
    )
    team_keys: dict[str, SecretStr] = Field(
        {},
        validation_alias="ALPACA_API_KEY_<TEAM>, ALPACA_SECRET_KEY_<TEAM>",
        description="keys of each team's own Alpaca paper account",
    )
    alpaca_base_url: Address | None = Field(
        None,
        validation_alias="ALPACA_BASE_URL",
        description="address of the trading API; empty: Alpaca's paper account",
    )
    alpaca_data_url: Address | None = Field(
        None, validation_alias="ALPACA_DATA_URL", description="address of the market data API; empty: Alpaca's"
    )
    live_trading: OnOff = Field(
        False,
        validation_alias="MLOPS_LIVE_TRADING",
        description="yes: real money may be traded, if trading.live in params.yaml is true as well",
    )
    alert_webhook: SecretStr | None = Field(
        None,
        validation_alias="MLOPS_ALERT_WEBHOOK",
        description="address to which `mlops live` and `mlops paper-trade` post alerts as JSON",
    )
    yahoo_base_url: Address | None = Field(
        None,
        validation_alias="YAHOO_BASE_URL",
        description="address of the price API of source yfinance; empty: Yahoo's",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment first, then the values given to the constructor."""
        return env_settings, init_settings

    @model_validator(mode="before")
    @classmethod
    def _empty_counts_as_unset(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if value != ""}

    @property
    def broker_keys(self) -> dict[str, SecretStr]:
        """Every key that is set, by its variable: the pair without a team's name, and the keys of the teams."""
        plain = {KEY: self.alpaca_api_key, SECRET: self.alpaca_secret_key}
        return {name: value for name, value in plain.items() if value} | self.team_keys

    @property
    def tokens(self) -> dict[str, SecretStr]:
        """Every token that callers of `mlops serve` may send, by its variable: the common one, and those of teams."""
        return ({TOKEN: self.api_token} if self.api_token else {}) | self.team_tokens


def variables() -> dict[str, str]:
    """The variable of each field, except those of the teams, because their names depend on the teams."""
    return {name: alias for name, alias in _aliases().items() if name not in _BY_TEAM}


def load_settings(project: Project | None = None) -> Settings:
    """Read the environment and the project's `.env`, if there is one.

    The environment wins. An empty variable counts as not set, but in the environment it still overrides `.env`.

    Raises:
        ConfigError: variables have wrong values (all are named). The values are not shown, because they may be secrets.
    """
    written = _env_file(project)
    fields = {alias: name for name, alias in _aliases().items()}
    given: dict[str, Any] = {name: value for name, value in written.items() if value and name in fields}
    for name, variable_of in _BY_TEAM.items():
        given[_aliases()[name]] = {
            key: value for key, value in {**written, **os.environ}.items() if value and variable_of.fullmatch(key)
        }
    try:
        return Settings(**given)
    except ValidationError as error:
        wrong = dict.fromkeys(str(e["loc"][0]) for e in error.errors(include_input=False, include_url=False))
        lines = [f"{alias}: expected {_expected(fields[alias])}" for alias in wrong]
        raise ConfigError("\n".join(lines), "set it in .env or in the environment; .env.example shows how") from None


def _aliases() -> dict[str, str]:
    return {name: str(field.validation_alias) for name, field in Settings.model_fields.items()}


def _env_file(project: Project | None) -> dict[str, str | None]:
    """The variables of the project's `.env`, as they are written there."""
    if project is None or not project.env_file.is_file():
        return {}
    from dotenv import dotenv_values

    try:
        # pydantic-settings' own reader would replace ${NAME}, which may be part of a secret
        return dict(dotenv_values(project.env_file, interpolate=False))
    except UnicodeDecodeError:
        raise ConfigError(".env: expected UTF-8 text", "write it again from .env.example") from None


def _expected(name: str) -> str:
    field = Settings.model_fields[name]
    return type_in_words(Annotated[field.annotation, *field.metadata, None]).removesuffix(" or nothing")


_HINT = """An Alpaca paper account is free, and each team needs its own: create its keys at
https://app.alpaca.markets and write them into .env:
{blank}
Or trade on the simulated exchange of mlops, on this machine; any key and secret open an account there:
  mlops exchange serve
{filled}
  ALPACA_BASE_URL=http://127.0.0.1:8081
Or replay past sessions, without any keys: mlops paper-trade --replay DATE"""


@dataclass(frozen=True)
class AccountKeys:
    """The pair of keys of one account. Their text is never shown."""

    key: SecretStr
    secret: SecretStr


@dataclass(frozen=True)
class _Variables:
    """The names of the two variables that hold the keys of one account."""

    key: str
    secret: str


_PLAIN = _Variables(KEY, SECRET)


def account_keys(settings: Settings, teams: Sequence[str]) -> dict[str, AccountKeys]:
    """The keys of each team. If there is only one team, it may use `ALPACA_API_KEY` and `ALPACA_SECRET_KEY`.

    Raises:
        ConfigError: a team has no keys or only one of the two, or two teams have the same key.
    """
    keys = given_keys(settings, teams)
    missing = [team for team in teams if team not in keys]
    if missing:
        raise _without_keys(missing, alone=len(teams) == 1)
    return keys


def given_keys(settings: Settings, teams: Sequence[str]) -> dict[str, AccountKeys]:
    """The keys of those teams that have some; errors as in `account_keys`."""
    pairs = {team: _keys_of(team, settings.broker_keys, alone=len(teams) == 1) for team in teams}
    keys = {team: pair for team, pair in pairs.items() if pair is not None}
    _refuse_shared_accounts(keys)
    return keys


def any_account_keys(settings: Settings) -> AccountKeys:
    """The keys of any account: those without a team's name, else those of the first team that has a pair.

    Raises:
        ConfigError: there is no pair of keys.
    """
    given = settings.broker_keys
    suffixes = sorted({name.removeprefix(KEY).removeprefix(SECRET) for name in given})
    for suffix in suffixes:
        key, secret = given.get(KEY + suffix), given.get(SECRET + suffix)
        if key and secret:
            return AccountKeys(key, secret)
    raise ConfigError(
        f"source.actions.kind: alpaca needs the keys of an account: {KEY} and {SECRET} are not set",
        "set them in .env, or set source.actions.kind: auto",
    )


def _refuse_shared_accounts(keys: Mapping[str, AccountKeys]) -> None:
    owners: dict[SecretStr, str] = {}
    for team, pair in keys.items():
        other = owners.setdefault(pair.key, team)
        if other != team:
            raise ConfigError(
                f"teams {other} and {team} have the same key: they would trade each other's shares",
                f"create a second paper account and set {variable(KEY, team)} and {variable(SECRET, team)} in .env",
            )


def _keys_of(team: str, given: Mapping[str, SecretStr], *, alone: bool) -> AccountKeys | None:
    own = _own_variables(team)
    for names in (own, _PLAIN) if alone else (own,):
        key, secret = given.get(names.key), given.get(names.secret)
        if key and secret:
            return AccountKeys(key, secret)
        if key or secret:
            present, absent = (names.key, names.secret) if key else (names.secret, names.key)
            raise ConfigError(f"{present} is set, {absent} is not", f"set {absent} in .env or in the environment")
    return None


def _without_keys(teams: Sequence[str], *, alone: bool) -> ConfigError:
    names = {team: _PLAIN if alone else _own_variables(team) for team in teams}
    blank = "\n".join(f"  {pair.key}=...\n  {pair.secret}=..." for pair in names.values())
    filled = "\n".join(f"  {pair.key}={team}\n  {pair.secret}=anything" for team, pair in names.items())
    missing = ", ".join(f"{pair.key} and {pair.secret}" for pair in names.values())
    hint = _HINT.format(blank=blank, filled=filled)
    return ConfigError(f"paper trading needs an account: {missing} are not set", hint)


def _own_variables(team: str) -> _Variables:
    return _Variables(variable(KEY, team), variable(SECRET, team))


def variable(name: str, team: str) -> str:
    """The variable that holds a team's own key.

    >>> variable("ALPACA_API_KEY", "red-2")
    'ALPACA_API_KEY_RED_2'
    """
    return f"{name}_{re.sub(r'[^A-Z0-9]+', '_', team.upper())}"
