"""The model a verb works with, and the threads it runs on: decided once, here, when it is loaded."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unveil.decoding.model import Model

SMALL = 50_000_000  # parameters up to which one thread is fastest: sharing the work costs more than it saves


def load_model(
    name: str,
    *,
    threads: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
) -> "Model":
    """Load, and set the number of threads for what follows. Errors: as Model.load."""
    import torch

    from unveil.cli.show import busy
    from unveil.decoding.model import Model

    try:
        with busy(f"loading {name}"):
            model = Model.load(name, revision=revision, device=device, dtype=dtype)
    except RuntimeError as error:  # torch: no such device, or not enough memory on it
        reason = str(error).splitlines()[0]
        raise ValueError(f"{name} cannot be put on device {device or 'auto'} ({reason}): name another one") from error
    if threads is None and sum(weight.numel() for weight in model.denoiser.parameters()) <= SMALL:
        threads = 1
    if threads is not None:
        torch.set_num_threads(threads)
    return model


def check_samplers(specs: list[str]) -> None:
    """ValueError for an unknown sampler, key or value, before a large model is loaded."""
    from unveil.decoding.spec import split_spec

    for spec in specs:
        split_spec(spec)
