"""Shadow versions: they run on real requests after the answer; their answers are only compared, never returned."""

from __future__ import annotations

import asyncio
import contextlib
import math

import numpy as np

from mlops_cli.errors import MlopsError
from mlops_cli.serving.answering.degradation import Answering, LoadLevel, Target, has_columns
from mlops_cli.serving.catalog.catalog import Catalog, ServedModel
from mlops_cli.serving.contract.messages import Answer, Rows

_AT_ONCE = 64  # shadow runs in progress; further requests are not followed


class Shadow:
    """Measures how much the forecasts of shadow versions differ from the answers.

    Attributes:
        rows: number of rows that shadows have forecast.
        difference: sum over these rows of the absolute difference in log return.
        failures: requests on which a shadow failed.
    """

    def __init__(self, answering: Answering, load: LoadLevel) -> None:
        self._answering = answering
        self._load = load
        self._tasks: set[asyncio.Task[None]] = set()
        self.rows = 0
        self.difference = 0.0
        self.failures = 0

    def follow(self, catalog: Catalog, model: ServedModel, inputs: tuple[str, ...], rows: Rows, answer: Answer) -> None:
        """Run the model's shadow on a request that was just answered. Does nothing under load."""
        version = model.shadow
        if version is None or self._load.level or len(self._tasks) >= _AT_ONCE:
            return
        if answer.version == version.version or not has_columns(inputs, version.needed):
            return
        work = self._run(catalog, Target(model, version, fixed=True), inputs, rows, answer)
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Wait until no shadow runs any more."""
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks)

    async def _run(self, catalog: Catalog, target: Target, inputs: tuple[str, ...], rows: Rows, answer: Answer) -> None:
        try:
            other = await self._answering.answer(catalog, target, inputs, rows)
        except MlopsError:
            self.failures += 1
            return
        difference = float(np.abs(other.log_return.astype(np.float64) - answer.log_return).sum())
        if math.isfinite(difference):
            self.rows += len(rows)
            self.difference += difference
