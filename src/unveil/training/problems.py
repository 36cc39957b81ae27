"""The problems of a policy's training: which are learned from in each round, and which it is validated on."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import numpy as np

from unveil.tasks import task
from unveil.tasks.benchmarks.programs import allow_code
from unveil.tasks.task import Generated, Problem, Task, generated
from unveil.training.settings import Training


@dataclass(frozen=True, kw_only=True)
class Problems:
    """Functions of the seed: fresh ones of the task's training split, or those of a JSON-lines file `data`."""

    spec: str  # the task, as `unveil.tasks.task` takes it
    data: str | None
    code: bool  # whether code that the model wrote may run
    each: int  # a round
    num_held_out: int
    training: Training

    @cached_property
    def task(self) -> Task:
        """The task that judges. ValueError as `unveil.tasks.task`, and if it makes no problems and there is no file."""
        return self._split("train") if self.data is None else self._allowed

    def round(self, number: int) -> list[Problem]:
        """Those of a round, counted from 0; each of a file once an epoch."""
        if self.data is None:
            return self._split("train").generate(self.each, self.training.loss_seed(number))
        learn, _ = self._parts
        places = range(number * self.each, (number + 1) * self.each)
        orders = {
            epoch: np.random.default_rng([self.training.seed, 3, epoch]).permutation(len(learn))
            for epoch in {place // len(learn) for place in places}
        }
        return [learn[orders[place // len(learn)][place % len(learn)]] for place in places]

    @cached_property
    def held_out(self) -> list[Problem]:
        """Problems by which the policy is chosen, none of which is ever learned from."""
        if self.data is None:
            return self._split("validation").generate(self.num_held_out, self.training.seed)
        return self._parts[1]

    @cached_property
    def _allowed(self) -> Task:
        """The task; with a sandbox if it runs code and may. ValueError as `task` and `allow_code`."""
        return allow_code(task(self.spec), self.code)

    def _split(self, split: str) -> Generated:
        able = generated(self._allowed, "give a file of them to learn from, --data FILE")
        return cast(Generated, replace(cast(Any, able), split=split))

    @cached_property
    def _parts(self) -> tuple[list[Problem], list[Problem]]:
        """The problems of the file, divided."""
        problems = self.task.read(cast(str, self.data))
        if len(problems) < self.num_held_out + self.each:
            raise ValueError(
                f"{self.data} has {len(problems)} problems, a round takes {self.each} beside {self.num_held_out} for "
                "validation: set fewer (prompts, validation), or give more problems"
            )
        order = np.random.default_rng([self.training.seed, 2]).permutation(len(problems)).tolist()
        return [problems[i] for i in order[self.num_held_out :]], [problems[i] for i in order[: self.num_held_out]]
