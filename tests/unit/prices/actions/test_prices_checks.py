"""The checks of listed dividends: which fault each names, in which words, and what happens to the dividend."""

from __future__ import annotations

from datetime import date

import pandas as pd
import pytest

from mlops_cli.prices.actions.action_source import ListedDividend
from mlops_cli.prices.actions.checks import Finding, Measure, fault_of, in_table, remark_on_implied
from mlops_cli.prices.actions.implied_dividends import implied_steps
from tests.fakes.dividend_prices import paying_prices

PRICES = paying_prices({"2024-02-08": 0.5, "2024-05-09": 20.0})


def measure(adjusted: bool = True, exchange: str = "XNYS", prices: pd.DataFrame = PRICES) -> Measure:
    return Measure(exchange, prices["close"], implied_steps(prices) if adjusted else None)


def fault(day: str, amount: float, against: Measure | None = None, **more: object) -> Finding | None:
    listed = ListedDividend(date.fromisoformat(day), amount, "actions.csv:7", **more)
    return fault_of(listed, amount, against or measure())


def test_a_dividend_that_the_adjusted_closes_show_has_no_fault() -> None:
    assert fault("2024-02-08", 0.5) is None
    assert fault("2024-02-08", 0.5, measure(adjusted=False)) is None


def test_the_close_before_an_ex_date_is_that_of_the_last_session_before_it() -> None:
    assert measure().close_before(date(2024, 2, 8)) == (date(2024, 2, 7), PRICES.loc["2024-02-07", "close"])
    assert measure().close_before(date(2024, 9, 2)) == (date(2024, 6, 28), PRICES["close"].iloc[-1])


def test_two_numbers_that_disagree_are_both_named_with_the_day_and_the_line() -> None:
    found = fault("2024-02-08", 0.6)
    assert found == Finding("dividend_disputed", "2024-02-08 0.6 (actions.csv:7), adjusted closes 0.5")


def test_a_dividend_that_the_adjusted_closes_do_not_show_is_disputed() -> None:
    found = fault("2024-02-12", 0.5)
    assert found == Finding("dividend_disputed", "2024-02-12 0.5 (actions.csv:7), adjusted closes 0")


@pytest.mark.parametrize("amount", [-0.5, 0.0, 100.9, 1e9])
def test_amounts_that_cannot_be_are_absurd(amount: float) -> None:
    found = fault("2024-02-08", amount)
    assert found is not None
    assert found.rule == "dividend_absurd"
    assert not found.is_added


def test_more_than_a_tenth_of_the_close_needs_the_adjusted_closes_to_be_believed() -> None:
    confirmed, coming = fault("2024-05-09", 20.0), fault("2024-07-02", 20.0)
    assert confirmed is not None
    assert (confirmed.rule, confirmed.is_added) == ("dividend_large", True)
    assert coming is not None
    assert (coming.rule, coming.is_added) == ("dividend_unconfirmed", False)
    assert "20 (actions.csv:7) is 20.1% of the close 99.54" in coming.words
    assert fault("2024-07-02", 9.9) is None


@pytest.mark.parametrize(
    ("exchange", "currency", "rule"),
    [
        ("XNYS", "USD", None), ("XNYS", "usd", None), ("XNYS", "EUR", "dividend_currency"),
        ("XLON", "GBp", None), ("XLON", "GBX", None), ("XLON", "GBP", "dividend_currency"),
        ("XJSE", "ZAR", None),  # the currency of its prices is not known here
    ],
)  # fmt: skip
def test_another_currency_than_that_of_the_prices(exchange: str, currency: str, rule: str | None) -> None:
    found = fault("2024-07-02", 0.5, measure(exchange=exchange), currency=currency)
    assert (None if found is None else found.rule) == rule


def test_the_words_about_a_currency_say_both() -> None:
    found = fault("2024-07-02", 0.5, measure(exchange="XLON"), currency="GBP")
    assert found is not None
    assert found.words == "2024-07-02 0.5 (actions.csv:7) in GBP, XLON quotes GBp"


@pytest.mark.parametrize("day", ["2024-07-04", "2024-07-06", "2099-01-02"])
def test_an_ex_date_must_be_a_session(day: str) -> None:
    found = fault(day, 0.5)
    assert found is not None
    assert found.words == f"{day} 0.5 (actions.csv:7): XNYS has no session"


@pytest.mark.parametrize(("announced", "late"), [("2024-02-07", False), ("2024-02-08", True), ("2024-03-01", True)])
def test_an_announcement_on_the_ex_date_or_later_is_named(announced: str, late: bool) -> None:
    found = fault("2024-02-08", 0.5, announced=date.fromisoformat(announced))
    expected = Finding(
        "dividend_announced_late", f"2024-02-08 0.5 (actions.csv:7) announced {announced}", is_added=True
    )
    assert found == (expected if late else None)


def test_a_large_step_of_adjusted_closes_is_named_and_added() -> None:
    found = remark_on_implied(date(2024, 5, 9), 20.0, measure())
    assert found is not None
    assert (found.rule, found.is_added) == ("dividend_large", True)
    assert remark_on_implied(date(2024, 2, 8), 0.5, measure()) is None


def test_findings_become_one_entry_per_rule_with_at_most_five_examples() -> None:
    findings = [Finding("dividend_absurd", f"day {n}") for n in range(7)] + [Finding("dividend_disputed", "x")]
    absurd, disputed = in_table(findings)
    assert (absurd.rule, absurd.count, absurd.examples) == ("dividend_absurd", 7, tuple(f"day {n}" for n in range(5)))
    assert (disputed.count, disputed.examples) == (1, ("x",))
    assert in_table([]) == ()
