"""How many columns each forward computes: what a cache saves."""

from dataclasses import dataclass, field

from jaxtyping import Bool, Int64
from torch import Tensor

from unveil.canvas import Canvas
from unveil.models.denoiser import Cache, Denoiser, Prediction, Want


@dataclass(frozen=True, kw_only=True)
class Counted:
    """A denoiser that notes the columns of each row that its last forward computed."""

    inner: Denoiser
    last: list[Int64[Tensor, " B"]] = field(default_factory=list)  # filled as it is called

    @property
    def mask_id(self) -> int:
        """The id of [MASK]."""
        return self.inner.mask_id

    def new_cache(self, canvas: Canvas) -> Cache:
        """See Denoiser."""
        return self.inner.new_cache(canvas)

    def __call__(
        self, canvas: Canvas, fresh: Bool[Tensor, "B L"], read: Bool[Tensor, "B L"], cache: Cache | None, want: Want
    ) -> Prediction:
        """See Denoiser."""
        self.last[:] = [fresh.sum(1)]
        return self.inner(canvas, fresh, read, cache, want)
