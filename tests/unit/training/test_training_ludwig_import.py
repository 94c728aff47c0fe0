"""The faster import: what it changes in a process, seen from inside one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
PROGRAM = """
import gc, json, sys
from mlops_cli.training.process_settings import light_import

inside = None
try:
    with light_import(cuda={cuda}):
        import yaml
        inside = gc.isenabled()
        {body}
except ImportError:
    pass
hidden = sys.modules.get("bitsandbytes", "not imported") is None
fast = yaml.SafeLoader is yaml.CSafeLoader
print(json.dumps([inside, gc.isenabled(), gc.get_freeze_count() > 0, hidden, fast, yaml.safe_load("a: [1]")]))
"""


def state(cuda: bool, body: str = "pass") -> list[object]:
    program = PROGRAM.format(cuda=cuda, body=body)
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    values: list[object] = json.loads(done.stdout)
    return values


@pytest.mark.parametrize("cuda", [False, True])
def test_the_collector_rests_meanwhile_and_8_bit_optimizers_are_hidden_on_the_cpu_alone(cuda: bool):
    assert state(cuda) == [False, True, True, not cuda, True, {"a": [1]}]


def test_the_collector_works_again_after_an_import_that_failed():
    inside, after, *_ = state(False, "import no_such_library")
    assert (inside, after) == (False, True)
