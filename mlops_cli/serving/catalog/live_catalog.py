"""Replaces the catalog without a pause when model folders change, and keeps the models in memory in step with it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from fnmatch import fnmatchcase

from mlops_cli.config.schemas.serving import Serving
from mlops_cli.serving.catalog.catalog import Catalog, ModelKey, ServedModel
from mlops_cli.serving.catalog.load_catalog import CatalogLoader
from mlops_cli.serving.catalog.loaded_models import LoadedModels
from mlops_cli.serving.contract.messages import UnservableError

RETRY_SECONDS = 5.0  # until models are read again that, for example, a full disk kept from being prepared
UNUSED_SECONDS = 60.0  # after which weights that no model needs are removed; other workers may still be on them before


class LiveCatalog:
    """Keeps the catalog and the models in memory in step with the folders.

    `catalog` is replaced whole: a request that holds the old one finishes on it.
    """

    def __init__(self, settings: Serving, loader: CatalogLoader, loaded: LoadedModels, executor: Executor) -> None:
        """Read folders with `loader` in `executor`, and keep models in `loaded`."""
        self._settings = settings
        self._loader = loader
        self._loaded = loaded
        self._executor = executor
        self._trials = ThreadPoolExecutor(1, thread_name_prefix="trials")  # a trial may take seconds
        self._scanning = asyncio.Lock()
        self._trying: asyncio.Task[None] | None = None
        self._retrying: asyncio.Task[None] | None = None
        self.catalog = Catalog()

    async def rescan(self, models: Iterable[ModelKey] | None, trial_seconds: float = 0.0) -> None:
        """Read folders (None: of all) again, load new versions of models in memory, then swap the catalog.

        A model that was in memory is in memory afterwards: no request has to wait until its new version is loaded.
        New graphs are tried at once while `trial_seconds` have not passed. Tasks of their own take up later what is
        still to be tried then, and what a full disk prevented.
        """
        async with self._scanning:
            loop = asyncio.get_running_loop()
            catalog = await loop.run_in_executor(self._executor, self._loader.scan, models, trial_seconds)
            pinned = _matching(catalog, self._settings.pinned)
            self._loaded.pinned = {model.default.sha for model in pinned if model.default is not None}
            for model in [*pinned, *self._new(_matching(catalog, self._settings.prewarm)), *self._renewed(catalog)]:
                if model.default is not None:
                    with contextlib.suppress(UnservableError):  # the repository index tells the reason
                        await self._loaded.load(model.default)
            self.catalog = catalog
            self._loaded.drop_others(self._loader.shas())
            await loop.run_in_executor(self._executor, self._loader.remove_unused, UNUSED_SECONDS)
        if self._loader.untried and _is_over(self._trying):
            self._trying = loop.create_task(self._try_graphs())
        if self._loader.blocked and _is_over(self._retrying):
            self._retrying = loop.create_task(self._read_blocked())

    async def tried(self) -> None:
        """Wait until no new graph is being tried."""
        if self._trying is not None:
            await asyncio.wait({self._trying})

    async def stop(self) -> None:
        """End the tasks."""
        tasks = [task for task in (self._trying, self._retrying) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._trials.shutdown(wait=False, cancel_futures=True)

    async def _try_graphs(self) -> None:
        """Try new graphs, each in a process of its own; all models are served meanwhile."""
        while self._loader.untried:
            models = set(self._loader.untried)
            await asyncio.get_running_loop().run_in_executor(self._trials, self._loader.try_graphs, models)
            await self.rescan(models)

    async def _read_blocked(self) -> None:
        while self._loader.blocked:
            await asyncio.sleep(RETRY_SECONDS)
            await self.rescan(set(self._loader.blocked))

    def _new(self, models: list[ServedModel]) -> list[ServedModel]:
        """Those of the models that could not answer before."""
        before = self.catalog.models
        return [model for model in models if model.name not in before or before[model.name].default is None]

    def _renewed(self, catalog: Catalog) -> list[ServedModel]:
        """Models that are in memory and whose default version is another one now."""
        renewed = []
        for name, model in catalog.models.items():
            before = self.catalog.models.get(name)
            if before is None or before.default is None or model.default is None:
                continue
            if before.default.sha in self._loaded and model.default.sha not in self._loaded:
                renewed.append(model)
        return renewed


def _is_over(task: asyncio.Task[None] | None) -> bool:
    return task is None or task.done()


def _matching(catalog: Catalog, patterns: tuple[str, ...]) -> list[ServedModel]:
    return [model for name, model in catalog.models.items() if any(fnmatchcase(name, pattern) for pattern in patterns)]
