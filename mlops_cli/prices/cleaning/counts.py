"""How many rows of each ticker the cleaning rules repaired or dropped, from the JSON files beside the price tables.

This module imports no pandas, so that commands and servers that only count start quickly.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIVIDEND_RULES = frozenset(
    {"dividend_absurd", "dividend_announced_late", "dividend_currency", "dividend_disputed", "dividend_large",
     "dividend_no_amount", "dividend_no_session", "dividend_unconfirmed", "dividends_not_fetched"}
)  # fmt: skip
"""Checks of dividends. Every ingest makes them anew for the whole history."""
NOT_ROWS = DIVIDEND_RULES | frozenset(
    {"out_of_order", "missing_adj_close", "adj_close_unclear", "missing_sessions", "unadjusted_split",
     "dividend_adjustment"}
)  # fmt: skip
"""Rules that count events or note something: none of them changes or loses the numbers of single rows."""
DROPPED = frozenset(
    {"outside_calendar", "non_sessions", "unfinished_sessions", "nulls", "non_positive", "duplicates",
     "inconsistent_bar"}
)  # fmt: skip
MUCH = 0.05
"""Above this share of a ticker's rows, repairs are a warning."""
MOST_SHOWN = 5


@dataclass(frozen=True)
class RuleCount:
    """What one rule repaired in one ticker: number of rows or events, and at most five of them in words."""

    rule: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class TickerRepairs:
    """What cleaning repaired in a ticker.

    Attributes:
        sessions: rows that are left.
        rules: in the order in which they ran.
    """

    ticker: str
    sessions: int
    rules: tuple[RuleCount, ...]

    @property
    def has_adjusted_closes(self) -> bool:
        """Whether the source gave adjusted closes, which show dividends."""
        return all(rule.rule != "missing_adj_close" for rule in self.rules)

    @property
    def rows(self) -> int:
        """Rows that were read: those that are left and those that were dropped."""
        return self.sessions + sum(rule.count for rule in self.rules if rule.rule in DROPPED)

    @property
    def touched(self) -> int:
        """Rows that were repaired or dropped."""
        return min(self.rows, sum(rule.count for rule in self.rules if rule.rule not in NOT_ROWS))

    @property
    def dividend_faults(self) -> tuple[RuleCount, ...]:
        """What the checks of dividends found, except large ones that the adjusted closes confirm."""
        return tuple(rule for rule in self.rules if rule.rule in DIVIDEND_RULES - {"dividend_large"})

    def examples_of(self, rule: str) -> tuple[str, ...]:
        """What a rule found, in words; nothing if it found nothing."""
        return next((each.examples for each in self.rules if each.rule == rule), ())

    @property
    def share(self) -> float:
        """Share of the rows that were repaired or dropped."""
        return self.touched / self.rows if self.rows else 0.0

    @property
    def much(self) -> bool:
        """Whether that is more than 5 %."""
        return self.share > MUCH

    @property
    def words(self) -> str:
        """The counts in words: `400 of 800 rows repaired or dropped (50 %): missing_open 400`."""
        counts = ", ".join(f"{rule.rule} {rule.count}" for rule in self.rules if rule.rule not in NOT_ROWS)
        return f"{self.touched} of {self.rows} rows repaired or dropped ({100 * self.share:.0f} %): {counts}"

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {
            "ticker": self.ticker,
            "rows": self.rows,
            "touched": self.touched,
            "share": round(self.share, 4),
            "rules": [{"rule": r.rule, "count": r.count, "examples": list(r.examples)} for r in self.rules],
        }


def repairs_of(note: Mapping[str, Any]) -> TickerRepairs:
    """The repairs in a provenance record; a `KeyError`, `TypeError` or `ValueError` if it is none."""
    rules = tuple(RuleCount(str(r["rule"]), int(r["count"]), tuple(map(str, r["examples"]))) for r in note["repairs"])
    return TickerRepairs(str(note["ticker"]), int(note["sessions"]), rules)


def read_repairs(folder: Path, tickers: Collection[str] | None = None) -> list[TickerRepairs]:
    """The repairs of the price tables in a folder, by ticker; with `tickers`, only of these."""
    repairs = []
    for path in sorted(folder.glob("*.json")):
        if tickers is not None and path.stem not in tickers:
            continue
        try:
            repairs.append(repairs_of(json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # such as failures.json, or a damaged file, which the next ingest replaces
    return repairs


def by_rule(repairs: Collection[TickerRepairs]) -> list[tuple[str, int, int, str]]:
    """Per rule: its name, its count over all tickers, the number of tickers, and the most touched tickers in words."""
    counts: dict[str, dict[str, int]] = {}
    for ticker in repairs:
        for rule in ticker.rules:
            counts.setdefault(rule.rule, {})[ticker.ticker] = rule.count
    rows = []
    for name, per_ticker in counts.items():
        most = sorted(per_ticker.items(), key=lambda item: (-item[1], item[0]))[:MOST_SHOWN]
        rows.append((name, sum(per_ticker.values()), len(per_ticker), ", ".join(f"{t} {n}" for t, n in most)))
    return sorted(rows, key=lambda row: (-row[1], row[0]))


class RepairedPrices:
    """The much repaired tickers of a project, read again only when a branch's folder changes."""

    def __init__(self, prices: Path) -> None:
        """Read below `prices`, which has one folder per branch."""
        self._prices = prices
        self._read: dict[str, tuple[int, dict[str, str]]] = {}

    def warnings(self) -> dict[str, str]:
        """By `branch/ticker`, in words, the repairs of tickers of which more than 5 % of the rows were touched."""
        warnings: dict[str, str] = {}
        for folder in sorted(path for path in self._prices.glob("*") if path.is_dir()):
            changed = folder.stat().st_mtime_ns
            if self._read.get(folder.name, (-1, {}))[0] != changed:
                much = {f"{folder.name}/{r.ticker}": r.words for r in read_repairs(folder) if r.much}
                self._read[folder.name] = (changed, much)
            warnings |= self._read[folder.name][1]
        return warnings
