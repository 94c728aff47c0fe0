"""Step `check`: tickers without prices, without the newest session, or with another history than at the last pass."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
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


def restated_tickers(context: PassContext) -> dict[str, list[str]]:
    """By branch, the tickers of which step `check` of this pass found that earlier closes had changed."""
    return {
        branch: sorted(ticker for ticker, prices in seen.items() if prices.restated == context.session)
        for branch, seen in read_seen(context).items()
    }


def read_seen(context: PassContext) -> dict[str, dict[str, SeenPrices]]:
    """By branch and ticker, what the last check saw; empty before the first one, or if the file is damaged."""
    note = read_note(_file(context)) or {}
    return {
        str(branch): {str(ticker): _seen_of(values) for ticker, values in tickers.items()}
        for branch, tickers in note.items()
    }


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
            continue
        now[ticker] = prices
        if prices.last < context.last_session(exchange):
            stale[context.last_session(exchange)].append(ticker)
        if prices.restated == context.session:
            restated.append(ticker)
    outcome.done += len(restated)
    outcome.unchanged += len(now) - len(restated)
    outcome.figures[branch.name] = {
        "tickers": len(exchanges), "missing": missing, "restated": restated,
        "stale": {str(day): tickers for day, tickers in stale.items()},
    }  # fmt: skip
    for trouble in _troubles(branch.name, len(exchanges), missing, stale):
        outcome.troubles.append(trouble)
        outcome.lines.append(trouble.text)
    if restated:
        text = f"{branch.name}: earlier closes of {bounded(restated)} changed since the last pass: corrected, or split"
        command = f"mlops prices show {restated[0]}"
        outcome.troubles.append(Trouble(f"restated:{branch.name}:{context.session}", text, command))
        outcome.lines.append(text)
    return now


def _troubles(branch: str, count: int, missing: list[str], stale: Mapping[date, list[str]]) -> Iterator[Trouble]:
    if missing:
        text = f"{branch}: {len(missing)} of {count} tickers have no prices: {bounded(missing)}"
        yield Trouble(f"missing:{branch}", text, "mlops ingest -v")
    for day, tickers in sorted(stale.items()):
        late = "the source is late, or the day is missing there" if len(tickers) == count else bounded(tickers)
        text = f"{branch}: {len(tickers)} of {count} tickers have no prices of {day}: {late}"
        yield Trouble(f"stale:{branch}", text, "mlops live, again later")


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
