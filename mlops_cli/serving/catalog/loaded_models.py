"""Models in memory: loaded on demand, and the least recently used are dropped when the memory budget is full."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection
from concurrent.futures import Executor

from mlops_cli.errors import ModelError
from mlops_cli.models.shared.weight_files import LoadedModel, WeightFiles
from mlops_cli.serving.contract.messages import ServedVersion, UnservableError


class LoadedModels:
    """The loaded models of one event loop, by the hash of their graph.

    Attributes:
        pinned: graphs that are never dropped.
        failures: graphs that could not be loaded, with the reason.
        loads: models loaded so far.
        evictions: models dropped for the budget so far.
    """

    def __init__(self, files: WeightFiles, budget: int, executor: Executor) -> None:
        """Hold at most `budget` bytes of weights and sessions. Slow loads run in `executor`."""
        self._files = files
        self._executor = executor
        self._models: OrderedDict[str, LoadedModel] = OrderedDict()
        self._loading: dict[str, asyncio.Task[LoadedModel]] = {}
        self._weights = 0
        self.budget = budget
        self.pinned: Collection[str] = ()
        self.failures: dict[str, str] = {}
        self.loads = 0
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._models)

    def __contains__(self, sha: str) -> bool:
        return sha in self._models

    @property
    def bytes(self) -> int:
        """Weights and sessions in memory."""
        return self._weights + self._files.architectures.bytes

    def get(self, sha: str) -> LoadedModel | None:
        """The model, if it is in memory. It then counts as used most recently."""
        model = self._models.get(sha)
        if model is not None:
            self._models.move_to_end(sha)
        return model

    async def load(self, version: ServedVersion) -> LoadedModel:
        """The model, loaded once if it is not in memory; an `UnservableError` if its files are damaged."""
        model = self.get(version.sha)
        if model is not None:
            return model
        task = self._loading.get(version.sha)
        if task is None:
            try:
                # mapping a prepared file takes 0.1 ms, which costs less than a change of thread under load
                model = self._files.load(version.sha, live_only=True)
            except (OSError, ModelError):
                model = None  # prepared again below
            if model is not None:
                return self._keep(model)
            task = asyncio.get_running_loop().create_task(self._load(version))
            self._loading[version.sha] = task
            task.add_done_callback(lambda _: self._loading.pop(version.sha, None))
        return await asyncio.shield(task)  # a caller that hangs up must not stop the load for others

    def drop(self, sha: str) -> None:
        """Drop a model. Open requests finish on it."""
        model = self._models.pop(sha, None)
        if model is not None:
            self._weights -= model.bytes

    def drop_others(self, shas: Collection[str]) -> None:
        """Drop all models but these, and forget failures so that they are tried again."""
        for sha in [sha for sha in self._models if sha not in shas]:
            self.drop(sha)
        self.failures.clear()

    async def _load(self, version: ServedVersion) -> LoadedModel:
        loop = asyncio.get_running_loop()
        try:
            model = await loop.run_in_executor(self._executor, self._prepare_and_load, version)
        except (ModelError, OSError) as error:
            reason = error.message if isinstance(error, ModelError) else str(error)
            self.failures[version.sha] = reason
            raise UnservableError(
                f"{version.folder.name} {version.version} cannot be loaded: {reason}",
                "see /v2/repository/index; train it again: mlops train",
            ) from error
        self.failures.pop(version.sha, None)
        return self._keep(model)

    def _prepare_and_load(self, version: ServedVersion) -> LoadedModel:
        try:
            model = self._files.load(version.sha)
        except (FileNotFoundError, ModelError):
            self._files.prepare(version.folder, version.sha, len(version.inputs))
            model = self._files.load(version.sha)
        assert model is not None  # it is None only with `live_only`
        return model

    def _keep(self, model: LoadedModel) -> LoadedModel:
        self._models[model.sha] = model
        self._weights += model.bytes
        self.loads += 1
        if self.bytes > self.budget:
            self._evict(model)
        return model

    def _evict(self, newest: LoadedModel) -> None:
        for sha, model in list(self._models.items()):
            if self.bytes <= self.budget:
                return
            if model is not newest and not model.users and sha not in self.pinned:
                self.drop(sha)
                self.evictions += 1
