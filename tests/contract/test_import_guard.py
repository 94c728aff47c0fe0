"""Start-up stays light: a fresh interpreter, what it has loaded, no clock."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = [
    "alpaca", "bokeh_sampledata", "dvc", "exchange_calendars", "ludwig", "matplotlib", "mlflow", "numpy", "onnx",
    "onnxruntime", "pandas", "psutil", "pyarrow", "ray", "scipy", "statsmodels", "talib", "tenacity", "torch",
    "yfinance",
]  # fmt: skip

PROGRAM = """
import json, sys
sys.argv = ["mlops", *json.loads(sys.argv[1])]
from mlops_cli.__main__ import main
try:
    main()
except SystemExit as stop:
    assert stop.code in (0, None), stop.code
print("LOADED", json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


def loaded(arguments: list[str]) -> set[str]:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(arguments)], capture_output=True, text=True, check=True
    )
    return set(json.loads(run.stdout.rsplit("LOADED", 1)[1]))


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"], ["train", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    assert loaded(arguments).isdisjoint([*HEAVY, "yaml"])


def test_the_first_help_loads_no_schemas_either() -> None:
    # the help of one command does: Typer 0.29 itself looks at pydantic types when it builds options
    assert loaded(["--help"]).isdisjoint({"pydantic", "pydantic_settings"})


def test_the_guard_would_notice() -> None:
    run = subprocess.run(
        [sys.executable, "-c", f"import mlops_cli.prices.table\n{PROGRAM}", json.dumps(["--help"])],
        capture_output=True,
        text=True,
        check=True,
    )
    assert {"pandas", "numpy"} <= set(json.loads(run.stdout.rsplit("LOADED", 1)[1]))


def test_judging_and_forecasting_load_neither_ludwig_nor_torch() -> None:
    rooms = [
        "models.predict",
        "simulation.replay",
        "evaluation.summary",
        "pipeline.judge.judge",
        "pipeline.stages.train",
    ]
    program = "import json, sys\n" + "".join(f"import mlops_cli.{room}\n" for room in rooms)
    program += "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    found = set(json.loads(run.stdout))
    assert "onnxruntime" in found
    assert found.isdisjoint({"ludwig", "torch", "mlflow", "dvc"})
