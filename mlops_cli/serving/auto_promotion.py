"""Starts `mlops models promote --by-skill` after feature tables changed, in one of all workers."""

from __future__ import annotations

import asyncio
import logging
import sys
from contextlib import ExitStack
from pathlib import Path

from mlops_cli.config.paths import Project
from mlops_cli.errors import EXIT_OK, EXIT_SOME_FAILED, ServiceError
from mlops_cli.system.locks import file_lock

_BOUND = 1800.0  # seconds that one promotion may take
_QUIET = 5.0  # seconds without a further change before it starts: `mlops featurize` writes one table after the other

log = logging.getLogger(__name__)


class AutoPromotion:
    """Runs the command at most once at a time. The server notices a new champion like any changed file."""

    def __init__(self, project: Project, lock: Path) -> None:
        """Promote in `project`, in the worker that holds `lock`."""
        self._project = project
        self._lock = lock
        self._task: asyncio.Task[None] | None = None
        self._again = asyncio.Event()

    def features_changed(self) -> None:
        """Start a promotion because feature tables changed, or another one after the one that runs."""
        self._again.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End the promotion that runs, if any."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while self._again.is_set():
            self._again.clear()
            await asyncio.sleep(_QUIET)
            if self._again.is_set():
                continue
            with ExitStack() as stack:
                try:
                    stack.enter_context(file_lock(self._lock, ServiceError("another worker promotes")))
                except ServiceError:
                    return
                await self._promote()

    async def _promote(self) -> None:
        command = ["-m", "mlops_cli", "models", "promote", "--by-skill", "--project", str(self._project.root)]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, errors = await asyncio.wait_for(process.communicate(), _BOUND)
        finally:
            if process.returncode is None:  # it writes champions by rename, so it may be killed at any time
                process.kill()
                await process.communicate()
        if process.returncode not in (EXIT_OK, EXIT_SOME_FAILED):
            log.warning("promotion by skill failed: %s", errors.decode(errors="replace")[-2000:])
