"""Takes what a team asks for, and makes job requests of it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from mlops_cli.config.mistakes import Mistakes, value_in_words
from mlops_cli.config.paths import Project
from mlops_cli.config.requested import REQUESTED
from mlops_cli.config.schemas.project import ModelSpec
from mlops_cli.errors import ConfigError
from mlops_cli.live.jobs.job import JobRequest
from mlops_cli.live.jobs.job_requests import job_request, requested_models
from mlops_cli.live.requests.places import Places
from mlops_cli.market.sessions import last_finished_session

_NAMES_ONLY = frozenset({"team", "ticker", "tickers", "suffix"})
"""A request with no other keys says which model, and nothing about how it is made."""

Stamp = tuple[tuple[str, int, int], ...]


class Intake:
    """Makes job requests; any thread may call it. The configs are read again when one of their files changed."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._lock = threading.Lock()
        self._read: tuple[Stamp, Places] | None = None

    def requests(self, team: str | None, body: Any, now: datetime | None = None) -> list[JobRequest]:
        """The requests for the models that `body` describes, one for each.

        A request for a ticker and nothing else takes the config of the model that is there under this name, if there
        is one.

        Args:
            team: who asks; None: the body names the team.
            body: the keys of a model file, as JSON or YAML was parsed.
            now: the time, with a time zone; None: by the clock of this machine.

        Raises:
            ConfigError: every mistake in it.
        """
        places = self._places()
        names_only = isinstance(body, dict) and _NAMES_ONLY.issuperset(body)
        mistakes = Mistakes()
        requests = []
        for described in requested_models(self._project, team or _team_in(body), body):
            spec = (places.configured(described.name) if names_only else None) or described
            if (spec.team, spec.ticker) != (described.team, described.ticker):  # red asks for 2-AAPL: red-2-aapl
                mistakes.add("job", f"the name {spec.name} belongs to {spec.ticker} of team {spec.team}", "ticker")
                continue
            try:
                branch = places.branch_of(spec)
            except ConfigError as error:
                mistakes.add("job", f"{error.message}; {error.hint}")
                continue
            requests.append(job_request(spec, self._data(places, branch, spec, now or datetime.now(UTC))))
        mistakes.raise_if_any("correct it and submit it again")
        return requests

    def _data(self, places: Places, branch: str, spec: ModelSpec, now: datetime) -> str:
        """The last session that the model can be trained on, as YYYY-MM-DD."""
        period = places.params.period if branch == REQUESTED else places.branches[branch].period
        last = last_finished_session(spec.exchange, pd.Timestamp(now)).date()
        return str(last if period.end is None else min(last, period.end))

    def _places(self) -> Places:
        with self._lock:
            stamp = self._stamp()
            if self._read is None or self._read[0] != stamp:
                self._read = stamp, Places.of(self._project)
            return self._read[1]

    def _stamp(self) -> Stamp:
        """Changes whenever a config changes: of each file its time and size; of stored configs those of the folder."""
        files = [self._project.params, self._project.requested, *sorted(self._project.configs.rglob("*"))]
        facts = [(str(path), path.stat()) for path in files if path.exists()]
        return tuple((path, stat.st_mtime_ns, stat.st_size) for path, stat in facts)


def _team_in(body: Any) -> str:
    """The team that a request names."""
    team = body.get("team") if isinstance(body, dict) else None
    if not isinstance(team, str):
        problem = "is missing" if team is None else f"was {value_in_words(team)}"
        raise ConfigError(f"job: team: {problem}, expected the name of the team that the models belong to")
    return team
