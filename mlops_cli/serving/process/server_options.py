"""Options of a server, and the files by which its workers report to it."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path

from mlops_cli.config.paths import Project
from mlops_cli.errors import ConfigError

DRAIN_SECONDS = 10
BACKLOG = 2048
SHORTEST_TOKEN = 8  # characters


@dataclass(frozen=True)
class ServeOptions:
    """Options of `mlops serve`. Port 0: any free port. If `authenticated`, callers must send a token.

    Without a token, only requests for this machine are answered; `allowed_hosts` are further names for it. For `parts`
    see `server_parts`.
    """

    root: str
    models: str | None
    host: str
    port: int
    workers: int
    authenticated: bool
    allowed_hosts: tuple[str, ...] = ()
    parts: str | None = None


def needs_token(project: Project, host: str, no_auth: bool) -> bool:
    """Decide whether callers must send a token: MLOPS_API_TOKEN, or that of a team.

    A token that is set is required, except with `no_auth`. Without a token, the server may listen only on an address
    that no other machine can reach.

    Args:
        project: its .env may set the token.
        host: the address to listen on.
        no_auth: callers need no token.

    Raises:
        ConfigError: others can reach `host` and there is no token, it is too short, or the settings are wrong.
    """
    from mlops_cli.config.settings import load_settings

    if no_auth:
        return False
    tokens = load_settings(project).tokens
    for name, token in tokens.items():
        if len(token.get_secret_value()) < SHORTEST_TOKEN:
            raise ConfigError(
                f"{name}: expected at least {SHORTEST_TOKEN} characters, because a short token can be guessed",
                "make one: openssl rand -hex 24",
            )
    if tokens:
        return True
    if _is_loopback(host):
        return False
    raise ConfigError(
        f"--host {host}: others could reach it, and MLOPS_API_TOKEN is not set",
        "set MLOPS_API_TOKEN in .env or in the environment, or use --no-auth",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def greeting(options: ServeOptions, listener: socket.socket) -> str:
    """The line that tells the user where the server is, with the actual port where port 0 was given."""
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"serving on http://{host}:{listener.getsockname()[1]} - try /forecasts or /docs"


def ready_mark(notes: Path, worker: int) -> Path:
    """File that exists once a worker accepts connections."""
    return notes / f"ready-{worker}"


def failure_note(notes: Path, worker: int) -> Path:
    """File in which a worker that cannot start writes the reason."""
    return notes / f"failure-{worker}.json"
