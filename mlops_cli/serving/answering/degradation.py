"""The degradation policy: the load level, and what it does to a request (small variant, stored answer, queue)."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict, deque
from functools import lru_cache
from time import monotonic
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlops_cli.config.schemas.serving import CachedAnswer, Serving
from mlops_cli.errors import bounded
from mlops_cli.features.column_names import ANNOUNCED, WIDEST
from mlops_cli.models.session import are_usable, usable_intervals
from mlops_cli.serving.answering.dispatcher import Dispatcher
from mlops_cli.serving.answering.waiting_queue import Outputs
from mlops_cli.serving.catalog.catalog import Catalog, ModelKey, ServedModel
from mlops_cli.serving.catalog.loaded_models import LoadedModels
from mlops_cli.serving.contract.messages import Answer, BadInputError, Rows, Rung, ServedVersion

_DELAY_SAMPLES = 3  # number of samples that a delay must last to count; a single pause (garbage collection) does not
_NEWEST_WEIGHT = 0.3  # weight of the newest delay


class LoadLevel:
    """The current step of the degradation policy, from 0 (no degradation) to 3.

    It depends on the smallest delay of the last samples, smoothed: this measures a queue that persists and ignores
    bursts, as CoDel does (Nichols and Jacobson 2012).

    A step is entered when the delay reaches its `enter_ms` and left when the delay falls
    below its `leave_ms`. A step that is switched off is never entered. The level is the highest step entered.

    Attributes:
        level: 0: full answers; 1: small variants; 2: cached answers too; 3: stale cached answers too, and answers that
            waited are marked `delayed`.
        queue_ms: smoothed wait of requests in the queue.
        lag_ms: smoothed delay of the event loop: how late it runs scheduled calls.
    """

    def __init__(self, settings: Serving) -> None:
        self._steps = (settings.smaller_model, settings.cached_answer, settings.delayed_answer)
        self._samples: deque[tuple[float, float]] = deque(maxlen=_DELAY_SAMPLES)
        self._entered = [False] * len(self._steps)
        self.level = 0
        self.queue_ms = 0.0
        self.lag_ms = 0.0

    def observe(self, queue_ms: float, lag_ms: float) -> None:
        """Add a sample of both delays in ms. A request waits for both in turn, so their sum counts."""
        self._samples.append((queue_ms, lag_ms))
        queue_ms, lag_ms = min(self._samples, key=sum)
        self.queue_ms += _NEWEST_WEIGHT * (queue_ms - self.queue_ms)
        self.lag_ms += _NEWEST_WEIGHT * (lag_ms - self.lag_ms)
        delay = self.queue_ms + self.lag_ms
        for number, step in enumerate(self._steps):
            bound = step.leave_ms if self._entered[number] else step.enter_ms
            self._entered[number] = step.enabled and delay >= bound
        self.level = max((number + 1 for number, taken in enumerate(self._entered) if taken), default=0)


Key = tuple[str, tuple[str, ...], bytes, bool]
_SHORT = 128  # bytes of a request's values that are kept in the key as they are
MOST_ROWS = 256  # largest answer that is stored: the cache limits the number of entries, not their size


class StoredAnswer(NamedTuple):
    """An answer computed `at` a time of `time.monotonic`; the forecasts and intervals as in `Answer`."""

    answered_by: str
    version: str
    log_return: Rows
    raw_log_return: Rows
    at: float
    interval: Rows | None = None


class AnswerCache:
    """The most recently used answers, by version and input."""

    def __init__(self, settings: CachedAnswer) -> None:
        self._ttl = settings.ttl_seconds
        self._stale = settings.stale_seconds
        self._most = settings.entries
        self._answers: OrderedDict[tuple[str, Key], StoredAnswer] = OrderedDict()  # the least recently used one first

    @staticmethod
    def key(model: str, inputs: tuple[str, ...], rows: Rows, interval: bool = False) -> Key:
        """The part of an answer's key that comes from the request.

        It is made of the requested name, the columns, the values, and whether intervals are asked for.
        """
        values = rows.tobytes()
        if len(values) > _SHORT:  # 17 bytes, so that it cannot be equal to short values, which have 4 bytes each
            values = hashlib.blake2b(values, digest_size=17).digest()
        return model, inputs, values, interval

    def put(self, key: Key, answer: StoredAnswer) -> None:
        """Store an answer under its version and this key."""
        place = answer.version, key
        self._answers[place] = answer
        self._answers.move_to_end(place)
        if len(self._answers) > self._most:
            self._answers.popitem(last=False)

    def get(self, key: Key, versions: tuple[str, ...], stale: bool) -> StoredAnswer | None:
        """An answer that is not too old, by the first of these versions that has one stored.

        With `stale`, `stale_seconds` of age are allowed instead of `ttl_seconds`, if that is more.
        """
        oldest = max(self._ttl, self._stale) if stale else self._ttl
        for version in versions:
            answer = self._answers.get((version, key))
            if answer is not None and time.monotonic() - answer.at <= oldest:
                self._answers.move_to_end((version, key))
                return answer
        return None


SMALL, CACHED, DELAYED = 1, 2, 3  # load levels from which each step is taken


class Target(NamedTuple):
    """The model and version that a request asks for.

    A `fixed` target is exactly this version: no small variant and no stale answer, even under load.
    """

    model: ServedModel
    version: ServedVersion
    fixed: bool = False


class Answering:
    """Answers requests from loaded models, as the load level allows."""

    def __init__(self, settings: Serving, loaded: LoadedModels, dispatcher: Dispatcher, load: LoadLevel) -> None:
        self._loaded = loaded
        self._dispatcher = dispatcher
        self._load = load
        self._small = settings.smaller_model.enabled
        self._cache = AnswerCache(settings.cached_answer) if settings.cached_answer.enabled else None
        self._stale_from = DELAYED if settings.delayed_answer.enabled else CACHED
        self._long_wait = settings.delayed_answer.enter_ms / 1e3

    async def answer(
        self, catalog: Catalog, target: Target, inputs: tuple[str, ...], rows: Rows, interval: bool = False
    ) -> Answer:
        """Answer one request.

        Args:
            catalog: what is served.
            target: the model and version that the request asks for.
            inputs: names of the columns of `rows`; among them all that the target needs.
            rows: float32 (n, len(inputs)), n >= 1, finite.
            interval: whether the answer has the target's intervals, if it has any; `inputs` then hold their widths.

        Raises:
            BadInputError: these rows give no usable forecast.
            UnservableError: the model cannot be loaded or run.
            OverloadedError: the queue is full, or the deadline passed.
        """
        level = self._load.level
        taken = self._small_variant(catalog, target, inputs, interval) if level >= SMALL else target
        if taken is not target and _loses_dividend(target.version, taken.version, inputs, rows):
            taken = target
        key = None
        if self._cache is not None and len(rows) <= MOST_ROWS:
            key = self._cache.key(target.model.name, inputs, rows, interval)
            if level >= CACHED:
                stored = self._stored(self._cache, key, target, taken)
                if stored is not None:
                    return stored
        version = taken.version
        columns = pick_columns(rows, inputs, version.inputs, version.levels)
        outputs, waited = await self._run(version, columns, len(version.levels) if interval else 0)
        log_return, raw, bound = _usable(outputs, target.model.name)
        if key is not None and self._cache is not None:
            stored_answer = StoredAnswer(taken.model.name, version.version, log_return, raw, monotonic(), bound)
            self._cache.put(key, stored_answer)
        by, number = taken.model, version.version
        rung = self._rung(target, taken, waited, level) if level else "full"
        return Answer(target.model.name, by.name, number, log_return, raw, rung, 0.0, by.verdicts.get(number), bound)

    def _small_variant(self, catalog: Catalog, target: Target, inputs: tuple[str, ...], interval: bool) -> Target:
        """The small variant of the target, if there is one that can answer as well; else the target.

        It can if `inputs` has all its columns and, where intervals are asked for, if it has the same levels.
        """
        name = target.version.small
        if not self._small or name is None or target.fixed:
            return target
        small = catalog.models_by_key.get(ModelKey(target.model.branch, name))
        if small is None or small.default is None or not has_columns(inputs, small.default.needed):
            return target
        if interval and small.default.levels != target.version.levels:
            return target
        return Target(small, small.default)

    def _rung(self, target: Target, taken: Target, waited: float, level: int) -> Rung:
        if level >= DELAYED and waited > self._long_wait:
            return "delayed"
        return "full" if taken is target else "small"

    async def _run(self, version: ServedVersion, rows: Rows, levels: int) -> tuple[Outputs, float]:
        """The outputs, and the seconds that the request waited."""
        loaded = self._loaded.get(version.sha) or await self._loaded.load(version)
        outputs = self._dispatcher.run_now(loaded, rows, levels)
        return (outputs, 0.0) if outputs is not None else await self._dispatcher.run_queued(loaded, rows, levels)

    def _stored(self, cache: AnswerCache, key: Key, target: Target, taken: Target) -> Answer | None:
        """An earlier answer of the target, or of the small variant that takes its place."""
        stale = self._load.level >= self._stale_from and not target.fixed
        stored = cache.get(key, (target.version.version, taken.version.version), stale)
        if stored is None:
            return None
        by = taken.model if stored.answered_by == taken.model.name else target.model
        return Answer(
            target.model.name,
            stored.answered_by,
            stored.version,
            stored.log_return,
            stored.raw_log_return,
            "cached",
            monotonic() - stored.at,
            by.verdicts.get(stored.version),
            stored.interval,
        )


def _usable(outputs: Outputs, name: str) -> tuple[Rows, Rows, Rows | None]:
    """Forecasts and intervals, or None without these; a `BadInputError` if one of them cannot be used."""
    log_return, raw = outputs[:2]
    interval = outputs[2] if len(outputs) > 2 else None
    if are_usable(log_return, raw) and (interval is None or usable_intervals(log_return, interval).all()):
        return log_return, raw, interval
    raise BadInputError(f"{name}: these values give no usable forecast", "send values like those in the training data")


def _loses_dividend(version: ServedVersion, small: ServedVersion, inputs: tuple[str, ...], rows: Rows) -> bool:
    """Whether rows announce a dividend that a version subtracts and its small variant, such as a baseline, does not."""
    if ANNOUNCED not in version.inputs or ANNOUNCED in small.inputs:
        return False
    return bool(rows[:, inputs.index(ANNOUNCED)].any())


@lru_cache(maxsize=4096)
def _positions(columns: tuple[str, ...], needed: tuple[str, ...]) -> npt.NDArray[np.intp] | None:
    position = {name: number for number, name in enumerate(columns)}
    if not all(name in position for name in needed):
        return None
    return np.array([position[name] for name in needed], dtype=np.intp)


def has_columns(columns: tuple[str, ...], needed: tuple[str, ...]) -> bool:
    """Whether all the `needed` columns are among `columns`."""
    return columns is needed or _positions(columns, needed) is not None


def pick_columns(rows: Rows, columns: tuple[str, ...], needed: tuple[str, ...], levels: tuple[float, ...] = ()) -> Rows:
    """The `needed` columns of `rows`, in this order: float32 (n, len(needed)), or `rows` itself where nothing changes.

    The last needed columns, one for each of the `levels`, are the widths of intervals. Where they are missing, they are
    filled up: the forecast does not depend on them.

    Raises:
        BadInputError: another column is missing.
    """
    if columns is needed or columns == needed:
        return rows
    if levels and not has_columns(columns, needed):
        rows = pick_columns(rows, columns, needed[: -len(levels)])
        return np.hstack([rows, np.full((len(rows), len(levels)), WIDEST, np.float32)])
    positions = _positions(columns, needed)
    if positions is None:
        missing = [name for name in needed if name not in columns]
        raise BadInputError(f"columns are missing: {bounded(missing)}", f"expected: {', '.join(needed)}")
    return np.take(rows, positions, axis=1)
