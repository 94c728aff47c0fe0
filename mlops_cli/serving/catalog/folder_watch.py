"""Notices changed folders by events of the operating system, or by looking regularly where there are none."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path

from watchfiles import awatch

from mlops_cli.models.versions import ARCHIVE
from mlops_cli.serving.catalog.catalog import ModelKey

_TOGETHER = 400  # ms in which changes are gathered
_AGAIN = 10.0  # seconds until missing folders are looked for again, and between two looks where there are no events


async def changes(folders: list[Path], stop: asyncio.Event) -> AsyncIterator[set[Path] | None]:
    """Yield the paths that changed in or below the folders, until `stop`; a missing folder is watched once it exists.

    None means that anything may have changed: once watching has begun, and regularly where the file system gives no
    events.
    """
    while not stop.is_set():
        try:
            async with aclosing(_events_while_present(folders, stop)) as events:
                async for paths in events:
                    yield paths
        except OSError:  # the file system gives no events, or the system has no more watches
            yield None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _AGAIN)


async def _events_while_present(folders: list[Path], stop: asyncio.Event) -> AsyncGenerator[set[Path] | None]:
    """Changes of the folders that exist; ends when another set of them exists."""
    present = [folder for folder in folders if folder.is_dir()]
    async with aclosing(_events(present, stop)) as events:
        async for paths in events:
            if paths is None or paths:
                yield paths
            if [folder for folder in folders if folder.is_dir()] != present:
                return


async def _events(folders: list[Path], stop: asyncio.Event) -> AsyncGenerator[set[Path] | None]:
    """None once watching has begun, then what changed; an empty set after every `_AGAIN` seconds without a change."""
    if not folders:
        raise FileNotFoundError
    watching = awatch(
        *folders,
        watch_filter=None,
        debounce=_TOGETHER,
        stop_event=stop,
        rust_timeout=int(_AGAIN * 1000),
        yield_on_timeout=True,
        recursive=True,
    )
    first = asyncio.ensure_future(anext(watching, None))
    try:
        await asyncio.sleep(0)  # lets the watcher take its first step: it notices every change from now on
        if first.done():
            first.result()  # raises if the folders cannot be watched
        yield None
        changed = await first
        while changed is not None:
            yield {Path(path) for _, path in changed}
            changed = await anext(watching, None)
    finally:
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await first
        await watching.aclose()


def touched(paths: set[Path], root: Path) -> set[ModelKey] | None:
    """The models that these paths below `root` belong to; None where any model may have changed."""
    keys = set()
    for path in paths:
        if not path.is_relative_to(root):
            continue
        parts = path.relative_to(root).parts
        if parts and parts[0] == ARCHIVE:
            parts = parts[1:]
        elif parts and parts[0].startswith("."):
            continue  # models that are being built
        if len(parts) < 2:
            return None
        if not parts[1].startswith("."):
            keys.add(ModelKey(parts[0], parts[1]))
    return keys


def new_tables(paths: set[Path] | None, folder: Path) -> bool:
    """Whether a table below `folder` is among the changed paths; False where `paths` is None."""
    return paths is not None and any(path.suffix == ".parquet" and path.is_relative_to(folder) for path in paths)
