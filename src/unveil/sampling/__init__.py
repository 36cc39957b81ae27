"""Floor 2: samplers, canvas -> canvas. Every part can be imported from here."""

from unveil.sampling.blocks import Blocks
from unveil.sampling.evolve import HardTokens, SoftTokens
from unveil.sampling.mixing import Constant, Drawn, FollowsConfidence, Linear, Spherical
from unveil.sampling.picks import (
    Above,
    Below,
    Best,
    Choice,
    Closing,
    EntropyBound,
    Factor,
    Finishing,
    Opening,
    Pick,
    Quota,
    Scheduled,
    Threshold,
    Within,
)
from unveil.sampling.propose import Proposal, Propose
from unveil.sampling.queue import decode_queue, steps_queue
from unveil.sampling.random_picks import Coin, CoinsOrBest, PlackettLuce, SomeCoins
from unveil.sampling.refresh import (
    BlockCache,
    DelayedCache,
    DualCache,
    NearCache,
    NoCache,
    PrefixCache,
    Refresh,
    cache_plan,
)
from unveil.sampling.sampler import Never, Sampler, Select, Selection, Selector, Step
from unveil.sampling.scores import (
    Certainty,
    Chance,
    Confidence,
    Differs,
    EndsLast,
    Gain,
    LeftToRight,
    Margin,
    Noisy,
    Score,
)
from unveil.sampling.trajectory import Trajectory

__all__ = [
    "Above", "Below", "Best", "BlockCache", "Blocks", "Certainty", "Chance", "Choice", "Closing", "Coin", "CoinsOrBest",
    "Confidence", "Constant", "DelayedCache", "Differs", "Drawn", "DualCache", "EndsLast", "EntropyBound", "Factor",
    "Finishing", "FollowsConfidence", "Gain", "HardTokens", "LeftToRight", "Linear", "Margin", "NearCache", "Never",
    "NoCache", "Noisy", "Opening", "Pick", "PlackettLuce", "PrefixCache", "Proposal", "Propose", "Quota", "Refresh",
    "Sampler", "Scheduled", "Score", "Select", "Selection", "Selector", "SoftTokens", "SomeCoins", "Spherical", "Step",
    "Threshold", "Trajectory", "Within", "cache_plan", "decode_queue", "steps_queue",
]  # fmt: skip
