"""Shares that no order of the team explains: which they are, in whatever way the broker tells of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.trading.contract.broker import Activities
from mlops_cli.trading.contract.types import client_order_id
from mlops_cli.trading.ledger.ledger import Ledger
from mlops_cli.trading.ledger.opening import IN_MEMORY, open_ledger
from mlops_cli.trading.ledger.unexplained import MOVED, OPENING, filled_by_team, is_name_of
from tests.fakes.ledgers import EVENING, NEXT_EVENING, SESSION, VERSION, a_fill, an_intent, an_order

D = Decimal
BY_HAND = an_intent(client_order_id="7d0c6f7e-hand")


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    with open_ledger(IN_MEMORY, "red") as made:
        made.open_account("account-1", D(100_000), {}, (), EVENING)
        yield made


def told(ledger: Ledger) -> list[tuple[str, str, Decimal]]:
    return [(entry.ticker, entry.order, entry.qty) for entry in ledger.unexplained()]


def book(ledger: Ledger, *fills) -> None:
    ledger.record_activities(Activities(fills, ()))


class TestWhich:
    def test_a_fill_of_an_intent_is_the_team_s(self, ledger):
        ledger.write_intents([an_intent()], EVENING)
        ledger.record_orders([an_order(an_intent(), "filled", "10")], NEXT_EVENING)
        book(ledger, a_fill(an_intent(), "10"))
        assert told(ledger) == []

    def test_an_order_with_a_foreign_id(self, ledger):
        ledger.record_orders([an_order(BY_HAND, "filled", "10")], NEXT_EVENING)
        book(ledger, a_fill(BY_HAND, "4"), a_fill(BY_HAND, "6", number=2))
        assert told(ledger) == [("AAPL", "7d0c6f7e-hand", D(10))]

    def test_a_fill_whose_order_is_not_known(self, ledger):
        book(ledger, a_fill(BY_HAND, "3"))
        assert told(ledger) == [("AAPL", "", D(3))]
        assert "an order that the broker does not name" in ledger.unexplained()[0].words

    def test_fills_that_name_no_order_are_told_apart(self, ledger):
        fills = [replace(a_fill(BY_HAND, "3", number=number), order_id="") for number in (1, 2)]
        book(ledger, *fills)
        assert told(ledger) == [("AAPL", "", D(3)), ("AAPL", "", D(3))]

    def test_an_order_without_a_client_order_id(self, ledger):
        ledger.record_orders([an_order(replace(BY_HAND, client_order_id=""), "filled", "10", id="17")], NEXT_EVENING)
        assert told(ledger) == [("AAPL", "", D(10))]

    def test_an_order_of_which_no_fill_was_told(self, ledger):
        ledger.record_orders([an_order(BY_HAND, "filled", "10")], NEXT_EVENING)
        assert told(ledger) == [("AAPL", "7d0c6f7e-hand", D(10))]

    def test_a_sale_and_another_symbol(self, ledger):
        sale = an_intent("TSLA", "sell", client_order_id="hand")
        ledger.record_orders([an_order(sale, "filled", "2")], NEXT_EVENING)
        book(ledger, a_fill(sale, "2"))
        assert told(ledger) == [("TSLA", "hand", D(-2))]
        assert ledger.unexplained()[0].words == "2 shares sold by order hand, which is not the team's"

    def test_an_order_that_was_filled_before_the_opening_is_in_the_holdings(self, ledger):
        early = an_order(BY_HAND, "filled", "10", submitted_at=EVENING - timedelta(days=3))
        ledger.record_orders([early], EVENING)
        book(ledger, a_fill(BY_HAND, "10", time=EVENING - timedelta(days=2)))
        assert told(ledger) == []

    def test_an_order_without_fills_brings_nothing(self, ledger):
        ledger.record_orders([an_order(BY_HAND)], NEXT_EVENING)
        assert told(ledger) == []

    @pytest.mark.parametrize("team", ["blue", "re", "red-2"])
    def test_another_team_s_name_is_a_foreign_id(self, ledger, team):
        other = an_intent(client_order_id=client_order_id(team, "AAPL", SESSION, "buy", VERSION))
        ledger.record_orders([an_order(other, "filled", "10")], NEXT_EVENING)
        assert len(told(ledger)) == 1

    def test_an_order_of_a_lost_ledger_is_known_by_its_name(self, ledger):
        ledger.record_orders([an_order(an_intent(), "filled", "10")], NEXT_EVENING)
        book(ledger, a_fill(an_intent(), "10"))
        assert told(ledger) == []


class TestAccept:
    def test_accepted_is_accepted_and_books_nothing_twice(self, ledger):
        book(ledger, a_fill(BY_HAND, "3"))
        ledger.accept_position("AAPL", D(3), NEXT_EVENING)
        assert told(ledger) == []
        assert ledger.expected_positions() == {"AAPL": D(3)}

    def test_more_of_the_same_order_must_be_accepted_again(self, ledger):
        ledger.record_orders([an_order(BY_HAND, "partially_filled", "1")], NEXT_EVENING)
        ledger.accept_position("AAPL", D(1), NEXT_EVENING)
        assert told(ledger) == []
        ledger.record_orders([an_order(BY_HAND, "filled", "3")], NEXT_EVENING)
        assert told(ledger) == [("AAPL", "7d0c6f7e-hand", D(3))]

    def test_another_ticker_stays_as_it_is(self, ledger):
        book(ledger, a_fill(BY_HAND, "3"), a_fill(an_intent("MSFT", client_order_id="hand"), "2"))
        ledger.accept_position("AAPL", D(3), NEXT_EVENING)
        assert [ticker for ticker, _, _ in told(ledger)] == ["MSFT"]

    @pytest.mark.parametrize(("how", "words"), [(OPENING, "before the team's first pass"), (MOVED, "a spin-off")])
    def test_shares_without_an_order(self, ledger, how, words):
        ledger.note_unexplained(how, "TSLA", D("2.5"))
        assert told(ledger) == [("TSLA", "", D("2.5"))]
        assert words in ledger.unexplained()[0].words
        ledger.accept_position("TSLA", D("2.5"), NEXT_EVENING)
        assert told(ledger) == []

    def test_a_ledger_remembers_after_it_was_closed(self, tmp_path):
        path = tmp_path / "red.db"
        with open_ledger(path, "red") as made:
            made.open_account("account-1", D(1), {"TSLA": D(5)}, ["TSLA"], EVENING)
            book(made, a_fill(BY_HAND, "3"))
        with open_ledger(path, "red") as again:
            assert [ticker for ticker, _, _ in told(again)] == ["AAPL", "TSLA"]
            again.accept_position("TSLA", D(5), NEXT_EVENING)
        with open_ledger(path, "red") as again:
            assert [ticker for ticker, _, _ in told(again)] == ["AAPL"]


@given(
    team=st.from_regex(r"[a-z0-9][a-z0-9._-]{0,40}", fullmatch=True),
    ticker=st.from_regex(r"[A-Z]{1,5}(-[AB])?", fullmatch=True),
    side=st.sampled_from(["buy", "sell"]),
    part=st.integers(0, 3),
)
def test_every_name_that_a_team_gives_is_known_as_the_team_s(team, ticker, side, part):
    name = client_order_id(team, ticker, SESSION, side, VERSION, part)
    assert is_name_of(team, ticker, name)
    assert not is_name_of(f"{team}x", ticker, name)
    assert not is_name_of(team, f"{ticker}X", name)


@pytest.mark.parametrize("name", ["", "red-AAPL-", "red-AAPL-2024", "red-AAPL-20240103-x-1", "hand"])
def test_what_only_begins_like_a_name_of_the_team_is_none(name):
    assert not is_name_of("red", "AAPL", name)


def test_what_the_team_s_orders_brought_in_all():
    orders = [
        an_order(an_intent(), "filled", "10"),
        an_order(an_intent(side="sell"), "canceled", "4"),
        an_order(BY_HAND, "filled", "50"),
        an_order(an_intent("MSFT"), "accepted"),
    ]
    assert filled_by_team(orders, "red") == {"AAPL": D(6), "MSFT": D(0)}
