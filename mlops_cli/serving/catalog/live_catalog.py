"""The catalog that is served, and its replacement by a new one without a pause."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import Executor
from fnmatch import fnmatchcase

from mlops_cli.config.schemas.serving import Serving
from mlops_cli.serving.catalog.catalog import Catalog, ServedModel
from mlops_cli.serving.catalog.load_catalog import Place, Repository
from mlops_cli.serving.catalog.loaded_models import Residence
from mlops_cli.serving.contract.messages import UnservableError


class Collection:
    """Keeps the catalog, and what is in memory, in step with the folders.

    Attributes:
        catalog: what is served now; replaced whole, so that a request that has taken hold of it finishes on it.
    """

    def __init__(self, settings: Serving, repository: Repository, residence: Residence, executor: Executor) -> None:
        """Read folders with `repository` in `executor`, and keep models in `residence`."""
        self._settings = settings
        self._repository = repository
        self._residence = residence
        self._executor = executor
        self._scanning = asyncio.Lock()
        self.catalog = Catalog()

    async def rescan(self, places: Iterable[Place] | None) -> None:
        """Read folders again, load the new version of what is in memory, then swap: no request meets a cold model.

        Args:
            places: only these; None: all.
        """
        async with self._scanning:
            loop = asyncio.get_running_loop()
            catalog = await loop.run_in_executor(self._executor, self._repository.scan, places)
            pinned = _matching(catalog, self._settings.pinned)
            self._residence.pinned = {model.default.sha for model in pinned if model.default is not None}
            prewarmed = [] if self.catalog.models else _matching(catalog, self._settings.prewarm)
            for model in [*pinned, *prewarmed, *self._renewed(catalog)]:
                await self._warm(model)
            self.catalog = catalog
            self._residence.drop_others(self._repository.shas())

    def _renewed(self, catalog: Catalog) -> list[ServedModel]:
        """Models that are in memory and answer with another version now."""
        renewed = []
        for name, model in catalog.models.items():
            before = self.catalog.models.get(name)
            if before is None or before.default is None or model.default is None:
                continue
            if before.default.sha in self._residence and model.default.sha not in self._residence:
                renewed.append(model)
        return renewed

    async def _warm(self, model: ServedModel) -> None:
        if model.default is None:
            return
        try:
            await self._residence.load(model.default)
        except UnservableError:
            return  # the index says why


def _matching(catalog: Catalog, patterns: tuple[str, ...]) -> list[ServedModel]:
    return [model for name, model in catalog.models.items() if any(fnmatchcase(name, pattern) for pattern in patterns)]
