"""What a sampler will do with so many masks, as results and records tell it."""

from typing import NamedTuple

from unveil.sampling.sampler import Sampler, Select


class Planned(NamedTuple):
    """Known before the first forward."""

    block: int  # masks in a whole block
    steps: int | None  # forwards over all blocks, None where the rule decides
    unmask: str  # the rule that opens masks: "Threshold(bar=0.9) on Confidence"
    settings: str  # all of the sampler's


def planned(sampler: Sampler, masks: int) -> Planned:
    """The plan for so many masks."""
    block = min(sampler.blocks.size or masks, masks)
    rule, settings = type(sampler.unmask).__name__, repr(sampler)
    if not isinstance(sampler.unmask, Select):
        return Planned(block, None, rule, settings)
    steps: int | None = getattr(sampler.unmask.pick, "steps", None)  # in a block
    rule = f"{sampler.unmask.pick} on {type(sampler.unmask.score).__name__}"
    return Planned(block, None if steps is None else steps * -(-masks // block), rule, settings)
