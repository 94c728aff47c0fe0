"""What docs/training.md promises of bits: neither other models nor the environment of its process change a model."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from mlops_cli.training.local.ludwig_trainer import LudwigTrainer
from mlops_cli.training.local.workers import WorkerSettings
from mlops_cli.training.trainer import Fitted, TrainJob
from tests.fakes.train_jobs import make_job, model_spec, same_job


def _has_avx2() -> bool:
    cpu = Path("/proc/cpuinfo")
    return platform.machine() == "x86_64" and (not cpu.exists() or " avx2 " in f"{cpu.read_text()} ")


pytestmark = [
    pytest.mark.ludwig,
    pytest.mark.slow,
    pytest.mark.skipif(not _has_avx2(), reason="docs/training.md promises bits on x86 processors with AVX2 only"),
]

# Each of these, given to torch and MKL as it is, changes bits of a fleet's models on a processor with AVX-512 (the
# first three) or on any (the last).
NAMES = ("MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR", "ATEN_CPU_CAPABILITY", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
ENVIRONMENTS: dict[str, dict[str, str]] = {
    "none of them set": {},
    "AVX-512 and 4 threads": {
        "MKL_ENABLE_INSTRUCTIONS": "AVX512",
        "OMP_NUM_THREADS": "4",
        "MKL_NUM_THREADS": "4",
        "MKL_CBWR": "COMPATIBLE",
    },
    "SSE4.2 and 2 threads": {
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "OMP_NUM_THREADS": "2",
        "ATEN_CPU_CAPABILITY": "default",
    },
}

Weights = Mapping[str, np.ndarray]


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> list[TrainJob]:
    """Seven models of one architecture, with dropout; some stop earlier than others."""
    config: dict[str, Any] = {
        "combiner": {"type": "concat", "num_fc_layers": 2, "output_size": 8, "dropout": 0.2},
        "trainer": {"epochs": 10, "batch_size": 64, "eval_batch_size": 1024, "learning_rate": 0.01, "early_stop": 2},
    }
    folder = tmp_path_factory.mktemp("bits")
    return [
        make_job(folder, model_spec(f"bit-{n}", ludwig=config, ticker=f"T{n}"), prices=n, sessions=300 + 7 * (n % 3))
        for n in range(7)
    ]


@pytest.fixture(scope="module", params=list(ENVIRONMENTS))
def trainer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LudwigTrainer]:
    """One real training process, started in this environment."""
    folder = tmp_path_factory.mktemp("process")
    before = {name: os.environ.pop(name) for name in NAMES if name in os.environ}
    os.environ.update(ENVIRONMENTS[request.param])
    settings = WorkerSettings(
        folder.parent / "graphs", folder / "logs", limit=1, home=folder / "home", owner=os.getpid()
    )
    yield LudwigTrainer(settings)
    for name in NAMES:
        os.environ.pop(name, None)
    os.environ.update(before)
    for note in (folder / "home").glob("*"):
        note.unlink(missing_ok=True)  # the process ends when its note is gone


def trained(trainer: LudwigTrainer, jobs: Sequence[TrainJob], label: str) -> dict[str, Fitted]:
    again = [same_job(job, f"{job.spec.name}-{label}") for job in jobs]
    results = list(trainer.fit(again, lambda _: None))
    assert all(isinstance(result, Fitted) for result in results), results
    return {result.job.spec.name.removesuffix(f"-{label}"): result for result in results}


def weights(result: Fitted) -> Weights:
    assert result.facts["strategy"] == "fleet"
    return load_file(result.job.folder / "ludwig" / "model_weights.safetensors")


def test_company_and_environment_change_not_one_bit(
    trainer: LudwigTrainer, jobs: list[TrainJob], request: pytest.FixtureRequest
) -> None:
    label = f"run{list(ENVIRONMENTS).index(request.node.callspec.id)}"
    together = trained(trainer, jobs, f"{label}-7")
    assert len({len(result.epochs) for result in together.values()}) > 1, "some leave before others"
    for size in (1, 2, 5):
        for name, result in trained(trainer, jobs[:size], f"{label}-{size}").items():
            whole = weights(together[name])
            assert all(np.array_equal(tensor, whole[key]) for key, tensor in weights(result).items()), (name, size)
    first = REFERENCE.setdefault("weights", {name: weights(result) for name, result in together.items()})
    for name, result in together.items():
        assert all(np.array_equal(tensor, first[name][key]) for key, tensor in weights(result).items()), name


REFERENCE: dict[str, dict[str, Weights]] = {}
"""The weights of the first environment, which those of the others must equal."""
