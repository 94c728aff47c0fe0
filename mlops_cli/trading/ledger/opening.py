"""Opening ledgers: one writer at a time, any number of readers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from mlops_cli.config.settings import KEY, SECRET, variable
from mlops_cli.errors import ConfigError, DataError, ServiceError
from mlops_cli.system.locks import file_lock
from mlops_cli.system.sqlite_files import IN_MEMORY, SqliteFile
from mlops_cli.trading.ledger.ledger import Ledger
from mlops_cli.trading.ledger.tables import SCHEMA_VERSION

_IF_DAMAGED = "look at it with sqlite3; without the file the next pass starts from what the broker holds"


class PassAtWork(ServiceError):  # noqa: N818 - nothing failed
    """Another process works for the team; what it does is what this one would do."""


@contextmanager
def open_ledger(path: Path, team: str, wait: float = 0) -> Iterator[Ledger]:
    """Open a team's ledger for writing, and create it if it is missing. No other process can write to it meanwhile.

    `path` may be IN_MEMORY; `wait`: seconds to wait for a process that has the ledger open.

    Raises:
        PassAtWork: another paper-trade has it open.
        ServiceError: another program has locked it.
        ConfigError: it belongs to another team, or was written by a newer version of mlops.
        DataError: it is damaged.
    """
    busy = PassAtWork(f"team {team}: another paper-trade is running", "nothing to do: wait until it has finished")
    lock = nullcontext() if path == IN_MEMORY else file_lock(path.with_suffix(".lock"), busy, wait)
    with lock, _opened(path, team) as ledger:
        yield ledger


@contextmanager
def claim_account(folder: Path, account: str, team: str) -> Iterator[None]:
    """Lock an account while a team's pass runs.

    The lock is needed for the first passes: before the first one has written its ledger, no ledger shows which team
    uses the account.

    Raises:
        ConfigError: another team trades on it.
        PassAtWork: another pass is running on it.
    """
    hint = f"give it keys of an account of its own: {variable(KEY, team)} and {variable(SECRET, team)} in .env"
    lock = folder / f"account-{hashlib.sha256(account.encode()).hexdigest()[:16]}.lock"
    busy = PassAtWork(f"team {team}: another pass is running on its account", f"if another team uses it, {hint}")
    with file_lock(lock, busy):
        own = folder / f"{team}.db"
        # other ledgers were checked when this one was opened first; a damaged one must not stop this team later
        is_own = own.is_file() and _account_of(own) == account
        other = None if is_own else team_of_account(folder, account, team)
        if other is not None:
            raise ConfigError(f"team {team}: its account is the one that team {other} trades on", hint)
        yield


@contextmanager
def _opened(path: Path, team: str) -> Iterator[Ledger]:
    with _file(path).writing() as connection:
        ledger = Ledger(connection)
        _check(ledger, path, team)
        yield ledger


def _file(path: Path) -> SqliteFile:
    return SqliteFile(path, "the ledger", _IF_DAMAGED)


def _check(ledger: Ledger, path: Path, team: str) -> None:
    ledger.create(team)
    version, owner = ledger.meta("schema"), ledger.meta("team")
    if version != str(SCHEMA_VERSION):
        raise ConfigError(f"{path}: a ledger of format {version}; this mlops reads {SCHEMA_VERSION}", "update mlops")
    if owner != team:
        raise ConfigError(f"{path}: is the ledger of team {owner}, not of {team}", "give each team its own file")


@contextmanager
def read_ledger(path: Path) -> Iterator[Ledger]:
    """Open a ledger for reading, while a pass may be writing to it.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    with _reading(path) as ledger:
        if ledger.is_empty:
            raise _none_yet(path)
        yield ledger


@contextmanager
def _reading(path: Path) -> Iterator[Ledger]:
    with _file(path).reading(_none_yet(path)) as connection:
        yield Ledger(connection)


def _none_yet(path: Path) -> DataError:
    return DataError(f"{path}: there is no ledger yet", "the first pass makes it: mlops paper-trade")


def team_of_account(folder: Path, account: str, besides: str) -> str | None:
    """The other team whose ledger belongs to this account; None if there is none."""
    for path in sorted(folder.glob("*.db")):
        if path.stem != besides and _account_of(path) == account:
            return path.stem
    return None


def _account_of(path: Path) -> str | None:
    with _reading(path) as ledger:
        return None if ledger.is_empty else ledger.meta("account")
