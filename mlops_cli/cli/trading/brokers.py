"""The teams' brokers, by their keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlops_cli.config.paths import Project
    from mlops_cli.trading.contract.broker import Broker


def brokers_of(project: Project, teams: Sequence[str]) -> Callable[[str], Broker]:
    """Opens a team's broker by its keys.

    Raises:
        ConfigError: a team has no keys, or real money is not meant.
    """
    from mlops_cli import wiring
    from mlops_cli.config.load import load_params
    from mlops_cli.config.settings import account_keys, load_settings

    settings, trading = load_settings(project), load_params(project).trading
    keys = account_keys(settings, teams)
    return lambda team: wiring.broker(keys[team], trading, settings)
