"""The processes (ranks) of one torchrun launch: their group for tensors, and a board on which they post what happened.

The board is torchrun's key-value store. Ranks use it to agree when one of them may have failed, because a collective
operation never returns if one rank does not join it.
"""

from __future__ import annotations

import os
import time
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

POLL_SECONDS = 0.02
COLLECTIVE_HOURS = 12  # a rank waits for the others while they evaluate or write; torchrun notices dead ranks
FAILED_WAIT_SECONDS = 60


class AloneError(Exception):
    """This rank failed and the others did not: they wait in an operation that it will never join."""


class Ranks:
    """This process among the others: with NCCL and one CUDA device per rank if `cuda`, else with gloo on the CPU."""

    def __init__(self, cuda: bool) -> None:
        self.local_rank = int(os.environ["LOCAL_RANK"])
        self.local_size = int(os.environ["LOCAL_WORLD_SIZE"])
        if cuda:
            torch.cuda.set_device(self.local_rank)  # Ludwig says just "cuda": the current device
        self.device = torch.device("cuda", self.local_rank) if cuda else torch.device("cpu")
        self.rank: int
        self.size: int
        store, self.rank, self.size = next(iter(rendezvous("env://")))
        dist.init_process_group(
            "nccl" if cuda else "gloo",
            store=PrefixStore("group", store),
            rank=self.rank,
            world_size=self.size,
            timeout=timedelta(hours=COLLECTIVE_HOURS),
            device_id=self.device if cuda else None,
        )
        self._board = PrefixStore("board", store)
        self._posts: dict[str, int] = {}

    def post(self, point: str, failure: str = "") -> str:
        """Post the failure of this rank ("" if none), wait for the others, and return the first failure of all.

        Every rank must call it equally often with the same `point`, the name of a place in the program.

        Raises:
            AloneError: this rank failed and the others did not call it within a minute.
        """
        turn = self._posts[point] = self._posts.get(point, 0) + 1
        self._board.set(f"{point}/{turn}/{self.rank}", f"{self.rank}: {failure}" if failure else "")
        posted = [f"{point}/{turn}/{rank}" for rank in range(self.size)]
        until = time.monotonic() + FAILED_WAIT_SECONDS
        while not self._board.check(posted):
            if failure and time.monotonic() > until:
                raise AloneError(failure)
            time.sleep(POLL_SECONDS)
        texts = [bytes(self._board.get(key)).decode() for key in posted]
        return next((f"rank {text}" for text in texts if text), "")

    def compare(self, point: str, text: str) -> bool:
        """Whether all ranks call it with the same text."""
        box: list[Any] = [None] * self.size
        dist.all_gather_object(box, text)
        return len(set(box)) == 1

    def leave(self) -> None:
        """Leave the group together with all ranks."""
        dist.barrier()
        dist.destroy_process_group()
