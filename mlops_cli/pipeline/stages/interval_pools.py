"""The quantiles of intervals that are made of the errors of all stocks of a branch (`intervals: {method: fleet}`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from mlops_cli.config.schemas.intervals import Intervals
from mlops_cli.errors import MlopsError
from mlops_cli.features.build import interval_errors
from mlops_cli.features.intervals import fleet_quantiles
from mlops_cli.models.manifest import fingerprint
from mlops_cli.pipeline.stages.stage import read_note
from mlops_cli.pipeline.stages.stored_bars import read_bars
from mlops_cli.prices.actions.sightings_file import dividends_file
from mlops_cli.system.parallel import each


@dataclass(frozen=True)
class Pool:
    """The stocks of one exchange whose errors are pooled: total returns if `dividends`, else price returns."""

    exchange: str
    dividends: bool


class IntervalPools:
    """The pools of a branch, and their quantiles.

    Attributes:
        prices: folder of the branch's price tables.
        settings: the branch's settings of intervals; with method `stock` there are no pools.
    """

    def __init__(self, prices: Path, settings: Intervals) -> None:
        """Begin without stocks."""
        self.prices = prices
        self.settings = settings
        self._tickers: dict[Pool, set[str]] = {}
        self._marks: dict[Pool, str] = {}

    def of(self, exchange: str, dividends: bool) -> Pool | None:
        """The pool of a stock of this exchange; None if its intervals are made of its own errors."""
        return Pool(exchange, dividends) if self.settings.method == "fleet" else None

    def add(self, ticker: str, exchange: str, dividends: bool) -> None:
        """Add a stock to its pool."""
        pool = self.of(exchange, dividends)
        if pool:
            self._tickers.setdefault(pool, set()).add(ticker)

    def mark(self, pool: Pool | None) -> str:
        """Fingerprint of the prices and dividends of a pool; empty without one."""
        if pool is None:
            return ""
        if pool not in self._marks:
            facts = [_facts(self.prices, ticker, pool.dividends) for ticker in sorted(self._tickers[pool])]
            self._marks[pool] = fingerprint(facts)
        return self._marks[pool]

    def quantiles(self, pools: Iterable[Pool | None]) -> dict[Pool, pd.DataFrame]:
        """The quantiles of these pools by session, see `features.intervals.fleet_quantiles`.

        Stocks whose prices are missing or damaged are left out.
        """
        return {pool: self._quantiles(pool) for pool in dict.fromkeys(pools) if pool}

    def _quantiles(self, pool: Pool) -> pd.DataFrame:
        tickers = sorted(self._tickers[pool])
        results = zip(tickers, each(partial(_errors, self.prices, pool), tickers), strict=True)
        errors = {ticker: result for ticker, result in results if not isinstance(result, MlopsError)}
        return fleet_quantiles(errors, self.settings.levels)


def _facts(prices: Path, ticker: str, dividends: bool) -> list[str]:
    note = read_note(prices / f"{ticker}.json") or {}
    file = dividends_file(prices, ticker)
    return [ticker, str(note.get("sha256", "")), file.read_text() if dividends and file.is_file() else ""]


def _errors(prices: Path, pool: Pool, ticker: str) -> pd.Series[float]:
    stored = read_bars(prices, ticker, pool.exchange, pool.dividends)
    return interval_errors(stored.bars, stored.days, ticker, stored.dividends)
