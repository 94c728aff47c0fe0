"""`mlops exchange`: a paper exchange of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_cli.cli.shared import ProjectOption, command_group, say
from mlops_cli.config.paths import Project
from mlops_cli.errors import ConfigError

if TYPE_CHECKING:
    from mlops_cli.exchange.book.engine import Exchange

MEMORY = ":memory:"
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="0 for any free one.")]
Host = Annotated[str, typer.Option("--host", help="Address to listen on; whoever reaches it may trade and steer.")]
Prices = Annotated[
    Path | None,
    typer.Option(
        "--prices",
        metavar="DIR",
        help="Folder of <TICKER>.parquet price tables; the project's if left out, else the sample series.",
        show_default=False,
    ),
]
Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="FILE",
        help="Where accounts and orders are kept, or :memory:; .mlops/exchange.db if left out, memory for a replay.",
        show_default=False,
    ),
]
Replay = Annotated[
    str | None,
    typer.Option(
        "--replay",
        metavar="START",
        help="Stand at this day or time (ISO) until POST /sim/clock moves it on, instead of the real time.",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = command_group(help="A paper exchange on this machine that speaks Alpaca's API.")
    group.command()(serve)
    group.callback()(lambda: None)  # else a group of one command is that command
    app.add_typer(group, name="exchange")


def serve(
    host: Host = "127.0.0.1",
    port: Port = 8081,
    prices: Prices = None,
    database: Database = None,
    replay: Replay = None,
    folder: ProjectOption = None,
) -> None:
    """Serve a paper exchange for any program that speaks Alpaca's API, this project's included, until Ctrl-C.

    Any key and secret open an account of their own with 100,000 USD. Prints the two lines that .env needs.
    """
    from mlops_cli.exchange.api.serve import listen, server

    project = Project.at(folder) if folder is not None else _project_here()
    exchange = _exchange(project, prices, database, replay)
    taken = listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{taken.getsockname()[1]}"
    say(f"exchange at {address}; Ctrl-C ends it. Any ALPACA_API_KEY and ALPACA_SECRET_KEY open an account; in .env:")
    typer.echo(f"ALPACA_BASE_URL={address}\nALPACA_DATA_URL={address}")
    try:
        server(exchange).run(sockets=[taken])
    finally:
        exchange.close()


def _project_here() -> Project | None:
    return Project.at(Path()) if Path("params.yaml").is_file() else None


def _exchange(project: Project | None, prices: Path | None, database: str | None, replay: str | None) -> Exchange:
    from mlops_cli import wiring
    from mlops_cli.exchange.book.clock import Clock
    from mlops_cli.exchange.book.engine import Exchange
    from mlops_cli.exchange.book.store import Store
    from mlops_cli.exchange.market.market import Market
    from mlops_cli.market.hours import parse_time, us_hours

    try:
        clock = Clock(None if replay is None else parse_time(replay))
    except ValueError:
        raise ConfigError(f"--replay {replay}: no day or time", "give one such as 2024-01-02") from None
    tables, origin = wiring.exchange_prices(project, prices)
    if database is None:
        database = MEMORY if project is None or replay is not None else str(project.state / "exchange.db")
    exchange = Exchange(Market(tables, us_hours()), clock, store=None if database == MEMORY else Store(Path(database)))
    some = min(tables.symbols)
    days = exchange.market.series(some).days
    say(f"{len(tables.symbols)} symbols from {origin}; {some} from {days[0]} to {days[-1]}, then its last close stands")
    say(f"time: {'real' if replay is None else f'stands at {exchange.clock.now().isoformat()}'}; state: {database}")
    return exchange
