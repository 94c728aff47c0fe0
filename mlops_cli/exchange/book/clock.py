"""The exchange's clock: the real time, or the time of a replay, which stands still until it is moved."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mlops_cli.exchange.book.records import refused
from mlops_cli.market.hours import Hours


@dataclass(slots=True)
class Clock:
    """Tells the time; `standing` is the time of a replay, None for the real time."""

    standing: datetime | None = None

    def now(self) -> datetime:
        """The time in UTC."""
        return self.standing if self.standing is not None else datetime.now(UTC)

    def advance(self, to: datetime) -> None:
        """Move the time of a replay; a `RefusedError` if it would go back. The real time becomes a replay."""
        if self.standing is not None and to < self.standing:
            raise refused(f"the clock stands at {self.standing.isoformat()} and does not go back")
        self.standing = to.astimezone(UTC)


def target(now: datetime, hours: Hours, to: str | None, seconds: float) -> datetime:
    """The time to which to move the clock: "next_open", "next_close" or None (now), plus seconds.

    Another word, or a time after the end of the calendar, is a `RefusedError`.
    """
    match to:
        case None:
            base = now
        case "next_open":
            base = hours.next_open(now).opens
        case "next_close":
            base = hours.next_close(now).closes
        case _:
            raise refused(f"to must be next_open or next_close, not {str(to)[:40]!r}")
    end = hours.sessions[-1].closes
    if not abs(seconds) < (end - base).total_seconds():
        raise refused(f"the calendar is known until {end.isoformat()}")
    return base + timedelta(seconds=seconds)
