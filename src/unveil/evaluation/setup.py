"""All that decides about the answers of an evaluation, and its name."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from unveil.canvas import Canvas
from unveil.decoding.model import Model
from unveil.decoding.spec import mark, parse_sampler
from unveil.sampling.sampler import Sampler
from unveil.tasks.task import Problem, Task


@dataclass(frozen=True, kw_only=True, eq=False)
class Setup:
    """A model, what it is asked, and how it decodes. The batch is no part of it: a row never depends on its batch."""

    model: Model
    task: Task
    problems: Sequence[Problem]
    spec: str | None  # the sampler's, None for evaluations that differ in it alone
    seed: int = 0  # item i draws its noise from seed + i
    guidance: float = 0.0
    chat: bool | None = None  # None: where the model has a template

    @property
    def chats(self) -> bool:
        """Whether the model is asked in its chat template."""
        return self.model.chats if self.chat is None else self.chat

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
    def run(self) -> str:
        """Twelve hexadecimal digits: the same for the same evaluation, another for any other."""
        model = self.model
        weights = [model.revision, str(model.dtype), repr(model.denoiser.architecture)]
        asked = [self.chats and model.chat_hash, self.ids, model.end_ids]
        sampler = None if self.spec is None else mark(self.spec)
        return digest([*weights, *asked, repr(self.task), sampler, self.seed, self.guidance])

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
