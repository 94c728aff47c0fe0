"""Earlier answers, which are given again under load."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

from cachetools import LRUCache

from mlops_cli.config.schemas.serving import CachedAnswer
from mlops_cli.serving.contract.messages import Rows

Key = tuple[str, tuple[str, ...], bytes]
MOST_ROWS = 256  # of an answer that is stored: the cache counts entries, so each must be small


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer as it was computed `at` a time of `time.monotonic`: float32 (n,), shrunk and before shrinkage."""

    answered_by: str
    version: str
    log_return: Rows
    raw_log_return: Rows
    at: float


class AnswerCache:
    """The most recently used answers, by version and input."""

    def __init__(self, settings: CachedAnswer) -> None:
        self._ttl = settings.ttl_seconds
        self._stale = settings.stale_seconds
        self._answers: LRUCache[tuple[str, Key], StoredAnswer] = LRUCache(settings.entries)

    @staticmethod
    def key(model: str, inputs: tuple[str, ...], rows: Rows) -> Key:
        """The part of an answer's key that the request decides: the name asked for, the columns, and the values."""
        return model, inputs, hashlib.blake2b(rows.tobytes(), digest_size=16).digest()

    def put(self, key: Key, answer: StoredAnswer) -> None:
        """Store an answer under its version and this key."""
        self._answers[answer.version, key] = answer

    def get(self, key: Key, versions: tuple[str, ...], stale: bool) -> StoredAnswer | None:
        """An answer that is not too old, of the first of these versions that has one.

        With `stale`, `stale_seconds` of age are allowed instead of `ttl_seconds`, if that is more.
        """
        oldest = max(self._ttl, self._stale) if stale else self._ttl
        for version in versions:
            answer = self._answers.get((version, key))
            if answer is not None and time.monotonic() - answer.at <= oldest:
                return answer
        return None
