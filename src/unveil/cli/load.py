"""The model a verb works with, and the threads it runs on: decided once, here, when it is loaded."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import wraps
from inspect import signature
from typing import TYPE_CHECKING, Any

from unveil.cli import options

if TYPE_CHECKING:
    from unveil.decoding.model import Model

SMALL = 50_000_000  # parameters up to which one thread is fastest: sharing the work costs more than it saves


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How a model is loaded: each field is an option of the verbs that load one."""

    threads: options.Threads = None
    device: options.Device = None
    dtype: options.Dtype = None
    revision: options.Revision = None
    adapter: options.AdapterName = None
    bits: options.Bits = None
    trust_remote_code: options.TrustRemoteCode = False

    def model(self, name: str) -> "Model":
        """Load, and set the number of threads for what follows. Errors: as Model.load."""
        import torch

        from unveil.cli.show import busy
        from unveil.decoding.model import Model

        settings = asdict(self)
        threads = settings.pop("threads")
        try:
            with busy(f"loading {name}"):
                model = Model.load(name, **settings)
        except RuntimeError as error:  # torch: no such device, or not enough memory on it
            reason, device = str(error).splitlines()[0], self.device or "auto"
            raise ValueError(f"{name} cannot be put on device {device} ({reason}): name another one") from error
        if threads is None and sum(weight.numel() for weight in model.denoiser.parameters()) <= SMALL:
            threads = 1
        if threads is not None:
            torch.set_num_threads(threads)
        return model


def loads(verb: Callable[..., None]) -> Callable[..., None]:
    """Put the options of Loading in the place of a verb's parameter `loading`."""
    own = signature(verb)
    added = signature(Loading).parameters

    @wraps(verb)
    def spread(**given: Any) -> None:
        verb(loading=Loading(**{name: given.pop(name) for name in added}), **given)

    kept = [parameter for name, parameter in own.parameters.items() if name != "loading"]
    spread.__signature__ = own.replace(parameters=[*kept, *added.values()])  # type: ignore[attr-defined]
    return spread


def check_samplers(specs: list[str]) -> None:
    """ValueError for an unknown sampler, key or value, before a large model is loaded."""
    from unveil.decoding.spec import split_spec

    for spec in specs:
        split_spec(spec)
