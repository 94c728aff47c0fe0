"""A real Postgres server on this machine, for the tests of what is kept in Postgres."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlops_cli.system.sockets import listen


@dataclass
class PostgresServer:
    """A server with an empty database, which may be stopped and started."""

    binaries: Path
    folder: Path
    port: int
    user: str | None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k '' -F"
        self._call("pg_ctl", "-D", str(self.folder), "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        self._call("pg_ctl", "-D", str(self.folder), "-w", "-m", "immediate", "stop")

    def create(self) -> None:
        self._call("initdb", "-D", str(self.folder), "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8")

    def _call(self, program: str, *arguments: str) -> None:
        command = [str(self.binaries / program), *arguments]
        done = subprocess.run(
            command, check=False, user=self.user, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, f"{program} ended with {done.returncode}"


def missing_for_postgres() -> str | None:
    """Why there can be no Postgres here; None if there can be one."""
    if importlib.util.find_spec("psycopg") is None:
        return "the package psycopg is not installed"
    if _binaries() is None:
        return "no Postgres is installed on this machine"
    if os.geteuid() == 0 and _other_user() is None:
        return "Postgres does not run as root, and there is no user postgres or nobody"
    return None


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A server that runs until the end of the block; call `missing_for_postgres` first."""
    binaries = _binaries()
    assert binaries is not None
    user = _other_user() if os.geteuid() == 0 else None
    # not below pytest's folder, which only its owner may enter
    folder = Path(tempfile.mkdtemp(prefix="mlops-postgres-"))
    if user is not None:
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    server = PostgresServer(binaries, folder, _free_port(), user)
    try:
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _binaries() -> Path | None:
    """The folder of `initdb` and `pg_ctl`; Debian keeps it out of PATH."""
    installed = shutil.which("initdb")
    folders = [Path(installed).resolve().parent] if installed else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").is_file()), None)


def _other_user() -> str | None:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)


def _free_port() -> int:
    with listen("127.0.0.1", 0, "") as listener:
        return int(listener.getsockname()[1])
