"""Loss limits: the loss of a day, the loss since the highest equity, and which of them halts a team."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.config.schemas.trading import Rules
from mlops_cli.trading.passes.halt import daily_loss, drawdown, risk_breach
from tests.fakes.ledgers import an_account

D = Decimal
RULES = Rules(daily_loss_limit=0.05, max_drawdown=0.2)


@pytest.mark.parametrize(
    ("equity", "before", "loss"),
    [("95", "100", "0.05"), ("100", "100", "0"), ("120", "100", "0"), ("100", "0", "0"), ("100", "-5", "0")],
)
def test_the_loss_of_a_day(equity, before, loss):
    assert daily_loss(an_account(equity, last_equity=before)) == D(loss)


@pytest.mark.parametrize(
    ("equity", "peak", "loss"), [("80", "100", "0.2"), ("100", "100", "0"), ("120", "100", "0"), ("5", "0", "0")]
)
def test_the_loss_since_the_peak(equity, peak, loss):
    assert drawdown(D(equity), D(peak)) == D(loss)


@pytest.mark.parametrize(
    ("equity", "before", "peak", "words"),
    [
        ("95.01", "100", "100", None),
        ("95", "100", "100", "lost 5.00 % since the previous close, daily_loss_limit is 5 %"),
        ("80.01", "80.01", "100", None),
        ("80", "80", "100", "20.00 % below the highest equity 100.00, max_drawdown is 20 %"),
        ("80", "80", "0", None),
        ("0", "100", "100", "equity is 0.00"),
        ("-1", "100", "100", "equity is -1.00"),
        ("75", "100", "100", "lost 25.00 % since the previous close, daily_loss_limit is 5 %"),
    ],
)
def test_reaching_a_limit_is_a_breach(equity, before, peak, words):
    assert risk_breach(an_account(equity, last_equity=before), D(peak), RULES) == words


@given(st.decimals(1, 10**6, places=2), st.decimals(1, 10**6, places=2))
def test_losses_are_shares(equity, reference):
    account = an_account(str(equity), last_equity=str(reference))
    assert 0 <= daily_loss(account) < 1
    assert daily_loss(account) == drawdown(equity, reference)
