"""A project whose price files grow by one session between passes, with several models per ticker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

from mlops_cli.market.sessions import opening_hours
from tests.bench.bench_projects import BRANCH, CSV_COLUMNS, HELD_OUT, SCENARIO, SEED, Workplace, write_yaml
from tests.fakes.price_tables import random_prices, xnys_sessions

EXCHANGE = "XNYS"
LATER = 5
"""Sessions that the price files do not have yet when the project starts."""
AFTER_CLOSE = timedelta(minutes=30)
TEAMS = {"blue": 8, "green": 12, "red": 16}
"""Teams, each with one model per ticker, and the width of their networks: three architectures."""
EPOCHS = 3


@dataclass(frozen=True)
class LiveProject:
    """A project, and what its price files do not have yet.

    Attributes:
        root: the project folder.
        tickers: each with one model per team of `TEAMS`.
        days: the last session that the price files have at the start, then the sessions still to come.
        lines: by ticker, the lines of the sessions still to come.
    """

    root: Path
    tickers: tuple[str, ...]
    days: tuple[date, ...]
    lines: dict[str, tuple[str, ...]]

    @property
    def models(self) -> int:
        """How many models it has."""
        return len(self.tickers) * len(TEAMS)

    def evening(self, number: int) -> datetime:
        """Half an hour after the close of a session of `days`, in UTC."""
        return closing_time(self.days[number]) + AFTER_CLOSE

    def show(self, number: int) -> None:
        """Let the price files end with the session `days[number]`; call it for each session in turn."""
        for ticker, lines in self.lines.items():
            path = self.root / "data" / "incoming" / f"{ticker}.csv"
            if number and not path.read_text().endswith(lines[number - 1]):
                with path.open("a") as file:
                    file.write(lines[number - 1])


def closing_time(day: date) -> datetime:
    """When a session of New York closes, in UTC."""
    return next(hours.closes for hours in opening_hours(EXCHANGE) if hours.day == day)


def live_project(place: Workplace, name: str, tickers: Sequence[str], sessions: int, last: date) -> LiveProject:
    """Start a project with `mlops init`, and give it prices, configs of `TEAMS`, and a scenario.

    Args:
        place: folder for the project.
        name: of the project folder.
        tickers: one model each per team; the prices of a ticker depend only on its position.
        sessions: rows per price file at the start.
        last: the last day of generated prices: the newest `LATER` sessions up to it are still to come.
    """
    root = place.folder / name
    place.run("mlops", "init", root, "--template", "blank")
    calendar = xnys_sessions()
    calendar = calendar[calendar <= str(last)]
    first = calendar[-sessions - LATER]
    incoming = root / "data" / "incoming"
    lines = {}
    for seed, ticker in enumerate(tickers):
        table = random_prices(sessions + LATER, seed, start=str(first.date()))
        text = table.set_axis(CSV_COLUMNS, axis=1).rename_axis("Date").to_csv().splitlines(keepends=True)
        (incoming / f"{ticker}.csv").write_text("".join(text[: sessions + 1]))
        lines[ticker] = tuple(text[sessions + 1 :])
    days = tuple(day.date() for day in calendar[-LATER - 1 :])
    _configs(root, tickers, calendar[-LATER - HELD_OUT].date(), days[0])
    return LiveProject(root, tuple(tickers), days, lines)


def _configs(root: Path, tickers: Sequence[str], start: date, end: date) -> None:
    write_yaml(root / "simulation" / f"{SCENARIO}.yaml", {"start": start, "days": (end - start).days + 1})
    params = {
        "seed": SEED,
        "branches": {BRANCH: {"collection": [f"configs/{team}" for team in TEAMS]}},
        "source": {"kind": "csv", "folder": "data/incoming"},
        "training": {"validation_sessions": 252, "min_sessions": 300, "shrinkage": "pooled"},
        "simulation": {"scenario": SCENARIO},
    }
    write_yaml(root / "params.yaml", params)
    for team, width in TEAMS.items():
        ludwig = {
            "combiner": {"type": "concat", "num_fc_layers": 1, "output_size": width},
            "trainer": {"epochs": EPOCHS, "batch_size": 512, "eval_batch_size": 8192, "early_stop": -1},
        }
        config = {"team": team, "tickers": list(tickers), "features": "standard", "ludwig": ludwig}
        write_yaml(root / "configs" / team / "models.yaml", config)
