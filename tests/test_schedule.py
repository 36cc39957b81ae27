"""Schedules: alpha runs from 0 to 1, the weight is its derivative, reveals compose."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unveil.schedule import Linear, Schedule, times

SCHEDULES = [Linear()]
TIME = st.floats(0.01, 0.99)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_everything_is_masked_at_1_and_visible_at_0(schedule: Schedule) -> None:
    ends = schedule.alpha(torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert torch.allclose(ends, torch.tensor([0.0, 1.0], dtype=torch.float64), atol=1e-12)
    path = schedule.alpha(torch.linspace(1, 0, 50, dtype=torch.float64))
    assert (path.diff() > 0).all()


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@given(time=TIME)
def test_the_weight_is_the_bounds(schedule: Schedule, time: float) -> None:
    t = torch.tensor(time, dtype=torch.float64, requires_grad=True)
    alpha = schedule.alpha(t)
    alpha.backward()
    assert t.grad is not None
    assert torch.isclose(schedule.weight(t.detach()), -t.grad / (1 - alpha.detach()), rtol=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@given(one=TIME, two=TIME, three=TIME)
def test_reveals_compose(schedule: Schedule, one: float, two: float, three: float) -> None:
    """What stays masked from t to r is what stays from t to s times what stays from s to r."""
    r, s, t = torch.tensor(sorted([one, two, three]), dtype=torch.float64)
    stays = (1 - schedule.reveal(t, s)) * (1 - schedule.reveal(s, r))
    assert torch.isclose(1 - schedule.reveal(t, r), stays, atol=1e-9)
    share = (schedule.alpha(s) - schedule.alpha(t)) / (1 - schedule.alpha(t))
    assert torch.isclose(schedule.reveal(t, s), share, atol=1e-9)


def test_known_values() -> None:
    half = torch.tensor(0.5)
    assert Linear().alpha(half) == 0.5 and Linear().weight(half) == 2.0


def test_times_are_a_straight_line_in_float32() -> None:
    assert times(4).tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]
    line = times(32, 1e-3)
    assert line.dtype == torch.float32 and len(line) == 33 and line[0] == 1
    assert torch.equal(line, torch.linspace(1, 1e-3, 33))


def test_dreams_counts_are_rounded_as_its_published_code_rounds_them() -> None:
    """floor(masked * (1 - s / t)) of 8 masks in 4 forwards, end 1e-3; the last takes the rest."""
    t = times(4, 1e-3)
    left, counts = 8, []
    for number in range(3):
        counts.append(int(left * Linear().reveal(t[number], t[number + 1])))
        left -= counts[-1]
    assert [*counts, left] == [1, 2, 2, 3]
