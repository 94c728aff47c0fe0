"""One request through the degradation policy: small variant, cached answer, queue; and out comes an answer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from time import monotonic

import numpy as np
import numpy.typing as npt

from mlops_cli.config.schemas.serving import Serving
from mlops_cli.errors import bounded
from mlops_cli.models.session import are_usable
from mlops_cli.serving.answering.answer_cache import MOST_ROWS, AnswerCache, Kept, Key
from mlops_cli.serving.answering.dispatcher import Dispatcher, Outputs
from mlops_cli.serving.answering.load_level import LoadLevel
from mlops_cli.serving.catalog.catalog import Catalog, ServedModel
from mlops_cli.serving.catalog.loaded_models import Residence
from mlops_cli.serving.contract.messages import Answer, BadInputError, Rows, Rung
from mlops_cli.serving.contract.served_version import ServedVersion

SMALL, CACHED, DELAYED = 1, 2, 3  # levels of load from which each step is taken
FULL: Rung = "full"
SMALLER: Rung = "small"
LATE: Rung = "delayed"


@dataclass(frozen=True, slots=True)
class Target:
    """What answers a request, unless the load bends it.

    Attributes:
        model: that was asked for.
        version: of it.
        fixed: the caller asked for exactly this version: no small variant, no stale answer.
    """

    model: ServedModel
    version: ServedVersion
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for one row.

    Attributes:
        inputs: names of the columns of `rows`; the target's are among them.
        rows: float32 (1, len(inputs)), finite.
    """

    target: Target
    inputs: tuple[str, ...]
    rows: Rows


class Answering:
    """Answers requests from loaded models, by the load level."""

    def __init__(self, settings: Serving, residence: Residence, dispatcher: Dispatcher, load: LoadLevel) -> None:
        self._residence = residence
        self._dispatcher = dispatcher
        self._load = load
        self._small = settings.smaller_model.enabled
        self._cache = AnswerCache(settings.cached_answer) if settings.cached_answer.enabled else None
        self._stale_from = DELAYED if settings.delayed_answer.enabled else CACHED
        self._long = settings.delayed_answer.enter_ms / 1e3

    async def answer(self, catalog: Catalog, target: Target, inputs: tuple[str, ...], rows: Rows) -> Answer:
        """Answer one request.

        Args:
            catalog: to find the small variant in.
            target: what is asked for.
            inputs: names of the columns of `rows`; the target's are among them.
            rows: float32 (n, len(inputs)), n >= 1, finite.

        Raises:
            BadInputError: no finite forecast comes of these rows.
            UnservableError, OverloadedError: see `answers`.
        """
        model, version, level = target.model, target.version, self._load.level
        answered_by, rung = model, FULL
        if level >= SMALL and self._small and version.small is not None and not target.fixed:
            smaller = catalog.folders.get((model.branch, version.small))
            if smaller is not None and smaller.default is not None and has_columns(inputs, smaller.default.inputs):
                answered_by, version, rung = smaller, smaller.default, SMALLER
        key = None
        if self._cache is not None and len(rows) <= MOST_ROWS:
            key = self._cache.key(model.name, inputs, rows)
            if level >= CACHED:
                cached = self._cached(key, target, (answered_by, version), level)
                if cached is not None:
                    return cached
        (log_return, raw), waited = await self._run(version, pick_columns(rows, inputs, version.inputs))
        _check(raw, log_return, model.name)
        if key is not None and self._cache is not None:
            self._cache.put(key, Kept(answered_by.name, version.version, log_return, raw, monotonic()))
        if level >= DELAYED and waited > self._long:
            rung = LATE
        return _answer(model.name, answered_by, version, (log_return, raw), rung)

    async def _run(self, version: ServedVersion, rows: Rows) -> tuple[Outputs, float]:
        loaded = self._residence.get(version.sha) or await self._residence.load(version)
        outputs = self._dispatcher.run_now(loaded, rows)
        return (outputs, 0.0) if outputs is not None else await self._dispatcher.run_queued(loaded, rows)

    def _cached(self, key: Key, target: Target, taken: tuple[ServedModel, ServedVersion], level: int) -> Answer | None:
        """An answer of the target, or of what the load would have answer for it."""
        assert self._cache is not None
        stale = level >= self._stale_from and not target.fixed
        kept = self._cache.get(key, (target.version.version, taken[1].version), stale)
        if kept is None:
            return None
        return Answer(
            target.model.name,
            kept.answered_by,
            kept.version,
            kept.log_return,
            kept.raw_log_return,
            "cached",
            monotonic() - kept.at,
            (taken[0] if kept.answered_by == taken[0].name else target.model).verdicts.get(kept.version),
        )


def _answer(name: str, by: ServedModel, version: ServedVersion, outputs: Outputs, rung: Rung) -> Answer:
    return Answer(name, by.name, version.version, outputs[0], outputs[1], rung, 0.0, by.verdicts.get(version.version))


def _check(raw: Rows, log_return: Rows, name: str) -> None:
    if not are_usable(log_return, raw):
        raise BadInputError(
            f"{name}: no usable forecast comes of these values", "send values as they occur in training"
        )


@lru_cache(maxsize=4096)
def _places(inputs: tuple[str, ...], wanted: tuple[str, ...]) -> npt.NDArray[np.intp] | None:
    place = {name: number for number, name in enumerate(inputs)}
    if not all(name in place for name in wanted):
        return None
    return np.array([place[name] for name in wanted], dtype=np.intp)


def has_columns(inputs: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    """Whether `wanted` are among `inputs`."""
    return inputs is wanted or _places(inputs, wanted) is not None


def pick_columns(rows: Rows, inputs: tuple[str, ...], wanted: tuple[str, ...]) -> Rows:
    """The columns `wanted` of `rows`, by name.

    Raises:
        BadInputError: one is missing.
    """
    if inputs is wanted or inputs == wanted:
        return rows
    places = _places(inputs, wanted)
    if places is None:
        missing = [name for name in wanted if name not in inputs]
        raise BadInputError(f"columns are missing: {bounded(missing)}", f"expected: {', '.join(wanted)}")
    return np.take(rows, places, axis=1)
