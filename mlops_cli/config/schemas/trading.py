"""`trading:` of params.yaml: what the teams trade, how much, and when a team is halted."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from mlops_cli.config.schemas.field_types import Expect, Slug, StrictModel


def _share(value: Any) -> Any:
    """Convert a share written as a fraction, such as 1/3; leave other values to pydantic."""
    if isinstance(value, str) and "/" in value:
        try:
            return float(Fraction(value.replace(" ", "")))
        except (ValueError, ZeroDivisionError):
            return value
    return value


Share = Annotated[float, BeforeValidator(_share), Field(gt=0, le=1), Expect("a share above 0 up to 1, as 0.25 or 1/3")]
Floor = Annotated[float, BeforeValidator(_share), Field(ge=0, lt=1), Expect("a share from 0 below 1, as 0.05 or 1/3")]
Sizing = Literal["equal", "strength", "inverse_volatility", "interval"]
Bps = Annotated[float, Field(ge=0, le=10_000)]
Dollars = Annotated[float, Field(gt=0)]


class Costs(StrictModel):
    """The expected costs of a trade, in basis points of its value."""

    half_spread_bps: Bps = Field(1.0, description="half of the difference between bid and ask, which each trade pays")
    slippage_bps: Bps = Field(1.0, description="how much worse than the quote a trade is filled on average")
    commission_bps: Bps = Field(0.0, description="commission of the broker on each trade; Alpaca takes none")
    sell_fee_bps: Bps = Field(0.3, description="regulatory fees on each sale")


class Rules(StrictModel):
    """How a team trades. `trading` has these keys for all teams, `trading.teams.<team>` for one team."""

    models: tuple[str, ...] = Field(("*",), description="globs over model names: the models of the team that trade")
    weights: dict[Slug, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict, description="by model: its weight if several models forecast one ticker; default 1"
    )
    trade_without_skill: bool = Field(False, description="also trade models whose held-out forecasts showed no skill")
    threshold_bps: Bps = Field(
        0.0, description="a position is opened if the forecast exceeds the cost of opening and closing it by this much"
    )
    sizing: Sizing = Field("equal", description="how the money is divided among the signals")
    positions: Literal["long_only", "long_short"] = Field("long_only", description="whether stocks are also sold short")
    fractional: bool = Field(False, description="trade fractions of shares, not only whole shares")
    lot_fraction: Share = Field(0.05, description="size of one step of buying or selling, as a share of equity")
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
    min_order_notional: Dollars = Field(1.0, description="smallest value of an order; smaller orders are not sent")
    order: Literal["market", "limit"] = Field(
        "market", description="type of the orders; all orders are valid for one day"
    )
    limit_offset_bps: Bps = Field(20.0, description="how much worse than the last price a limit order may be filled")
    daily_loss_limit: Share = Field(
        0.05, description="loss since the previous close at which the team is halted, as a share of equity"
    )
    max_drawdown: Share = Field(
        0.2, description="loss since the highest equity at which the team is halted, as a share of equity"
    )
    costs: Costs = Field(Costs(), description="expected costs of a trade")

    @model_validator(mode="after")
    def _fit_together(self) -> Rules:
        if self.lot_fraction > self.max_weight:
            raise ValueError(f"max_weight ({self.max_weight:g}) is below one lot, lot_fraction ({self.lot_fraction:g})")
        if self.order == "limit" and self.fractional:
            raise ValueError("order: limit needs fractional: false, limit orders are for whole shares")
        return self


class Trading(Rules):
    """Paper trading: the rules of all teams, and the keys that differ by team."""

    live: bool = Field(False, description="trade real money; also needs MLOPS_LIVE_TRADING=yes in the environment")
    opens_minutes: int = Field(20, ge=0, le=600, description="minutes after a close from which orders are sent")
    closes_minutes: int = Field(
        15, ge=2, le=600, description="minutes before the next open until which orders are sent"
    )
    alert_command: str | None = Field(
        None, description="command that receives alerts on its standard input, such as: mail -s mlops me@example.org"
    )
    teams: dict[Slug, dict[str, Any]] = Field(
        default_factory=dict, description="by team: the keys from models to costs that differ for this team"
    )

    def rules(self, team: str) -> Rules:
        """The rules of a team.

        Raises:
            pydantic.ValidationError: the team's keys are wrong; cannot happen after `load_params`, which checks them.
        """
        return Rules.model_validate(self.merged_rules(team))

    def merged_rules(self, team: str) -> dict[str, Any]:
        """The common keys with those of the team merged over them, `costs` key by key; not validated yet."""
        common = self.model_dump(include=set(Rules.model_fields))
        own = self.teams.get(team, {})
        costs = own.get("costs")
        merged = {"costs": {**common["costs"], **costs}} if isinstance(costs, dict) else {}
        return {**common, **own, **merged}
