"""What a torchrun launch is started with, and how many ranks there are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mlops_cli.errors import ConfigError
from mlops_cli.training.process_settings import PROCESS_SETTINGS
from mlops_cli.training.torchrun.torchrun_trainer import (
    LaunchSettings,
    count_processes,
    launch_environment,
    launch_options,
)
from mlops_cli.training.torchrun.torchrun_worker import DEVICE, GRAPHS, LIFELINE, STRATEGY

SETTING = LaunchSettings("fsdp", "cpu", 3, Path("/graphs"), None, ("worker.py",))
PIPE = Path("/tmp/lifeline")


def environment(setting: LaunchSettings = SETTING, **inherited: str) -> dict[str, str]:
    return launch_environment(setting, PIPE, inherited)


def test_without_a_port_torchrun_takes_a_free_one():
    options = launch_options(SETTING)
    assert "--standalone" in options
    assert not any(option.startswith("--rdzv") for option in options)
    assert {"--nnodes=1", "--nproc-per-node=3", "--local-addr=127.0.0.1"} <= set(options)


def test_with_a_port_the_ranks_meet_there():
    options = launch_options(replace(SETTING, port=29_500))
    assert {"--rdzv-backend=c10d", "--rdzv-endpoint=localhost:29500"} <= set(options)
    assert "--standalone" not in options


@pytest.mark.parametrize(
    "name",
    [
        "MASTER_ADDR",
        "MASTER_PORT",
        "RANK",
        "WORLD_SIZE",
        "LOCAL_RANK",
        "GROUP_RANK",
        "PET_NNODES",
        "TORCHELASTIC_RUN_ID",
    ],
)
def test_variables_of_a_launch_around_this_one_are_left_out(name: str):
    assert name not in environment(**{name: "7"})


def test_other_variables_are_inherited():
    given = environment(HOME="/home/me", PATH="/bin", MY_RANK="3")
    assert (given["HOME"], given["PATH"], given["MY_RANK"]) == ("/home/me", "/bin", "3")


def test_the_ranks_are_told_what_to_do():
    given = environment()
    assert (given[LIFELINE], given[GRAPHS]) == (str(PIPE), "/graphs")
    assert (given[STRATEGY], given[DEVICE]) == ("fsdp", "cpu")
    assert given["GLOO_SOCKET_IFNAME"] == "lo"


def test_settings_of_training_processes_win_over_the_users():
    given = environment(OMP_NUM_THREADS="16", HF_HUB_OFFLINE="0")
    assert given.items() >= PROCESS_SETTINGS.items()


def test_gpus_are_hidden_on_the_cpu_and_left_as_they_are_on_cuda():
    assert environment(CUDA_VISIBLE_DEVICES="0,1")["CUDA_VISIBLE_DEVICES"] == ""
    cuda = replace(SETTING, device="cuda")
    assert environment(cuda, CUDA_VISIBLE_DEVICES="0,1")["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert "CUDA_VISIBLE_DEVICES" not in environment(cuda)


@pytest.mark.parametrize(("asked", "cuda", "expected"), [(None, 4, 4), (2, 4, 2), (4, 4, 4), (5, 0, 5), (1, 0, 1)])
def test_the_number_of_ranks(asked: int | None, cuda: int, expected: int):
    assert count_processes(asked, cuda) == expected


def test_without_a_number_and_without_cuda_there_is_at_least_one():
    assert count_processes(None, 0) >= 1


def test_more_ranks_than_devices_are_refused():
    with pytest.raises(ConfigError, match="5 training processes were requested, but there are only 4") as refusal:
        count_processes(5, 4)
    assert "ask for 4 or fewer" in refusal.value.hint
