"""Progress of a training that is shown here, and told to the queue, where those who follow the job see it."""

from __future__ import annotations

from collections.abc import Callable

from mlops_cli.pipeline.stages.stage import Progress


class ToldProgress:
    """See the port `Progress`. `report` gets a line about every step."""

    def __init__(self, shown: Progress, report: Callable[[str], None]) -> None:
        self._shown, self._report = shown, report
        self._stage, self._total, self._done = "", 0, 0

    def start(self, stage: str, total: int) -> None:
        """See `Progress`."""
        self._shown.start(stage, total)
        self._stage, self._total, self._done = stage, total, 0
        self._tell()

    def doing(self, text: str) -> None:
        """See `Progress`."""
        self._shown.doing(text)
        self._tell(text)

    def done(self, count: int = 1) -> None:
        """See `Progress`."""
        self._shown.done(count)
        self._done += count
        self._tell()

    def _tell(self, text: str = "") -> None:
        self._report(f"{self._stage}: {self._done} of {self._total}{f', {text}' if text else ''}")
