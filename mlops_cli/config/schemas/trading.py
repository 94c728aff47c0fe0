"""`trading:` of params.yaml: what the teams trade, how much of it, and when nothing is traded any more."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from mlops_cli.config.schemas.field_types import Expect, Slug, Strict


def _share(value: Any) -> Any:
    """Let a share be written as a fraction, 1/3; anything else is left to pydantic."""
    if isinstance(value, str) and "/" in value:
        try:
            return float(Fraction(value.replace(" ", "")))
        except (ValueError, ZeroDivisionError):
            return value
    return value


Share = Annotated[float, BeforeValidator(_share), Field(gt=0, le=1), Expect("a share above 0 up to 1, as 0.25 or 1/3")]
Floor = Annotated[float, BeforeValidator(_share), Field(ge=0, lt=1), Expect("a share from 0 below 1, as 0.05 or 1/3")]
Bps = Annotated[float, Field(ge=0, le=10_000)]
Dollars = Annotated[float, Field(gt=0)]


class Costs(Strict):
    """What a trade is expected to cost, in basis points of its value."""

    half_spread_bps: Bps = Field(1.0, description="half of the difference between bid and ask, paid on each trade")
    slippage_bps: Bps = Field(1.0, description="how much worse than the quote a trade is filled")
    commission_bps: Bps = Field(0.0, description="what the broker takes of each trade; Alpaca: nothing")
    sell_fee_bps: Bps = Field(0.3, description="what authorities take of each sale")


class Rules(Strict):
    """How one team trades: the same keys under `trading` for all teams, and under `trading.teams.<team>` for one."""

    models: tuple[str, ...] = Field(("*",), description="globs over model names: which of the team's models trade")
    weights: dict[Slug, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict, description="by model: its weight where a ticker has several; 1 for those not named"
    )
    trade_without_skill: bool = Field(False, description="trade models too whose held-out forecasts showed no skill")
    threshold_bps: Bps = Field(
        0.0, description="a position is opened where the forecast exceeds the cost of opening and closing it by this"
    )
    sizing: Literal["equal", "strength", "inverse_volatility"] = Field(
        "equal", description="how the money is shared out among the signals"
    )
    positions: Literal["long_only", "long_short"] = Field("long_only", description="whether stocks are sold short too")
    fractional: bool = Field(False, description="parts of shares, not whole shares alone")
    lot_fraction: Share = Field(0.05, description="share of equity that one step of buying or selling moves")
    max_weight: Share = Field(0.35, description="largest position in one stock, as a share of equity")
    max_gross: Annotated[float, Field(gt=0, le=2)] = Field(
        1.0, description="largest sum of all positions, long and short, as a share of equity"
    )
    cash_floor: Floor = Field(0.05, description="share of equity that always stays in cash")
    max_order_notional: Dollars | None = Field(None, description="largest value of one order; empty: no limit")
    max_day_notional: Dollars | None = Field(None, description="largest value of a session's orders; empty: no limit")
    max_turnover: Annotated[float, Field(gt=0, le=4)] = Field(
        1.0, description="largest value of a session's orders, as a share of equity"
    )
    min_order_notional: Dollars = Field(1.0, description="no order is sent below this value")
    order: Literal["market", "limit"] = Field("market", description="type of the orders; all are good for the day")
    limit_offset_bps: Bps = Field(20.0, description="how much worse than the last price a limit order may be filled")
    daily_loss_limit: Share = Field(0.05, description="loss since the previous close at which the team is halted")
    max_drawdown: Share = Field(0.2, description="loss since its highest equity at which the team is halted")
    costs: Costs = Field(Costs(), description="what a trade is expected to cost")

    @model_validator(mode="after")
    def _fit_together(self) -> Rules:
        if self.lot_fraction > self.max_weight:
            raise ValueError(f"max_weight ({self.max_weight:g}) is below one lot, lot_fraction ({self.lot_fraction:g})")
        if self.order == "limit" and self.fractional:
            raise ValueError("order: limit needs fractional: false, limit orders are for whole shares")
        return self


class Trading(Rules):
    """Paper trading: rules of all teams, and what differs from them by team."""

    live: bool = Field(False, description="real money; needs MLOPS_LIVE_TRADING=yes in the environment besides")
    opens_minutes: int = Field(20, ge=0, le=600, description="orders are sent from so long after a close on")
    closes_minutes: int = Field(15, ge=2, le=600, description="and until so long before the next open")
    alert_command: str | None = Field(
        None, description="command that gets alerts on its standard input, such as: mail -s mlops me@example.org"
    )
    teams: dict[Slug, dict[str, Any]] = Field(
        default_factory=dict, description="by team: which of the keys above, up to costs, differ for it"
    )

    def rules(self, team: str) -> Rules:
        """What holds for a team.

        Raises:
            pydantic.ValidationError: the team's keys are wrong; `load_params` has checked them.
        """
        return Rules.model_validate(self.laid_over(team))

    def laid_over(self, team: str) -> dict[str, Any]:
        """The team's keys over the common ones, not checked yet; `costs` key by key."""
        common = self.model_dump(include=set(Rules.model_fields))
        own = self.teams.get(team, {})
        costs = own.get("costs")
        merged = {"costs": {**common["costs"], **costs}} if isinstance(costs, dict) else {}
        return {**common, **own, **merged}
