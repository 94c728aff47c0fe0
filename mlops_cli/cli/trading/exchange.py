"""`mlops exchange`: a paper exchange on this machine."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_cli.cli.options import AllowedHosts, ProjectOption, command_group
from mlops_cli.cli.output import say
from mlops_cli.config.paths import Project
from mlops_cli.errors import ConfigError

if TYPE_CHECKING:
    from mlops_cli.wiring import LocalExchange

Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 for any free one.")]
Host = Annotated[
    str,
    typer.Option("--host", help="Address to listen on. Programs that can reach it can trade and steer the exchange."),
]
Prices = Annotated[
    Path | None,
    typer.Option(
        "--prices",
        metavar="DIR",
        help="Folder of <TICKER>.parquet price tables; by default the project's prices, or else the sample series.",
        show_default=False,
    ),
]
Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="FILE",
        help="File that keeps accounts and orders, or :memory:. Default: .mlops/exchange.db, or memory for a replay.",
        show_default=False,
    ),
]
Replay = Annotated[
    str | None,
    typer.Option(
        "--replay",
        metavar="START",
        help="Begin at this day or time (ISO); time stands still until POST /sim/clock moves it.",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = command_group(help="A paper exchange on this machine that speaks Alpaca's API.")
    group.command()(serve)
    group.callback()(lambda: None)  # without a callback, a group with one command would become that command
    app.add_typer(group, name="exchange")


def serve(
    host: Host = "127.0.0.1",
    port: Port = 8081,
    prices: Prices = None,
    database: Database = None,
    replay: Replay = None,
    allowed_hosts: AllowedHosts = None,
    folder: ProjectOption = None,
) -> None:
    """Serve a paper exchange for any program that speaks Alpaca's API, this project's included, until Ctrl-C.

    Any key and secret open an account of their own with 100,000 USD. Prints the two lines that .env needs.
    """
    from mlops_cli import wiring
    from mlops_cli.exchange.api.app import listen, server
    from mlops_cli.system.own_site import OwnSite

    site = OwnSite.of(host, allowed_hosts or ())
    in_a_project = folder is not None or Path("params.yaml").is_file()
    project = Project.at(folder or Path()) if in_a_project else None
    local = wiring.local_exchange(project, prices, database, None if replay is None else _start(replay))
    try:
        _describe(local)
        listening = listen(host, port)
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listening.getsockname()[1]}"
        serving = server(local.exchange, site, lambda: _greet(address))
        serving.run(sockets=[listening])
        if serving.interrupted:
            raise KeyboardInterrupt
    finally:
        local.exchange.close()


def _greet(address: str) -> None:
    say(f"exchange at {address}; Ctrl-C ends it. Any key and secret open an account. Write into .env:")
    typer.echo(f"ALPACA_BASE_URL={address}\nALPACA_DATA_URL={address}")


def _start(text: str) -> datetime:
    from mlops_cli.market.hours import parse_time

    try:
        return parse_time(text)
    except ValueError:
        raise ConfigError(f"--replay {text}: this is no day or time", "give one such as 2024-01-02") from None


def _describe(local: LocalExchange) -> None:
    state, symbols = local.exchange.state, local.tables.symbols
    example = min(symbols)
    days = state.market.series(example).days
    period = f"{example} has prices from {days[0]} to {days[-1]}, later its last close counts"
    say(f"{len(symbols)} symbols from {local.origin}; {period}")
    standing = state.clock.standing
    say(f"time: {'real' if standing is None else f'stands at {standing.isoformat()}'}; state: {local.database}")
