"""Connect to MLflow without log output, and fail within seconds if MLflow cannot be used."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mlops_cli.errors import printable
from mlops_cli.system.files import create_private

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Used if the user did not set them. By default MLflow sends telemetry, prints links and migration logs, and retries for
# four minutes if a server is down; one retry with time-outs of five seconds ends after about ten seconds.
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_DISABLE_AGENT_HINT": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
}
MAX_REASON = 400


def connect(uri: str, artifact_root: Path, experiment: str) -> tuple[MlflowClient, str]:
    """Connect to a database or `http(s)://` server; return a client and the id of `experiment` (created if new).

    Files of runs are stored in `artifact_root`, except with a server, which has its own folder.

    Raises:
        One of `outages()`: MLflow is not reachable or not usable, or the address is wrong.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient
    from mlflow.store.db.db_types import DATABASE_ENGINES

    # needed if mlflow was imported before; urllib3 would log every retry
    for logger in ("mlflow", "alembic", "urllib3.connectionpool"):
        logging.getLogger(logger).setLevel(os.environ["MLFLOW_LOGGING_LEVEL"].upper())
    in_database = urlsplit(uri).scheme.split("+")[0] in DATABASE_ENGINES
    if in_database:
        _probe(uri)
    client = MlflowClient(uri)
    existing = client.get_experiment_by_name(experiment)
    if existing is not None:
        return client, existing.experiment_id
    location = artifact_root.resolve().as_uri() if in_database else None
    return client, client.create_experiment(experiment, artifact_location=location)


def _probe(uri: str) -> None:
    """Read from the database once, because MLflow tries ten times in a hundred seconds before it gives up."""
    import sqlalchemy

    url = sqlalchemy.make_url(uri)
    if url.get_backend_name() == "sqlite" and url.database:
        create_private(Path(url.database))
    engine = sqlalchemy.create_engine(url)
    try:
        sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()


def outages() -> tuple[type[Exception], ...]:
    """The exceptions that MLflow raises when it cannot be used.

    `MlflowException` (server unreachable or refusing, schema too old or too new, database locked or read-only),
    `SQLAlchemyError` (no database there, damaged, malformed address), alembic's `CommandError` (tables missing from a
    database of another version), `OSError` (artifact folder or upload; requests' errors are of this kind),
    `ModuleNotFoundError` (the driver of a database or artifact store is not installed).
    """
    from alembic.util import CommandError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError, CommandError, OSError, ModuleNotFoundError


def without_password(text: str) -> str:
    """Replace user and password in every address in `text`.

    >>> without_password("http://me:secret@host:5000/api")
    'http://***@host:5000/api'
    """
    return re.sub(r"//[^/@\s]+@", "//***@", text)


def reason(error: Exception) -> str:
    """The first line of an error, at most 400 characters, without passwords and control characters."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return printable(without_password(lines[0]))[:MAX_REASON]
