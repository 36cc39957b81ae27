"""The KV buffer: written by scatter, in place. Every cache plan is this class with another set of columns."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class KVBuffer:
    """Keys and values of every layer: (layers, B, C, H * head width), C columns rounded up to a multiple of 64."""

    keys: Float[Tensor, "layers B C width"]
    values: Float[Tensor, "layers B C width"]
    columns: int  # L of the canvas
    head_width: int

    @classmethod
    def empty(cls, like: Tensor, *, layers: int, rows: int, columns: int, heads: int, head_width: int) -> "KVBuffer":
        """Zeros of the dtype and device of `like`."""
        shape = (layers, rows, -(-columns // 64) * 64, heads * head_width)
        return cls(keys=like.new_zeros(shape), values=like.new_zeros(shape), columns=columns, head_width=head_width)

    def rows(self, index: Tensor) -> "KVBuffer":
        """The rows at `index`: a copy, made only when rows leave or fork."""
        return KVBuffer(
            keys=self.keys[:, index], values=self.values[:, index], columns=self.columns, head_width=self.head_width
        )

    def slots(self, index: Int[Tensor, " Q"]) -> Int[Tensor, " Q"]:
        """Flat canvas positions (row * L + column) as flat positions in this buffer."""
        return index + (index // self.columns) * (self.keys.shape[2] - self.columns)

    def write(self, layer: int, slots: Int[Tensor, " Q"], keys: Tensor, values: Tensor) -> None:
        """Scatter (Q, H, head width) keys and values to their slots."""
        self.keys[layer].flatten(0, 1).index_copy_(0, slots, keys.flatten(1))
        self.values[layer].flatten(0, 1).index_copy_(0, slots, values.flatten(1))

    def read(self, layer: int, rows: Int[Tensor, " A"] | None, columns: int) -> tuple[Tensor, Tensor]:
        """Keys and values (A, H, columns, head width) of some rows; a view when `rows` is None (all)."""
        pair = (self.keys[layer], self.values[layer])
        if rows is not None:
            pair = (pair[0].index_select(0, rows), pair[1].index_select(0, rows))
        keys, values = (x[:, :columns].unflatten(-1, (-1, self.head_width)).transpose(1, 2) for x in pair)
        return keys, values

    def exchange(
        self,
        layer: int,
        slots: Int[Tensor, " Q"],
        rows: Int[Tensor, " A"] | None,
        columns: int,
        keys: Tensor,
        values: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Write, then read."""
        self.write(layer, slots, keys, values)
        return self.read(layer, rows, columns)
