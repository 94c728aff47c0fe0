"""The stored prices of a ticker, with their provenance, for people to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mlops_cli.config.load import Branch, load_branch, load_branches, load_params
from mlops_cli.config.paths import Project
from mlops_cli.errors import DataError, bounded
from mlops_cli.pipeline.stages.stage import failures_of, read_note
from mlops_cli.pipeline.stages.stored_dividends import StoredDividend, dividends_of
from mlops_cli.pipeline.stages.tables import read_table
from mlops_cli.prices.cleaning.counts import TickerRepairs, repairs_of


@dataclass(frozen=True)
class StoredPrices:
    """A branch's price table of a ticker, its provenance record, the repairs that it lists, and its dividends.

    Attributes:
        dividends: rising by ex-date; None if nothing says what dividends the ticker has.
    """

    branch: str
    table: pd.DataFrame
    provenance: Mapping[str, Any]
    repairs: TickerRepairs
    dividends: list[StoredDividend] | None


def stored_prices(project: Project, ticker: str, branch_name: str | None = None) -> list[StoredPrices]:
    """The stored prices of a ticker in the named branch, or in every branch that has some.

    Raises:
        DataError: there are none, with the reason if ingest noted one; or they are damaged.
        ConfigError: there is no such branch.
    """
    params = load_params(project)
    branches = (
        list(load_branches(project, params).values())
        if branch_name is None
        else [load_branch(project, params, branch_name)]
    )
    tables = [_stored(project, branch.name, ticker.upper()) for branch in branches]
    stored = [table for table in tables if table is not None]
    if not stored:
        raise _nothing_stored(project, branches, ticker.upper())
    return stored


def _nothing_stored(project: Project, branches: Sequence[Branch], ticker: str) -> DataError:
    tickers = {spec.ticker for branch in branches for spec in branch.models}
    if ticker not in tickers:
        listed = f"; tickers: {bounded(sorted(tickers))}" if tickers else ""
        return DataError(
            f"{ticker}: no model has this ticker{listed}", f"add one: mlops models add {ticker} --team NAME"
        )
    for branch in branches:
        models = [spec for spec in branch.models if spec.ticker == ticker]
        for failure in failures_of(project.prices(branch.name), models).values():
            return DataError(f"{ticker}: no stored prices, because ingest refused them: {failure.reason}")
    return DataError(f"{ticker}: no stored prices yet", "run: mlops ingest")


def _stored(project: Project, branch: str, ticker: str) -> StoredPrices | None:
    folder = project.prices(branch)
    table = read_table(folder, ticker)
    if table is None:
        return None
    note = read_note(folder / f"{ticker}.json")
    try:
        repairs = repairs_of(note or {})
    except (KeyError, TypeError, ValueError) as error:
        path = folder / f"{ticker}.json"
        raise DataError(f"{path}: missing or damaged", "fetch the prices again: mlops ingest") from error
    assert note is not None
    return StoredPrices(branch, table, note, repairs, dividends_of(folder, ticker, table))
