"""`mlops doctor`: check what a run needs, without importing the packages."""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mlops_cli.config.load import Branch, check_project, load_params
from mlops_cli.config.paths import Project
from mlops_cli.config.requested import REQUESTED
from mlops_cli.config.schemas.project import Params
from mlops_cli.config.secret_checks import refuse_keys_in_the_clear, secrets_in_the_clear
from mlops_cli.config.settings import KEY, SECRET, Settings, load_settings
from mlops_cli.errors import ConfigError, bounded
from mlops_cli.models.versions import ARCHIVE
from mlops_cli.prices.cleaning.counts import read_repairs
from mlops_cli.scaffold.check import Check
from mlops_cli.scaffold.nightly_checks import nightly_checks

PACKAGES = ("ludwig", "torch", "onnxruntime", "dvc", "mlflow", "pandas", "numpy", "yfinance", "alpaca-py")
MIN_DISK_GB = 5
MAX_PRICE_AGE_DAYS = 7
NO_GPU = "none; models train on the processors"


def examine(folder: Path) -> Iterator[Check]:
    """Check this machine, and the project in `folder` if there is one."""
    yield _python()
    yield _packages()
    yield _program("git")
    yield _program("dvc")
    yield Check("processors", "ok", f"{len(os.sched_getaffinity(0))} usable")
    yield Check("gpu", "ok", _gpu())
    yield _disk(folder)
    try:
        project = Project.at(folder)
    except ConfigError as error:
        yield Check("project", "warning", error.message, error.hint)
        return
    yield from _project(project)


def _python() -> Check:
    if sys.version_info[:2] == (3, 12):
        return Check("python", "ok", platform.python_version())
    return Check("python", "failed", platform.python_version(), "Ludwig needs Python 3.12")


def _packages(names: Sequence[str] = PACKAGES) -> Check:
    versions = {name: _version(name) for name in names}
    listed = ", ".join(f"{name} {number or 'missing'}" for name, number in versions.items())
    missing = [name for name, number in versions.items() if number is None]
    if missing:
        return Check("packages", "failed", listed, f"install the missing packages: {', '.join(missing)}")
    return Check("packages", "ok", listed)


def _disk(folder: Path) -> Check:
    existing = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
    free = shutil.disk_usage(existing).free / 1e9
    if free < MIN_DISK_GB:
        return Check("disk", "warning", f"{free:.0f} GB free", "free some space: results and DVC's cache grow")
    return Check("disk", "ok", f"{free:.0f} GB free")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _program(name: str) -> Check:
    # dvc is in this interpreter's folder, which may not be on the PATH
    path = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    return Check(name, "ok" if path else "failed", path or "not found", "" if path else f"install {name}")


def _gpu() -> str:
    """Names of the NVIDIA GPUs, from the driver, because importing torch takes seconds."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return "driver loaded, no nvidia-smi" if Path("/proc/driver/nvidia/version").exists() else NO_GPU
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return "nvidia-smi does not answer"
    lines = done.stdout.strip().splitlines()
    return "; ".join(lines) if done.returncode == 0 and lines else NO_GPU


def _project(project: Project) -> Iterator[Check]:
    yield _pipeline(project)
    branches, configs = _configs(project)
    yield configs
    yield from nightly_checks(project, {spec.exchange for branch in branches.values() for spec in branch.models})
    yield _keys(project)
    yield _private_files(project)
    try:
        params = load_params(project)
    except ConfigError:
        return
    yield from _never_judged(params)
    for name, branch in params.branches.items():
        yield _data_age(project, name, branch.source.get("kind", params.source.kind))
        yield from _much_repaired(project, name)
        yield from _dividends(project, name)
    strays = stray_results(project, [*params.branches, REQUESTED])
    if strays:
        listed = bounded([str(path.relative_to(project.root)) for path in strays])
        yield Check(
            "results", "warning", f"without a branch in params.yaml: {listed}", "dvc checkout removes what DVC tracks"
        )


def _never_judged(params: Params) -> Iterator[Check]:
    """Warn if `mlops live` replaces versions before they can be compared with those before them."""
    oldest, needed = params.live.retrain.max_age_sessions, params.serving.promotion.sessions
    if params.live.promotion == "always" and oldest is not None and oldest <= needed:
        words = f"versions are replaced after {oldest} sessions, and judged after {needed}: none is ever judged"
        hint = "raise live.retrain.max_age_sessions above serving.promotion.sessions, or lower the latter"
        yield Check("live", "warning", words, hint)


def _pipeline(project: Project) -> Check:
    if not ((project.root / ".dvc" / "config").is_file() and project.pipeline.is_file()):
        hint = "in an existing project: run dvc init, and copy dvc.yaml from a new `mlops init` folder"
        return Check("pipeline", "failed", "no dvc.yaml or .dvc", hint)
    text = project.pipeline.read_text(encoding="utf-8", errors="replace")
    if "--branch ${key}" in text:
        words = "dvc.yaml hands the names of branches to a shell, which a plain `dvc repro` does not check"
        return Check("pipeline", "warning", words, "write --branch @dvc in place of --branch ${key} there")
    if "mlops featurize" in text and "- intervals" not in text:
        words = "dvc.yaml does not watch the key intervals: a change of it has no effect until another change"
        return Check("pipeline", "warning", words, "add `- intervals` under featurize: params: there")
    return Check("pipeline", "ok", "dvc.yaml")


def _configs(project: Project) -> tuple[Mapping[str, Branch], Check]:
    """Check the configs; the branches are empty if they have mistakes."""
    try:
        branches = check_project(project)
    except ConfigError as error:
        return {}, Check("configs", "failed", error.message, error.hint)
    models = sum(len(branch.models) for branch in branches.values())
    return branches, Check("configs", "ok", f"branches: {len(branches)}, models: {models}")


def _keys(project: Project) -> Check:
    try:
        settings = load_settings(project)
    except ConfigError as error:
        return Check("settings", "failed", error.message, error.hint)
    try:
        refuse_keys_in_the_clear(settings)
    except ConfigError as error:
        return Check("settings", "failed", error.message, error.hint)
    pairs = _key_pairs(settings)
    given = settings.broker_keys
    listed = ", ".join(f"{name} {'set' if name in given else 'not set'}" for pair in pairs for name in pair)
    if any((key in given) != (secret in given) for key, secret in pairs):
        return Check("settings", "warning", listed, "Alpaca needs both keys")
    open_secrets = secrets_in_the_clear(settings)
    if open_secrets:
        words = f"{', '.join(open_secrets)}: plain http to another machine shows what is secret in it on the way"
        return Check("settings", "warning", words, "use https")
    return Check("settings", "ok", listed)


def _private_files(project: Project) -> Check:
    exposed = [str(file) for file in project.exposed_files()]
    if exposed:
        return Check(
            "private files", "warning", f"others may read {bounded(exposed)}", f"chmod 600 {shlex.join(exposed)}"
        )
    return Check("private files", "ok", "nobody else may read keys, ledgers and runs")


def _key_pairs(settings: Settings) -> list[tuple[str, str]]:
    """Names of key and secret of each team that has one; also those without a team if set, or if no team has any."""
    suffixes = sorted({name.removeprefix(KEY).removeprefix(SECRET) for name in settings.team_keys})
    if not suffixes or not settings.broker_keys.keys().isdisjoint({KEY, SECRET}):
        suffixes.insert(0, "")
    return [(KEY + suffix, SECRET + suffix) for suffix in suffixes]


def _data_age(project: Project, branch: str, kind: str) -> Check:
    """Check the age of a branch's prices, by the JSON files beside them."""
    name = f"prices {branch}"
    folder = project.prices(branch)
    last_days, fetched = [], []
    for path in folder.glob("*.json"):
        try:
            note = json.loads(path.read_text(encoding="utf-8"))
            last_days.append(date.fromisoformat(note["last"][:10]))
            fetched.append(datetime.fromisoformat(note["fetched_at"]))
        except (ValueError, KeyError, TypeError):
            continue  # such as failures.json, which is in the same folder
    if not fetched:
        return Check(name, "warning", "none yet", "mlops run")
    days = (datetime.now(UTC) - min(fetched)).days
    age = f"{len(fetched)} tickers up to {max(last_days)}, fetched {days} days ago"
    if days > MAX_PRICE_AGE_DAYS and kind == "yfinance":
        return Check(name, "warning", age, f"mlops ingest --branch {branch}")
    return Check(name, "ok", age)


def _much_repaired(project: Project, branch: str) -> Iterator[Check]:
    """Warn of tickers of which cleaning repaired or dropped more than 5 % of the rows."""
    much = [ticker for ticker in read_repairs(project.prices(branch)) if ticker.much]
    if much:
        listed = bounded([f"{ticker.ticker}: {ticker.words}" for ticker in much])
        yield Check(f"repairs {branch}", "warning", listed, f"look at them: mlops prices show {much[0].ticker}")


def _dividends(project: Project, branch: str) -> Iterator[Check]:
    """Say of how many tickers dividends are known, and warn of those that the checks found faults with."""
    folder = project.prices(branch)
    tickers = read_repairs(folder)
    if not tickers:
        return
    count = sum((folder / f"{ticker.ticker}.dividends.csv").is_file() for ticker in tickers)
    words = f"known for {count} of {len(tickers)} tickers"
    faults = [f"{t.ticker}: {r.rule}: {', '.join(r.examples)}" for t in tickers for r in t.dividend_faults]
    if faults:
        words = f"{words}; {bounded(faults)}"
        yield Check(f"dividends {branch}", "warning", words, "docs/data-sources.md says what each check means")
    else:
        yield Check(f"dividends {branch}", "ok", words)


def stray_results(project: Project, branches: list[str]) -> list[Path]:
    """List result folders of branches that params.yaml does not have: of a renamed branch, or of another git branch."""
    folders = (project.prices("x"), project.features("x"), project.models("x"), project.evaluation("x"))
    parents = (*(folder.parent for folder in folders), project.model_root / ARCHIVE)
    folders_of_branches = (path for parent in parents for path in parent.glob("[!.]*") if path.is_dir())
    return sorted(path for path in folders_of_branches if path.name not in branches)
