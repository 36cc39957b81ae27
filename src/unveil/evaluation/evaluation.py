"""One evaluation: all that decides about its answers, its name, and what a stranger needs to repeat it."""

import hashlib
import json
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import torch

from unveil.canvas import Canvas
from unveil.decoding.model import Model
from unveil.decoding.spec import mark, parse_sampler
from unveil.sampling.sampler import Sampler, Select
from unveil.tasks.task import Problem, Stopped, Task

LIBRARIES = ("unveil", "torch", "numpy", "safetensors", "tokenizers")
OTHERS = ("accelerate", "datasets", "math_verify", "peft", "torchao", "transformers")  # where they were used


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """A model, what it is asked, and how it decodes. The batch is no part of it: a row never depends on its batch."""

    model: Model
    task: Task
    problems: Sequence[Problem]
    spec: str | None  # the sampler's, None for evaluations that differ in it alone
    seed: int = 0  # item i draws its noise from seed + i
    guidance: float = 0.0
    chat: bool | None = None  # None: where the model has a template
    stop: Sequence[str] | None = None  # None: the task's own, where the model is asked with text alone

    @property
    def chats(self) -> bool:
        """Whether the model is asked in its chat template."""
        return self.model.chats if self.chat is None else self.chat

    @property
    def stops(self) -> list[str]:
        """The texts before the first of which an answer is cut, and then judged."""
        if self.stop is not None:
            return list(self.stop)
        return [] if self.chats or not isinstance(self.task, Stopped) else list(self.task.stops)

    @cached_property
    def ids(self) -> list[list[int]]:
        """What the model is given for each problem. ValueError, naming it, for one that cannot be written."""
        found = []
        for problem in self.problems:
            prompt = self.model.asked(problem.prompt, problem.prefix, chat=self.chat)
            with _naming(problem):
                found.append(self.model.ids(prompt))
        return found

    @cached_property
    def sampler(self) -> Sampler:
        """How the model decodes. ValueError as `parse_sampler`."""
        assert self.spec is not None
        return parse_sampler(self.spec, self.task.num_masks)

    @cached_property
    def plan(self) -> Planned:
        """What the sampler will do with the task's masks."""
        return planned(self.sampler, self.task.num_masks)

    @cached_property
    def run(self) -> str:
        """Twelve hexadecimal digits: the same for the same evaluation, another for any other."""
        model = self.model
        weights = [model.revision, str(model.dtype), repr(model.denoiser.outline)]
        asked = [self.chats and model.chat_hash, self.ids, model.ends]
        sampler = None if self.spec is None else mark(self.spec)
        cut = [self.stops] if self.stops else []
        return digest([*weights, *asked, repr(self.task), sampler, self.seed, self.guidance, *cut])

    def canvas(self, index: int) -> Canvas:
        """A problem and the masks for its answer. ValueError, naming the problem, if it does not fit the model."""
        ids = self.ids[index]
        with _naming(self.problems[index]):
            return self.model.blank(ids, new_tokens=self.task.num_masks, seed=self.seed + index)


@contextmanager
def _naming(problem: Problem) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"problem {problem.id}: {error}") from None


def digest(about: object) -> str:
    """Twelve hexadecimal digits of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:12]


@dataclass(frozen=True, kw_only=True)
class Record:
    """One run. Model, sampler, seed, dtype, device and the like are fields of the result itself."""

    run: str  # the same for the same evaluation; its items carry it
    date: str  # when it ended, UTC
    commit: str | None  # of the hub repository that the model is from
    adapter: str | None  # a fingerprint of the one that was added to the weights
    bits: int | None  # of the layers' weights, None: those of the dtype
    outline: str  # of the model: vocabulary, context, attention
    task_settings: str  # all of them
    problems: str  # fingerprint of prompts and answers
    data: str | None  # the file they were read from; None: fresh ones of the seed, or the published ones
    data_sha256: str | None
    spec: str  # of the sampler; of a learned policy also a fingerprint
    sampler_settings: str  # all of them
    unmask: str  # which masks it opens
    chat: bool  # whether the model was asked in its chat template
    chat_hash: str | None  # of that template
    stops: list[str]  # an answer was cut before the first of these texts
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
        asked += f", stops {', '.join(map(repr, self.stops))}" if self.stops else ""
        versions = ", ".join(f"{name} {self.versions[name]}" for name in ("unveil", "torch") if name in self.versions)
        several = f", {self.processes} processes" if self.processes > 1 else ""
        return (
            f"problems {source}, {weights}{asked}, {versions}, Python {self.python}, {self.hardware}{several}, "
            f"threads {self.threads}"
        )


def record_of(evaluation: Evaluation, *, data: Path | None, processes: int, began: float) -> Record:
    """The record of a run that ends now; it began at `began` of time.perf_counter()."""
    assert evaluation.spec is not None
    plan = evaluation.plan
    used = [*LIBRARIES, *(name for name in OTHERS if name in sys.modules)]
    return Record(
        run=evaluation.run,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=evaluation.model.commit,
        adapter=evaluation.model.adapter,
        bits=evaluation.model.bits,
        outline=repr(evaluation.model.denoiser.outline),
        task_settings=repr(evaluation.task),
        problems=digest([[x.id, x.prompt, x.prefix, x.answer] for x in evaluation.problems]),
        data=None if data is None else data.name,
        data_sha256=None if data is None else _sha256(data),
        spec=mark(evaluation.spec),
        sampler_settings=plan.settings,
        unmask=plan.unmask,
        chat=evaluation.chats,
        chat_hash=evaluation.model.chat_hash if evaluation.chats else None,
        stops=evaluation.stops,
        processes=processes,
        threads=torch.get_num_threads(),
        hardware=_hardware(evaluation.model.device),
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
