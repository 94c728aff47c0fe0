"""The action mask: what each constraint leaves, and what holds for any position, budget and rules."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.config.schemas.trading import Costs, Rules
from mlops_cli.trading.decide.action_mask import COLLAR, MOST_LOTS, Budgets, Mask, Position, mask_of
from tests.fakes.ledgers import an_account

D = Decimal
FREE = Costs(half_spread_bps=0, slippage_bps=0, sell_fee_bps=0)
WIDE = Rules(costs=FREE, lot_fraction=0.01, max_weight=1.0, max_gross=1.0, cash_floor=0.0)
SHORT = WIDE.model_copy(update={"positions": "long_short"})


def budgets(**changes) -> Budgets:
    values = {"cash": 10**6, "buying_power": 10**6, "session": None, "turnover": 10**6, "gross": 10**6}
    return Budgets(**{name: None if value is None else D(value) for name, value in {**values, **changes}.items()})


def position(lots: int = 0, lot_qty: str = "10", price: str = "100", **changes) -> Position:
    return Position(D(lots) * D(lot_qty), D(price), D(lot_qty), lots, **changes)


class TestMask:
    def test_without_constraints_everything_is_allowed(self):
        mask = Mask()
        assert (mask.lowest, mask.highest) == (-MOST_LOTS, MOST_LOTS)
        assert mask.choose(7) == (7, None)

    def test_the_tightest_constraint_is_named(self):
        mask = Mask()
        mask.at_most(5, "first")
        mask.at_most(3, "second")
        mask.at_most(4, "third")
        mask.at_least(-2, "below")
        assert mask.choose(9) == (3, "second")
        assert mask.choose(-9) == (-2, "below")
        assert mask.choose(3) == (3, None)

    def test_of_two_equal_ones_the_first_is_named(self):
        mask = Mask()
        mask.at_most(3, "first")
        mask.at_most(3, "second")
        assert mask.choose(9) == (3, "first")

    @pytest.mark.parametrize(("must", "may", "chosen"), [(-5, -2, (-2, "may")), (2, 5, (2, "must"))])
    def test_of_two_that_contradict_the_smaller_reduction_is_made(self, must, may, chosen):
        mask = Mask()
        mask.at_most(must, "must")
        mask.at_least(may, "may")
        assert mask.choose(0) == chosen


class TestConstraints:
    def test_what_is_not_held_cannot_be_sold(self):
        mask = mask_of(position(), budgets(), D(100_000), WIDE)
        assert (mask.lowest, mask.why_lowest) == (0, "no shorting")

    def test_all_that_is_held_can_be_sold(self):
        assert mask_of(position(4), budgets(), D(100_000), WIDE).lowest == -4

    def test_a_long_position_is_closed_before_a_short_one_is_opened(self):
        mask = mask_of(position(4), budgets(), D(100_000), SHORT)
        assert (mask.lowest, mask.why_lowest) == (-4, "close first")
        mask = mask_of(position(-4), budgets(), D(100_000), SHORT)
        assert (mask.highest, mask.why_highest) == (4, "close first")

    def test_shares_that_a_lot_does_not_buy(self):
        assert mask_of(position(lot_qty="0"), budgets(), D(100), WIDE).choose(1) == (0, "whole shares")
        held = Position(D(1), D(100), D(1), 1, may_grow=False)
        mask = mask_of(held, budgets(), D(100_000), WIDE)
        assert (mask.lowest, mask.highest, mask.why_highest) == (-1, 0, "whole shares")

    def test_the_cap(self):
        capped = WIDE.model_copy(update={"max_weight": 0.05})
        assert mask_of(position(), budgets(), D(100_000), capped).choose(9) == (5, "max weight")
        assert mask_of(position(3), budgets(), D(100_000), capped).choose(9) == (2, "max weight")

    def test_a_position_above_the_cap_must_shrink(self):
        capped = WIDE.model_copy(update={"max_weight": 0.05})
        assert mask_of(position(8), budgets(), D(100_000), capped).choose(0) == (-3, "max weight")
        short = capped.model_copy(update={"positions": "long_short"})
        assert mask_of(position(-8), budgets(), D(100_000), short).choose(0) == (3, "max weight")

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"cash": 3999}, "cash floor"),
            ({"gross": 3999}, "gross exposure"),
            ({"turnover": 3999}, "turnover"),
            ({"session": 3999}, "session limit"),
            ({"buying_power": int(3999 * COLLAR)}, "buying power"),
        ],
    )
    def test_each_budget_binds_a_purchase(self, changes, why):
        assert mask_of(position(), budgets(**changes), D(10**6), WIDE).choose(9) == (3, why)

    def test_costs_are_part_of_the_cash(self):
        dear = WIDE.model_copy(update={"costs": Costs(half_spread_bps=100, slippage_bps=0, sell_fee_bps=0)})
        assert mask_of(position(), budgets(cash=3000), D(10**6), dear).choose(9) == (2, "cash floor")
        assert mask_of(position(), budgets(cash=3030), D(10**6), dear).choose(9) == (3, "cash floor")

    def test_one_order_s_limit_binds_both_ways(self):
        limited = WIDE.model_copy(update={"max_order_notional": 2500.0})
        assert mask_of(position(5), budgets(), D(10**6), limited).choose(9) == (2, "order limit")
        assert mask_of(position(5), budgets(), D(10**6), limited).choose(-5) == (-2, "order limit")

    def test_closing_needs_no_cash_and_no_buying_power(self):
        poor = budgets(cash=-(10**6), buying_power=0, gross=-(10**6))
        assert mask_of(position(5), poor, D(10**6), WIDE).choose(-5) == (-5, None)
        assert mask_of(position(-5), poor, D(10**6), SHORT).choose(5) == (5, None)
        assert mask_of(position(5), poor, D(10**6), WIDE).choose(1)[0] == 0

    def test_closing_needs_turnover(self):
        assert mask_of(position(5), budgets(turnover=4999), D(10**6), WIDE).choose(-5) == (-4, "turnover")

    def test_half_a_lot_more_than_the_lots_say_needs_its_money_too(self):
        odd = Position(D(54), D(100), D(10), 5)  # 5.4 lots
        assert mask_of(odd, budgets(turnover=5399), D(10**6), WIDE).choose(-5) == (-4, "turnover")
        assert mask_of(odd, budgets(turnover=5400), D(10**6), WIDE).choose(-5) == (-5, None)


class TestPosition:
    def test_closing_moves_all_of_it(self):
        odd = Position(D("54.5"), D(100), D(10), 5)
        assert (odd.shares(-5), odd.shares(-4), odd.shares(2)) == (D("54.5"), D(40), D(20))
        assert odd.value == D(5450)
        short = Position(D("-54"), D(100), D(10), -5)
        assert (short.shares(5), short.value) == (D(54), D(-5400))


class TestBudgets:
    def test_what_is_left_at_the_start(self):
        rules = WIDE.model_copy(
            update={"cash_floor": 0.1, "max_gross": 0.9, "max_turnover": 0.5, "max_day_notional": 9000.0}
        )
        left = Budgets.of(an_account("100000", cash="60000"), [D(50_000), D(-10_000)], D(2_000), rules)
        assert left.cash == 60_000 - 10_000 - 10_000
        assert left.gross == 90_000 - 60_000
        assert left.turnover == 50_000 - 2_000
        assert left.session == 7_000
        assert left.buying_power == 60_000

    def test_without_a_limit_for_the_session(self):
        assert Budgets.of(an_account(), [], D(10**9), WIDE).session is None

    def test_a_purchase_takes_money_out_of_all(self):
        left = budgets(session=10_000)
        left.take(position(), 2, WIDE)
        assert (left.cash, left.gross, left.turnover, left.session) == (998_000, 998_000, 998_000, 8_000)
        assert left.buying_power == 10**6 - 2000 * COLLAR

    def test_a_sale_brings_nothing_in(self):
        left = budgets()
        left.take(position(5), -5, WIDE)
        assert (left.cash, left.gross, left.buying_power, left.turnover) == (10**6, 10**6, 10**6, 995_000)

    def test_a_short_sale_takes_exposure_and_buying_power_and_no_cash(self):
        left = budgets()
        left.take(position(), -2, SHORT)
        assert (left.cash, left.gross) == (10**6, 998_000)
        assert left.buying_power == 10**6 - 2000 * COLLAR

    def test_buying_back_costs_its_cost(self):
        left = budgets()
        left.take(position(-2), 2, SHORT.model_copy(update={"costs": Costs(half_spread_bps=10, slippage_bps=0)}))
        assert left.cash == 10**6 - 2
        assert left.gross == 10**6


money = st.integers(-10_000, 200_000)


@given(
    lots=st.integers(-20, 20),
    wanted=st.integers(-40, 40),
    cash=money,
    buying_power=money,
    gross=money,
    turnover=money,
    session=st.none() | money,
    max_weight=st.sampled_from([0.05, 0.2, 1.0]),
    long_short=st.booleans(),
)
def test_the_choice_is_within_the_constraints_for_any_budget(
    lots, wanted, cash, buying_power, gross, turnover, session, max_weight, long_short
):
    rules = (SHORT if long_short else WIDE).model_copy(update={"max_weight": max_weight})
    held = position(lots if long_short else abs(lots))
    left = budgets(cash=cash, buying_power=buying_power, gross=gross, turnover=turnover, session=session)
    mask = mask_of(held, left, D(100_000), rules)
    chosen, bound = mask.choose(wanted)
    assert bound is not None or chosen == wanted
    after = held.lots + chosen
    assert long_short or after >= 0, "never short"
    assert held.lots * after >= 0, "never through zero"
    value = held.shares(chosen) * held.price if chosen else D(0)
    assert value <= max(0, turnover), "turnover"
    assert session is None or value <= max(0, session), "session limit"
    if abs(after) > abs(held.lots):
        assert value <= max(0, gross), "gross exposure"
        assert value * COLLAR <= max(0, buying_power), "buying power"
        assert after < 0 or value <= max(0, cash), "cash floor"
        assert abs(after) * 1000 <= max_weight * 100_000, "max weight"
