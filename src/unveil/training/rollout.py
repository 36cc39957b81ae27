"""Rollouts: what a policy decided while a frozen model wrote its answers, compact and on the host.

P prompts have G copies each, with noise of their own; copy g of prompt p is rollout p * G + g.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import reduce
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Float64, Int16, Int64
from torch import Tensor

from unveil.canvas import Canvas
from unveil.models.denoiser import Cache, Denoiser, Prediction, Want, Wrapped
from unveil.policies.confidence import Observation
from unveil.policies.learned import Learned
from unveil.sampling.picks import Choice, Pick
from unveil.sampling.propose import Proposal
from unveil.sampling.queue import steps_queue
from unveil.sampling.refresh import NoCache
from unveil.sampling.sampler import Sampler, Select, Selection, Selector, Step


@dataclass(frozen=True, kw_only=True, eq=False)
class Decisions:
    """One entry a forward and row. Columns are counted from the row's first new token: prompts are not kept."""

    rollout: Int64[Tensor, " N"]
    seen: Observation
    eligible: Bool[Tensor, "N L"]
    chosen: Bool[Tensor, "N L"]
    order: Int16[Tensor, "N L"] | None  # where the pick draws a sequence
    log_prob: Float[Tensor, " N"]  # as it was when it was drawn

    def __len__(self) -> int:
        return len(self.rollout)

    def rows(self, index: Tensor | slice) -> "Decisions":
        """Some of them."""
        return self._each(lambda x: x[index])

    def to(self, device: torch.device | str) -> "Decisions":
        """The same on another device."""
        return self._each(lambda x: x.to(device))

    def _each(self, change: Any) -> "Decisions":
        return Decisions(
            rollout=change(self.rollout),
            seen=Observation(*(change(x) for x in self.seen)),
            eligible=change(self.eligible),
            chosen=change(self.chosen),
            order=None if self.order is None else change(self.order),
            log_prob=change(self.log_prob),
        )

    def log_probs(self, select: Select) -> Float[Tensor, " N"]:
        """Their log-probabilities under the policy as it is now, on its device, with gradients."""
        score = cast(Learned, select.score)
        here = self.to(score.net.device)
        choice = Choice(here.chosen, None if here.order is None else here.order.long())
        return select.pick.log_prob(score.logits(here.seen), here.eligible, choice)

    @classmethod
    def join(cls, parts: Sequence["Decisions"]) -> "Decisions":
        """All of them, rollout by rollout, each in the order of its forwards."""
        order = [part.order for part in parts if part.order is not None]
        whole = cls(
            rollout=torch.cat([part.rollout for part in parts]),
            seen=Observation(*(torch.cat(x) for x in zip(*(part.seen for part in parts), strict=True))),
            eligible=torch.cat([part.eligible for part in parts]),
            chosen=torch.cat([part.chosen for part in parts]),
            order=torch.cat(order) if order else None,
            log_prob=torch.cat([part.log_prob for part in parts]),
        )
        return whole.rows(whole.rollout.argsort(stable=True))


@dataclass(frozen=True, kw_only=True, eq=False)
class Rollouts:
    """What was written and what was decided."""

    finished: list[Canvas]  # R canvases of one row, on the host, each as wide as its row
    decisions: Decisions
    copies: int

    @property
    def nfe(self) -> Int64[Tensor, "P G"]:
        """Forwards of each, those that opened nothing too."""
        return self._grouped([row.nfe for row in self.finished])

    @property
    def room(self) -> Int64[Tensor, "P G"]:
        """New tokens of each, opened or left."""
        return self._grouped([(row.undecided | row.chosen).sum(1) for row in self.finished])

    def _grouped(self, values: list[Tensor]) -> Tensor:
        return torch.cat(values).unflatten(0, (-1, self.copies))


@torch.no_grad()
def roll_out(
    sampler: Sampler,
    denoiser: Denoiser,
    prompts: Sequence[Canvas],
    *,
    copies: int,
    batch: int,
    alphas: Sequence[float] | None = None,
    teacher: Selector | None = None,
) -> Rollouts:
    """Decode `copies` of every one-row canvas, `batch` rows at a time, and record what the policy decided.

    A `teacher` decides in its place: what it chose and what the policy saw are recorded, to be imitated.

    The noise of a copy follows from its prompt's seed, so it does not depend on the batch. Copies share their first
    forward where nothing is cached and tokens are not drawn. A policy may open nothing for ever: `max_steps` of the
    sampler ends such a row. `alphas` are the weights of speed that the policy is told, one a prompt, instead of its
    own. Raises ValueError for a sampler whose `unmask` is no policy or whose pick leaves nothing to chance, and for
    prompts with equal seeds.
    """
    select = learned_select(sampler)
    rows = _fork(prompts, copies)
    numbers = {seed: number for number, seed in enumerate(rows.seed.tolist())}
    if alphas is not None:
        select = replace(select, score=_told(cast(Learned, select.score), rows, copies, alphas))
    width = int((rows.end - rows.start).max())
    score = cast(Learned, select.score)
    rule = select if teacher is None else Observed(teacher=teacher, score=score)
    finished: dict[int, Canvas] = {}
    parts: list[Decisions] = []
    for step in _steps(replace(sampler, unmask=rule), denoiser, rows, copies, batch):
        rollout = torch.tensor([numbers[seed] for seed in step.before.seed.tolist()])
        parts.append(_decisions(score, step, rollout, width))
        ended = step.after.done.nonzero()[:, 0]
        after = step.after.rows(ended).to("cpu")
        for place, number in enumerate(rollout[ended.cpu()].tolist()):
            row = after.rows(torch.tensor([place]))
            finished[number] = row.narrow(int(row.end))
    return Rollouts(
        finished=[finished[number] for number in range(len(numbers))], decisions=Decisions.join(parts), copies=copies
    )


def learned_select(sampler: Sampler) -> Select:
    """The sampler's policy with its pick. ValueError if it has none, or a pick without chance."""
    select = sampler.unmask
    if not isinstance(select, Select) or not isinstance(select.score, Learned):
        raise ValueError(f"this sampler unmasks by {select!r}, which is no policy: use Select(score=Learned(...))")
    if type(select.pick).log_prob is Pick.log_prob:
        raise ValueError(f"{select.pick!r} leaves nothing to chance, so nothing can be learned: use SomeCoins(), say")
    return select


@dataclass(frozen=True, kw_only=True)
class Observed:
    """A rule that decides, with what a policy beside it needs to see."""

    teacher: Selector
    score: Learned

    def require(self, want: Want) -> Want:
        """What both need."""
        return self.score.require(self.teacher.require(want))

    def view(self, canvas: Canvas, here: Bool[Tensor, "B L"], eligible: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        """What either sees."""
        return self.teacher.view(canvas, here, eligible) | self.score.view(canvas, here, eligible)

    def __call__(self, proposal: Proposal, canvas: Canvas, eligible: Bool[Tensor, "B L"]) -> Selection:
        """The rule's choice."""
        return self.teacher(proposal, canvas, eligible)


@dataclass(frozen=True, kw_only=True, eq=False)
class Told(Learned):
    """A policy that is told another weight of speed in every row; a row is known by its seed."""

    seeds: Int64[Tensor, " R"]  # increasing
    weights: Float64[Tensor, " R"]

    def alphas(self, canvas: Canvas) -> Float64[Tensor, " B"]:
        """The weight of speed of each row."""
        return self.weights[torch.searchsorted(self.seeds, canvas.seed)]


def _told(score: Learned, rows: Canvas, copies: int, alphas: Sequence[float]) -> Told:
    if len(alphas) * copies != len(rows.seed):
        raise ValueError(f"{len(alphas)} alphas for {len(rows.seed) // copies} prompts: give one for each")
    if not score.net.settings.alpha:
        raise ValueError("alphas have no effect on a policy whose settings do not have alpha=True: leave them out")
    if min(alphas) < 0:
        raise ValueError(f"alpha={min(alphas)} is negative: it is the weight of speed, 0 is correctness alone")
    weights = torch.tensor(alphas, dtype=torch.float64, device=rows.seed.device)
    seeds, order = rows.seed.sort()
    own = {f.name: getattr(score, f.name) for f in fields(score)}
    return Told(**own, seeds=seeds, weights=weights.repeat_interleave(copies)[order])


def _fork(prompts: Sequence[Canvas], copies: int) -> Canvas:
    """All rollouts as rows, the copies of a prompt side by side."""
    if not prompts:
        raise ValueError("no prompts: rollouts need at least one")
    if copies < 1:
        raise ValueError(f"copies={copies} is not positive: decode each prompt at least once")
    if any(len(prompt.done) != 1 for prompt in prompts):
        raise ValueError("a prompt has several rows: split it with canvas.rows(torch.tensor([i]))")
    canvas = reduce(Canvas.join, prompts)
    copy = torch.arange(len(prompts) * copies, device=canvas.seed.device)
    rows = canvas.rows(copy // copies)
    seeds = rows.seed * copies + copy % copies
    if len(seeds.unique()) < len(seeds):
        raise ValueError("two prompts have the same seed, so their copies would draw the same noise: number the seeds")
    return replace(rows, seed=seeds)


def _steps(sampler: Sampler, denoiser: Denoiser, rows: Canvas, copies: int, batch: int) -> Iterator[Step]:
    """The continuous batch, after a shared first forward where that is the same."""
    if batch < 1:
        raise ValueError(f"batch={batch} is not positive: decode at least one row at a time")
    if isinstance(sampler.refresh, NoCache) and sampler.propose.temperature == 0:
        begun = []
        for some in torch.arange(len(rows.done), device=rows.done.device).split(batch * copies):
            step = sampler.step(Shared(inner=denoiser, copies=copies), rows.rows(some), None)
            yield step
            begun.append(step.after.rows(~step.after.done))
        rows = reduce(Canvas.join, begun)
    waiting = [rows.rows(torch.tensor([row], device=rows.done.device)) for row in range(len(rows.done))]
    for step, _ in steps_queue(sampler, denoiser, waiting, batch=batch):
        yield step


@dataclass(frozen=True, kw_only=True, eq=False)
class Shared(Wrapped):
    """A denoiser for runs of `copies` equal rows: it computes the first of each run. No cache, no drawn tokens."""

    copies: int

    def new_cache(self, canvas: Canvas) -> Cache:
        """Copies part after a forward: what the first of them keeps would be wrong for the others."""
        raise ValueError("equal rows share a forward without a cache alone: use a sampler with NoCache()")

    def __call__(
        self, canvas: Canvas, fresh: Bool[Tensor, "B L"], read: Bool[Tensor, "B L"], cache: None, want: Want
    ) -> Prediction:
        """See Denoiser."""
        first, columns = slice(None, None, self.copies), canvas.tokens.shape[1]
        index = torch.arange(len(canvas.done), device=canvas.done.device)[first]
        one = self.inner(canvas.rows(index), fresh[first], read[first], None, want)
        copy = torch.arange(self.copies, device=index.device)
        row = (one.index // columns)[:, None] * self.copies + copy
        values = {f.name: getattr(one, f.name) for f in fields(one) if f.name != "index"}
        many = {name: None if x is None else x.repeat_interleave(self.copies, 0) for name, x in values.items()}
        return Prediction(index=(row * columns + one.index[:, None] % columns).flatten(), **many)


def _decisions(score: Learned, step: Step, rollout: Tensor, width: int) -> Decisions:
    """What the rows of a step decided, `width` columns of each from its first new token on."""
    canvas, choice = step.before, step.unmask.choice
    place = canvas.start[:, None] + torch.arange(width, device=canvas.start.device)
    inside = place < canvas.end[:, None]
    place = place.clamp_max(canvas.tokens.shape[1] - 1)

    def cut(x: Tensor) -> Tensor:
        return torch.where(inside, x.gather(1, place), torch.zeros_like(x[:, :1]))

    seen = score.observe(step.proposal, canvas)
    features = torch.stack([cut(x) for x in seen.features.unbind(2)], 2)
    log_prob = step.unmask.log_prob
    return Decisions(
        rollout=rollout,
        seen=seen._replace(features=features, masked=cut(seen.masked), seen=cut(seen.seen)),
        eligible=cut(step.unmask.eligible),
        chosen=cut(choice.chosen),
        order=None if choice.order is None else (cut(choice.order + 1) - 1).to(torch.int16),
        log_prob=torch.zeros_like(seen.time) if log_prob is None else log_prob,  # a rule without chance
    ).to("cpu")
