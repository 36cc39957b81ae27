"""Rounds of a policy's training: problems are answered, judged, and learned from. Jazbec et al. 2025, arXiv 2512.09106.

Every process answers its share of a round's problems. What is learned is that of all of them, whatever their number.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unveil.decoding.model import Model
from unveil.objectives.policy import Additive, ClippedRatio, Lesson, Multiplicative, has_signal
from unveil.sampling.sampler import Sampler, Selector
from unveil.tasks import task
from unveil.tasks.benchmarks.programs import allow_code
from unveil.tasks.task import Generated, Problem, Task, generated
from unveil.training.rollout import Decisions, Rollouts, learned_select, roll_out
from unveil.training.session import Session
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
        """The problems of a round, counted from 0; each of a file comes once an epoch."""
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


@runtime_checkable
class Judge(Protocol):
    """How right an answer is."""

    def __call__(self, problem: Problem, text: str) -> float:
        """From 0 to 1."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """A process's share of a round: problems, the place of each in the round, its seed and weight of speed."""

    problems: list[Problem]
    places: list[int]
    seeds: list[int]
    alphas: list[float]

    def some(self, index: Sequence[int]) -> "Asked":
        """Some of them."""
        return Asked(
            problems=[self.problems[i] for i in index],
            places=[self.places[i] for i in index],
            seeds=[self.seeds[i] for i in index],
            alphas=[self.alphas[i] for i in index],
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Answering:
    """A frozen model, the sampler whose policy is trained, and the problems of each round."""

    session: Session
    model: Model
    sampler: Sampler
    num_masks: int
    problems: Callable[[int], list[Problem]]  # of a round
    alphas: Sequence[float] = (1.0,)  # the problems of a round take turns; several are told to the policy
    batch: int = 64  # rows decoded at a time

    def asked(self, number: int) -> Asked:
        """This process's share of a round, counted from 0."""
        at, problems = self.session.accelerator, self.problems(number)
        mine = range(at.process_index, len(problems), at.num_processes)
        first = self.session.training.loss_seed(number) * len(problems)
        return Asked(
            problems=[problems[i] for i in mine],
            places=[*mine],
            seeds=[first + i for i in mine],
            alphas=[self.alphas[(i + number) % len(self.alphas)] for i in mine],
        )

    def answered(self, asked: Asked, copies: int, teacher: Selector | None = None) -> Rollouts:
        """Decode them, with the policy or with a rule in its place."""
        rows = [
            self.model.canvas(self.model.asked(problem.prompt, problem.prefix), new_tokens=self.num_masks, seed=seed)
            for problem, seed in zip(asked.problems, asked.seeds, strict=True)
        ]
        alphas = asked.alphas if len(self.alphas) > 1 else None
        return roll_out(
            self.sampler, self.model.denoiser, rows, copies=copies, batch=self.batch, alphas=alphas, teacher=teacher
        )

    def log_probs(self, decisions: Decisions) -> Float[Tensor, " n"]:
        """Under the policy as it is now."""
        return decisions.log_probs(learned_select(self.sampler))


@dataclass(frozen=True, kw_only=True, eq=False)
class Imitation:
    """A round of warm start: the policy learns to choose what a rule chose. Every rollout counts the same.

    Several rules share the problems, and the policy learns how often each mask is opened, which leaves more to chance.
    With several alphas each has as many rules of its own, in their order.
    """

    answering: Answering
    teachers: Sequence[Selector]
    chunk: int = 64

    def __call__(self, number: int) -> dict[str, float]:
        """One update; what to log."""
        at = self.answering
        asked = at.asked(number)
        (rows,) = at.session.total([len(asked.problems)])
        shares: dict[int, list[int]] = {}
        for index, (place, alpha) in enumerate(zip(asked.places, asked.alphas, strict=True)):
            shares.setdefault(self.rule(place, alpha), []).append(index)
        decided = [
            at.answered(asked.some(index), 1, self.teachers[rule]).decisions for rule, index in sorted(shares.items())
        ]
        losses = (loss for decisions in decided for loss in self.losses(decisions, rows))
        total, numbers = learned(at.session, losses, number)
        return {"imitation": total} | numbers

    def rule(self, place: int, alpha: float) -> int:
        """Which rule answers the problem at that place of a round, whichever process asks."""
        alphas = self.answering.alphas
        own = len(self.teachers) // len(alphas)
        return alphas.index(alpha) * own + place // len(alphas) % own

    def losses(self, decisions: Decisions, rows: float) -> Iterator[Tensor]:
        """In parts; all of them, of `rows` rollouts, are the mean of - log-probability."""
        weight = (1 / (rows * decisions.rollout.bincount()[decisions.rollout])).to(decisions.log_prob)
        for some in torch.arange(len(decisions)).split(self.chunk):
            yield -(weight[some] * self.answering.log_probs(decisions.rows(some)).to("cpu")).sum()


@dataclass(frozen=True, kw_only=True, eq=False)
class Improvement:
    """A round of GRPO: several answers to each problem, and what makes the better of them more probable."""

    answering: Answering
    judge: Judge
    objective: ClippedRatio = field(default_factory=ClippedRatio)
    reward: Multiplicative | Additive = field(default_factory=Multiplicative)
    copies: int = 8
    updates: int = 2

    def __call__(self, number: int) -> dict[str, float]:
        """Answer, judge, learn; what to log."""
        began = time.perf_counter()
        session, asked = self.answering.session, self.answering.asked(number)
        rollouts = self.answering.answered(asked, self.copies)
        correct = judged(self.answering.model, self.judge, asked.problems, rollouts)
        alpha = torch.tensor(asked.alphas, dtype=torch.float64)[:, None]
        rewards = self.reward(correct, rollouts.nfe, rollouts.room, alpha)
        decided = time.perf_counter()
        (mass,) = session.total([self.objective.mass(rollouts.decisions.rollout.bincount())])
        lesson = self.objective.lesson(rollouts.decisions, rewards, mass=mass)
        record = self.metrics(rollouts, correct, rewards) | self.learn(lesson, number)
        seconds = {"decode_seconds": decided - began, "update_seconds": time.perf_counter() - decided}
        return record | seconds

    def metrics(self, rollouts: Rollouts, correct: Tensor, rewards: Tensor) -> dict[str, float]:
        """Means over the rollouts of all processes; shares of groups with signal and of decisions that open nothing."""
        decisions = rollouts.decisions
        sums: list[Tensor | int] = [rewards.sum(), correct.sum(), rollouts.nfe.sum(), rewards.numel()]
        groups: list[Tensor | int] = [has_signal(rewards).sum(), len(rewards)]
        empty: list[Tensor | int] = [(~decisions.chosen.any(1)).sum(), len(decisions)]
        reward, right, forwards, rows, signal, all_groups, nothing, steps = self.answering.session.total(
            [float(x) for x in (*sums, *groups, *empty)]
        )
        return {
            "reward": reward / rows, "accuracy": right / rows, "forwards": forwards / rows,
            "signal": signal / all_groups, "empty": nothing / steps,
        }  # fmt: skip

    def learn(self, lesson: Lesson[Decisions], number: int) -> dict[str, float]:
        """The updates; nothing is changed where no process has a group with signal."""
        session = self.answering.session
        (decided,) = session.total([len(lesson)])
        numbers = {"norm": 0.0, "lr": session.training.rate(number)}
        clipped: list[Tensor] = []
        for _ in range(self.updates if decided else 0):
            clipped.clear()
            numbers = learned(session, self.losses(lesson, clipped), number)[1]
        (held,) = session.total([float(sum(clipped))])
        return numbers | {"clip": held / max(1.0, decided)}

    def losses(self, lesson: Lesson[Decisions], clipped: list[Tensor]) -> Iterator[Tensor]:
        """The parts of the loss; how many decisions each of them holds back is added to `clipped`."""
        for part in self.objective.losses(self.answering.log_probs, lesson):
            clipped.append(part.clipped)
            yield part.loss


def learned(session: Session, losses: Iterable[Tensor], number: int) -> tuple[float, dict[str, float]]:
    """One update from losses that are differentiated one by one; their sum over all processes, and what to log."""
    own = torch.zeros((), device=session.accelerator.device)
    for loss in losses:
        loss.backward()
        own = own + loss.detach()  # read once an update: a device need not wait for the host in between
    (total,) = session.total([float(own)])
    session.summed()
    return total, session.applied(total, number)


def judged(model: Model, judge: Judge, problems: Sequence[Problem], rollouts: Rollouts) -> Float[Tensor, "P G"]:
    """How right each answer is."""
    values = [
        judge(problems[number // rollouts.copies], model.answer(row).text)
        for number, row in enumerate(rollouts.finished)
    ]
    return torch.tensor(values, dtype=torch.float64).unflatten(0, (-1, rollouts.copies))
