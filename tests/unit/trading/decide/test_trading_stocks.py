"""A stock before a decision: its position in lots, its price, what forbids trading it, and which way it should go."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.config.schemas.trading import Rules
from mlops_cli.trading.contract.types import DecisionContext
from mlops_cli.trading.decide.signals import Signal
from mlops_cli.trading.decide.stocks import PRICE_GAP, PolicyInputs, Stock, position_of, stock_of
from mlops_cli.trading.decide.targets import direction_of, set_targets
from tests.fakes.ledgers import NEXT_SESSION, a_holding, an_account

D = Decimal
LONG_SHORT = Rules(positions="long_short", lot_fraction=0.1, max_weight=0.3, cash_floor=0.0)
LONG = Rules(lot_fraction=0.1, max_weight=0.3, cash_floor=0.0)


def signal(bps: float | None = 50.0, close: str = "100") -> Signal:
    return Signal(bps, bps, 0.0, (), "red-aapl", "v1", D(close), (), ())


def situation(rules: Rules = LONG, equity: str = "100000", **context) -> PolicyInputs:
    return PolicyInputs("red", an_account(equity), rules, DecisionContext(NEXT_SESSION, **context))


def stock(bps: float | None = 50.0, lots: int = 0, ticker: str = "AAPL", rules: Rules = LONG) -> Stock:
    held = a_holding(ticker, str(lots * 100)) if lots else None
    return stock_of(ticker, None if bps is None else signal(bps), held, D(100), situation(rules))


class TestPrice:
    @pytest.mark.parametrize(
        ("price", "its_signal", "holding", "seen"),
        [
            (D(101), signal(), a_holding("AAPL", "5", "99"), D(101)),
            (None, signal(), a_holding("AAPL", "5", "99"), D(100)),
            (None, None, a_holding("AAPL", "5", "99"), D(99)),
            (D(0), signal(), None, D(100)),
        ],
    )
    def test_the_best_price_that_is_known_is_taken(self, price, its_signal, holding, seen):
        position = stock_of("AAPL", its_signal, holding, price, situation()).position
        assert position is not None
        assert position.price == seen

    @pytest.mark.parametrize(("price", "holding"), [(None, None), (None, a_holding("AAPL", "5", "0")), (D(-1), None)])
    def test_without_a_price_nothing_is_traded(self, price, holding):
        made = stock_of("AAPL", None, holding, price, situation())
        assert (made.position, made.refusal, made.lots, made.wanted_lots) == (None, "no price", 0, 0)


class TestRefusal:
    def test_a_block_comes_first(self):
        poor = situation(equity="0", blocked={"AAPL": "why"})
        assert stock_of("AAPL", signal(), None, D(500), poor).refusal == "why"

    def test_then_the_equity(self):
        assert stock_of("AAPL", signal(), None, D(500), situation(equity="0")).refusal == "no equity"

    @pytest.mark.parametrize(("factor", "refused"), [(0.24, False), (0.26, True), (-0.24, False), (-0.26, True)])
    def test_then_a_price_far_from_the_forecast_s_close(self, factor, refused):
        assert PRICE_GAP == 0.25
        price = D(str(round(100 * math.exp(factor), 6)))
        assert bool(stock_of("AAPL", signal(), None, price, situation()).refusal) == refused

    def test_other_tickers_blocks_are_theirs(self):
        assert stock_of("AAPL", signal(), None, D(100), situation(blocked={"MSFT": "why"})).refusal == ""


class TestPosition:
    def lots(self, qty: str, price: str = "100", equity: str = "100000", rules: Rules = LONG, shorts: bool = False):
        made = position_of(D(qty), D(price), D(equity), rules, shorts=shorts)
        return made.lots, made.lot_qty, made.may_grow

    def test_a_lot_is_a_share_of_equity(self):
        assert self.lots("0") == (0, D(100), True)
        assert self.lots("0", price="300", rules=LONG.model_copy(update={"fractional": False})) == (0, D(33), True)
        assert self.lots("0", price="300", rules=LONG.model_copy(update={"fractional": True})) == (
            0,
            D("33.3333"),
            True,
        )

    @pytest.mark.parametrize(("qty", "lots"), [("100", 1), ("349", 3), ("350", 4), ("250", 2), ("1", 1), ("-1", -1)])
    def test_lots_are_rounded_half_to_even_and_at_least_one(self, qty, lots):
        assert self.lots(qty)[0] == lots

    def test_short_sales_are_of_whole_shares(self):
        fractional = LONG_SHORT.model_copy(update={"fractional": True})
        assert self.lots("0", price="300", rules=fractional, shorts=True)[1] == D(33)

    def test_what_a_lot_does_not_buy_is_one_lot_to_keep_or_close(self):
        whole = LONG.model_copy(update={"fractional": False})
        assert self.lots("3", price="20000", rules=whole) == (1, D(3), False)
        assert self.lots("-3", price="20000", rules=whole) == (-1, D(3), False)
        assert self.lots("0", price="20000", rules=whole) == (0, D(0), True)

    def test_without_equity_a_lot_is_nothing(self):
        assert self.lots("0", equity="-5")[1] == 0

    @given(st.integers(-(10**6), 10**6), st.decimals(D("0.01"), 10**5, places=2))
    def test_a_position_s_lots_have_its_sign(self, qty, price):
        made = position_of(D(qty), price, D(100_000), LONG, shorts=qty < 0)
        assert (made.lots > 0) == (qty > 0)
        assert (made.lots < 0) == (qty < 0)
        assert made.shares(-made.lots) == abs(qty) or made.lots == 0


class TestDirection:
    @pytest.mark.parametrize(
        ("bps", "lots", "rules", "wanted", "words"),
        [
            (20.0, 0, LONG, True, "forecast +20.00 bps, at least the 20.00 that a position needs"),
            (19.99, 0, LONG, False, "forecast +19.99 bps, less than the 20.00 that a position needs"),
            (-20.0, 0, LONG, False, "forecast -20.00 bps: down, and positions are long_only"),
            (-20.0, 0, LONG_SHORT, True, "forecast -20.00 bps, at least the 20.00 that a position needs"),
            (0.5, 2, LONG, True, "forecast +0.50 bps supports the position"),
            (0.0, 2, LONG, True, "forecast +0.00 bps supports the position"),
            (-0.5, 2, LONG, False, "forecast -0.50 bps is against the position"),
            (-0.5, -2, LONG_SHORT, True, "forecast -0.50 bps supports the position"),
            (0.5, -2, LONG_SHORT, False, "forecast +0.50 bps is against the position"),
            (50.0, -2, LONG, True, "forecast +50.00 bps, at least the 20.00 that a position needs"),
        ],
    )
    def test_which_stocks_get_a_position(self, bps, lots, rules, wanted, words):
        assert direction_of(stock(bps, lots, rules=rules), 20.0, rules) == (wanted, words)

    def test_without_a_forecast(self):
        assert direction_of(stock(None, 1), 20.0, LONG) == (False, "held without a forecast")
        quiet = stock_of("AAPL", signal(None), None, D(100), situation())
        assert direction_of(quiet, 20.0, LONG) == (False, "none of its models may trade")

    def test_a_forecast_of_zero_opens_nothing_even_where_nothing_is_needed(self):
        assert not direction_of(stock(0.0), 0.0, LONG)[0]


class TestTargets:
    def targets(self, *stocks: Stock, rules: Rules = LONG, equity: str = "100000") -> dict[str, int]:
        set_targets(stocks, situation(rules, equity))
        return {each.ticker: each.target for each in stocks}

    def test_the_budget_is_shared_up_to_the_cap(self):
        assert self.targets(stock(), stock(ticker="MSFT")) == {"AAPL": 3, "MSFT": 3}
        names = [f"T{number:02}" for number in range(20)]
        assert sum(self.targets(*[stock(ticker=name) for name in names]).values()) == 10

    def test_shorts_have_negative_targets(self):
        assert self.targets(stock(-50.0, rules=LONG_SHORT), rules=LONG_SHORT) == {"AAPL": -3}

    def test_a_weak_forecast_keeps_a_position_and_does_not_add_to_it(self):
        assert self.targets(stock(0.5, 1)) == {"AAPL": 1}
        assert self.targets(stock(50.0, 1)) == {"AAPL": 3}

    def test_what_is_held_without_a_forecast_takes_its_part_of_the_money(self):
        several = [stock(ticker=f"T{number}") for number in range(4)]
        assert sum(self.targets(*several, stock(None, 5, "IDLE")).values()) == 5

    def test_a_floor_of_cash_is_kept(self):
        floor = LONG.model_copy(update={"cash_floor": 0.5})
        several = [stock(ticker=f"T{number}") for number in range(4)]
        assert sum(self.targets(*several, rules=floor).values()) == 5

    def test_without_a_direction_targets_stay_at_zero(self):
        one = stock(1.0)
        assert self.targets(one) == {"AAPL": 0}
        assert "less than" in one.reason
        assert self.targets() == {}
