"""One recording or training by several processes, as ``torchrun`` starts them."""

import os
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import torch.distributed as dist

PATIENCE = timedelta(days=30)  # a rank waits for the slowest, which may have hours of work left


@dataclass(frozen=True)
class Ranks:
    """This process's number among all, from 0, and how many there are."""

    rank: int = 0
    count: int = 1

    def wait(self) -> None:
        """For all the others to come to the same place."""
        if self.count > 1:
            dist.barrier(_waiting_room())


def ranks() -> Ranks:
    """This process among those that ``torchrun`` started, or alone."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1 or not dist.is_available():
        return Ranks()
    if not dist.is_initialized():
        dist.init_process_group("gloo")
    return Ranks(dist.get_rank(), dist.get_world_size())


@cache
def _waiting_room() -> Any:
    """All processes, only to wait for each other: tensors stay at home."""
    return dist.new_group(timeout=PATIENCE, backend="gloo")
