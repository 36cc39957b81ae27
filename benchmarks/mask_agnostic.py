"""The mask-agnostic loss: its time against cross-entropy in one input, and its memory against the vocabulary.

A step is forward, backward and AdamW over a micro-batch. Cross-entropy sees the input with more masks, which has the
padded length of both; the mask-agnostic step sees both inputs. `times` is its time divided by the other's, 2 would be
two such steps. `copies` is by how much the peak of memory grows with the vocabulary, in float32 numbers for each hidden
column of both inputs and each further word: logits, their gradient, softmaxes. The embedding and the head are frozen
there, as beside adapters; `copies, long` is the same with more columns that are not hidden. Only hidden columns meet
the vocabulary, so they are equal.
"""

from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from _measure import SEED, arguments, interleaved, random_model, ratio, report
from torch import Tensor, nn

from unveil.objectives.loss import Batch, Example, loss
from unveil.objectives.mask_agnostic import MaskAgnostic, Twins

MODEL = {"width": 256, "layers": 5, "heads": 4, "head_width": 64, "feed": 704}
SMALL = {"width": 32, "layers": 1, "heads": 1, "head_width": 32, "feed": 32}
VOCABULARIES = (512, 8192)
ROWS, PROMPT, ANSWER, ROOM = 3, 128, 32, 96  # the paper's micro-batch
FURTHER = 16384  # words, added to the vocabulary
TIMES, COPIES = 2.2, 5.0


def twins(mask_id: int, prompt: int, eos: int = 0) -> Twins:
    """Rows of one length, half of their answers hidden: the first input without masks, the other with all."""
    generator = torch.Generator().manual_seed(SEED)
    tokens = torch.randint(1, mask_id, (ROWS, prompt + ANSWER), generator=generator)
    batch = Batch(tokens, torch.full((ROWS,), prompt), torch.full((ROWS,), prompt + ANSWER))
    hidden = batch.answer & (torch.arange(prompt + ANSWER) % 2 == 0)
    few, many = torch.zeros(ROWS, dtype=torch.int64), torch.full((ROWS,), ROOM)
    return MaskAgnostic(eos=eos).example(batch, hidden, torch.full((ROWS,), 0.5), few, many, mask_id)


def stepping(model: nn.Module, loss_of: Callable[[], Tensor]) -> Callable[[], None]:
    """A step of training."""
    optimiser = torch.optim.AdamW([x for x in model.parameters() if x.requires_grad], lr=1e-4)

    def step() -> None:
        loss_of().backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def peak(step: Callable[[], None]) -> int:
    """The most bytes that a step has allocated at a time."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def copies(prompt: int) -> float:
    """Numbers that a step keeps at its peak for each hidden column and word."""
    found = []
    for vocabulary in (FURTHER, 2 * FURTHER):
        model = random_model(**SMALL, vocabulary=vocabulary, columns=prompt + ANSWER + ROOM)
        for part in (model.embed, model.head):
            part.requires_grad_(False)
        both = twins(model.outline.blank_id, prompt)
        step = stepping(model, lambda model=model, both=both: next(MaskAgnostic(eos=0).losses(model, both)))
        step()
        found.append(peak(step))
    hidden = 2 * int(both.canvas.num_undecided.sum())
    return (found[1] - found[0]) / (4 * FURTHER * hidden)


def measure(vocabulary: int, repeat: int, memory: tuple[float, float]) -> dict[str, Any]:
    """One line of the table."""
    model = random_model(**MODEL, vocabulary=vocabulary, columns=PROMPT + ANSWER + ROOM)
    both, objective = twins(model.outline.blank_id, PROMPT), MaskAgnostic(eos=0)
    one = Example(both.other, both.targets, both.weight)
    steps = {
        "ours": stepping(model, lambda: next(objective.losses(model, both))),
        "cross-entropy": stepping(model, lambda: loss(model, one)),
    }
    seconds = interleaved(steps, repeat)
    times, (short, long) = ratio(seconds["ours"], seconds["cross-entropy"]), memory
    return {
        "vocabulary": vocabulary,
        "columns": both.targets.shape[1],
        "ms, cross-entropy": 1e3 * median(seconds["cross-entropy"]),
        "ms, ours": 1e3 * median(seconds["ours"]),
        "times": times,
        "target": TIMES,
        "copies": short,
        "copies, long": long,
        "target copies": COPIES,
        "reached": times <= TIMES and max(short, long) <= COPIES and abs(short - long) < 0.1,
    }


def main() -> None:
    """Print the table."""
    given = arguments(__doc__, repeat=15)
    memory = copies(PROMPT), copies(4 * PROMPT)
    rows = [measure(vocabulary, given.repeat, memory) for vocabulary in VOCABULARIES]
    sizes = MODEL | {"rows": ROWS, "prompt": PROMPT, "answer": ANSWER, "room": ROOM, "further": FURTHER}
    report("mask_agnostic", given, rows, sizes)


if __name__ == "__main__":
    main()
