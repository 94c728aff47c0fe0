"""Faults on demand: what a broker does to its clients on a bad day, repeatable by a seed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

from mlops_cli.exchange.book.records import refused

REQUEST_KINDS = ("status", "timeout", "drop")
MARKET_KINDS = (
    "halt",
    "wide_spread",
    "stale_quotes",
    "reject_orders",
    "delay_fills",
    "partial_fills",
    "duplicate_fills",
    "clock_skew",
)
MOST = {"probability": 1.0, "fraction": 1.0, "status": 599}
MOST_OF_OTHERS = 1e7
_TEXTS, _WHOLE = ("method", "path", "symbol"), ("times", "skip", "status")
_NUMBERS = (*_WHOLE, "seconds", "factor", "fraction", "probability")
_DEFAULTS: dict[str, dict[str, Any]] = {
    "timeout": {"seconds": 30.0},
    "wide_spread": {"factor": 50.0},
    "delay_fills": {"seconds": 60.0},
    "partial_fills": {"fraction": 0.5, "seconds": 60.0},
    "clock_skew": {"seconds": 300.0},
}


@dataclass(slots=True)
class Fault:
    """One fault.

    Attributes:
        kind: one of `REQUEST_KINDS` or `MARKET_KINDS`.
        method: of the requests it strikes, None for all.
        path: beginning of their path.
        when: "before" the request is carried out, or "after".
        status: what is answered (kind status).
        seconds: how long it holds up an answer or a fill, or the clock's error.
        symbol: that it concerns, None for all.
        factor: on the spread (kind wide_spread).
        fraction: of an order that is filled at first (kind partial_fills).
        times: how often it strikes at most, None for always.
        skip: how often it lets pass before.
        probability: with which it strikes each time.
        since: the exchange's time when it was set.
        struck: how often it struck.
    """

    kind: str
    since: datetime
    method: str | None = None
    path: str = "/v2"
    when: str = "before"
    status: int = 500
    seconds: float = 0.0
    symbol: str | None = None
    factor: float = 1.0
    fraction: float = 1.0
    times: int | None = None
    skip: int = 0
    probability: float = 1.0
    struck: int = 0


class Faults:
    """All faults that are set."""

    def __init__(self, seed: int = 0) -> None:
        self.active: list[Fault] = []
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        """Begin the random numbers again."""
        self._random = random.Random(seed)

    def add(self, wanted: Mapping[str, Any], now: datetime) -> Fault:
        """Set a fault.

        Args:
            wanted: members of `Fault` by name; `kind` is required, None is as good as left out.
            now: the exchange's time.

        Raises:
            RefusedError: unknown or senseless members.
        """
        wanted = {name: value for name, value in wanted.items() if value is not None}
        kind = wanted.get("kind")
        names = {field.name: field.type for field in fields(Fault)} | {"since": ""}
        unknown = [name for name in wanted if name not in names or name in ("since", "struck")]
        if kind not in REQUEST_KINDS + MARKET_KINDS or unknown:
            known = ", ".join(REQUEST_KINDS + MARKET_KINDS)
            raise refused(f"no such fault: {kind!r} with {', '.join(unknown) or 'nothing unknown'}; kinds are {known}")
        for name, value in wanted.items():
            if not _makes_sense(kind, name, value):
                raise refused(f"invalid {name}: {str(value)[:40]!r}")
        if wanted.get("when", "before") not in ("before", "after"):
            raise refused("when must be before or after")
        fault = Fault(**{**_DEFAULTS.get(kind, {}), **wanted, "since": now})
        self.active.append(fault)
        return fault

    def clear(self, kind: str | None = None) -> None:
        """Take away the faults of a kind, or all."""
        self.active = [fault for fault in self.active if kind is not None and fault.kind != kind]

    def of_request(self, method: str, path: str) -> Fault | None:
        """The fault that strikes this request, if any."""
        for fault in self.active:
            meant = fault.kind in REQUEST_KINDS and fault.method in (None, method) and path.startswith(fault.path)
            if meant and self._strikes(fault):
                return fault
        return None

    def standing(self, kind: str, symbol: str | None = None) -> Fault | None:
        """A fault that holds as long as it is set."""
        for fault in self.active:
            if fault.kind == kind and fault.symbol in (None, symbol):
                return fault
        return None

    def strike(self, kind: str, symbol: str) -> Fault | None:
        """A fault that befalls one order, if it does."""
        fault = self.standing(kind, symbol) if self.active else None
        return fault if fault is not None and self._strikes(fault) else None

    def listed(self) -> list[dict[str, Any]]:
        """All as plain values."""
        return [asdict(fault) for fault in self.active]

    def _strikes(self, fault: Fault) -> bool:
        if fault.times is not None and fault.struck >= fault.times:
            return False
        if fault.skip > 0:
            fault.skip -= 1
            return False
        if fault.probability < 1 and self._random.random() >= fault.probability:
            return False
        fault.struck += 1
        return True


def _makes_sense(kind: str, name: str, value: Any) -> bool:
    if name in _TEXTS:
        return isinstance(value, str)
    if name not in _NUMBERS:
        return True
    least = -MOST_OF_OTHERS if kind == "clock_skew" and name == "seconds" else 400 if name == "status" else 0
    wanted = int if name in _WHOLE else int | float
    fits = isinstance(value, wanted) and not isinstance(value, bool)
    return fits and least <= value <= MOST.get(name, MOST_OF_OTHERS)
