r"""Unveil: diagnose, repair and decode masked diffusion language models.

    import unveil

    model = unveil.load("lab-sudoku")
    print(model.decode(["1000\n0002\n4003\n0000\n=\n"], "fast_dllm:threshold=0.9")[0].text)

Names are imported when they are first used, so that the program's help does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unveil.canvas import Canvas as Canvas
    from unveil.canvas import Stage as Stage
    from unveil.checkpoints import adapters as adapters
    from unveil.decoding.model import Answer as Answer
    from unveil.decoding.model import Model as Model
    from unveil.models.guidance import Guided as Guided
    from unveil.sampling import recipes as recipes
    from unveil.sampling.sampler import Sampler as Sampler
    from unveil.sampling.sampler import Select as Select
    from unveil.sampling.sampler import Step as Step
    from unveil.sampling.trajectory import Trajectory as Trajectory

    load = Model.load

__version__ = "0.1.0.dev0"

_MODULES = {"adapters": "checkpoints.adapters", "recipes": "sampling.recipes"}
_HOMES = {
    "Answer": "decoding.model",
    "Canvas": "canvas",
    "Guided": "models.guidance",
    "Model": "decoding.model",
    "Sampler": "sampling.sampler",
    "Select": "sampling.sampler",
    "Stage": "canvas",
    "Step": "sampling.sampler",
    "Trajectory": "sampling.trajectory",
}

__all__ = [*_HOMES, *_MODULES, "load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        return import_module("unveil.decoding.model").Model.load
    if name in _MODULES:
        return import_module(f"unveil.{_MODULES[name]}")
    if name in _HOMES:
        return getattr(import_module(f"unveil.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'unveil' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
