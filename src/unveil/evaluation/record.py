"""The record of a run: what a stranger needs, beside the numbers and settings of a result, to repeat it."""

import hashlib
import platform
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from unveil.decoding.spec import mark
from unveil.evaluation.planned import planned
from unveil.evaluation.setup import Setup, digest

LIBRARIES = ("unveil", "torch", "numpy", "safetensors", "tokenizers")
OTHERS = ("accelerate", "datasets", "math_verify", "peft", "torchao", "transformers")  # where they were used


@dataclass(frozen=True, kw_only=True)
class Record:
    """One run. Model, sampler, seed, dtype, device and the like are fields of the result itself."""

    run: str  # the same for the same evaluation; its items carry it
    date: str  # when it ended, UTC
    commit: str | None  # of the hub repository that the model is from
    adapter: str | None  # a fingerprint of the one that was added to the weights
    bits: int | None  # of the layers' weights, None: those of the dtype
    architecture: str  # of the model, with how its attention was read
    task_settings: str  # all of them
    problems: str  # fingerprint of prompts and answers
    data: str | None  # the file they were read from; None: fresh ones of the seed, or the published ones
    data_sha256: str | None
    spec: str  # of the sampler; of a learned policy also a fingerprint
    sampler_settings: str  # all of them
    unmask: str  # which masks it opens
    chat: bool  # whether the model was asked in its chat template
    chat_hash: str | None  # of that template
    processes: int
    threads: int  # of each process
    hardware: str
    python: str
    versions: dict[str, str]  # of libraries
    wall_seconds: float  # from begin to end of this sitting

    def line(self) -> str:
        """On what it ran, in one line."""
        source = f"{self.data} {self.data_sha256[:12]}" if self.data and self.data_sha256 else self.problems
        changed = {"commit": self.commit, "adapter": self.adapter, "bits": self.bits}
        weights = "".join(f"{name} {value}, " for name, value in changed.items() if value is not None)
        asked = f"chat {self.chat_hash}" if self.chat else "raw prompts"
        versions = ", ".join(f"{name} {self.versions[name]}" for name in ("unveil", "torch") if name in self.versions)
        several = f", {self.processes} processes" if self.processes > 1 else ""
        return (
            f"problems {source}, {weights}{asked}, {versions}, Python {self.python}, {self.hardware}{several}, "
            f"threads {self.threads}"
        )


def record(setup: Setup, *, data: Path | None, processes: int, began: float) -> Record:
    """The record of a run that ends now; it began at `began` of time.perf_counter()."""
    assert setup.spec is not None
    plan = planned(setup.sampler, setup.task.num_masks)
    used = [*LIBRARIES, *(name for name in OTHERS if name in sys.modules)]
    return Record(
        run=setup.run,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=setup.model.commit,
        adapter=setup.model.adapter,
        bits=setup.model.bits,
        architecture=repr(setup.model.denoiser.architecture),
        task_settings=repr(setup.task),
        problems=digest([[x.id, x.prompt, x.prefix, x.answer] for x in setup.problems]),
        data=None if data is None else data.name,
        data_sha256=None if data is None else _sha256(data),
        spec=mark(setup.spec),
        sampler_settings=plan.settings,
        unmask=plan.unmask,
        chat=setup.chats,
        chat_hash=setup.model.chat_hash if setup.chats else None,
        processes=processes,
        threads=torch.get_num_threads(),
        hardware=_hardware(setup.model.device),
        python=platform.python_version(),
        versions={name: found for name in used if (found := _version(name)) is not None},
        wall_seconds=time.perf_counter() - began,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hardware(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:  # runs from a folder that was not installed
        return None
