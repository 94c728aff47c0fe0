"""The data plane: answers requests by the models in memory, and follows changes of the model folders."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

from mlops_cli.config.paths import Project
from mlops_cli.config.schemas.serving import Serving
from mlops_cli.models.manifest import Manifest
from mlops_cli.models.shared.graph_trial import TrialProcess
from mlops_cli.models.shared.weight_files import open_weight_files
from mlops_cli.prices.cleaning.counts import RepairedPrices
from mlops_cli.serving.answering.degradation import Answering, LoadLevel, Target, has_columns
from mlops_cli.serving.answering.dispatcher import Dispatcher
from mlops_cli.serving.answering.issued_cache import IssuedCache
from mlops_cli.serving.answering.latest_forecasts import LatestForecasts
from mlops_cli.serving.answering.latest_rows import LatestRows
from mlops_cli.serving.answering.request_columns import columns_of
from mlops_cli.serving.answering.session_ages import SessionAges
from mlops_cli.serving.answering.shadow import Shadow
from mlops_cli.serving.auto_promotion import AutoPromotion
from mlops_cli.serving.catalog import metadata
from mlops_cli.serving.catalog.catalog import Catalog, ServedModel
from mlops_cli.serving.catalog.ensembles import averaged
from mlops_cli.serving.catalog.folder_watch import changes, new_tables, touched
from mlops_cli.serving.catalog.live_catalog import LiveCatalog
from mlops_cli.serving.catalog.load_catalog import CatalogLoader, select
from mlops_cli.serving.catalog.loaded_models import LoadedModels
from mlops_cli.serving.contract.issued_forecasts import IssuedForecasts
from mlops_cli.serving.contract.messages import (
    Answer,
    Forecast,
    IndexEntry,
    Query,
    ServedVersion,
    UnservableError,
)

_TICK = 0.02  # seconds between two samples of the load
_START_SECONDS = 5.0
_MEGABYTE = 1_000_000

log = logging.getLogger(__name__)


class DataPlane:
    """All model logic behind HTTP. It lives in one event loop, and its methods are called from that loop only."""

    def __init__(
        self,
        project: Project,
        settings: Serving,
        models: str | None = None,
        issued: IssuedForecasts | None = None,
        ages: SessionAges | None = None,
    ) -> None:
        """Serve the models that `load_catalog.select` finds for `models`, with the project's features and verdicts.

        Forecasts that were `issued` are shown as they are; `ages` tell how old their data are. Both may be left out.
        """
        self.project = project
        self._settings = settings
        self._selection = select(project, models)
        self._trials = TrialProcess()
        self._files, self._temporary = open_weight_files(project.state / "serving", self._trials)
        self._loader = CatalogLoader(project, settings, self._selection, self._files)
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="models")
        self._table_readers = ThreadPoolExecutor(2, thread_name_prefix="tables")  # so that models never wait for tables
        self._loaded = LoadedModels(self._files, settings.memory_budget * _MEGABYTE, self._readers)
        self._live = LiveCatalog(settings, self._loader, self._loaded, self._readers)
        self._dispatcher = Dispatcher(settings)
        self._load_level = LoadLevel(settings)
        self._answering = Answering(settings, self._loaded, self._dispatcher, self._load_level)
        self._rows = LatestRows(project, self._table_readers)
        cache = None if issued is None else IssuedCache(issued)
        self.forecasts = LatestForecasts(self._answering, self._rows, cache, ages)
        self._shadow = Shadow(self._answering, self._load_level)
        self._features = project.root / "data" / "features"
        self._watched = [self._selection.root, self._features, project.root / "simulation" / "evaluation"]
        self._promotion = AutoPromotion(project, self._files.folder / "promotion.lock")
        self.repaired_prices = RepairedPrices(project.root / "data" / "prices")
        self._unloaded: set[str] = set()
        self._stopping = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._ticking: asyncio.TimerHandle | None = None

    @property
    def catalog(self) -> Catalog:
        """What is served now. A request that holds it finishes on it, even if models change meanwhile."""
        return self._live.catalog

    async def start(self) -> None:
        """Watch the folders, read them, and load the models of `serving.prewarm`. Returns when all that is done.

        No new graph is begun to be tried after `_START_SECONDS`; those that are left are served once they were tried.
        """
        first = asyncio.get_running_loop().create_future()
        self._watching = asyncio.create_task(self._watch(first))
        await asyncio.wait({first, self._watching}, return_when=asyncio.FIRST_COMPLETED)
        if self._watching.done():
            self._watching.result()  # raises the reason
        self._tick(perf_counter())

    async def stop(self) -> None:
        """Stop watching, and finish queued requests."""
        self._stopping.set()
        self._trials.close()
        await self._live.stop()
        if self._watching is not None:
            await self._watching
            self._watching = None
        await self._promotion.stop()
        await self._shadow.stop()
        await self._dispatcher.stop()
        await self.forecasts.stop()
        if self._ticking is not None:
            self._ticking.cancel()
        for executor in (self._readers, self._table_readers):
            executor.shutdown(wait=False, cancel_futures=True)
        if self._temporary is not None:
            self._temporary.close()

    async def infer(self, query: Query) -> Answer:
        """Answer one request, as the load allows.

        Raises:
            UnknownModelError: no such model or version is served.
            BadInputError: the rows do not fit the model.
            UnservableError: the model is quarantined or unloaded.
            OverloadedError: the queue is full, or the deadline passed.
        """
        catalog = self._live.catalog
        model = catalog.models.get(query.model)
        if model is None:
            return await self._infer_ensemble(catalog, query)
        version = metadata.version_of(model, query.version)
        inputs, shape = version.inputs, query.rows.shape
        if query.columns is not None:
            inputs = query.columns
        elif query.interval or len(shape) != 2 or shape[1] != len(inputs) or not shape[0]:
            inputs = columns_of(query, version)
        answer = await self._infer_model(catalog, model, version, query, inputs)
        if model.shadow is not None and query.version is None:
            self._shadow.follow(catalog, model, inputs, query.rows, answer)
        return answer

    async def latest(
        self, models: Sequence[str] | None = None, computed: bool = False
    ) -> tuple[list[Forecast], dict[str, str]]:
        """The latest forecast of these models (None: of all), and by name the reason for each model without one.

        With `computed`, forecasts are computed also where one was issued.

        Raises as `LatestForecasts.of`.
        """
        return await self.forecasts.of(self._live.catalog, models, self._unloaded, computed)

    def index(self) -> list[IndexEntry]:
        """Every version of every model and ensemble; quarantined ones with their reason."""
        return metadata.index(self._live.catalog, self._loaded, self._unloaded)

    def why_not_ready(self) -> str:
        """Why the server answers no request for a forecast; an empty string if some model answers."""
        if self._watching is None or self._stopping.is_set():
            return "the server is starting or stopping"
        return metadata.why_none_answers(self._live.catalog, self._unloaded, self._loaded.failures)

    def ready(self, model: str | None = None, version: str | None = None) -> bool:
        """Whether the server (no model given) or this model answers; not if it is unknown, quarantined or unloaded."""
        if model is None:
            return not self.why_not_ready()
        ensemble = self._live.catalog.ensembles.get(model)
        if ensemble is not None:
            return not ensemble.reason and not any(member.name in self._unloaded for member, _ in ensemble.members)
        served = self._live.catalog.models.get(model)
        if served is None or model in self._unloaded:
            return False
        served_version = served.default if version is None else served.version(version)
        return served_version is not None and served_version.sha not in self._loaded.failures

    async def load(self, model: str) -> None:
        """Read the model's folder again, and load the version that answers by default. Undoes `unload`.

        Raises:
            UnknownModelError: there is no such model.
            UnservableError: it is quarantined.
        """
        if model in self._live.catalog.ensembles:
            metadata.checked_ensemble(self._live.catalog.ensembles[model], None)
            for member, _ in self._live.catalog.ensembles[model].members:
                await self.load(member.name)
            return
        self._files.forget_failures()
        await self._live.rescan({self._live.catalog.model(model).key})
        await self._live.tried()
        version = metadata.version_of(self._live.catalog.model(model))
        self._unloaded.discard(model)
        await self._loaded.load(version)

    async def unload(self, model: str) -> None:
        """Drop a model from memory. It does not answer until it is loaded again; open requests finish.

        Raises:
            UnknownModelError: there is none.
            UnservableError: it is an ensemble, which holds no memory of its own.
        """
        if model in self._live.catalog.ensembles:
            raise UnservableError(f"{model} is an ensemble: it is not in memory", "unload its models")
        served = self._live.catalog.model(model)
        self._unloaded.add(model)
        for version in served.versions:
            self._loaded.drop(version.sha)

    def features_of(self, model: str) -> Manifest:
        """The manifest of the version that answers by default, for computing its features.

        Raises:
            UnknownModelError: there is no such model.
            UnservableError: it is quarantined, or an ensemble, which has no features of its own.
        """
        if model in self._live.catalog.ensembles:
            raise UnservableError(f"{model} is an ensemble, without features of its own", "ask its models one by one")
        return metadata.manifest_of(self._selection.root, self._live.catalog.model(model))

    def measures(self) -> dict[str, float]:
        """Current load and memory, and counts since the start, for /metrics.

        Keys: queue_delay_ms, loop_lag_ms, level (0 to 3), queued, resident_models, resident_bytes,
        memory_budget_bytes; the counts loads, evictions, shadow_rows, shadow_difference, shadow_failures; and
        stale_forecasts, once it is known.
        """
        stale = self.forecasts.count_stale(self._live.catalog)
        return {
            "queue_delay_ms": self._load_level.queue_ms,
            "loop_lag_ms": self._load_level.lag_ms,
            "level": self._load_level.level,
            "queued": self._dispatcher.queued,
            "resident_models": len(self._loaded),
            "resident_bytes": self._loaded.bytes,
            "memory_budget_bytes": self._loaded.budget,
            "loads": self._loaded.loads,
            "evictions": self._loaded.evictions,
            "shadow_rows": self._shadow.rows,
            "shadow_difference": self._shadow.difference,
            "shadow_failures": self._shadow.failures,
            **({} if stale is None else {"stale_forecasts": stale}),
        }

    async def _infer_model(
        self, catalog: Catalog, model: ServedModel, version: ServedVersion, query: Query, inputs: tuple[str, ...]
    ) -> Answer:
        if model.name in self._unloaded:
            raise UnservableError(f"{model.name} is unloaded", f"POST /v2/repository/models/{model.name}/load")
        if model.route is not None and query.version is None:
            side = model.route.pick(query.caller)
            # else it was trained on features that the caller did not send, or it cannot give the same intervals
            if has_columns(inputs, side.needed) and not (query.interval and side.levels != version.levels):
                version = side
        target = Target(model, version, query.version is not None)
        return await self._answering.answer(catalog, target, inputs, query.rows, query.interval)

    async def _infer_ensemble(self, catalog: Catalog, query: Query) -> Answer:
        ensemble = catalog.ensembles.get(query.model)
        if ensemble is None:
            raise catalog.unknown(query.model)
        metadata.checked_ensemble(ensemble, query.version)
        inputs = columns_of(query, metadata.describe(catalog, query.model))
        member = Query(query.model, query.rows, None, query.caller, query.interval)
        answers = [
            await self._infer_model(catalog, model, metadata.version_of(model), member, inputs)
            for model, _ in ensemble.members
        ]
        return averaged(ensemble, answers)

    async def _watch(self, first: asyncio.Future[None]) -> None:
        async for paths in changes(self._watched, self._stopping):
            try:
                changed = None if paths is None else touched(paths, self._selection.root)
                await self._live.rescan(changed, 0.0 if first.done() else _START_SECONDS)
                if not first.done():
                    await asyncio.to_thread(self._files.remove_others, self._loader.shas())
                    first.set_result(None)
                await self._rows.get(self._live.catalog.models_by_key)  # the next request need not read them
            except OSError as error:
                if not first.done():
                    raise
                log.warning("the folders could not be read: %s; the models from before are still served", error)
            if self._settings.promotion.auto and new_tables(paths, self._features):
                self._promotion.features_changed()

    def _tick(self, due: float) -> None:
        """Sample the load and refuse requests that waited too long; schedules itself again."""
        now = perf_counter()
        self._dispatcher.expire()
        self._load_level.observe(self._dispatcher.longest_wait() * 1e3, max(0.0, now - due) * 1e3)
        self._ticking = asyncio.get_running_loop().call_later(_TICK, self._tick, now + _TICK)
