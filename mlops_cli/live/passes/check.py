"""Step `check`: tickers without prices, without the newest session, or with another history than at the last pass."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import pandas as pd

from mlops_cli.config.load import Branch
from mlops_cli.errors import DataError, bounded
from mlops_cli.live.passes.step import PassContext, StepOutcome, Trouble
from mlops_cli.pipeline.stages.stage import read_note
from mlops_cli.pipeline.stages.tables import read_table
from mlops_cli.system.files import write_text

NOTES = "prices.json"


@dataclass(frozen=True)
class SeenPrices:
    """The prices of a ticker as a pass saw them.

    Attributes:
        table: hash of the whole table, from its provenance.
        last: the last session.
        closes: hash of all sessions and closes.
        restated: last session of the pass that found that earlier closes had changed; None: none has.
    """

    table: str
    last: date
    closes: str
    restated: date | None = None


def check_step(context: PassContext) -> StepOutcome:
    """Compare the stored prices with the calendar, and with what the last pass saw."""
    outcome = StepOutcome("check")
    seen = read_seen(context)
    now: dict[str, dict[str, SeenPrices]] = {}
    for branch in context.branches.values():
        now[branch.name] = _check(context, branch, seen.get(branch.name, {}), outcome)
    if not context.dry_run:
        _write(context, now)
    return outcome


def restated_tickers(context: PassContext, since: date | None) -> dict[str, list[str]]:
    """By branch, the tickers of which a pass from this session on found that earlier closes had changed; None: ever."""
    return {
        branch: sorted(
            ticker
            for ticker, prices in seen.items()
            if prices.restated is not None and (since is None or prices.restated >= since)
        )
        for branch, seen in read_seen(context).items()
    }


def read_seen(context: PassContext) -> dict[str, dict[str, SeenPrices]]:
    """By branch and ticker, what the last check saw; empty before the first one, or if the file is damaged."""
    note = read_note(_file(context)) or {}
    try:
        return {
            str(branch): {str(ticker): _seen_of(values) for ticker, values in tickers.items()}
            for branch, tickers in note.items()
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def _check(
    context: PassContext, branch: Branch, seen: Mapping[str, SeenPrices], outcome: StepOutcome
) -> dict[str, SeenPrices]:
    """Check the tickers of one branch; returns what was seen now."""
    now: dict[str, SeenPrices] = {}
    missing, restated = [], []
    stale: dict[date, list[str]] = defaultdict(list)
    exchanges = {spec.ticker: spec.exchange for spec in branch.models}
    for ticker, exchange in exchanges.items():
        prices = _look(context, branch.name, ticker, seen.get(ticker))
        if prices is None:
            missing.append(ticker)
            if ticker in seen:  # to compare with when it is back
                now[ticker] = seen[ticker]
            continue
        now[ticker] = prices
        if prices.last < context.last_session(exchange):
            stale[context.last_session(exchange)].append(ticker)
        if prices.restated == context.session:
            restated.append(ticker)
    outcome.done += len(restated)
    outcome.unchanged += len(exchanges) - len(missing) - len(restated)
    outcome.figures[branch.name] = {
        "tickers": len(exchanges), "missing": missing, "restated": restated,
        "stale": {str(day): tickers for day, tickers in stale.items()},
    }  # fmt: skip
    _tell_missing(branch.name, missing, len(exchanges), outcome)
    for day, tickers in sorted(stale.items()):
        _tell_stale(branch, day, tickers, outcome)
    if restated:
        text = f"{branch.name}: earlier closes of {bounded(restated)} changed since the last pass: corrected, or split"
        command = f"mlops prices show {restated[0]}"
        key = f"restated:{branch.name}:{context.session}"
        outcome.troubles.append(Trouble(key, text, command, is_event=True))
        outcome.lines.append(text)
    return now


def _tell_missing(branch: str, tickers: list[str], count: int, outcome: StepOutcome) -> None:
    if not tickers:
        return
    text = f"{branch}: {len(tickers)} of {count} tickers have no prices: {bounded(tickers)}"
    outcome.lines.append(text)
    if len(tickers) == count:
        outcome.troubles.append(Trouble(f"missing:{branch}", text, "mlops ingest -v"))
    else:  # each by itself: one that stays away must not hide that all others follow
        outcome.troubles += [
            Trouble(f"missing:{branch}:{ticker}", f"{branch}: {ticker} has no prices", "mlops ingest -v")
            for ticker in tickers
        ]


def _tell_stale(branch: Branch, day: date, tickers: list[str], outcome: StepOutcome) -> None:
    count = len({spec.ticker for spec in branch.models})
    everything = len(tickers) == count
    late = "the source is late, or the day is missing there" if everything else bounded(tickers)
    text = f"{branch.name}: {len(tickers)} of {count} tickers have no prices of {day}: {late}"
    outcome.lines.append(text)
    again = "mlops live, again later"
    if everything:
        outcome.troubles.append(Trouble(f"stale:{branch.name}", text, again))
    else:  # each by itself: one that was delisted must not hide that all others follow
        outcome.troubles += [
            Trouble(f"stale:{branch.name}:{ticker}", f"{branch.name}: {ticker} has no prices of {day}", again)
            for ticker in tickers
        ]


def _look(context: PassContext, branch: str, ticker: str, before: SeenPrices | None) -> SeenPrices | None:
    """Look at the stored prices of a ticker; None if there are none."""
    folder = context.project.prices(branch)
    note = read_note(folder / f"{ticker}.json") or {}
    digest = str(note.get("sha256", ""))
    if before is not None and digest == before.table:
        return before
    try:
        table = read_table(folder, ticker, ["close"])
    except DataError:
        return None  # ingest has reported it
    if table is None or table.empty:
        return None
    closes = table["close"]
    restated = before.restated if before else None
    if before is not None and _hash(closes.loc[: pd.Timestamp(before.last)]) != before.closes:
        restated = context.session
    return SeenPrices(digest, closes.index[-1].date(), _hash(closes), restated)


def _hash(closes: pd.Series) -> str:
    days = pd.DatetimeIndex(closes.index).as_unit("s").asi8.astype("<i8").tobytes()
    return hashlib.sha256(days + closes.to_numpy("<f8").tobytes()).hexdigest()


def _file(context: PassContext) -> Path:
    return context.project.live / NOTES


def _seen_of(values: Mapping[str, str | None]) -> SeenPrices:
    days = {name: date.fromisoformat(value) for name in ("last", "restated") if (value := values[name]) is not None}
    return SeenPrices(str(values["table"]), days["last"], str(values["closes"]), days.get("restated"))


def _write(context: PassContext, now: Mapping[str, Mapping[str, SeenPrices]]) -> None:
    notes = {branch: {ticker: asdict(prices) for ticker, prices in seen.items()} for branch, seen in now.items()}
    write_text(_file(context), json.dumps(notes, default=str) + "\n")
