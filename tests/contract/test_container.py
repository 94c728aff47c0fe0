"""The Dockerfile's packages: all that the server imports, pinned by the lock, and nothing of training."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.fakes.linear_trainer import LinearTrainer
from tests.fakes.projects import small_project

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import json, sys
absent = set(json.loads(sys.argv[1]))

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
sys.argv = ["mlops", *sys.argv[2:]]
from mlops_cli.__main__ import main
main()
"""


def packages() -> set[str]:
    """What the Dockerfile names."""
    lines = (ROOT / "Dockerfile").read_text().split("requirements.lock \\\n")[1].split("\nCOPY")[0]
    return {canonicalize_name(name) for name in lines.replace("\\", " ").split()}


def with_dependencies(names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    left = list(names)
    while left:
        name = canonicalize_name(left.pop())
        if name not in found:
            found.add(name)
            wanted = [Requirement(text) for text in requires(name) or ()]
            left += [one.name for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found


def test_every_package_is_in_the_lock() -> None:
    locked = {
        canonicalize_name(name) for name in re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), re.M)
    }
    assert packages() - locked == set()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = small_project(tmp_path_factory.mktemp("project") / "p", ["AAA"])
    small.run(LinearTrainer())
    return small.root


@pytest.mark.parametrize(
    "command", ["serve --smoke", "models promote red-aaa", "models promote --by-skill", "models show red-aaa"]
)
def test_the_images_packages_are_enough(trained: Path, command: str) -> None:
    held = with_dependencies(packages())
    owners = packages_distributions()
    absent = [
        name for name, found in owners.items() if held.isdisjoint(map(canonicalize_name, found)) and name != "mlops_cli"
    ]
    assert {"torch", "ludwig", "dvc", "mlflow", "ray", "yfinance"} <= set(absent)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(absent), *command.split(), "--project", str(trained)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_the_build_sees_only_what_it_copies() -> None:
    shown = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (.+) \S+$", (ROOT / "Dockerfile").read_text(), re.M)
    assert shown == {name for names in copied for name in names.split()}


def test_compose_demands_a_token_and_listens_on_loopback() -> None:
    serve = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["serve"]
    assert serve["environment"]["MLOPS_API_TOKEN"].startswith("${MLOPS_API_TOKEN:?")
    assert all(port.startswith("127.0.0.1:") for port in serve["ports"])
