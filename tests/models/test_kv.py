"""The KV buffer: what is written at a column is read there, and rows leave and fork."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unveil.models.kv import KVBuffer


def empty(rows: int, columns: int) -> KVBuffer:
    return KVBuffer.empty(
        torch.zeros(1, dtype=torch.float64), layers=2, rows=rows, columns=columns, heads=3, head_width=4
    )


def random(num: int, seed: int) -> Tensor:
    return torch.randn(num, 3, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_columns_are_rounded_up_to_64() -> None:
    assert [empty(1, columns).keys.shape[2] for columns in (1, 64, 65, 130)] == [64, 64, 128, 192]
    assert empty(1, 5).keys.dtype == torch.float64 and empty(2, 5).values.shape == (2, 2, 64, 12)


@given(rows=st.integers(1, 3), columns=st.integers(1, 70), data=st.data())
def test_what_is_written_is_read_where_it_was_written(rows: int, columns: int, data: st.DataObject) -> None:
    buffer = empty(rows, columns)
    places = st.lists(st.integers(0, rows * columns - 1), unique=True, min_size=1, max_size=8)
    plain = torch.zeros(2, rows, columns, 3, 4, dtype=torch.float64)
    for write in range(2):  # the second overwrites some of the first
        index = torch.tensor(data.draw(places))
        keys = random(len(index), write)
        buffer.write(1, buffer.slots(index), keys, -keys)
        plain[1].flatten(0, 1)[index] = keys
    chosen = torch.tensor(data.draw(st.lists(st.integers(0, rows - 1), min_size=1, max_size=3)))
    width = data.draw(st.integers(1, columns))
    for which in (None, chosen):
        for layer in (0, 1):
            want = plain[layer] if which is None else plain[layer][which]
            got = buffer.read(layer, which, width)
            assert torch.equal(got[0], want[:, :width].transpose(1, 2)) and torch.equal(got[1], -got[0])


def test_rows_are_a_copy() -> None:
    buffer = empty(3, 5)
    index = torch.arange(15)
    buffer.write(0, buffer.slots(index), random(15, 0), random(15, 1))
    for which in (torch.tensor([2, 0, 2, 1]), torch.tensor([True, False, True])):
        forked = buffer.rows(which)
        assert torch.equal(forked.keys, buffer.keys[:, which]) and torch.equal(forked.values, buffer.values[:, which])
        assert forked.columns == 5 and forked.head_width == 4
        forked.write(0, torch.tensor([0]), random(1, 2), random(1, 2))
        assert torch.equal(buffer.read(0, None, 5)[0].transpose(1, 2).flatten(0, 1), random(15, 0))
