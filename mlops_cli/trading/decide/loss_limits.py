"""When a team is halted: the loss of a day, and the loss since the highest equity. Pure."""

from __future__ import annotations

from decimal import Decimal

from mlops_cli.trading.contract.types import AccountState, Rules


def daily_loss(account: AccountState) -> Decimal:
    """Loss since the previous close as a share of it; 0 for a gain, 0 where there was no equity."""
    if account.last_equity <= 0:
        return Decimal(0)
    return max(Decimal(0), 1 - account.equity / account.last_equity)


def drawdown(equity: Decimal, peak: Decimal) -> Decimal:
    """Loss since the highest equity as a share of it; 0 at or above the peak."""
    if peak <= 0:
        return Decimal(0)
    return max(Decimal(0), 1 - equity / peak)


def risk_breach(account: AccountState, peak: Decimal, rules: Rules) -> str | None:
    """Why the team is to be halted, or None.

    Args:
        account: the account now.
        peak: its highest equity up to now, as the ledger knows it; the account's own counts too.
        rules: the team's limits. Reaching a limit is a breach.
    """
    if account.equity <= 0:
        return f"equity is {account.equity:.2f}"
    lost = daily_loss(account)
    if lost >= Decimal(str(rules.daily_loss_limit)):
        return (
            f"lost {100 * lost:.2f} % since the previous close, daily_loss_limit is {100 * rules.daily_loss_limit:g} %"
        )
    down = drawdown(account.equity, max(peak, account.equity))
    if down >= Decimal(str(rules.max_drawdown)):
        return f"{100 * down:.2f} % below the highest equity {peak:.2f}, max_drawdown is {100 * rules.max_drawdown:g} %"
    return None
