"""Which keys open which team's account at the broker: `ALPACA_API_KEY_<TEAM>`, or the plain pair for a single team."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlops_cli.config.paths import Project
from mlops_cli.config.settings import env_file
from mlops_cli.errors import ConfigError

KEY, SECRET = "ALPACA_API_KEY", "ALPACA_SECRET_KEY"
WITHOUT_KEYS = """An Alpaca paper account is free, and each team needs one of its own: make its keys at
https://app.alpaca.markets and write them into .env:
{blank}
Or trade on the exchange that comes with mlops, on this machine; any two words open an account there:
  mlops exchange serve
{filled}
  ALPACA_BASE_URL=http://127.0.0.1:8081
Or trade the past, without any keys: mlops paper-trade --replay DATE"""


@dataclass(frozen=True, repr=False)
class AccountKeys:
    """A pair of keys; never shown."""

    key: str
    secret: str


def account_keys(project: Project, teams: Sequence[str]) -> dict[str, AccountKeys]:
    """The keys of each team; the plain pair serves where there is one team only.

    Raises:
        ConfigError: a pair is missing or half there, or two teams share one.
    """
    found = {**env_file(project), **os.environ}
    pairs = {team: _of_team(found, team, alone=len(teams) == 1) for team in teams}
    missing = [team for team, pair in pairs.items() if pair is None]
    if missing:
        raise _without_keys(missing, alone=len(teams) == 1)
    keys = {team: pair for team, pair in pairs.items() if pair is not None}
    owners: dict[str, str] = {}
    for team, pair in keys.items():
        other = owners.setdefault(pair.key, team)
        if other != team:
            raise ConfigError(
                f"teams {other} and {team} have the same key: they would trade each other's shares",
                f"make a second paper account and set {variable(KEY, team)} and {variable(SECRET, team)} in .env",
            )
    return keys


def _of_team(found: Mapping[str, str | None], team: str, *, alone: bool) -> AccountKeys | None:
    own = variable(KEY, team), variable(SECRET, team)
    for names in (own, (KEY, SECRET)) if alone else (own,):
        key, secret = (found.get(name) or "" for name in names)
        if key and secret:
            return AccountKeys(key, secret)
        if key or secret:
            there, missing = names if key else (names[1], names[0])
            raise ConfigError(f"{there} is set, {missing} is not", f"set {missing} in .env or in the environment")
    return None


def _without_keys(teams: Sequence[str], *, alone: bool) -> ConfigError:
    names = {team: (KEY, SECRET) if alone else (variable(KEY, team), variable(SECRET, team)) for team in teams}
    blank = "\n".join(f"  {key}=...\n  {secret}=..." for key, secret in names.values())
    filled = "\n".join(f"  {key}={team}\n  {secret}=anything" for team, (key, secret) in names.items())
    missing = ", ".join(" and ".join(pair) for pair in names.values())
    return ConfigError(
        f"paper trading needs an account: {missing} are not set", WITHOUT_KEYS.format(blank=blank, filled=filled)
    )


def variable(name: str, team: str) -> str:
    """A team's own variable.

    >>> variable("ALPACA_API_KEY", "red-2")
    'ALPACA_API_KEY_RED_2'
    """
    return f"{name}_{re.sub(r'[^A-Z0-9]+', '_', team.upper())}"
