"""The catalog that is served, and its replacement by a new one without a pause."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import Executor
from fnmatch import fnmatchcase

from mlops_cli.config.schemas.serving import Serving
from mlops_cli.serving.catalog.catalog import Catalog, ModelKey, ServedModel
from mlops_cli.serving.catalog.load_catalog import CatalogLoader
from mlops_cli.serving.catalog.loaded_models import LoadedModels
from mlops_cli.serving.contract.messages import UnservableError


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
        self._scanning = asyncio.Lock()
        self.catalog = Catalog()

    async def rescan(self, models: Iterable[ModelKey] | None) -> None:
        """Read folders (None: of all models) again, load new versions of models in memory, then swap the catalog.

        A model that was in memory is in memory afterwards: no request has to wait until its new version is loaded.
        """
        async with self._scanning:
            loop = asyncio.get_running_loop()
            catalog = await loop.run_in_executor(self._executor, self._loader.scan, models)
            pinned = _matching(catalog, self._settings.pinned)
            self._loaded.pinned = {model.default.sha for model in pinned if model.default is not None}
            prewarmed = [] if self.catalog.models else _matching(catalog, self._settings.prewarm)
            for model in [*pinned, *prewarmed, *self._renewed(catalog)]:
                await self._warm(model)
            self.catalog = catalog
            self._loaded.drop_others(self._loader.shas())

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

    async def _warm(self, model: ServedModel) -> None:
        if model.default is None:
            return
        try:
            await self._loaded.load(model.default)
        except UnservableError:
            return  # the repository index tells the reason


def _matching(catalog: Catalog, patterns: tuple[str, ...]) -> list[ServedModel]:
    return [model for name, model in catalog.models.items() if any(fnmatchcase(name, pattern) for pattern in patterns)]
