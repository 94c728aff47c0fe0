"""Answers given before, to be given again under load."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

from cachetools import LRUCache

from mlops_cli.config.schemas.serving import CachedAnswer
from mlops_cli.serving.contract.messages import Rows

Key = tuple[str, tuple[str, ...], bytes]
MOST_ROWS = 256  # of an answer that is kept: entries are counted, so each must be small


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
    """The most recently used answers, by version and input."""

    def __init__(self, settings: CachedAnswer) -> None:
        self._ttl = settings.ttl_seconds
        self._stale = settings.stale_seconds
        self._kept: LRUCache[tuple[str, Key], Kept] = LRUCache(settings.entries)

    @staticmethod
    def key(model: str, inputs: tuple[str, ...], rows: Rows) -> Key:
        """What an answer is kept under, beside its version: the name asked for, the columns, and the values."""
        return model, inputs, hashlib.blake2b(rows.tobytes(), digest_size=16).digest()

    def put(self, key: Key, kept: Kept) -> None:
        """Keep an answer."""
        self._kept[kept.version, key] = kept

    def get(self, key: Key, versions: tuple[str, ...], stale: bool) -> Kept | None:
        """An answer of one of these versions within its time to live, or, if `stale`, up to the stated age."""
        most = max(self._ttl, self._stale) if stale else self._ttl
        for version in versions:
            kept = self._kept.get((version, key))
            if kept is not None and time.monotonic() - kept.at <= most:
                return kept
        return None
