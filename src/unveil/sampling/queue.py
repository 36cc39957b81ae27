"""Many prompts: finished rows leave, waiting prompts take their place, results come back under their own number."""

from collections.abc import Iterator, Sequence

import torch

from unveil.canvas import Canvas
from unveil.models.denoiser import Denoiser
from unveil.sampling.sampler import Sampler, Step


def decode_queue(
    sampler: Sampler, denoiser: Denoiser, waiting: Sequence[Canvas], *, batch: int
) -> Iterator[tuple[int, Canvas]]:
    """Decode one-row canvases, `batch` at a time; yields (number, finished row) as rows finish.

    Every row gives what it gives alone. All rows share one width, so the cache is laid out once.
    """
    for _, finished in steps_queue(sampler, denoiser, waiting, batch=batch):
        yield from finished


@torch.no_grad()
def steps_queue(
    sampler: Sampler, denoiser: Denoiser, waiting: Sequence[Canvas], *, batch: int
) -> Iterator[tuple[Step, list[tuple[int, Canvas]]]]:
    """The steps of `decode_queue`, each with the rows that it finished."""
    if batch < 1:
        raise ValueError(f"batch={batch} is not positive: decode at least one row at a time")
    if any(len(canvas.done) != 1 for canvas in waiting):
        raise ValueError("a waiting canvas has several rows: split it with canvas.rows(torch.tensor([i]))")
    if not waiting:
        return
    width = max(canvas.tokens.shape[1] for canvas in waiting)
    todo = enumerate(map(sampler.evolve.ready, waiting))
    numbers, canvas = _admit(todo, batch, width)
    assert canvas is not None
    cache = sampler.refresh.cache(denoiser, canvas)
    while numbers:
        step = sampler.step(denoiser, canvas, cache)
        canvas, finished = step.after, []
        ended = canvas.done.nonzero()[:, 0].tolist()
        for slot in ended:
            finished.append((numbers[slot], _trim(canvas.rows(torch.tensor([slot], device=canvas.done.device)))))
        yield step, finished
        if not ended:
            continue
        new, rows = _admit(todo, len(ended), width)
        filled, empty = ended[: len(new)], ended[len(new) :]
        for slot, number in zip(filled, new, strict=True):
            numbers[slot] = number
        if rows is not None:
            canvas = canvas.put(torch.tensor(filled, device=canvas.done.device), rows)
        if empty:
            keep = [slot for slot in range(len(numbers)) if slot not in empty]
            index = torch.tensor(keep, dtype=torch.int64, device=canvas.done.device)
            numbers, canvas = [numbers[slot] for slot in keep], canvas.rows(index)
            cache = None if cache is None else cache.rows(index)


def _admit(todo: Iterator[tuple[int, Canvas]], count: int, width: int) -> tuple[list[int], Canvas | None]:
    numbers, rows = [], None
    for number, row in todo:
        numbers.append(number)
        row = row.widen(width)
        rows = row if rows is None else rows.join(row)
        if len(numbers) == count:
            break
    return numbers, rows


def _trim(row: Canvas) -> Canvas:
    return row.narrow(int(row.end))
