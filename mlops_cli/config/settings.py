"""Secrets and endpoints, from the environment and from `.env`.

`mlops --help` must not load this module: pydantic-settings takes about 0.1 s to import.
"""

from __future__ import annotations

import os
import re
from typing import Annotated, Any

from pydantic import AfterValidator, AnyHttpUrl, Field, SecretStr, TypeAdapter, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.descriptions import type_in_words
from mlops_cli.config.schemas.field_types import Expect
from mlops_cli.errors import ConfigError

KEY, SECRET = "ALPACA_API_KEY", "ALPACA_SECRET_KEY"
_TEAM_VARIABLE = re.compile(rf"(?:{KEY}|{SECRET})_\w+")


def _address(value: str) -> str:
    TypeAdapter(AnyHttpUrl).validate_python(value)
    return value.rstrip("/")


Address = Annotated[str, AfterValidator(_address), Expect("an address such as https://example.org")]
OnOff = Annotated[bool, Expect("on or off")]


class Settings(BaseSettings):
    """The variables that mlops reads; each field's alias is its variable.

    Values given to the constructor (those of `.env`) yield to the environment. Build it with `load_settings`.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", case_sensitive=True, hide_input_in_errors=True)

    tracking: OnOff = Field(True, validation_alias="MLOPS_TRACKING", description="whether runs are tracked in MLflow")
    mlflow_tracking_uri: str | None = Field(
        None,
        validation_alias="MLFLOW_TRACKING_URI",
        description="where MLflow keeps runs; empty: mlruns.db in the project",
    )
    api_token: SecretStr | None = Field(
        None, validation_alias="MLOPS_API_TOKEN", description="bearer token that callers of `mlops serve` must send"
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
        description="address to which `mlops paper-trade` posts alerts as JSON",
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
        """Every key that is set, by its variable: the plain pair and those of the teams."""
        plain = {KEY: self.alpaca_api_key, SECRET: self.alpaca_secret_key}
        return {name: value for name, value in plain.items() if value} | self.team_keys


def variables() -> dict[str, str]:
    """The variable of each field, but for the keys of the teams, whose names depend on the teams."""
    return {name: alias for name, alias in _aliases().items() if name != "team_keys"}


def load_settings(project: Project | None = None) -> Settings:
    """Read the environment and the project's `.env`, if there is one.

    The environment wins. An empty variable counts as not set, and an empty one in the environment hides that of `.env`.

    Raises:
        ConfigError: every variable with a wrong value. The values are not shown, because they may be secrets.
    """
    written = _env_file(project)
    fields = {alias: name for name, alias in _aliases().items()}
    given: dict[str, Any] = {name: value for name, value in written.items() if value and name in fields}
    given[_aliases()["team_keys"]] = {
        name: value for name, value in {**written, **os.environ}.items() if value and _TEAM_VARIABLE.fullmatch(name)
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
