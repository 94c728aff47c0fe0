"""Which keys open which team's account at the broker: `ALPACA_API_KEY_<TEAM>`, or the plain pair for a single team."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import SecretStr

from mlops_cli.config.settings import KEY, SECRET, Settings
from mlops_cli.errors import ConfigError

_HINT = """An Alpaca paper account is free, and each team needs its own: create its keys at
https://app.alpaca.markets and write them into .env:
{blank}
Or trade on the exchange that comes with mlops, on this machine; any two words open an account there:
  mlops exchange serve
{filled}
  ALPACA_BASE_URL=http://127.0.0.1:8081
Or trade the past, without any keys: mlops paper-trade --replay DATE"""


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
    """The keys of each team. A single team may use the plain pair, `ALPACA_API_KEY` and `ALPACA_SECRET_KEY`.

    Raises:
        ConfigError: a team has no keys or only one of the two, or two teams have the same key.
    """
    alone = len(teams) == 1
    pairs = {team: _keys_of(team, settings.broker_keys, alone=alone) for team in teams}
    missing = [team for team, pair in pairs.items() if pair is None]
    if missing:
        raise _without_keys(missing, alone=alone)
    keys = {team: pair for team, pair in pairs.items() if pair is not None}
    _refuse_shared_accounts(keys)
    return keys


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
