"""The dividends of tickers as the newest sightings have them, for people to look at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pandas as pd

from mlops_cli.config.load import Branch
from mlops_cli.config.paths import Project
from mlops_cli.pipeline.stages.tables import read_table
from mlops_cli.prices.actions.dividends import LARGEST_SHARE, LEAST_SHARE, Sighting, newest, restated
from mlops_cli.prices.actions.sightings_file import dividends_file, read_sightings


@dataclass(frozen=True)
class StoredDividend:
    """A dividend of a ticker, in the units of the stored prices.

    Attributes:
        sighting: the newest one of its ex-date.
        is_coming: whether the ex-date is after the last stored price.
    """

    ticker: str
    sighting: Sighting
    is_coming: bool

    @property
    def share(self) -> float:
        """Share of the close before the ex-date; for a coming dividend, of the last close when it was seen."""
        return self.sighting.amount / self.sighting.close

    @property
    def known_since(self) -> str:
        """Since when a forecast may use it: a day, or `taken as announced`."""
        return "taken as announced" if self.sighting.is_assumed else str(self.sighting.known_from)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is special about it: estimated, special, withdrawn, or why no forecast subtracts it."""
        sighting = self.sighting
        if sighting.amount == 0:
            return ("withdrawn",)
        checks = (
            (sighting.estimated, "estimated"),
            (sighting.kind == "special", "special"),
            (sighting.known_from >= sighting.ex_date, "not used: known too late"),
            (self.share > LARGEST_SHARE, f"not used: above {LARGEST_SHARE:.0%} of the close"),
            (self.share <= LEAST_SHARE, f"not used: at most {LEAST_SHARE:.2%} of the close"),
        )
        return tuple(remark for applies, remark in checks if applies)


def dividends_of(folder: Path, ticker: str, table: pd.DataFrame) -> list[StoredDividend] | None:
    """The dividends of one ticker, rising by ex-date; None if nothing says what dividends it has.

    Args:
        folder: of the branch's prices.
        ticker: whose sightings.
        table: its price table.

    Raises:
        DataError: the file of sightings is damaged.
    """
    sightings = read_sightings(dividends_file(folder, ticker))
    if sightings is None:
        return None
    last: date = table.index[-1].date()
    current = newest(restated(sightings, table["close"]))
    return [StoredDividend(ticker, sighting, ex_date > last) for ex_date, sighting in current.items()]


@dataclass(frozen=True)
class BranchDividends:
    """The dividends of a branch, its tickers with prices of which none are known, and those without prices."""

    branch: str
    dividends: tuple[StoredDividend, ...]
    unknown: tuple[str, ...]
    without_prices: tuple[str, ...]


def stored_dividends(project: Project, branches: Iterable[Branch], tickers: Sequence[str]) -> list[BranchDividends]:
    """The dividends of each branch; with `tickers`, only of these.

    Raises:
        DataError: a stored file is damaged.
    """
    return [_of_branch(project, branch, tickers) for branch in branches]


def _of_branch(project: Project, branch: Branch, tickers: Sequence[str]) -> BranchDividends:
    folder = project.prices(branch.name)
    dividends: list[StoredDividend] = []
    unknown: list[str] = []
    without_prices: list[str] = []
    for ticker in dict.fromkeys(spec.ticker for spec in branch.models if not tickers or spec.ticker in tickers):
        table = read_table(folder, ticker)
        if table is None:
            without_prices.append(ticker)
            continue
        listed = dividends_of(folder, ticker, table)
        if listed is None:
            unknown.append(ticker)
        dividends += listed or []
    return BranchDividends(branch.name, tuple(dividends), tuple(unknown), tuple(without_prices))
