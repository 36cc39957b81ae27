"""Trajectory supervision: a model learns to read soft tokens, and to change its mind.

EvoToken (Zhong et al. 2026, arXiv 2601.07351), section on continuous trajectory supervision. PRESETS have the paper's
settings; what differs in the defaults is marked [D]: our choice, closer to what decoding does.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import nn

from unveil.objectives.trajectory import Begun, TrajectorySupervision
from unveil.sampling.evolve import SoftTokens
from unveil.sampling.mixing import Drawn
from unveil.sampling.recipes.evotoken import MIXES
from unveil.settings import one_of
from unveil.training.settings import Falling
from unveil.training.sft import SFT

# Settings by name, as --set takes them: the released script's.
PRESETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "llada-8b-instruct": (
            "lora=r=128,alpha=256,dropout=0.05,targets=query|key|value",
            "dtype=bfloat16",
            "precision=bf16",
            "checkpointing=true",
            "layout=s1k",
            "canvas=1024",
            "padding=first",
            "sizes=512",
            "aligned=false",
            "order=random",
            "whole=0",
        )
    }
)


@dataclass(frozen=True, kw_only=True)
class TrajectoryTuning(SFT):
    """Fine-tune `base` with the sampler's own steps unrolled; see TrajectorySupervision. An update is `depth` passes.

    The model is then decoded with `evotoken` of the same k, mix and lookahead (`consistent` is commit=consistent, else
    commit=best); its share of [MASK] is chosen on validation problems.
    """

    name: ClassVar[str] = "trajectory"

    depth: int = 4  # forwards of a trajectory
    sizes: tuple[int, ...] = (8, 16, 32, 64)  # columns of a block; a batch draws one [D]
    opens: tuple[int, ...] = (1, 2, 4, 8)  # masks that a forward opens; a batch draws one
    order: str = "confidence"  # in which masks are opened [D]; random: the paper's
    aligned: bool = True  # windows are whole blocks [D]; false: anywhere, the paper's
    whole: float = 0.5  # share of rows that begin with no open token [D]
    hold: bool = True  # a full block is revised until the trajectory ends [D]
    k: int = 3  # candidates
    mask_shares: tuple[float, float] = (0.5, 1.0)  # of [MASK], drawn for each row and forward
    mix: str = "linear"
    consistent: bool = False  # what is shown is what is written
    lookahead: bool = True  # later blocks are soft too
    rows: int = 8
    training: Falling = field(
        default_factory=lambda: Falling(
            steps=10_000, lr=1e-5, warmup=0, weight_decay=0.1, betas=(0.9, 0.999), validate_every=500, save_every=100
        )
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        assert self.objective  # its settings are checked before anything is read

    @property
    def objective(self) -> TrajectorySupervision:
        """The trajectory's loss."""
        evolve = SoftTokens(
            k=self.k,
            share=Drawn(least=self.mask_shares[0], most=self.mask_shares[1]),
            mix=MIXES[one_of("mix", self.mix, MIXES)],
            consistent=self.consistent,
            lookahead=self.lookahead,
        )
        return TrajectorySupervision(
            evolve=evolve,
            sizes=self.sizes,
            opens=self.opens,
            depth=self.depth,
            order=self.order,
            aligned=self.aligned,
            whole=self.whole,
            hold=self.hold,
        )

    def shares(self, model: nn.Module) -> Iterator[Begun]:
        """The held-out examples, dealt out to draws of block size and open tokens that are always the same."""
        batch, device = self.held_out(), next(model.parameters()).device
        index = torch.arange(len(batch.end))
        for seed, some in enumerate(index.split(self.training.micro_rows or self.rows)):
            part = batch._replace(tokens=batch.tokens[some], start=batch.start[some], end=batch.end[some])
            example = self.objective.corrupt(part, self.outline.blank_id, seed)
            example = example._replace(weight=example.weight * len(some) / len(index))
            yield example.narrow(int(example.canvas.end.max())).to(device)
