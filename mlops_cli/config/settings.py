"""Secrets and endpoints, from the environment and `.env`.

Read with python-dotenv rather than pydantic-settings, whose import takes a second, in every stage of a run.
"""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import AfterValidator, AnyHttpUrl, BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError

from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.describe import words
from mlops_cli.config.schemas.field_types import Expect
from mlops_cli.errors import ConfigError


def _address(value: str) -> str:
    TypeAdapter(AnyHttpUrl).validate_python(value)
    return value.rstrip("/")


Address = Annotated[str, AfterValidator(_address), Expect("an address such as https://example.org")]
OnOff = Annotated[bool, Expect("on or off")]


class Settings(BaseModel):
    """What may stand in `.env`. Each field's title is its variable."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    tracking: OnOff = Field(True, title="MLOPS_TRACKING", description="whether runs are tracked in MLflow")
    mlflow_tracking_uri: str | None = Field(
        None, title="MLFLOW_TRACKING_URI", description="where MLflow keeps runs; empty: mlruns.db in the project"
    )
    api_token: SecretStr | None = Field(
        None, title="MLOPS_API_TOKEN", description="what callers of `mlops serve` must bear"
    )
    alpaca_api_key: SecretStr | None = Field(
        None, title="ALPACA_API_KEY", description="key of the Alpaca paper account"
    )
    alpaca_secret_key: SecretStr | None = Field(
        None, title="ALPACA_SECRET_KEY", description="secret key of the Alpaca paper account"
    )
    alpaca_base_url: Address | None = Field(
        None, title="ALPACA_BASE_URL", description="address of the trading API; empty: Alpaca's paper account"
    )
    alpaca_data_url: Address | None = Field(
        None, title="ALPACA_DATA_URL", description="address of the market data API; empty: Alpaca's"
    )
    live_trading: OnOff = Field(
        False, title="MLOPS_LIVE_TRADING", description="yes: real money may be traded, where params.yaml says so too"
    )
    alert_webhook: SecretStr | None = Field(
        None, title="MLOPS_ALERT_WEBHOOK", description="address that gets alerts of paper-trade as JSON"
    )
    yahoo_base_url: Address | None = Field(
        None, title="YAHOO_BASE_URL", description="address of the price API of source yfinance; empty: Yahoo's"
    )


def variables() -> dict[str, str]:
    """The variables by the field they fill."""
    return {name: field.title or name.upper() for name, field in Settings.model_fields.items()}


def load_settings(project: Project | None = None) -> Settings:
    """Read `.env` of the project, where there is one, and the environment, which wins; an empty value counts as none.

    Raises:
        ConfigError: every variable that is not as it must be; values are not shown, they may be secrets.
    """
    found = {**env_file(project), **os.environ}
    given = {name: found[variable] for name, variable in variables().items() if found.get(variable)}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        names = dict.fromkeys(str(e["loc"][0]) for e in error.errors(include_input=False, include_url=False))
        lines = [f"{variables()[name]}: expected {_expected(name)}" for name in names]
        raise ConfigError("\n".join(lines), "set it in .env or in the environment; .env.example shows how") from None


def env_file(project: Project | None) -> dict[str, str | None]:
    """What stands in `.env` of the project, as written; nothing where there is none.

    Raises:
        ConfigError: it is no text.
    """
    if project is None or not project.env_file.is_file():
        return {}
    from dotenv import dotenv_values

    try:
        # no interpolation: a secret may hold a $
        return dict(dotenv_values(project.env_file, interpolate=False))
    except UnicodeDecodeError:
        raise ConfigError(".env: expected UTF-8 text", "write it anew from .env.example") from None


def _expected(name: str) -> str:
    field = Settings.model_fields[name]
    return words(Annotated[field.annotation, *field.metadata, None]).removesuffix(" or nothing")
