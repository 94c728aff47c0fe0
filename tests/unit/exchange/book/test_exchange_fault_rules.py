"""Faults on demand: which are accepted, which requests and orders they strike, and how often."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from mlops_cli.exchange.book.faults import MARKET_KINDS, REQUEST_KINDS, Faults
from mlops_cli.exchange.book.records import RefusedError

NOW = datetime(2024, 7, 1, 16, tzinfo=UTC)


def with_fault(**members: Any) -> Faults:
    faults = Faults()
    faults.add(members, NOW)
    return faults


def strikes(faults: Faults, times: int) -> list[bool]:
    return [faults.of_request("GET", "/v2/orders") is not None for _ in range(times)]


@pytest.mark.parametrize("kind", REQUEST_KINDS + MARKET_KINDS)
def test_every_kind_needs_no_more_than_its_name(kind: str) -> None:
    fault = Faults().add({"kind": kind}, NOW)
    assert (fault.kind, fault.since, fault.struck) == (kind, NOW, 0)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("timeout", "seconds", 30.0),
        ("wide_spread", "factor", 50.0),
        ("delay_fills", "seconds", 60.0),
        ("partial_fills", "fraction", 0.5),
        ("partial_fills", "seconds", 60.0),
        ("clock_skew", "seconds", 300.0),
        ("status", "status", 500),
    ],
)
def test_defaults_depend_on_the_kind_and_are_overridden(kind: str, name: str, value: float) -> None:
    assert getattr(Faults().add({"kind": kind, name: None}, NOW), name) == value
    other = 1 if name != "status" else 429
    assert getattr(Faults().add({"kind": kind, name: other}, NOW), name) == other


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({}, "no such fault"),
        ({"kind": "earthquake"}, "no such fault: 'earthquake'; kinds are status, timeout"),
        ({"kind": ["halt"]}, "no such fault"),
        ({"kind": "halt", "ticker": "AAA"}, "with ticker"),
        ({"kind": "halt", "since": "2024-07-01"}, "with since"),
        ({"kind": "halt", "struck": 3}, "with struck"),
        ({"kind": "halt", "symbol": 5}, "invalid symbol: '5'"),
        ({"kind": "status", "status": 200}, "invalid status: '200'"),
        ({"kind": "status", "status": 600}, "invalid status"),
        ({"kind": "status", "status": 500.0}, "invalid status"),
        ({"kind": "status", "times": True}, "invalid times"),
        ({"kind": "status", "skip": -1}, "invalid skip"),
        ({"kind": "status", "probability": 1.01}, "invalid probability"),
        ({"kind": "partial_fills", "fraction": 2}, "invalid fraction"),
        ({"kind": "timeout", "seconds": -1}, "invalid seconds"),
        ({"kind": "timeout", "seconds": float("nan")}, "invalid seconds"),
        ({"kind": "timeout", "seconds": "30"}, "invalid seconds: '30'"),
        ({"kind": "clock_skew", "seconds": -1e8}, "invalid seconds"),
        ({"kind": "drop", "when": "during"}, "when must be before or after"),
        ({"kind": "drop", "when": 5}, "when must be before or after"),
    ],
)
def test_what_makes_no_sense_is_refused_and_not_set(members: dict[str, Any], words: str) -> None:
    faults = Faults()
    with pytest.raises(RefusedError, match=words):
        faults.add(members, NOW)
    assert faults.active == []


def test_only_the_clock_may_be_wrong_in_both_directions() -> None:
    assert Faults().add({"kind": "clock_skew", "seconds": -300}, NOW).seconds == -300


def test_a_fault_strikes_by_method_and_path() -> None:
    faults = with_fault(kind="status", method="POST", path="/v2/orders")
    assert faults.of_request("GET", "/v2/orders") is None
    assert faults.of_request("POST", "/v2/positions") is None
    assert faults.of_request("POST", "/v2/orders/5") is not None
    assert faults.active[0].struck == 1


def test_a_fault_of_the_market_strikes_no_request() -> None:
    assert strikes(with_fault(kind="halt"), 1) == [False]


def test_a_fault_lets_pass_then_strikes_then_rests() -> None:
    assert strikes(with_fault(kind="status", skip=2, times=2), 6) == [False, False, True, True, False, False]


def test_the_next_fault_strikes_when_the_first_rests() -> None:
    faults = with_fault(kind="status", times=1, status=500)
    faults.add({"kind": "status", "status": 503}, NOW)
    answers = [faults.of_request("GET", "/v2/clock") for _ in range(3)]
    assert [fault.status for fault in answers if fault is not None] == [500, 503, 503]


def test_a_seed_repeats_what_is_random() -> None:
    faults = with_fault(kind="status", probability=0.5)
    faults.reseed(7)
    first = strikes(faults, 50)
    faults.reseed(7)
    assert strikes(faults, 50) == first
    faults.reseed(8)
    assert strikes(faults, 50) != first
    assert 10 < sum(first) < 40


@pytest.mark.parametrize(("probability", "struck"), [(0, 0), (1, 30)])
def test_certain_probabilities(probability: float, struck: int) -> None:
    assert sum(strikes(with_fault(kind="status", probability=probability), 30)) == struck


def test_a_standing_fault_does_not_count() -> None:
    faults = with_fault(kind="halt", symbol="AAA", times=1)
    for _ in range(3):
        assert faults.standing("halt", "AAA") is not None
    assert faults.standing("halt", "BBB") is None
    assert faults.active[0].struck == 0


def test_a_fault_of_an_order_counts() -> None:
    faults = with_fault(kind="reject_orders", times=1)
    assert faults.strike("reject_orders", "AAA") is not None
    assert faults.strike("reject_orders", "AAA") is None
    assert faults.strike("delay_fills", "AAA") is None


def test_faults_are_removed_by_kind_or_all() -> None:
    faults = with_fault(kind="halt")
    faults.add({"kind": "status"}, NOW)
    faults.add({"kind": "halt", "symbol": "AAA"}, NOW)
    faults.clear("halt")
    assert [fault.kind for fault in faults.active] == ["status"]
    faults.clear()
    assert faults.listed() == []


def test_the_list_shows_every_member() -> None:
    (shown,) = with_fault(kind="timeout", path="/v2/orders", times=2).listed()
    assert (shown["kind"], shown["path"], shown["seconds"], shown["times"]) == ("timeout", "/v2/orders", 30.0, 2)
    assert (shown["when"], shown["struck"], shown["since"]) == ("before", 0, NOW)
