"""Files with the weights of models, written once per version and mapped read-only by every worker.

`<sha256 of model.onnx>.weights`: the length of a JSON header (8 bytes, little-endian), the header (architecture, sha256
of what follows, and name, shape and offset of each tensor), then float32 tensors, each at a multiple of 64 bytes.
`<architecture>.onnx`: the graph that gets them as inputs. Both are checked before they are used for the first time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import time
from collections.abc import Collection, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from mlops_cli.errors import ModelError
from mlops_cli.models.manifest import GRAPH
from mlops_cli.models.session import BoundSession
from mlops_cli.models.shared.architectures import (
    Architecture,
    Architectures,
    Split,
    Weights,
    same_answers,
    split,
    whole,
)
from mlops_cli.system.files import write_whole
from mlops_cli.system.scratch_folders import scratch_folder

_ALIGNMENT = 64
_LENGTH_BYTES = 8
_ABANDONED_SECONDS = 600.0


@dataclass(eq=False, slots=True)
class LoadedModel:
    """A model in memory.

    Attributes:
        sha: sha256 of its `model.onnx`.
        architecture: the session that runs it.
        feed: its weights, as views of the mapped file; each run adds its rows and removes them at its end.
        bytes: size of its weights.
        users: requests that wait for it or run on it in another thread; while there are any, it stays in memory.
        seconds: measured duration of a run of one row; 0.0 before the first run.
        bound: its session with its weights, for runs in the event loop; made at the first of them.
    """

    sha: str
    architecture: Architecture
    feed: Weights
    bytes: int
    users: int = 0
    seconds: float = 0.0
    bound: BoundSession | None = None


class UntriedError(ModelError):
    """The graph has an architecture that was not tried yet."""


class Trials(Protocol):
    """Does what `same_answers` does, but may take seconds."""

    def same_answers(self, graph: bytes, shared: Split, columns: int) -> bool:
        """See `same_answers`."""
        ...

    def rest(self) -> None:
        """Free what trials need, until the next one."""
        ...


class WeightFiles:
    """The folder of weight files and stripped graphs, and the sessions that run these graphs."""

    def __init__(self, folder: Path, trials: Trials | None = None) -> None:
        """Use `folder`; it is created if it is missing. Without `trials`, graphs are tried in this process, at once."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.architectures = Architectures(folder)
        self._trials = trials
        self._needed: set[str] = set()
        self._unused: dict[str, float] = {}  # by the graph's hash, since when no model needs it
        self._tried: dict[str, bool] = {}  # by the graph's hash, what the trial found
        self._failed: dict[str, str] = {}  # by the graph's hash, why the trial failed: it is not repeated

    def prepare(self, model: Path, sha: str, columns: int, may_try: bool = True) -> None:
        """Check a model folder's graph against the manifest's sha256 and inputs; write its files unless they are there.

        Raises:
            ModelError: the graph is not what the manifest says, or does not run.
            UntriedError: its architecture has to be tried first, a trial may take seconds, and `may_try` is false.
        """
        graph = self._checked(model, sha)
        if self._is_undamaged(sha):
            return
        parts = split(graph, columns)
        if not self.architectures.path(parts.key).is_file():
            if self._trials is not None and not (may_try or sha in self._tried or sha in self._failed):
                raise UntriedError("its graph is being tried for the first time", "ask again in a moment")
            if not self._may_share(sha, graph, parts, columns):
                parts = whole(graph)
        if not self.architectures.path(parts.key).is_file():
            _write(self.architectures.path(parts.key), parts.graph)
        _write(self._path(sha), b"".join(_pack(parts.key, parts.weights)))

    def _may_share(self, sha: str, graph: bytes, parts: Split, columns: int) -> bool:
        """Whether a graph may run in the session of its architecture, found by a trial, once per graph."""
        if sha in self._failed:
            raise ModelError(self._failed[sha], "train the model again: mlops train")
        if sha not in self._tried:
            try:
                same = same_answers if self._trials is None else self._trials.same_answers
                self._tried[sha] = same(graph, parts, columns)
            except ModelError as error:
                self._failed[sha] = error.message
                raise
        return self._tried[sha]

    def end_trials(self) -> None:
        """Free what trials need; called after all graphs of a scan were tried."""
        if self._trials is not None:
            self._trials.rest()

    def forget_failures(self) -> None:
        """Let graphs that failed their trial be tried again."""
        self._failed.clear()

    def load(self, sha: str, live_only: bool = False) -> LoadedModel | None:
        """Map a model's weights by the sha256 of its graph.

        With `live_only`, return None instead of building a session for its architecture, which takes milliseconds.

        Raises:
            FileNotFoundError: it was not prepared.
            ModelError: its files are damaged.
        """
        try:
            # this closes the file; its pages stay mapped while a view exists
            with pa.memory_map(str(self._path(sha))) as file:
                buffer = file.read_buffer()
            start = _LENGTH_BYTES + int.from_bytes(buffer[:_LENGTH_BYTES].to_pybytes(), "little")
            header = json.loads(buffer[_LENGTH_BYTES:start].to_pybytes())
            feed: Weights = {
                name: np.frombuffer(buffer, "<f4", math.prod(shape), offset).reshape(shape)
                for name, shape, offset in header["tensors"]
            }
            key = str(header["architecture"])
        except (ValueError, KeyError, TypeError) as error:
            self._path(sha).unlink(missing_ok=True)  # the next request creates it again
            raise ModelError(f"{self._path(sha)}: damaged: {error}", "it was removed: try again") from error
        architecture = self.architectures.live(key) if live_only else self.architectures.get(key)
        return None if architecture is None else LoadedModel(sha, architecture, feed, buffer.size)

    def remove_unused(self, shas: Collection[str], seconds: float) -> None:
        """Remove weights that were needed when this was called before, and have not been for this many seconds.

        Other processes may need them a little longer. `shas` are those that are needed now.
        """
        now = time.monotonic()
        since = {sha: self._unused.get(sha, now) for sha in (self._needed | self._unused.keys()) - set(shas)}
        self._needed = set(shas)
        self._unused = {sha: begun for sha, begun in since.items() if now - begun < seconds}
        for sha in since.keys() - self._unused.keys():
            self._path(sha).unlink(missing_ok=True)

    def remove_others(self, shas: Iterable[str]) -> None:
        """Remove the weights of all models but these. Processes that have a removed file mapped can still use it."""
        keeping = set(shas)
        for path in self.folder.glob("*.weights"):
            if path.stem not in keeping:
                path.unlink(missing_ok=True)
        for path in self.folder.glob("*.part"):  # left by a killed process; a younger one may still be written
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                    path.unlink()

    def _path(self, sha: str) -> Path:
        return self.folder / f"{sha}.weights"

    def _is_undamaged(self, sha: str) -> bool:
        """Whether the weights exist undamaged, and their graph exists."""
        try:
            content = self._path(sha).read_bytes()
            start = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
            header = json.loads(content[_LENGTH_BYTES:start])
            undamaged = hashlib.sha256(content[start:]).hexdigest() == header["sha256"]
            return undamaged and self.architectures.path(header["architecture"]).is_file()
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _checked(self, model: Path, sha: str) -> bytes:
        try:
            graph = (model / GRAPH).read_bytes()
        except OSError as error:
            raise ModelError(f"{model / GRAPH}: {error.strerror}", "train it: mlops train") from error
        if hashlib.sha256(graph).hexdigest() != sha:
            raise ModelError(f"{model / GRAPH}: does not match its manifest", f"remove {model} and run: mlops train")
        return graph


def _write(path: Path, content: bytes) -> None:
    write_whole(path, lambda part: part.write_bytes(content))


def open_weight_files(folder: Path, trials: Trials | None = None) -> tuple[WeightFiles, ExitStack | None]:
    """Weight files in `folder`; if it is not writable, in a temporary folder, and what removes that folder."""
    try:
        files = WeightFiles(folder, trials)
        if os.access(folder, os.W_OK):
            return files, None
    except OSError:
        pass
    temporary = ExitStack()
    return WeightFiles(temporary.enter_context(scratch_folder("mlops-serving-")), trials), temporary


def _pack(key: str, weights: Weights) -> list[bytes]:
    tensors, places, offset = [], [], 0
    for name, value in weights.items():
        places.append((name, list(value.shape), offset))
        data = value.astype("<f4").tobytes()
        tensors.append(data.ljust(_padded(len(data)), b"\0"))
        offset += len(tensors[-1])
    digest = hashlib.sha256(b"".join(tensors)).hexdigest()
    about = {"architecture": key, "sha256": digest}
    room = _padded(len(json.dumps({**about, "tensors": places})) + 24 * (len(places) + 1) + _LENGTH_BYTES)
    shifted = [(name, shape, place + room) for name, shape, place in places]
    header = json.dumps({**about, "tensors": shifted}).encode()
    header = header.ljust(room - _LENGTH_BYTES)  # spaces, which JSON ignores
    return [len(header).to_bytes(_LENGTH_BYTES, "little"), header, *tensors]


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
