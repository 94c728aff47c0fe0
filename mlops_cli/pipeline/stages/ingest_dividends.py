"""The part of stage `ingest` that adds what is known about a ticker's dividends to its sightings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd

from mlops_cli.errors import ServiceError, error_with
from mlops_cli.market.sessions import exchange_timezone
from mlops_cli.prices.actions.action_source import Listing
from mlops_cli.prices.actions.checks import Finding, in_table
from mlops_cli.prices.actions.dividends import Sighting
from mlops_cli.prices.actions.entries import bar_dividends
from mlops_cli.prices.actions.record import Evidence, record
from mlops_cli.prices.actions.sightings_file import dividends_file, read_sightings, write_sightings
from mlops_cli.prices.cleaning.repair import Repair
from mlops_cli.prices.sources.source import RawBars, SourceFailure
from mlops_cli.prices.table import Provenance


@dataclass(frozen=True)
class FetchedPrices:
    """The prices of a ticker that were just fetched.

    Attributes:
        raw: as the source returned them.
        table, provenance: checked, with all stored sessions.
        stored: the table before this fetch; None if there was none.
        source: name of the source.
    """

    raw: RawBars
    table: pd.DataFrame
    provenance: Provenance
    stored: pd.DataFrame | None
    source: str


@dataclass(frozen=True)
class NotedDividends:
    """Whether the sightings changed, and what the checks of dividends found, as entries of the table of repairs."""

    changed: bool
    repairs: tuple[Repair, ...]


def note_dividends(folder: Path, fetched: FetchedPrices, listing: Listing | SourceFailure | None) -> NotedDividends:
    """Add what prices and listing say about dividends to the sightings of the ticker.

    If neither can say anything, there is no file of sightings: the dividends are not known.

    Args:
        folder: of the branch's prices.
        fetched: the prices.
        listing: of the source of actions; None without such a source. After a `ServiceError` of that source, what was
            seen before stays, and the result says so.

    Raises:
        DataError: the source of actions contains a fault of this ticker, or the stored sightings are damaged.
    """
    if isinstance(listing, SourceFailure) and listing.exit_code != ServiceError.exit_code:
        raise error_with(listing.exit_code, listing.reason)
    path = dividends_file(folder, fetched.raw.ticker)
    stored = read_sightings(path)
    recorded = record(_evidence(fetched, listing if isinstance(listing, Listing) else None, stored))
    findings = list(recorded.findings)
    if isinstance(listing, SourceFailure):
        findings.append(Finding("dividends_not_fetched", f"{listing.reason}; what was seen before is used"))
    changed = bool(recorded.new) or (stored is None and recorded.is_known)
    if changed:
        write_sightings(path, [*(stored or []), *recorded.new])
    return NotedDividends(changed, in_table(findings))


def _evidence(fetched: FetchedPrices, listing: Listing | None, stored: list[Sighting] | None) -> Evidence:
    provenance, table = fetched.provenance, fetched.table
    earlier = None if fetched.stored is None or fetched.stored.empty else fetched.stored
    moment = datetime.fromisoformat(provenance.fetched_at)
    return Evidence(
        exchange=provenance.exchange,
        prices=table,
        adjusted=all(repair.rule != "missing_adj_close" for repair in provenance.repairs),
        seen=moment.astimezone(ZoneInfo(exchange_timezone(provenance.exchange))).date(),
        bars=bar_dividends(fetched.source, fetched.raw.frame, table["close"]),
        listing=listing,
        stored=stored,
        stored_from=None if earlier is None else earlier.index[0].date(),
        stored_until=None if earlier is None else earlier.index[-1].date(),
        is_appended=earlier is not None and not fetched.raw.replaces_all,
    )
