"""Several processes on one evaluation: which one this is, what is its share, and waiting for the others."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

Item = TypeVar("Item")

PATIENCE = timedelta(days=7)  # a share of hard problems may take hours longer than another one


@dataclass(frozen=True, kw_only=True)
class Processes:
    """This process among `count`; by default it is alone."""

    rank: int = 0
    count: int = 1
    device: str | None = None  # where this one works, None where the user or the machine decides

    @property
    def main(self) -> bool:
        """Whether this one speaks, and puts the results together."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Every `count`-th one, each in one share."""
        return items[self.rank :: self.count]

    def wait(self) -> None:
        """Go on when all processes are here."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()


@contextmanager
def launched() -> Iterator[Processes]:
    """The processes that `accelerate launch` or torchrun started, each on its own GPU where there are some."""
    if "LOCAL_RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    import torch
    from accelerate import PartialState

    # gloo: they only wait for one another, so several may share a GPU
    state = PartialState(cpu=not torch.cuda.is_available(), backend="gloo", timeout=PATIENCE)
    try:
        yield Processes(rank=state.process_index, count=state.num_processes, device=str(state.device))
    finally:
        state.destroy_process_group()  # whoever waits for a process that failed fails too
