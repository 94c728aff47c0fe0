"""Query parameters of lists: what they select, in which order, and which are refused."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mlops_cli.exchange.api.queries import (
    MOST_ACTIVITIES,
    MOST_ORDERS,
    select_activities,
    select_orders,
    whole_number,
    words,
)
from mlops_cli.exchange.book.records import Account, Activity, RefusedError
from tests.fakes.small_exchange import BEGAN, new_account, new_order

LATER = BEGAN + timedelta(microseconds=1)


@pytest.fixture
def account() -> Account:
    """Six orders, an hour apart; the even ones are open, the last two are in BBB, the odd ones are sales."""
    account = new_account()
    for number in range(1, 7):
        order = new_order(
            id=f"o{number}",
            client_order_id=f"c{number}",
            sequence=number,
            status="canceled" if number % 2 else "new",
            side="sell" if number % 2 else "buy",
            symbol="AAA" if number < 5 else "BBB",
            created_at=BEGAN + timedelta(hours=number),
        )
        account.add(order)
    return account


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({}, "642"),
        ({"status": "open"}, "642"),
        ({"status": "closed"}, "531"),
        ({"status": "all"}, "654321"),
        ({"status": "all", "direction": "asc"}, "123456"),
        ({"status": "all", "limit": "2"}, "65"),
        ({"status": "all", "symbols": "BBB"}, "65"),
        ({"status": "all", "symbols": "BBB,,AAA"}, "654321"),
        ({"status": "all", "symbols": "CCC"}, ""),
        ({"status": "all", "side": "sell"}, "531"),
        ({"status": "all", "side": ""}, "654321"),
        ({"status": "all", "after": "2024-06-28T16:30:00Z"}, "654"),  # the time of the third order, not included
        ({"status": "all", "until": "2024-06-28T16:30:00Z"}, "21"),
        ({"status": "all", "after": "2024-06-28T14:30:00Z", "until": "2024-06-28T17:30:00Z"}, "32"),
        ({"status": "all", "after_order_id": "o2", "before_order_id": "o5"}, "43"),
        ({"status": "all", "after_order_id": "gone"}, "654321"),
        ({"status": "open", "before_order_id": "o5", "direction": "asc"}, "24"),
    ],
)
def test_which_orders_are_listed(account: Account, query: dict[str, str], ids: str) -> None:
    assert [order.id for order in select_orders(account, query)] == [f"o{number}" for number in ids]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"status": "filled"}, "invalid status: 'filled'"),
        ({"after": "yesterday"}, "invalid after or until"),
        ({"until": "2024-02-30"}, "invalid after or until"),
        ({"limit": "0"}, "invalid limit: '0'"),
        ({"limit": "many"}, "invalid limit"),
    ],
)
def test_which_order_queries_are_refused(query: dict[str, str], words: str) -> None:
    with pytest.raises(RefusedError, match=words) as caught:
        select_orders(new_account(), query)
    assert caught.value.status == 422


def test_a_list_of_orders_has_fifty_or_as_many_as_asked() -> None:
    account = new_account()
    for number in range(MOST_ORDERS + 1):
        account.add(new_order(id=f"o{number}", client_order_id=f"c{number}", sequence=number))
    assert len(select_orders(account, {"status": "all"})) == 50
    assert len(select_orders(account, {"status": "all", "limit": "99999"})) == MOST_ORDERS


def activities() -> list[Activity]:
    """Two fills, a dividend and a deposit, from Friday afternoon to Saturday morning in New York."""
    times = (BEGAN, BEGAN + timedelta(hours=1), BEGAN + timedelta(hours=14), BEGAN + timedelta(hours=15))
    kinds = ("FILL", "FILL", "DIV", "JNLC")
    return [
        Activity(f"a{number}", "account", at, {"activity_type": kind})
        for number, (at, kind) in enumerate(zip(times, kinds, strict=True), 1)
    ]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({}, "4321"),
        ({"direction": "asc"}, "1234"),
        ({"activity_types": "FILL"}, "21"),
        ({"activity_types": "DIV,JNLC"}, "43"),
        ({"activity_types": ","}, "4321"),
        ({"category": "trade_activity"}, "21"),
        ({"category": "non_trade_activity"}, "43"),
        ({"category": "trade_activity", "activity_types": "DIV"}, "21"),
        ({"date": "2024-06-28"}, "321"),
        ({"date": "2024-06-29T00:00:00Z"}, "4"),
        ({"after": "2024-06-28T13:30:00Z"}, "432"),
        ({"until": "2024-06-28"}, "321"),  # the whole day
        ({"until": "2024-06-28T14:30:00Z"}, "1"),
        ({"page_size": "3"}, "432"),
        ({"page_size": "2", "page_token": "a3"}, "21"),
        ({"page_token": "a3", "direction": "asc"}, "4"),
        ({"page_token": "a1"}, ""),
        ({"page_token": "gone"}, ""),
    ],
)
def test_which_activities_are_listed(query: dict[str, str], ids: str) -> None:
    assert [activity.id for activity in select_activities(activities(), query)] == [f"a{number}" for number in ids]


def test_the_path_may_name_the_kind() -> None:
    query = {"activity_types": "FILL", "category": "trade_activity"}
    assert [activity.id for activity in select_activities(activities(), query, "DIV")] == ["a3"]


@pytest.mark.parametrize(
    "query", [{"after": "soon"}, {"until": "2024-13-01"}, {"page_size": "-1"}, {"page_size": "1.5"}]
)
def test_which_activity_queries_are_refused(query: dict[str, str]) -> None:
    with pytest.raises(RefusedError, match="invalid"):
        select_activities([], query)


def test_a_page_of_activities_has_a_hundred_at_most() -> None:
    fills = [Activity(f"a{number}", "account", BEGAN, {"activity_type": "FILL"}) for number in range(101)]
    assert len(select_activities(fills, {})) == MOST_ACTIVITIES
    assert len(select_activities(fills, {"page_size": "5000"})) == MOST_ACTIVITIES


@pytest.mark.parametrize(
    ("text", "number"), [("1", 1), ("007", 7), ("10", 10), ("11", 10), ("9" * 18, 10), ("", 5), (None, 5)]
)
def test_whole_numbers(text: str | None, number: int) -> None:
    query = {} if text is None else {"limit": text}
    assert whole_number(query, "limit", 5, 10) == number


@pytest.mark.parametrize("text", ["0", "-1", "1.0", "1e3", " 5", "٣", "9" * 19, "x"])
def test_what_is_no_whole_number(text: str) -> None:
    with pytest.raises(RefusedError, match="invalid limit") as caught:
        whole_number({"limit": text}, "limit", 5, 10, lambda message: RefusedError(400, 40010000, message))
    assert caught.value.status == 400


def test_words_are_separated_by_commas() -> None:
    assert words({"symbols": "A,B,,A"}, "symbols") == {"A", "B"}
    assert words({}, "symbols") == frozenset()


def test_the_limits_in_time_are_not_included() -> None:
    fills = [Activity(name, "account", at, {"activity_type": "FILL"}) for name, at in (("at", BEGAN), ("next", LATER))]
    assert [fill.id for fill in select_activities(fills, {"after": BEGAN.isoformat()})] == ["next"]
    assert [fill.id for fill in select_activities(fills, {"until": LATER.isoformat()})] == ["at"]
