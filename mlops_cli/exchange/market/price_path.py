"""The price within a session, of which only open, high, low and close are known.

The price moves in straight lines from the open to one extreme, to the other extreme and to the close. Each line takes
a third of the session. It moves down first when the session closes at or above its open, and up first when it closes
below. This is an assumption (charting programs make it for daily bars), but the price at a given time is always the
same for every caller.
"""

from __future__ import annotations

from dataclasses import dataclass

KNOTS = (0.0, 1 / 3, 2 / 3, 1.0)


@dataclass(frozen=True, slots=True)
class PricePath:
    """The price during one session: `points` in USD at the fractions `KNOTS`, and the volume of all of it in shares.

    Where it is not `traded`, orders cannot be filled.
    """

    points: tuple[float, float, float, float]
    volume: float
    traded: bool = True

    @classmethod
    def of_bar(cls, open_: float, high: float, low: float, close: float, volume: float) -> PricePath:
        """The path of a daily bar; prices in USD, volume in shares."""
        middle = (low, high) if close >= open_ else (high, low)
        return cls((open_, *middle, close), volume, volume > 0)

    @classmethod
    def flat(cls, price: float, volume: float, *, traded: bool = True) -> PricePath:
        """One price for the whole session."""
        return cls((price,) * 4, volume, traded)

    def price(self, fraction: float) -> float:
        """The price after this fraction (0 to 1) of the session."""
        piece = min(int(fraction * 3), 2)
        inside = min(1.0, fraction * 3 - piece)
        return self.points[piece] + (self.points[piece + 1] - self.points[piece]) * inside

    def extremes(self, until: float, since: float = 0.0) -> tuple[float, float]:
        """Lowest and highest price between two fractions of the session, both included."""
        inner = [point for knot, point in zip(KNOTS, self.points, strict=True) if since < knot < until]
        prices = [self.price(since), *inner, self.price(until)]
        return min(prices), max(prices)

    def reaches(self, level: float, since: float, until: float, *, falling: bool) -> float | None:
        """The fraction of the session at which the price first reaches a level (USD); None if it does not.

        The search goes from one fraction to the other, both included, for a price at or below the level
        if `falling`, else one at or above it.
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
