r"""Unveil: diagnose, repair and decode masked diffusion language models.

    import unveil

    model = unveil.load("lab-sudoku")
    print(model.decode(["1000\n0002\n4003\n0000\n=\n"], "fast_dllm:threshold=0.9")[0].text)
    print(unveil.evaluate("lab-puzzles", task="sums", limit=20, samplers=["llada:steps=32,block=32"]))

Names are imported when they are first used, so that the program's help does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unveil import train as train
    from unveil.api import bench as bench
    from unveil.api import compare as compare
    from unveil.api import decode as decode
    from unveil.api import diagnose as diagnose
    from unveil.api import evaluate as evaluate
    from unveil.api import export as export
    from unveil.api import frontier as frontier
    from unveil.api import load as load
    from unveil.api import trace as trace
    from unveil.api import verify as verify
    from unveil.canvas import Canvas as Canvas
    from unveil.canvas import Stage as Stage
    from unveil.checkpoints import adapters as adapters
    from unveil.decoding.loading import Loading as Loading
    from unveil.decoding.model import Answer as Answer
    from unveil.decoding.model import Model as Model
    from unveil.models.denoiser import Guided as Guided
    from unveil.sampling import recipes as recipes
    from unveil.sampling.sampler import Sampler as Sampler
    from unveil.sampling.sampler import Select as Select
    from unveil.sampling.sampler import Step as Step
    from unveil.sampling.trajectory import Trajectory as Trajectory

__version__ = "0.1.0.dev0"

_MODULES = {"adapters": "checkpoints.adapters", "recipes": "sampling.recipes", "train": "train"}
_VERBS = ("bench", "compare", "decode", "diagnose", "evaluate", "export", "frontier", "load", "trace", "verify")
_HOMES = {
    "Answer": "decoding.model",
    "Canvas": "canvas",
    "Guided": "models.guidance",
    "Loading": "decoding.loading",
    "Model": "decoding.model",
    "Sampler": "sampling.sampler",
    "Select": "sampling.sampler",
    "Stage": "canvas",
    "Step": "sampling.sampler",
    "Trajectory": "sampling.trajectory",
    **dict.fromkeys(_VERBS, "api"),
}

__all__ = [*_HOMES, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"unveil.{_MODULES[name]}")
    if name in _HOMES:
        return getattr(import_module(f"unveil.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'unveil' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
