"""`trading:` of params.yaml: the teams' rules over the common ones, and every mistake by its key."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from mlops_cli.config.load import check_project, load_params
from mlops_cli.config.schemas.trading import Rules, Trading
from mlops_cli.errors import ConfigError
from tests.fakes.config_projects import PARAMS, make_project

RED = {"configs/mine/red.yaml": "team: red\ntickers: [AAPL]\n"}


def mistakes(tmp_path, trading: str, call=load_params) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        call(make_project(tmp_path, RED, PARAMS + trading))
    return raised.value.message.splitlines()


def test_without_a_word_all_teams_trade_by_the_defaults():
    assert Trading().rules("red") == Rules()
    assert Trading().live is False


def test_a_team_differs_in_what_it_says(tmp_path):
    own = "{red: {max_weight: 2/3, costs: {sell_fee_bps: 0}}}"
    text = f"trading: {{max_weight: 1/3, costs: {{slippage_bps: 4}}, teams: {own}}}\n"
    trading = load_params(make_project(tmp_path, RED, PARAMS + text)).trading
    red, blue = trading.rules("red"), trading.rules("blue")
    assert (red.max_weight, blue.max_weight) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert (red.costs.slippage_bps, red.costs.sell_fee_bps, blue.costs.sell_fee_bps) == (4.0, 0.0, 0.3)


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("{max_weight: 2}", "max_weight: expected a share above 0 up to 1, as 0.25 or 1/3, was the number 2"),
        ("{max_weight: 1/0}", "max_weight: expected a share"),
        ("{sizing: kelly}", "sizing: expected equal, strength, inverse_volatility or interval"),
        ("{lot_fraction: 0.5}", "max_weight (0.35) is below one lot, lot_fraction (0.5)"),
        ("{order: limit, fractional: true}", "limit orders are for whole shares"),
        ("{teams: {red: {sizng: equal}}}", "trading.teams.red.sizng"),
        ("{teams: {red: {live: true}}}", "trading.teams.red.live"),
        ("{teams: {red: {max_weight: 0.01}}}", "trading.teams.red: max_weight (0.01) is below one lot"),
    ],
)
def test_mistakes(tmp_path, text, mistake):
    (line,) = mistakes(tmp_path, f"trading: {text}\n")
    assert line.startswith("params.yaml: trading")
    assert mistake in line


def test_a_team_without_models_is_a_mistake(tmp_path):
    (line,) = mistakes(tmp_path, "trading: {teams: {rde: {sizing: equal}}}\n", check_project)
    assert line == "params.yaml: trading.teams.rde: no model belongs to this team, did you mean red?"


@pytest.mark.parametrize(("key", "value"), [("weights", {"a": float("inf")}), ("lot_fraction", float("nan")),
                                            ("max_order_notional", float("inf"))])  # fmt: skip
def test_numbers_that_are_none_are_refused(key, value):
    with pytest.raises(ValidationError):
        Rules.model_validate({key: value})
