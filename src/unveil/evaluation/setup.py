"""All that decides about the answers of an evaluation, and its name."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from unveil.canvas import Canvas
from unveil.decoding.model import Model
from unveil.decoding.prompt import Prompt
from unveil.decoding.spec import mark
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
    def prompts(self) -> list[Prompt]:
        """What the model is given for each problem."""
        return [self.model.asked(problem.prompt, problem.prefix, chat=self.chat) for problem in self.problems]

    @cached_property
    def run(self) -> str:
        """Twelve hexadecimal digits: the same for the same evaluation, another for any other."""
        model = self.model
        weights = [model.revision, str(model.denoiser.embed.weight.dtype), repr(model.denoiser.architecture)]
        asked = [self.chats and model.chat_hash, [model.ids(prompt) for prompt in self.prompts], model.end_ids]
        sampler = None if self.spec is None else mark(self.spec)
        return digest([*weights, *asked, repr(self.task), sampler, self.seed, self.guidance])

    def canvas(self, index: int) -> Canvas:
        """A problem and the masks for its answer. ValueError, naming the problem, if it does not fit the model."""
        try:
            return self.model.canvas(self.prompts[index], new_tokens=self.task.num_masks, seed=self.seed + index)
        except ValueError as error:
            raise ValueError(f"problem {self.problems[index].id}: {error}") from None


def digest(about: object) -> str:
    """Twelve hexadecimal digits of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:12]
