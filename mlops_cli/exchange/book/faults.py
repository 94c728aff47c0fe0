"""Faults that a client of a broker must survive, set on demand and repeatable by a seed."""

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
_LARGEST = 1e7
_LONGEST_TEXT = 200
MOST_FAULTS = 1000


@dataclass(frozen=True, slots=True)
class _Number:
    """The numbers that a member of a fault may have."""

    least: float = 0
    most: float = _LARGEST
    whole: bool = False

    def fits(self, value: Any) -> bool:
        kinds = int if self.whole else int | float
        return isinstance(value, kinds) and not isinstance(value, bool) and self.least <= value <= self.most


_TEXTS = ("method", "path", "symbol")
_NUMBERS = {
    "times": _Number(whole=True),
    "skip": _Number(whole=True),
    "status": _Number(400, 599, whole=True),
    "seconds": _Number(),
    "factor": _Number(),
    "fraction": _Number(most=1.0),
    "probability": _Number(most=1.0),
}
_CLOCK_ERROR = _Number(-_LARGEST)
_DEFAULTS: dict[str, dict[str, Any]] = {
    "timeout": {"seconds": 30.0},
    "wide_spread": {"factor": 50.0},
    "delay_fills": {"seconds": 60.0},
    "partial_fills": {"fraction": 0.5, "seconds": 60.0},
    "clock_skew": {"seconds": 300.0},
}


@dataclass(slots=True)
class Fault:
    """A fault that is set. Requests and orders count for it in the order in which they come.

    Attributes:
        kind: one of `REQUEST_KINDS` or `MARKET_KINDS`.
        method: of the requests that it strikes, whose path begins with `path`; None for all.
        when: whether it strikes "before" the request is carried out, or "after".
        seconds: by which an answer or a fill is late, or the clock is wrong.
        symbol: that it concerns; None for all.
        factor: by which the spread is wider (kind wide_spread).
        fraction: of an order that is filled first (kind partial_fills).
        times: how often it strikes at most; None for no limit.
        skip: how many requests or orders it lets pass first.
        since: the exchange's time at which it was set.
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
    """The faults that are set; `seed` starts the random numbers that decide about faults with a probability."""

    def __init__(self, seed: int = 0) -> None:
        self.active: list[Fault] = []
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        """Start the random numbers again."""
        self._random = random.Random(seed)

    def add(self, members: Mapping[str, Any], now: datetime) -> Fault:
        """Set the fault that has these members of `Fault`, where None counts as left out; `kind` is required.

        A member that is unknown, or has no valid value, is a `RefusedError`.
        """
        if len(self.active) >= MOST_FAULTS:
            raise refused(f"no more than {MOST_FAULTS} faults can be set; DELETE /sim/faults removes them")
        given = {name: value for name, value in members.items() if value is not None}
        _check_names(given)
        for name, value in given.items():
            _check_value(given["kind"], name, value)
        fault = Fault(**{**_DEFAULTS.get(given["kind"], {}), **given, "since": now})
        self.active.append(fault)
        return fault

    def clear(self, kind: str | None = None) -> None:
        """Remove the faults of a kind, or all."""
        self.active = [fault for fault in self.active if kind is not None and fault.kind != kind]

    def of_request(self, method: str, path: str) -> Fault | None:
        """The fault that strikes this request, if there is one."""
        for fault in self.active:
            meant = fault.kind in REQUEST_KINDS and fault.method in (None, method) and path.startswith(fault.path)
            if meant and self._strikes(fault):
                return fault
        return None

    def standing(self, kind: str, symbol: str | None = None) -> Fault | None:
        """The fault of a kind that is set for a symbol. It holds until it is removed, without counting."""
        for fault in self.active:
            if fault.kind == kind and fault.symbol in (None, symbol):
                return fault
        return None

    def strike(self, kind: str, symbol: str) -> Fault | None:
        """The fault of a kind that strikes one order in a symbol, if there is one."""
        fault = self.standing(kind, symbol) if self.active else None
        return fault if fault is not None and self._strikes(fault) else None

    def listed(self) -> list[dict[str, Any]]:
        """All faults as plain values."""
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


def _check_names(given: Mapping[str, Any]) -> None:
    members = {field.name for field in fields(Fault)} - {"since", "struck"}
    kind, unknown = given.get("kind"), [name for name in given if name not in members]
    if kind not in REQUEST_KINDS + MARKET_KINDS or unknown:
        kinds = ", ".join(REQUEST_KINDS + MARKET_KINDS)
        names = f" with {', '.join(unknown)[:_LONGEST_TEXT]}" if unknown else ""
        raise refused(f"no such fault: {str(kind)[:40]!r}{names}; kinds are {kinds}")


def _check_value(kind: str, name: str, value: Any) -> None:
    if name == "when" and value not in ("before", "after"):
        raise refused("when must be before or after")
    number = _CLOCK_ERROR if (kind, name) == ("clock_skew", "seconds") else _NUMBERS.get(name)
    wrong_text = name in _TEXTS and not (isinstance(value, str) and len(value) <= _LONGEST_TEXT)
    if wrong_text or (number is not None and not number.fits(value)):
        raise refused(f"invalid {name}: {str(value)[:40]!r}")
