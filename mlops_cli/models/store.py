"""Model folders on disk: list them, check them, and replace them by rename."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from mlops_cli.errors import ModelError
from mlops_cli.models.manifest import GRAPH, MANIFEST, Manifest, file_hashes
from mlops_cli.models.versions import after_install, move_to_archive


def model_folders(root: Path) -> list[Path]:
    """Every folder in `root` that holds a manifest, finished or not, sorted. `root` need not exist."""
    return sorted(path.parent for path in root.glob(f"*/{MANIFEST}"))


def check_files(folder: Path, manifest: Manifest) -> None:
    """Compare a model folder with its manifest; a `ModelError` names every missing, added or changed file."""
    actual, expected = file_hashes(folder), manifest.files
    wrong = sorted(name for name in actual.keys() | expected.keys() if actual.get(name) != expected.get(name))
    if wrong:
        raise ModelError(
            f"{folder}: does not match its manifest: {', '.join(wrong)}", f"remove {folder} and run: mlops train"
        )


@contextmanager
def staging_folder(scratch: Path, name: str) -> Iterator[Path]:
    """An empty folder to build a model in, on the models' file system. It is removed at the end unless installed."""
    folder = scratch / f"{name}-{uuid4().hex[:8]}"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def install(staged: Path, destination: Path, keep: int | None = None) -> None:
    """Replace the folder at `destination` by one on the same disk, by rename: readers never see half of it.

    With `keep`, the finished model at `<root>/<branch>/<model>` goes to the archive (see `versions`), and this many
    versions are kept, the newest included. None removes it.

    Raises:
        ModelError: the staged folder lacks its graph or its manifest.
    """
    for needed in (GRAPH, MANIFEST):
        if not (staged / needed).is_file():
            raise ModelError(f"{staged}: {needed} was not written")
    destination.parent.mkdir(parents=True, exist_ok=True)
    archived = keep is not None and destination.exists() and move_to_archive(destination)
    if destination.exists() and not archived:
        old = staged.with_name(f"{staged.name}.old")
        os.rename(destination, old)
        os.rename(staged, destination)
        shutil.rmtree(old)
    else:
        os.rename(staged, destination)
    if keep is not None:
        after_install(destination, keep)
