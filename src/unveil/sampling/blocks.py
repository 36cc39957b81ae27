"""Where each row works now, when a block settles, and when a row ends."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from unveil.canvas import DECODED, SOFT, Canvas


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Semi-autoregressive order (LLaDA): blocks of `size` columns from left to right, every row in a block of its own.

    A block settles when all its tokens are chosen. A row ends after its last block with a mask, or after a block with
    an end id.
    """

    size: int | None = None  # None: one block, the whole canvas
    min_steps: int = 0  # a full block is held for this many forwards, so that remasking can still return tokens
    limit: int | None = None  # leave a block after this many forwards, full or not (published fixed-step loops)
    until_quiet: int = 0  # stay in a full block while its tokens still change, at most this many forwards in all

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise ValueError(f"block size {self.size} is not positive: give at least 1, or None for one block")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"block limit {self.limit} is not positive: give at least 1, or None for no limit")

    def bounds(self, canvas: Canvas) -> tuple[Int[Tensor, "B 1"], Int[Tensor, "B 1"]]:
        """The first column of each row's block, and one past its last."""
        if self.size is None:
            return canvas.start[:, None], canvas.end[:, None]
        first = canvas.start + canvas.block * self.size
        return first[:, None], torch.minimum(first + self.size, canvas.end)[:, None]

    def here(self, canvas: Canvas) -> Bool[Tensor, "B L"]:
        """The columns of each row's block; none in rows that are done."""
        first, last = self.bounds(canvas)
        column = canvas.column
        return (column >= first) & (column < last) & ~canvas.done[:, None]

    def advance(self, canvas: Canvas) -> Canvas:
        """Settle full blocks: their tokens are final, their rows go on to the next block or end."""
        here, undecided = self.here(canvas), canvas.undecided
        settled = ~((here & undecided).any(1) | canvas.done)
        if self.min_steps:
            settled = settled & (canvas.step >= self.min_steps)
        if self.until_quiet:
            changed = (here & (canvas.written == canvas.nfe[:, None] - 1)).any(1)
            settled = settled & ~(changed & (canvas.step < self.until_quiet))
        if self.limit is not None:
            settled = settled | (~canvas.done & (canvas.step >= self.limit))
        final = here & settled[:, None]
        stage = canvas.stage.masked_fill(final & (canvas.stage == SOFT), DECODED)
        later = undecided & (canvas.column >= self.bounds(canvas)[1])
        ends = ~later.any(1)  # what is given after the last hole costs no forward
        for end_id in canvas.end_ids:
            ends = ends | (final & (stage == DECODED) & (canvas.tokens == end_id)).any(1)
        return replace(
            canvas,
            stage=stage,
            block=canvas.block + settled,
            step=canvas.step.masked_fill(settled, 0),
            done=canvas.done | (settled & ends),
        )


def steps_in_block(new_tokens: int, steps: int | None, block: int | None, name: str = "steps") -> int:
    """Forwards on each block, from `steps`, a total over all blocks; without it one for each token of a block.

    Raises ValueError, calling the setting `name`, for a total that the blocks cannot share evenly.
    """
    if new_tokens < 1:
        raise ValueError(f"new_tokens={new_tokens} is not positive: ask for at least 1")
    if block is not None and block < 1:
        raise ValueError(f"block={block} is not positive: give at least 1, or leave it out for one block")
    size = new_tokens if block is None else min(block, new_tokens)
    blocks = -(-new_tokens // size)
    if steps is None:
        return size
    if steps < 1 or steps % blocks or steps // blocks > size:
        legal = f"a multiple of {blocks} from {blocks} to {blocks * size}" if blocks > 1 else f"from 1 to {size}"
        raise ValueError(
            f"{name}={steps} does not fit {new_tokens} new tokens in {blocks} block(s) of {size}: "
            f"it is the total over all blocks and must be {legal}"
        )
    return steps // blocks
