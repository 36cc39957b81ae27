"""One paper, one file, one function: it takes the number of new tokens and returns a Sampler.

Defaults are one token a forward. `steps` is the total over all blocks, as in the published codes; `block=None` is one
block of everything; `cache` is one of none, prefix, dual, near, delayed and block.
"""

from unveil import catalogue
from unveil.sampling.recipes.dream import dream as dream
from unveil.sampling.recipes.eb_sampler import eb_sampler as eb_sampler
from unveil.sampling.recipes.evotoken import evotoken as evotoken
from unveil.sampling.recipes.fast_dllm import fast_dllm as fast_dllm
from unveil.sampling.recipes.left_to_right import left_to_right as left_to_right
from unveil.sampling.recipes.llada import llada as llada
from unveil.sampling.recipes.remdm import remdm as remdm

__all__ = [name for name, entry in catalogue.samplers().items() if entry.module.startswith(__name__)]
# A recipe's function takes the name of its module here, also where nobody imports it above.
globals().update({name: catalogue.samplers()[name].load() for name in __all__})
