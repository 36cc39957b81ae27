"""The canvas: what a batch of sequences knows about itself while it is denoised.

Shape letters, the same in the whole package: B rows, L columns, Q columns recomputed, W columns read (Q and W counted
over all rows), V vocabulary, K soft tokens, D width, H heads.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64, Int, Int8, Int32, Int64
from torch import Tensor

from unveil import noise


class Stage(IntEnum):
    """How far a position is; larger is closer to final."""

    MASK = 0  # [MASK]
    SOFT_MASK = 1  # Soft([MASK] and candidates): undecided, its input leans towards tokens
    SOFT = 2  # Soft(candidates): a token is chosen, its distribution still evolves
    DECODED = 3  # a hard token
    GIVEN = 4  # prompt or infilling context: never changes
    PAD = 5  # outside the row


# Plain ints for comparisons with tensors: Dynamo refuses Tensor < IntEnum.
MASK, SOFT_MASK, SOFT, DECODED, GIVEN, PAD = (int(stage) for stage in Stage)


@dataclass(frozen=True, kw_only=True, eq=False)
class Canvas:
    """An immutable batch of rows. Dropping, forking and replacing rows is the same line for every field.

    Everything a sampler must remember about a row lives here, so no part of a sampler holds state.
    """

    tokens: Int64[Tensor, "B L"]
    stage: Int8[Tensor, "B L"]
    confidence: Float[Tensor, "B L"]  # the token's probability when it was written
    written: Int32[Tensor, "B L"]  # the forward that wrote it, -1 for none
    soft_ids: Int64[Tensor, "B L K"]  # the mixture that positions in a soft stage show the model
    soft_weights: Float[Tensor, "B L K"]
    start: Int64[Tensor, " B"]  # the first column to generate
    end: Int64[Tensor, " B"]  # one past the row's last column
    block: Int64[Tensor, " B"]  # the block being denoised
    step: Int64[Tensor, " B"]  # forwards spent in it
    nfe: Int64[Tensor, " B"]  # forwards spent in all
    seed: Int64[Tensor, " B"]  # the row's own noise
    done: Bool[Tensor, " B"]
    mask_id: int
    end_ids: tuple[int, ...] = ()

    @classmethod
    def blank(
        cls,
        prompts: Sequence[Sequence[int]],
        new_tokens: int | Sequence[int],
        *,
        mask_id: int,
        end_ids: tuple[int, ...] = (),
        num_soft: int = 0,
        seed: int | Sequence[int] = 0,
        device: torch.device | str = "cpu",
        first: int = 0,
    ) -> "Canvas":
        """Prompts, each followed by `new_tokens` masks (one number, or one per row).

        `first` is the number that messages give to the first prompt. Raises ValueError for no prompts, an empty prompt,
        a prompt that contains the mask id, or no new tokens.
        """
        counts = [new_tokens] * len(prompts) if isinstance(new_tokens, int) else list(new_tokens)
        if len(counts) != len(prompts):
            raise ValueError(f"{len(counts)} new_tokens for {len(prompts)} prompts: give one number, or one per prompt")
        for number, (prompt, count) in enumerate(zip(prompts, counts, strict=True), first):
            _check_prompt(number, prompt, count, mask_id)
        rows = [list(prompt) + [mask_id] * count for prompt, count in zip(prompts, counts, strict=True)]
        return cls.template(rows, mask_id=mask_id, end_ids=end_ids, num_soft=num_soft, seed=seed, device=device)

    @classmethod
    def template(
        cls,
        rows: Sequence[Sequence[int]],
        *,
        mask_id: int,
        end_ids: tuple[int, ...] = (),
        num_soft: int = 0,
        seed: int | Sequence[int] = 0,
        device: torch.device | str = "cpu",
    ) -> "Canvas":
        """Infilling: every `mask_id` in a row is a hole to fill, everything else is given and never changes.

        Generation starts at the first hole. Raises ValueError for a row without a hole or for no rows.
        """
        if not rows:
            raise ValueError("no rows: a canvas needs at least one prompt or template")
        seeds = [seed] * len(rows) if isinstance(seed, int) else list(seed)
        if len(seeds) != len(rows):
            raise ValueError(f"{len(seeds)} seeds for {len(rows)} rows: give one number, or one per row")
        width = max(len(row) for row in rows)
        tokens = torch.full((len(rows), width), mask_id, dtype=torch.int64)
        start = torch.zeros(len(rows), dtype=torch.int64)
        for index, row in enumerate(rows):
            if mask_id not in row:
                raise ValueError(f"row {index} has no hole: put the mask id {mask_id} where a token is wanted")
            tokens[index, : len(row)] = torch.as_tensor(row)
            start[index] = list(row).index(mask_id)
        end = torch.tensor([len(row) for row in rows])
        stage = torch.where(tokens == mask_id, MASK, GIVEN).to(torch.int8)
        stage[torch.arange(width) >= end[:, None]] = PAD
        return cls._fresh(tokens, stage, start, end, seeds, mask_id, end_ids, num_soft).to(device)

    @classmethod
    def corrupt(
        cls,
        tokens: Int64[Tensor, "B L"],
        hidden: Bool[Tensor, "B L"],
        *,
        start: Int[Tensor, " B"],
        end: Int[Tensor, " B"],
        mask_id: int,
        num_soft: int = 0,
    ) -> "Canvas":
        """A training canvas: `tokens` with the columns in `hidden` masked; start and end as in a decoding canvas."""
        column = torch.arange(tokens.shape[1], device=tokens.device)
        stage = torch.where(column < start[:, None], GIVEN, DECODED).to(torch.int8)
        stage = stage.masked_fill(hidden, MASK).masked_fill(column >= end[:, None], PAD)
        seeds = torch.zeros_like(start)
        return cls._fresh(tokens.masked_fill(hidden, mask_id), stage, start, end, seeds, mask_id, (), num_soft)

    @classmethod
    def _fresh(
        cls,
        tokens: Tensor,
        stage: Tensor,
        start: Tensor,
        end: Tensor,
        seeds: Sequence[int] | Tensor,
        mask_id: int,
        end_ids: tuple[int, ...],
        num_soft: int,
    ) -> "Canvas":
        B, L = tokens.shape
        zero = torch.zeros_like(start, dtype=torch.int64)
        device = tokens.device
        return cls(
            tokens=tokens,
            stage=stage,
            confidence=torch.zeros(B, L, device=device),
            written=torch.full((B, L), -1, dtype=torch.int32, device=device),
            soft_ids=tokens.new_zeros(B, L, 0),
            soft_weights=torch.zeros(B, L, 0, device=device),
            start=start.long(),
            end=end.long(),
            block=zero,
            step=zero,
            nfe=zero,
            seed=torch.as_tensor(seeds, dtype=torch.int64, device=device),
            done=zero.bool(),
            mask_id=mask_id,
            end_ids=tuple(end_ids),
        ).soften(num_soft)

    @property
    def column(self) -> Int64[Tensor, " L"]:
        """0 .. L - 1."""
        return torch.arange(self.tokens.shape[1], device=self.tokens.device)

    @property
    def inside(self) -> Bool[Tensor, "B L"]:
        """Columns that belong to the row."""
        return self.stage < PAD

    @property
    def undecided(self) -> Bool[Tensor, "B L"]:
        """Columns without a chosen token."""
        return self.stage < SOFT

    @property
    def chosen(self) -> Bool[Tensor, "B L"]:
        """Columns whose token was chosen by the sampler."""
        return (self.stage == SOFT) | (self.stage == DECODED)

    @property
    def num_undecided(self) -> Int64[Tensor, " B"]:
        """Masks left in each row: more than zero in a row that is done means that it hit a limit or an end id."""
        return self.undecided.sum(1)

    def uniform(self, salt: int) -> Float64[Tensor, "B L"]:
        """The row's own noise of this forward: a number in (0, 1) for every column."""
        rows = torch.arange(len(self.seed), device=self.seed.device)
        row, column = torch.broadcast_tensors(rows[:, None], self.column)
        return noise.uniform(self.seed[row], self.nfe[row], salt, column)

    def tensors(self) -> dict[str, Any]:
        """The fields with one entry per row."""
        return {f.name: v for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}

    def rows(self, index: Tensor) -> "Canvas":
        """The rows at `index` (ids, possibly repeated, or a boolean mask): leaving, forking, reordering."""
        return replace(self, **{name: value[index] for name, value in self.tensors().items()})

    def soften(self, num_soft: int) -> "Canvas":
        """With room for `num_soft` soft tokens in every column. ValueError if there is room for another number."""
        room = self.soft_ids.shape[2]
        if room == num_soft:
            return self
        if room:
            raise ValueError(f"the canvas has room for {room} soft tokens, asked for {num_soft}: build it with those")
        ids = self.tokens[..., None].repeat(1, 1, num_soft)
        return replace(self, soft_ids=ids, soft_weights=torch.zeros(ids.shape, device=ids.device))

    def put(self, index: Int[Tensor, " R"], other: "Canvas") -> "Canvas":
        """A canvas with the rows at `index` replaced by those of `other`, which may be narrower."""
        theirs = other.widen(self.tokens.shape[1]).tensors()
        return replace(self, **{name: x.index_copy(0, index, theirs[name]) for name, x in self.tensors().items()})

    def join(self, other: "Canvas") -> "Canvas":
        """The rows of both."""
        width = max(self.tokens.shape[1], other.tokens.shape[1])
        mine, theirs = self.widen(width).tensors(), other.widen(width).tensors()
        both: dict[str, Any] = {name: torch.cat([mine[name], theirs[name]]) for name in mine}
        return replace(self, **both)

    def widen(self, columns: int) -> "Canvas":
        """The same rows on a canvas of `columns` columns, padded on the right."""
        more = columns - self.tokens.shape[1]
        if more < 0:
            raise ValueError(f"a canvas of {self.tokens.shape[1]} columns does not fit into {columns}: widen that one")
        if more == 0:
            return self
        filling = {"tokens": self.mask_id, "soft_ids": self.mask_id, "stage": PAD, "written": -1}
        wide: dict[str, Any] = {}
        for name, value in self.tensors().items():
            if value.ndim > 1:
                new = value.new_full((value.shape[0], more, *value.shape[2:]), filling.get(name, 0))
                wide[name] = torch.cat([value, new], 1)
        return replace(self, **wide)

    def narrow(self, columns: int) -> "Canvas":
        """The first `columns` columns."""
        return replace(self, **{name: x[:, :columns] if x.ndim > 1 else x for name, x in self.tensors().items()})

    def to(self, device: torch.device | str) -> "Canvas":
        """The same canvas on another device."""
        return replace(self, **{name: value.to(device) for name, value in self.tensors().items()})

    def tick(self, max_steps: int) -> "Canvas":
        """Count a forward for rows that are not done; a row that has spent `max_steps` ends."""
        alive = ~self.done
        nfe = self.nfe + alive
        return replace(self, step=self.step + alive, nfe=nfe, done=self.done | (nfe >= max_steps))

    def answer(self, row: int) -> list[int]:
        """The generated tokens of a row, up to its first end id; a mask that is left stays as the mask id."""
        ids: list[int] = self.tokens[row, int(self.start[row]) : int(self.end[row])].tolist()
        for place, token in enumerate(ids):
            if token in self.end_ids:
                return ids[:place]
        return ids


def _check_prompt(number: int, prompt: Sequence[int], new_tokens: int, mask_id: int) -> None:
    if len(prompt) == 0:
        raise ValueError(f"prompt {number} is empty: give at least one token, for example the model's BOS")
    if mask_id in prompt:
        place = list(prompt).index(mask_id)
        raise ValueError(
            f"prompt {number} contains the mask id {mask_id} at position {place}: "
            "remove it, or use a template for infilling"
        )
    if new_tokens < 1:
        raise ValueError(f"new_tokens of prompt {number} is {new_tokens}: it must be at least 1")
