"""The network: its size, its first rate, and that a row's logits follow from what the row sees alone."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.policies.observations import SMALL, awake, made_up, plain, rows_of
from unveil.policies.confidence import ConfidencePolicy, ConfidenceSettings

LENGTHS, STARTS, COLUMNS = [8, 11, 5, 1], [5, 3, 7, 0], 16
INPUTS = [
    {}, {"top": 3}, {"entropy": True}, {"top": 2, "entropy": True, "margin": True, "alpha": True}, {"layers": 2},
]  # fmt: skip


def test_the_papers_configuration_has_331265_parameters() -> None:
    parts = {name: sum(w.numel() for w in part.parameters()) for name, part in
             ConfidencePolicy(ConfidenceSettings()).named_children()}  # fmt: skip
    assert parts == {"inputs": 256, "masked": 256, "time": 33_024, "blocks": 297_344, "norm": 256, "output": 129}
    assert sum(parts.values()) == 331_265


@pytest.mark.parametrize("rate", [0.02, 0.12, 0.9])
@pytest.mark.parametrize("inputs", INPUTS, ids=str)
def test_a_fresh_policy_opens_every_mask_with_its_rate(inputs: dict[str, int], rate: float) -> None:
    settings = ConfidenceSettings(**SMALL, **inputs, rate=rate)
    for seed in range(3):
        net = ConfidencePolicy(settings, seed=seed).double()
        seen = made_up(LENGTHS, STARTS, COLUMNS, features=settings.num_features)
        logits, masks = net(seen), seen.seen & seen.masked
        assert torch.allclose(logits[masks].sigmoid(), torch.tensor(rate, dtype=torch.float64), rtol=0, atol=1e-7)
        assert (logits[masks] == logits[masks][0]).all()  # exactly the same everywhere
        assert (logits[~masks] == 0).all()


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(0, COLUMNS), min_size=1, max_size=4),
    share=st.sampled_from([0.0, 0.2, 0.6, 1.0]),
    inputs=st.sampled_from(INPUTS),
    data=st.data(),
)
def test_it_is_the_plain_network(lengths: list[int], share: float, inputs: dict[str, int], data: st.DataObject) -> None:
    """Logits of masks and the gradient of every weight; the fast one computes no more than those need."""
    starts = [data.draw(st.integers(0, COLUMNS - length)) for length in lengths]
    net = awake(**inputs)
    seen = made_up(lengths, starts, COLUMNS, features=net.settings.num_features, share=share)
    fast, slow = net(seen), plain(net, seen).masked_fill(~(seen.seen & seen.masked), 0.0)
    mine, theirs = (
        [x, *torch.autograd.grad((x**2).sum(), list(net.parameters()), materialize_grads=True)] for x in (fast, slow)
    )
    for one, other in zip(mine, theirs, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("inputs", INPUTS, ids=str)
def test_a_row_does_not_depend_on_its_batch_nor_on_padding(inputs: dict[str, int]) -> None:
    net = awake(**inputs)
    seen = made_up(LENGTHS, STARTS, COLUMNS, features=net.settings.num_features)
    together = net(seen)
    assert together[seen.seen & seen.masked].std() > 0.1
    for row in range(len(LENGTHS)):
        alone = net(rows_of(seen, [row]))
        assert torch.allclose(alone[0], together[row], rtol=0, atol=1e-12)
        narrow = net(type(seen)(*(field[:, : STARTS[row] + LENGTHS[row]] if field.ndim > 1 else field
                                  for field in rows_of(seen, [row]))))  # fmt: skip
        assert torch.allclose(narrow[0], together[row, : narrow.shape[1]], rtol=0, atol=1e-12)


def test_columns_that_are_not_seen_have_no_influence() -> None:
    net, seen = awake(), made_up(LENGTHS, STARTS, COLUMNS)
    odd = seen._replace(features=seen.features.masked_fill(~seen.seen[..., None], 0.7), masked=seen.masked | ~seen.seen)
    assert torch.equal(net(odd), net(seen))


def test_where_the_run_starts_has_no_influence() -> None:
    net = awake()
    here, there = made_up([6], [0], 12), made_up([6], [5], 12)
    assert torch.allclose(net(here)[0, :6], net(there)[0, 5:11], rtol=0, atol=1e-12)


def test_a_row_that_sees_nothing_is_finite_and_changes_no_other() -> None:
    net, seen = awake(), made_up([6, 0], [2, 0], 9)
    logits = net(seen)
    assert (logits[1] == 0).all() and torch.allclose(logits[:1], net(rows_of(seen, [0])), rtol=0, atol=1e-12)
    assert (net(rows_of(seen, [1])) == 0).all()
    logits.sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in net.parameters())


@pytest.mark.parametrize("field", ["features", "masked", "time", "share", "alpha"])
def test_everything_that_is_seen_matters(field: str) -> None:
    net, seen = awake(alpha=True), made_up(LENGTHS, STARTS, COLUMNS)
    value = getattr(seen, field)
    first = seen.seen & (seen.seen.cumsum(1) == 1)  # of each row; a mask more or less there matters everywhere else
    changed = seen._replace(**{field: value ^ first if value.dtype == torch.bool else value + 0.01})
    masks = seen.seen & seen.masked & changed.masked
    assert masks.any(1).sum() >= 3 and ((net(changed) - net(seen))[masks].abs() > 1e-6).all()


def test_a_policy_without_alpha_does_not_see_it() -> None:
    net, seen = awake(), made_up(LENGTHS, STARTS, COLUMNS)
    assert torch.equal(net(seen._replace(alpha=seen.alpha + 1)), net(seen))


def test_order_matters() -> None:
    """The same confidences in another order: without positions the logits would only be reordered."""
    net, seen = awake(), made_up([8], [0], 8)
    order = torch.tensor([1, 0, 3, 2, 5, 4, 7, 6])
    swapped = seen._replace(features=seen.features[:, order], masked=seen.masked[:, order])
    assert (net(swapped)[:, order] - net(seen)).abs().max() > 1e-4


def test_times_a_forward_apart_look_different() -> None:
    """The published features have one frequency; here 256 times are 256 inputs, none next to another's."""
    net, one = awake(std=0.5), made_up([1], [0], 1)
    many = rows_of(one, [0] * 257)._replace(time=torch.arange(257).double() / 256)
    logits = net(many)[:, 0].sort().values
    assert logits.diff().min() > 0 and ConfidencePolicy(replace(net.settings)).time[0].in_features == 16


def test_every_weight_learns_once_the_output_is_not_zero() -> None:
    net, seen = awake(alpha=True, top=2), made_up(LENGTHS, STARTS, COLUMNS, features=2)
    (net(seen)[seen.seen] ** 2).sum().backward()
    for name, weight in net.named_parameters():
        assert weight.grad is not None and weight.grad.abs().max() > 0 or name == "blocks.0.key.bias", name


def test_the_same_seed_is_the_same_policy_and_leaves_the_global_noise_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second, other = (ConfidencePolicy(ConfidenceSettings(**SMALL), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.inputs.weight, second.inputs.weight)
    assert not torch.equal(first.inputs.weight, other.inputs.weight)


ERRORS = [
    ({"layers": 0}, "layers=0 is not positive: give at least 1"),
    ({"width": 18}, "width=18 does not fit heads=2: it must be a multiple of 4 and of twice the heads"),
    ({"heads": 3}, "width=128 does not fit heads=3: it must be a multiple of 4 and of twice the heads"),
    ({"top": 0}, "top=0 is outside 1..64: 1 is the confidence alone"),
    ({"view": "after"}, "view='after' is unknown: choose one of row, block"),
    ({"rate": 1.0}, "rate=1.0 is outside (0, 1): it is the probability that a mask opens"),
]


@pytest.mark.parametrize("settings, message", ERRORS, ids=[str(settings) for settings, _ in ERRORS])
def test_settings_that_fit_no_network_are_explained(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        ConfidenceSettings(**settings)  # type: ignore[arg-type]
    assert str(caught.value) == message
