"""The query parameters of requests for lists: read and checked once, then applied to orders or activities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from mlops_cli.exchange.book.records import Account, Activity, Order, RefusedError, refused
from mlops_cli.market.hours import local, parse_time

MOST_DIGITS = 18
MOST_ORDERS = 500
MOST_ACTIVITIES = 100
STATUSES = ("open", "closed", "all")
Query = Mapping[str, str]


def whole_number(
    query: Query, name: str, default: int, most: int, refusal: Callable[[str], RefusedError] = refused
) -> int:
    """Read a number from 1; more than `most` becomes `most`, and `refusal` makes the error of what is no number."""
    text = query.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS and int(text) > 0):
        raise refusal(f"invalid {name}: {text[:40]!r}")
    return min(int(text), most)


def words(query: Query, name: str) -> frozenset[str]:
    """Read a list of words that are separated by commas; empty if the parameter is missing."""
    return frozenset(word for word in query.get(name, "").split(",") if word)


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Two times of a query, neither of them included; None for no limit."""

    after: datetime | None
    until: datetime | None

    def include(self, at: datetime) -> bool:
        """Whether a time lies between the two."""
        return (self.after is None or at > self.after) and (self.until is None or at < self.until)


def _time_limits(query: Query, refusal: str, *, end_of_day: bool) -> TimeLimits:
    after, until = query.get("after"), query.get("until")
    try:
        return TimeLimits(
            parse_time(after) if after else None, parse_time(until, end_of_day=end_of_day) if until else None
        )
    except ValueError:
        raise refused(refusal) from None


@dataclass(frozen=True, slots=True)
class OrderQuery:
    """Which orders `GET /v2/orders` lists.

    Attributes:
        status: "open", "closed" or "all".
        symbols: to list; empty for all.
        side: to list; empty for both.
        times: between which the orders were sent.
        after_order: id of an order; only later orders are listed.
        before_order: id of an order; only earlier orders are listed.
        newest_first: the order of the list.
        limit: most orders to list.
    """

    status: str
    symbols: frozenset[str]
    side: str
    times: TimeLimits
    after_order: str
    before_order: str
    newest_first: bool
    limit: int

    def select(self, account: Account) -> list[Order]:
        """The orders of an account that are asked for."""
        orders = account.open_orders if self.status == "open" else account.orders
        first, last = account.orders.get(self.after_order), account.orders.get(self.before_order)
        selected = [
            order
            for order in orders.values()
            if self._includes(order)
            and (first is None or order.sequence > first.sequence)
            and (last is None or order.sequence < last.sequence)
        ]
        selected.sort(key=lambda order: order.sequence, reverse=self.newest_first)
        return selected[: self.limit]

    def _includes(self, order: Order) -> bool:
        return (
            not (self.status == "closed" and order.is_open)
            and (not self.symbols or order.symbol in self.symbols)
            and self.side in ("", order.side)
            and self.times.include(order.created_at)
        )


def read_order_query(query: Query) -> OrderQuery:
    """Read the parameters of `GET /v2/orders`.

    Raises:
        RefusedError: one of them is invalid.
    """
    status = query.get("status") or "open"
    if status not in STATUSES:
        raise refused(f"invalid status: {status[:40]!r}")
    return OrderQuery(
        status=status,
        symbols=words(query, "symbols"),
        side=query.get("side") or "",
        times=_time_limits(query, "invalid after or until", end_of_day=False),
        after_order=query.get("after_order_id") or "",
        before_order=query.get("before_order_id") or "",
        newest_first=query.get("direction", "desc") != "asc",
        limit=whole_number(query, "limit", 50, MOST_ORDERS),
    )


@dataclass(frozen=True, slots=True)
class ActivityQuery:
    """Which activities `GET /v2/account/activities` lists.

    Attributes:
        kinds: to list; empty for all.
        category: "trade_activity" or "non_trade_activity"; empty for both. It replaces `kinds`.
        day: in New York, as ISO text; empty for all.
        times: between which they happened.
        newest_first: the order of the list.
        page_token: id of the last activity of the page before.
        page_size: most activities to list.
    """

    kinds: frozenset[str]
    category: str
    day: str
    times: TimeLimits
    newest_first: bool
    page_token: str
    page_size: int

    def select(self, activities: Iterable[Activity]) -> list[Activity]:
        """The activities that are asked for, from all of an account in the order in which they happened."""
        selected = [activity for activity in activities if self._includes(activity)]
        if self.newest_first:
            selected.reverse()
        if self.page_token:
            ids = [activity.id for activity in selected]
            selected = selected[ids.index(self.page_token) + 1 :] if self.page_token in ids else []
        return selected[: self.page_size]

    def _includes(self, activity: Activity) -> bool:
        kind = activity.body["activity_type"]
        if self.category:
            meant = (kind == "FILL") == (self.category == "trade_activity")
        else:
            meant = not self.kinds or kind in self.kinds
        on_day = not self.day or local(activity.at).date().isoformat() == self.day
        return meant and on_day and self.times.include(activity.at)


def read_activity_query(query: Query, kind: str | None = None) -> ActivityQuery:
    """Read the parameters of `GET /v2/account/activities`.

    If the path names a kind of activity, the parameters name none.

    Raises:
        RefusedError: one of the parameters is invalid.
    """
    return ActivityQuery(
        kinds=words(query, "activity_types") if kind is None else frozenset({kind}),
        category=query.get("category", "") if kind is None else "",
        day=query.get("date", "")[:10],
        times=_time_limits(query, "invalid after, until or date", end_of_day=True),
        newest_first=query.get("direction", "desc") != "asc",
        page_token=query.get("page_token", ""),
        page_size=whole_number(query, "page_size", MOST_ACTIVITIES, MOST_ACTIVITIES),
    )
