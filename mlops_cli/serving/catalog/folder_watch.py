"""Notices changed folders: by the operating system's events, or by looking regularly where there are none."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path

from watchfiles import awatch

from mlops_cli.models.versions import ARCHIVE
from mlops_cli.serving.catalog.load_catalog import Place

_TOGETHER = 400  # ms in which changes are gathered
_AGAIN = 10.0  # seconds after which folders that were missing are looked for, and between looks without events


async def changes(folders: list[Path], stop: asyncio.Event) -> AsyncIterator[set[Path] | None]:
    """Yield what changed, until `stop`.

    Args:
        folders: watched with all below; those that do not exist are watched once they do.
        stop: ends it.

    Yields:
        Changed paths; None where it is not known what changed: at first, once watching has begun, and now and then.
    """
    while not stop.is_set():
        there = [folder for folder in folders if folder.is_dir()]
        try:
            async with aclosing(_events(there, stop)) as events:
                async for paths in events:
                    if paths is None or paths:
                        yield paths
                    if [folder for folder in folders if folder.is_dir()] != there:
                        break
        except OSError:  # no events on this file system, or no more watches to be had
            yield None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _AGAIN)


async def _events(folders: list[Path], stop: asyncio.Event) -> AsyncGenerator[set[Path] | None]:
    """None as soon as changes are noticed, then what changed; an empty set every `_AGAIN` seconds without."""
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
        await asyncio.sleep(0)  # it has taken its first step: from now on nothing goes unnoticed
        if first.done():
            first.result()  # or why it cannot watch
        yield None
        found = await first
        while found is not None:
            yield {Path(path) for _, path in found}
            found = await anext(watching, None)
    finally:
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await first
        await watching.aclose()


def touched(paths: set[Path], root: Path) -> set[Place] | None:
    """The models that these paths belong to; None: not to be told, read all.

    Args:
        paths: that changed.
        root: of the model folders.
    """
    places = set()
    for path in paths:
        if not path.is_relative_to(root):
            continue
        parts = path.relative_to(root).parts
        if parts and parts[0] == ARCHIVE:
            parts = parts[1:]
        elif parts and parts[0].startswith("."):
            continue  # models being built
        if len(parts) < 2:
            return None
        if not parts[1].startswith("."):
            places.add((parts[0], parts[1]))
    return places


def new_tables(paths: set[Path] | None, folder: Path) -> bool:
    """Whether tables below `folder` are among what changed; False where that is not known."""
    return paths is not None and any(path.suffix == ".parquet" and path.is_relative_to(folder) for path in paths)
