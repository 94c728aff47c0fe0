"""The query parameters of requests for lists: read, checked and applied to orders or activities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from mlops_cli.exchange.book.records import Account, Activity, Order, RefusedError, refused
from mlops_cli.market.hours import in_new_york, parse_time

MOST_DIGITS = 18
MOST_ORDERS = 500
MOST_ACTIVITIES = 100
STATUSES = ("open", "closed", "all")
Query = Mapping[str, str]


def whole_number(
    query: Query, name: str, default: int, most: int, refusal: Callable[[str], RefusedError] = refused
) -> int:
    """Read a number from 1; a larger one than `most` becomes `most`. `refusal` makes the error for other text."""
    text = query.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS and int(text) > 0):
        raise refusal(f"invalid {name}: {text[:40]!r}")
    return min(int(text), most)


def words(query: Query, name: str) -> frozenset[str]:
    """Read a list of words that are separated by commas; empty if the parameter is missing."""
    return frozenset(word for word in query.get(name, "").split(",") if word)


def _in_time(query: Query, refusal: str, *, end_of_day: bool) -> Callable[[datetime], bool]:
    """A function that says whether a time lies between `after` and `until` of a query, neither included."""
    try:
        after = parse_time(query["after"]) if query.get("after") else None
        until = parse_time(query["until"], end_of_day=end_of_day) if query.get("until") else None
    except ValueError:
        raise refused(refusal) from None
    return lambda at: (after is None or at > after) and (until is None or at < until)


def select_orders(account: Account, query: Query) -> list[Order]:
    """The orders of an account that `GET /v2/orders` asks for; a `RefusedError` for an invalid parameter."""
    status = query.get("status") or "open"
    if status not in STATUSES:
        raise refused(f"invalid status: {status[:40]!r}")
    in_time = _in_time(query, "invalid after or until", end_of_day=False)
    limit = whole_number(query, "limit", 50, MOST_ORDERS)
    orders = (account.open_orders if status == "open" else account.orders).values()
    fits = _order_filter(account, query)
    selected = [
        order
        for order in orders
        if fits(order) and in_time(order.created_at) and (status != "closed" or not order.is_open)
    ]
    selected.sort(key=lambda order: order.sequence, reverse=query.get("direction", "desc") != "asc")
    return selected[:limit]


def _order_filter(account: Account, query: Query) -> Callable[[Order], bool]:
    """A function that says whether an order has the symbol, side and place in the sequence that a query asks for."""
    symbols, side = words(query, "symbols"), query.get("side") or ""
    first = account.orders.get(query.get("after_order_id") or "")
    last = account.orders.get(query.get("before_order_id") or "")
    return lambda order: (
        (not symbols or order.symbol in symbols)
        and side in ("", order.side)
        and (first is None or order.sequence > first.sequence)
        and (last is None or order.sequence < last.sequence)
    )


def select_activities(activities: Iterable[Activity], query: Query, kind: str | None = None) -> list[Activity]:
    """The activities that `GET /v2/account/activities` asks for; a `RefusedError` for an invalid parameter.

    Args:
        activities: all of an account, in the order in which they happened.
        query: the parameters.
        kind: the one that the path names; the parameters then name none.
    """
    day, page_token = query.get("date", "")[:10], query.get("page_token", "")
    in_time = _in_time(query, "invalid after, until or date", end_of_day=True)
    page_size = whole_number(query, "page_size", MOST_ACTIVITIES, MOST_ACTIVITIES)
    selected = [
        activity
        for activity in activities
        if _has_kind(activity.body["activity_type"], query, kind)
        and (not day or in_new_york(activity.at).date().isoformat() == day)
        and in_time(activity.at)
    ]
    if query.get("direction", "desc") != "asc":
        selected.reverse()
    if page_token:
        ids = [activity.id for activity in selected]
        selected = selected[ids.index(page_token) + 1 :] if page_token in ids else []
    return selected[:page_size]


def _has_kind(kind: str, query: Query, kind_of_path: str | None) -> bool:
    if kind_of_path is not None:
        return kind == kind_of_path
    if query.get("category"):
        return (kind == "FILL") == (query["category"] == "trade_activity")
    kinds = words(query, "activity_types")
    return not kinds or kind in kinds
