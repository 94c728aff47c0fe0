"""`mlops doctor`: what a run needs, looked at without importing any of it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from mlops_cli.config.load import check_project, load_params
from mlops_cli.config.paths import Project
from mlops_cli.config.settings import KEY, SECRET, load_settings
from mlops_cli.errors import ConfigError, bounded
from mlops_cli.models.versions import ARCHIVE

PACKAGES = ("ludwig", "torch", "onnxruntime", "dvc", "mlflow", "pandas", "numpy", "yfinance", "alpaca-py")
LEAST_DISK_GB = 5
OLD_DAYS = 7


@dataclass(frozen=True)
class Check:
    """One thing looked at; `hint` says what to do about it."""

    name: str
    status: Literal["ok", "warning", "failed"]
    found: str
    hint: str = ""


def examine(folder: Path) -> Iterator[Check]:
    """Look at this machine, and at the project in `folder` if there is one."""
    yield from _machine(folder)
    try:
        project = Project.at(folder)
    except ConfigError as error:
        yield Check("project", "warning", error.message, error.hint)
        return
    yield from _project(project)


def _machine(folder: Path) -> Iterator[Check]:
    python = platform.python_version()
    fits = sys.version_info[:2] == (3, 12)
    yield Check("python", "ok" if fits else "failed", python, "" if fits else "Ludwig needs Python 3.12")
    found = {name: _version(name) for name in PACKAGES}
    missing = [name for name, there in found.items() if there is None]
    yield Check(
        "packages",
        "failed" if missing else "ok",
        ", ".join(f"{name} {there or 'missing'}" for name, there in found.items()),
        f"install again, missing: {', '.join(missing)}" if missing else "",
    )
    yield _program("git")
    yield _program("dvc")
    yield Check("processors", "ok", f"{len(os.sched_getaffinity(0))} usable")
    yield Check("gpu", "ok", _gpu())
    at = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
    free = shutil.disk_usage(at).free / 1e9
    enough = free >= LEAST_DISK_GB
    hint = "" if enough else "make room: results and DVC's cache grow with every run"
    yield Check("disk", "ok" if enough else "warning", f"{free:.0f} GB free", hint)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _program(name: str) -> Check:
    # dvc is installed beside this interpreter even where its folder is not on the PATH
    path = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    return Check(name, "ok" if path else "failed", path or "not found", "" if path else f"install {name}")


def _gpu() -> str:
    """Names of NVIDIA GPUs as the driver tells them; importing torch to ask would take seconds."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return "driver loaded, no nvidia-smi" if Path("/proc/driver/nvidia/version").exists() else _NO_GPU
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return "nvidia-smi does not answer"
    lines = done.stdout.strip().splitlines()
    return "; ".join(lines) if done.returncode == 0 and lines else _NO_GPU


_NO_GPU = "none; models train on the processors"


def _project(project: Project) -> Iterator[Check]:
    under_dvc = (project.root / ".dvc" / "config").is_file() and project.pipeline.is_file()
    hint = "" if under_dvc else "in an existing project: dvc init, and take dvc.yaml from a new `mlops init` folder"
    yield Check("pipeline", "ok" if under_dvc else "failed", "dvc.yaml" if under_dvc else "no dvc.yaml or .dvc", hint)
    try:
        branches = check_project(project)
        models = sum(len(branch.models) for branch in branches.values())
        yield Check("configs", "ok", f"branches: {len(branches)}, models: {models}")
    except ConfigError as error:
        yield Check("configs", "failed", error.message, error.hint)
    yield _keys(project)
    try:
        params = load_params(project)
    except ConfigError:
        return
    for name, branch in params.branches.items():
        yield _data_age(project, name, branch.source.get("kind", params.source.kind))
    strays = stray_results(project, list(params.branches))
    if strays:
        shown = bounded([str(path.relative_to(project.root)) for path in strays])
        yield Check(
            "results", "warning", f"of no branch in params.yaml: {shown}", "dvc checkout takes out what it keeps"
        )


def _keys(project: Project) -> Check:
    try:
        settings = load_settings(project)
    except ConfigError as error:
        return Check("settings", "failed", error.message, error.hint)
    given = settings.broker_keys
    teams = {name.removeprefix(KEY).removeprefix(SECRET) for name in settings.team_keys}
    plain = [""] if KEY in given or SECRET in given or not teams else []
    pairs = [(KEY + team, SECRET + team) for team in (*plain, *sorted(teams))]
    found = ", ".join(f"{name} {'set' if name in given else 'not set'}" for pair in pairs for name in pair)
    half = any((key in given) != (secret in given) for key, secret in pairs)
    return Check("settings", "warning" if half else "ok", found, "Alpaca needs both keys" if half else "")


def _data_age(project: Project, branch: str, kind: str) -> Check:
    """How old the prices of a branch are, from the provenance beside them."""
    name = f"prices {branch}"
    folder = project.prices(branch)
    lasts, fetched = [], []
    for path in folder.glob("*.json"):
        try:
            note = json.loads(path.read_text(encoding="utf-8"))
            lasts.append(date.fromisoformat(note["last"][:10]))
            fetched.append(datetime.fromisoformat(note["fetched_at"]))
        except (ValueError, KeyError, TypeError):
            continue  # failures.json stands there too
    if not fetched:
        return Check(name, "warning", "none yet", "mlops run")
    days = (datetime.now(UTC) - min(fetched)).days
    found = f"{len(fetched)} tickers up to {max(lasts)}, fetched {days} days ago"
    old = days > OLD_DAYS and kind == "yfinance"
    return Check(name, "warning" if old else "ok", found, f"mlops ingest --branch {branch}" if old else "")


def stray_results(project: Project, branches: list[str]) -> list[Path]:
    """Result folders that belong to no branch: left over from a renamed branch or another git branch."""
    folders = (project.prices("x"), project.features("x"), project.models("x"), project.evaluation("x"))
    homes = (*(folder.parent for folder in folders), project.model_root / ARCHIVE)
    found = (path for home in homes for path in home.glob("[!.]*") if path.is_dir() and path.name not in branches)
    return sorted(found)
