"""One paper, one file, one function: it takes the number of new tokens and returns a Sampler.

Defaults are one token a forward. `steps` is the total over all blocks, as in the published codes; `block=None` is one
block of everything; `cache` is one of none, prefix, dual, near, delayed and block.
"""

from unveil.sampling.recipes.dream import dream
from unveil.sampling.recipes.eb_sampler import eb_sampler
from unveil.sampling.recipes.evotoken import evotoken
from unveil.sampling.recipes.fast_dllm import fast_dllm
from unveil.sampling.recipes.left_to_right import left_to_right
from unveil.sampling.recipes.llada import llada
from unveil.sampling.recipes.remdm import remdm

__all__ = ["dream", "eb_sampler", "evotoken", "fast_dllm", "left_to_right", "llada", "remdm"]
