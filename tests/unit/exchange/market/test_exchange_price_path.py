"""The price within a session, from its open, high, low and close."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.exchange.market.price_path import KNOTS, PricePath

FRACTIONS = st.floats(0, 1)
PRICES = st.floats(1, 1000)


@st.composite
def paths(draw: st.DrawFn) -> PricePath:
    open_, close = draw(PRICES), draw(PRICES)
    high = max(open_, close) * draw(st.floats(1, 1.5))
    low = min(open_, close) / draw(st.floats(1, 1.5))
    return PricePath.of_bar(open_, high, low, close, 1000)


def test_a_rising_session_falls_first() -> None:
    path = PricePath.of_bar(102, 110, 98, 105, 1000)
    assert path.points == (102, 98, 110, 105)
    assert [path.price(knot) for knot in KNOTS] == pytest.approx([102, 98, 110, 105])
    assert path.price(1 / 6) == pytest.approx(100)


def test_a_falling_session_rises_first() -> None:
    assert PricePath.of_bar(104, 106, 90, 92, 1000).points == (104, 106, 90, 92)


def test_a_session_that_ends_where_it_began_falls_first() -> None:
    assert PricePath.of_bar(100, 101, 99, 100, 1000).points == (100, 99, 101, 100)


@pytest.mark.parametrize(("volume", "traded"), [(0.0, False), (1.0, True)])
def test_a_session_without_volume_is_not_traded(volume: float, traded: bool) -> None:
    assert PricePath.of_bar(100, 101, 99, 100, volume).traded is traded


def test_a_flat_session_has_one_price() -> None:
    path = PricePath.flat(50.0, 10, traded=False)
    assert {path.price(step / 10) for step in range(11)} == {50.0}
    assert (path.volume, path.traded) == (10, False)


@given(paths(), FRACTIONS)
def test_the_price_stays_between_low_and_high(path: PricePath, fraction: float) -> None:
    low, high = min(path.points), max(path.points)
    assert low * (1 - 1e-12) <= path.price(fraction) <= high * (1 + 1e-12)


@given(paths(), FRACTIONS, FRACTIONS)
def test_extremes_contain_every_price_between(path: PricePath, one: float, other: float) -> None:
    since, until = sorted((one, other))
    low, high = path.extremes(until, since)
    for step in range(11):
        price = path.price(since + (until - since) * step / 10)
        assert low * (1 - 1e-9) <= price <= high * (1 + 1e-9)


def test_the_extremes_of_a_whole_session_are_low_and_high() -> None:
    path = PricePath.of_bar(102, 110, 98, 105, 1000)
    assert path.extremes(1.0) == (98, 110)
    assert path.extremes(0.0) == (102, 102)
    assert path.extremes(1.0, 0.8) == pytest.approx((105, path.price(0.8)))


@given(paths(), PRICES, FRACTIONS, FRACTIONS, st.booleans())
def test_a_level_is_reached_there_and_not_before(
    path: PricePath, level: float, one: float, other: float, falling: bool
) -> None:
    since, until = sorted((one, other))
    reached = path.reaches(level, since, until, falling=falling)
    low, high = path.extremes(until, since)
    slack = level * 1e-9
    if reached is None:
        assert low > level - slack if falling else high < level + slack
        return
    assert since <= reached <= until + 1e-12
    price = path.price(reached)
    assert price <= level + slack if falling else price >= level - slack
    if reached > since:  # until then the price was on the other side
        earlier_low, earlier_high = path.extremes(since + (reached - since) * 0.999, since)
        assert earlier_low >= level - slack if falling else earlier_high <= level + slack
