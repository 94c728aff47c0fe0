"""Which forecasts a person asks for, by globs and names that the journal must know."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase

from mlops_cli.config.mistakes import suggestion
from mlops_cli.errors import ConfigError
from mlops_cli.live.journal.journal import Journal, Selection


@dataclass(frozen=True)
class Filters:
    """What a person asks for; None: everything.

    Attributes:
        model: a glob over the names of models.
        ticker: a ticker, in any case.
        team: the name of a team.
        branch: the name of a branch.
        first: the first session.
        last: the last session.
        is_open: only forecasts without an actual close.
    """

    model: str | None = None
    ticker: str | None = None
    team: str | None = None
    branch: str | None = None
    first: date | None = None
    last: date | None = None
    is_open: bool = False

    @property
    def names_days(self) -> bool:
        """Whether it asks for sessions or open forecasts, rather than for the newest forecast of each model."""
        return self.first is not None or self.last is not None or self.is_open


def chosen(journal: Journal, filters: Filters) -> Selection:
    """The selection of a journal that fits the filters. Names are looked up in the newest forecast of each model.

    Raises:
        ConfigError: the journal has no forecast of such a model, ticker, team or branch.
    """
    newest = [issued.forecast for issued in journal.newest()]
    ticker = None if filters.ticker is None else filters.ticker.upper()
    for option, name in (("branch", filters.branch), ("team", filters.team), ("ticker", ticker)):
        _check_known(option, name, {str(getattr(forecast, option)) for forecast in newest})
    models = None if filters.model is None else _matching(filters.model, {forecast.model for forecast in newest})
    return Selection(
        filters.first, filters.last, filters.branch, models, _only(ticker), _only(filters.team), filters.is_open
    )


def _check_known(option: str, name: str | None, known: set[str]) -> None:
    if name is not None and known and name not in known:
        raise ConfigError(f"--{option} {name}: the journal has no forecast of it{suggestion(name, sorted(known))}")


def _matching(glob: str, known: set[str]) -> list[str]:
    """The names that match; a `ConfigError` if there are names, but none that matches."""
    names = sorted(name for name in known if fnmatchcase(name, glob))
    if not names:
        _check_known("model", glob, known)
    return names


def _only(name: str | None) -> list[str] | None:
    return None if name is None else [name]
