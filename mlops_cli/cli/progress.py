"""Progress on stderr: a bar on a terminal, otherwise one line per stage."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

from mlops_cli.errors import printable

ITEMS = {"replay": "session"}  # every other stage counts models
SPEED_SECONDS = 120.0  # long, because models of a fleet finish by the dozen


class ConsoleProgress:
    """Shows a stage's progress; a context manager. With `verbose` and no terminal, it prints what is being done too."""

    def __init__(self, verbose: bool = False) -> None:
        self._verbose = verbose
        self._terminal = sys.stderr.isatty()
        self._bar: Any = None
        self._task: Any = None
        self._stage = ""
        self._begun = 0.0
        self._done = 0

    def __enter__(self) -> Self:
        if self._terminal:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            self._bar = Progress(
                TextColumn("{task.fields[stage]}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),  # for all training processes together
                TextColumn("{task.description}"),
                speed_estimate_period=SPEED_SECONDS,
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_stage(finished=kind is None)
        if self._bar is not None:
            self._bar.stop()

    def start(self, stage: str, total: int) -> None:
        """Begin a stage of `total` items."""
        self._end_stage(finished=True)
        self._stage, self._begun = stage, time.monotonic()
        if self._bar is not None:
            self._task = self._bar.add_task("", stage=stage, total=total, rate="")
        self._done = 0

    def doing(self, text: str) -> None:
        """Show what is being done now."""
        if self._bar is not None and self._task is not None:
            from rich.markup import escape

            self._bar.update(self._task, description=escape(printable(text)))
        elif self._verbose:
            print(f"{self._stage}: {printable(text)}", file=sys.stderr, flush=True)

    def done(self, count: int = 1) -> None:
        """Count `count` more items as finished."""
        self._done += count
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=count, rate=self._rate())

    def _end_stage(self, finished: bool) -> None:
        if not self._stage:
            return
        if self._bar is not None and self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None
        if finished:
            rate = f", {self._rate()}" if self._done > 1 else ""
            print(f"{self._stage}: {time.monotonic() - self._begun:.1f} s{rate}", file=sys.stderr, flush=True)
        self._stage = ""

    def _rate(self) -> str:
        """Items per second since the stage began; seconds per item if an item takes longer than a second."""
        passed = max(time.monotonic() - self._begun, 1e-3)
        item = ITEMS.get(self._stage, "model")
        return f"{self._done / passed:.1f} {item}s/s" if self._done >= passed else f"{passed / self._done:.1f} s/{item}"
