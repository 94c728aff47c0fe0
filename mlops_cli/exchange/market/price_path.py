"""The price within a session, of which only open, high, low and close are known.

It runs in straight lines from the open by way of one extreme to the other and to the close, a third of the
session each: first down where the session ends higher, first up where it ends lower. An assumption, the one charting
programs make for daily bars; but the same price at the same time, whoever asks and however often.
"""

from __future__ import annotations

from dataclasses import dataclass

KNOTS = (0.0, 1 / 3, 2 / 3, 1.0)


@dataclass(frozen=True, slots=True)
class PricePath:
    """Prices at `KNOTS` of a session, and how many shares were traded in it."""

    points: tuple[float, float, float, float]
    volume: float
    traded: bool = True

    @classmethod
    def of_bar(cls, open_: float, high: float, low: float, close: float, volume: float) -> PricePath:
        """The path of a daily bar."""
        middle = (low, high) if close >= open_ else (high, low)
        return cls((open_, *middle, close), volume, volume > 0)

    @classmethod
    def flat(cls, price: float, volume: float, *, traded: bool = True) -> PricePath:
        """A session without news."""
        return cls((price,) * 4, volume, traded)

    def price(self, share: float) -> float:
        """At this share (0 to 1) of the session."""
        piece = min(int(share * 3), 2)
        inside = min(1.0, share * 3 - piece)
        return self.points[piece] + (self.points[piece + 1] - self.points[piece]) * inside

    def extremes(self, share: float, since: float = 0.0) -> tuple[float, float]:
        """Lowest and highest price from `since` up to this share of the session."""
        inner = [point for knot, point in zip(KNOTS, self.points, strict=True) if since < knot < share]
        seen = [self.price(since), *inner, self.price(share)]
        return min(seen), max(seen)

    def reaches(self, level: float, since: float, until: float, *, falling: bool) -> float | None:
        """The first share of the session between both at which the price is at or beyond a level.

        Args:
            level: in USD.
            since: share of the session from which on to look.
            until: up to which, included.
            falling: at or below the level, else at or above it.
        """
        towards = -1.0 if falling else 1.0
        if (self.price(since) - level) * towards >= 0:
            return since
        for piece in range(3):
            start, end = max(since, KNOTS[piece]), min(until, KNOTS[piece + 1])
            if end <= start:
                continue
            first, last = self.price(start), self.price(end)
            if (last - level) * towards >= 0:
                return start + (end - start) * (level - first) / (last - first)
        return None
