"""Unveil: diagnose, repair and decode masked diffusion language models.

    import unveil

    model = unveil.load("lab-sudoku")
    print(model.decode(["1000\n0002\n4003\n0000\n=\n"], "fast_dllm:threshold=0.9")[0].text)
"""

from unveil.canvas import Canvas as Canvas
from unveil.canvas import Stage as Stage
from unveil.models.guidance import Guided as Guided
from unveil.sampling import recipes as recipes
from unveil.sampling.model import Answer as Answer
from unveil.sampling.model import Model as Model
from unveil.sampling.sampler import Sampler as Sampler
from unveil.sampling.sampler import Select as Select
from unveil.sampling.sampler import Step as Step
from unveil.sampling.trajectory import Trajectory as Trajectory

__version__ = "0.1.0.dev0"

load = Model.load
