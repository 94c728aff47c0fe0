"""Answers given before, to be given again under load."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

from cachetools import LRUCache

from mlops_cli.config.serving_schema import CachedAnswer
from mlops_cli.serving.answers import Rows

Key = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer as it was computed.

    Attributes:
        answered_by: name of the model that computed it.
        at: when, on the clock of `time.monotonic`.
    """

    answered_by: str
    version: str
    log_return: Rows
    raw_log_return: Rows
    at: float


class AnswerCache:
    """The most recently used answers, by model and input."""

    def __init__(self, settings: CachedAnswer) -> None:
        self._ttl = settings.ttl_seconds
        self._stale = settings.stale_seconds
        self._kept: LRUCache[Key, Kept] = LRUCache(settings.entries)

    @staticmethod
    def key(model: str, rows: Rows) -> Key:
        """What an answer is kept under: the name asked for, and the values."""
        return model, hashlib.blake2b(rows.tobytes(), digest_size=16).digest()

    def put(self, key: Key, kept: Kept) -> None:
        """Keep an answer."""
        self._kept[key] = kept

    def get(self, key: Key, versions: tuple[str, ...], stale: bool) -> Kept | None:
        """An answer of these versions within its time to live, or, if `stale`, of any version up to the stated age."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        age = time.monotonic() - kept.at
        if kept.version in versions and age <= self._ttl:
            return kept
        return kept if stale and age <= self._stale else None
