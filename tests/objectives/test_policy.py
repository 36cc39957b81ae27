"""The policy gradient: golden rewards, its formula written out, its gradient, its memory, groups without signal."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from unveil.objectives.policy import (
    Additive,
    Centred,
    ClippedRatio,
    Lesson,
    Multiplicative,
    PerStep,
    PerTrajectory,
    Standardised,
    has_signal,
)

COLUMNS = 3
ALL = [
    ClippedRatio(baseline=baseline, weights=weights, clip=0.3, chunk=3)
    for baseline in (Centred(), Standardised())
    for weights in (PerTrajectory(), PerStep())
]
REWARDS = torch.tensor([[1.0, 0.0, 0.25], [0.1, 0.1, 0.1], [0.0, 0.0, 1.0]], dtype=torch.float64)
STEPS = [1, 4, 2, 3, 3, 1, 5, 2, 1]  # of each rollout


@dataclass(frozen=True, kw_only=True, eq=False)
class Tosses:
    """Decisions of a policy that tosses a coin for each of three columns, told three numbers of each."""

    rollout: Tensor
    seen: Tensor
    heads: Tensor
    log_prob: Tensor

    def rows(self, index: Tensor | slice) -> "Tosses":
        return Tosses(**{name: getattr(self, name)[index] for name in ("rollout", "seen", "heads", "log_prob")})


class Tosser:
    """Its log-probabilities: logits are linear in what it is told."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight
        self.calls: list[int] = []

    def __call__(self, decisions: Tosses) -> Tensor:
        self.calls.append(len(decisions.rollout))
        logits = decisions.seen @ self.weight
        return torch.where(decisions.heads, logits, -logits).sigmoid().log().sum(1)


def weights(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


OLD, NEW = weights(0.3, -0.8, 0.5), weights(1.1, -0.2, -0.4)


def tossed(steps: list[int] = STEPS) -> Tosses:
    """What the old weights drew."""
    generator, num = torch.Generator().manual_seed(0), sum(steps)
    seen = torch.randn(num, COLUMNS, 3, generator=generator, dtype=torch.float64)
    heads = torch.rand(num, COLUMNS, generator=generator, dtype=torch.float64) < (seen @ OLD).sigmoid()
    rollout = torch.arange(len(steps)).repeat_interleave(torch.tensor(steps))
    fresh = Tosses(rollout=rollout, seen=seen, heads=heads, log_prob=torch.zeros(num))
    return replace(fresh, log_prob=Tosser(OLD)(fresh))


def total(objective: ClippedRatio, weight: Tensor, lesson: Lesson[Tosses]) -> Tensor:
    return sum((part.loss for part in objective.losses(Tosser(weight), lesson)), torch.zeros(()))


def written_out(objective: ClippedRatio, weight: Tensor, rewards: Tensor, steps: list[int]) -> float:
    """Sums over groups, rollouts and steps, every group with its rows, one number at a time."""
    decisions = tossed(steps)
    new, old = Tosser(weight)(decisions).tolist(), decisions.log_prob.tolist()
    rollouts, (_, size), loss, place = len(steps), rewards.shape, 0.0, 0
    for number, num_steps in enumerate(steps):
        group = rewards[number // size].tolist()
        mean = sum(group) / size
        advantage = group[number % size] - mean
        if isinstance(objective.baseline, Standardised):
            deviation = math.sqrt(sum((reward - mean) ** 2 for reward in group) / size)
            advantage = advantage / deviation if deviation > 1e-9 else 0.0
        share = 1 / sum(steps) if isinstance(objective.weights, PerStep) else 1 / num_steps / rollouts
        for _ in range(num_steps):
            ratio = math.exp(new[place] - old[place])
            cut = min(max(ratio, 1 - objective.clip), 1 + objective.clip)
            loss -= share * min(ratio * advantage, cut * advantage)
            place += 1
    return loss


@pytest.mark.parametrize("objective", ALL, ids=repr)
def test_the_loss_is_the_formula_written_out(objective: ClippedRatio) -> None:
    lesson = objective.lesson(tossed(), REWARDS)
    found = total(objective, NEW, lesson)
    assert float(found) == pytest.approx(written_out(objective, NEW, REWARDS, STEPS), rel=1e-12)
    clipped = sum(int(part.clipped) for part in objective.losses(Tosser(NEW), lesson))
    assert 0 < clipped < len(lesson)  # both branches of the minimum were tried


@pytest.mark.parametrize("objective", ALL, ids=repr)
def test_the_gradient_is_that_of_finite_differences(objective: ClippedRatio) -> None:
    lesson, weight, h = objective.lesson(tossed(), REWARDS), NEW.clone().requires_grad_(), 1e-6
    for part in objective.losses(Tosser(weight), lesson):
        part.loss.backward()
    assert weight.grad is not None and weight.grad.abs().min() > 1e-3
    for place in range(3):
        nudge = h * torch.nn.functional.one_hot(torch.tensor(place), 3)
        slope = (total(objective, NEW + nudge, lesson) - total(objective, NEW - nudge, lesson)) / (2 * h)
        assert float(weight.grad[place]) == pytest.approx(float(slope), rel=1e-6)


def test_at_the_old_weights_it_is_the_policy_gradient() -> None:
    """Every ratio is 1: the gradient is that of - weight * A * log p, and nothing is clipped."""
    objective, weight, plain = ALL[0], OLD.clone().requires_grad_(), OLD.clone().requires_grad_()
    lesson = objective.lesson(tossed(), REWARDS)
    for part in objective.losses(Tosser(weight), lesson):
        part.loss.backward()
        assert int(part.clipped) == 0
    (-(lesson.weight * lesson.advantage * Tosser(plain)(lesson.decisions)).sum()).backward()
    assert weight.grad is not None and plain.grad is not None
    assert torch.allclose(weight.grad, plain.grad, rtol=1e-12)


@pytest.mark.parametrize("objective", ALL, ids=repr)
def test_groups_without_signal_are_dropped_and_change_nothing(objective: ClippedRatio) -> None:
    lesson, policy = objective.lesson(tossed(), REWARDS), Tosser(NEW)
    assert set(lesson.decisions.rollout.tolist()) == {0, 1, 2, 6, 7, 8}
    list(objective.losses(policy, lesson))
    assert sum(policy.calls) == sum(STEPS) - 7 and max(policy.calls) <= objective.chunk
    nothing = objective.lesson(tossed(), torch.full_like(REWARDS, 0.1))
    assert len(nothing) == 0 and list(objective.losses(policy, nothing)) == []


@pytest.mark.parametrize("chunk", [1, 2, 7, 15, 100])
def test_chunks_change_nothing(chunk: int) -> None:
    objective = ALL[0]
    lesson = objective.lesson(tossed(), REWARDS)
    other = total(replace(objective, chunk=chunk), NEW, lesson)
    assert float(other) == pytest.approx(float(total(objective, NEW, lesson)), rel=1e-12)


@pytest.mark.parametrize("objective", ALL, ids=repr)
def test_processes_add_up_to_one(objective: ClippedRatio) -> None:
    """One has the first prompt, the other two: with the mass of both, their losses sum to that of one process."""
    decisions, cut = tossed(), 3
    first = decisions.rows(decisions.rollout < cut)
    second = decisions.rows(decisions.rollout >= cut)
    second = replace(second, rollout=second.rollout - cut)
    mass = objective.mass(torch.tensor(STEPS[:cut])) + objective.mass(torch.tensor(STEPS[cut:]))
    parts = [(first, REWARDS[:1]), (second, REWARDS[1:])]
    shared = sum(total(objective, NEW, objective.lesson(some, earned, mass=mass)) for some, earned in parts)
    assert float(shared) == pytest.approx(float(total(objective, NEW, objective.lesson(decisions, REWARDS))), rel=1e-12)


@contextmanager
def held() -> Iterator[list[int]]:
    """Bytes that graphs hold: now and at most."""
    count = [0, 0]

    class Saved:
        def __init__(self, x: Tensor) -> None:
            self.x, self.size = x, x.numel() * x.element_size()
            count[0] += self.size
            count[1] = max(count)

        def __del__(self) -> None:
            count[0] -= self.size

    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.x):
        yield count


def peak(num_steps: int) -> int:
    steps = [num_steps] * 4
    objective = ClippedRatio(chunk=4)
    lesson = objective.lesson(tossed(steps), REWARDS[:1, :2].repeat(2, 1))
    with held() as count:
        for part in objective.losses(Tosser(NEW.clone().requires_grad_()), lesson):
            part.loss.backward()
    return count[1]


def test_memory_does_not_grow_with_the_steps() -> None:
    assert 0 < peak(40) == peak(2)


def test_advantages_of_a_group() -> None:
    rewards = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.1, 0.1, 0.1, 0.1]], dtype=torch.float64)
    assert Centred()(rewards).tolist() == [[0.75, -0.25, -0.25, -0.25], [0.0] * 4]
    want = [math.sqrt(3), *[-1 / math.sqrt(3)] * 3]
    assert Standardised()(rewards)[0].tolist() == pytest.approx(want, rel=1e-12)
    assert Standardised()(rewards)[1].tolist() == [0.0] * 4 and has_signal(rewards).tolist() == [True, False]


def reward(kind: Multiplicative | Additive, correct: float, nfe: int, room: int, alpha: float) -> float:
    x = kind(
        torch.tensor([[correct]], dtype=torch.float64),
        torch.tensor([[nfe]]),
        torch.tensor([[room]]),
        torch.tensor([[alpha]], dtype=torch.float64),
    )
    return float(x)


GOLDEN = [  # one forward earns r; as many as tokens earn r / L^alpha; alpha = 0 is correctness alone
    (Multiplicative(), 1.0, 1, 256, 10.0, 1.0),
    (Multiplicative(), 1.0, 256, 256, 1.0, 1 / 256),
    (Multiplicative(), 0.5, 256, 256, 3.0, 0.5 / 256**3),
    (Multiplicative(), 1.0, 300, 256, 1.0, 1 / 256),
    (Multiplicative(), 1.0, 46, 256, 1.0, 0.82421875),
    (Multiplicative(), 1.0, 200, 256, 0.0, 1.0),
    (Multiplicative(), 0.0, 1, 256, 1.0, 0.0),
    (Additive(), 1.0, 1, 256, 1.0, 255 / 256),
    (Additive(), 1.0, 256, 256, 0.3, 0.7),
    (Additive(), 0.0, 64, 256, 1.0, -0.25),
]


@pytest.mark.parametrize("kind, correct, nfe, room, alpha, want", GOLDEN)
def test_rewards(
    kind: Multiplicative | Additive, correct: float, nfe: int, room: int, alpha: float, want: float
) -> None:
    assert reward(kind, correct, nfe, room, alpha) == pytest.approx(want, rel=1e-12, abs=1e-15)


def test_where_all_are_wrong_only_the_additive_reward_has_signal() -> None:
    wrong, nfe = torch.zeros(1, 3, dtype=torch.float64), torch.tensor([[2, 5, 9]])
    room, alpha = torch.tensor([[16]]), torch.ones(1, 1, dtype=torch.float64)
    assert not has_signal(Multiplicative()(wrong, nfe, room, alpha)).any()
    assert has_signal(Additive()(wrong, nfe, room, alpha)).all()


def test_what_cannot_be_learned_from_is_explained() -> None:
    with pytest.raises(ValueError, match="clip=0.0 is not positive: a ratio may move this far from 1"):
        ClippedRatio(clip=0.0)
    with pytest.raises(ValueError, match="chunk=0 is not positive: differentiate at least one decision at a time"):
        ClippedRatio(chunk=0)
    with pytest.raises(ValueError, match=r"1 rollout\(s\) of a prompt: a group needs at least 2 to be compared"):
        ClippedRatio().lesson(tossed(), REWARDS.reshape(9, 1))
    with pytest.raises(ValueError, match="a reward is NaN or infinite: look at correctness and alpha"):
        ClippedRatio().lesson(tossed(), REWARDS.log())
