"""lab-rules: a small model of the sixteen few-shot rule tasks, in LLaDA's layout, to see masks distract (or not).

Rows are examples of a task, mixed, and a question at the end. Three kinds of rows, all under the ordinary masked
diffusion objective: every answer is learned, the examples' too ("dense": fifty signals a row instead of one); the last
answer, its closing and the EOS after it (fine-tuning); or every column (pretraining). How many EOS may follow in
training is what decides which numbers of trailing masks the model has seen.
"""

import re
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import ClassVar, NamedTuple

import torch
from torch import nn

from unveil.diagnostics.cells import Cell
from unveil.diagnostics.readings import FirstMask
from unveil.diagnostics.run import measure
from unveil.models.tokenizer import FileTokenizer
from unveil.models.transformer import Architecture
from unveil.objectives.loss import Batch
from unveil.objectives.masked import MaskedDiffusion
from unveil.tasks.few_shot.pools import word_pools
from unveil.tasks.few_shot.shots import Arrangement, Shot, Shots, arrange
from unveil.tasks.few_shot.suite import RuleTask, suite
from unveil.training.recipes import lab
from unveil.training.settings import Training

PIECES = r"Options: \(A\)|, \([BC]\)|\n\n|\nAnswer:\[| ?[A-Za-z]+| [0-9]+|[\s\S]"
FIXED = ("Options: (A)", ", (B)", ", (C)", "\nAnswer:[", "]", ".", "\n\n", "A", "B", "C")
VALIDATED = (2, 100)  # numbers of masks
FIRST_DRAW = 1000  # draws below it are for diagnoses


def vocabulary() -> list[str]:
    """What the texts are made of: fixed pieces, words as they are and capitalised, numbers from 1 to 1000."""
    words = [word for pool in word_pools().values() for word in pool]
    forms = sorted({form for word in words for form in (word, word.capitalize())})
    return [*FIXED, *(f" {form}" for form in forms), *(f" {number}" for number in range(1, 1001))]


TOKENIZER = FileTokenizer.split(PIECES, vocabulary(), lab.SPECIAL)
EOS, MASK = (TOKENIZER.encode(name)[0] for name in lab.SPECIAL)
CLOSING = TOKENIZER.encode("].")
TRAINING = Training(
    steps=4000, lr=5e-3, warmup=100, optimiser="muon", weight_decay=0.01, ema=0.995, precision="bf16", micro_rows=12,
    validate_every=500, save_every=50,
)  # fmt: skip


@cache
def encoded(text: str) -> tuple[int, ...]:
    """The ids of a text."""
    return tuple(TOKENIZER.encode(text))


class Line(NamedTuple):
    """A row: its ids and which of them are learned."""

    ids: list[int]
    learned: list[bool]


def spelled(shot: Shot) -> Shot:
    """The same shot with the word of the right option as its answer, instead of the letter."""
    (word,) = re.findall(rf"\({shot.answer}\)( \w+)", shot.ask)
    return replace(shot, answer=word)


def line(shots: Shots, question: Shot, arrangement: Arrangement, kind: str, trailing: int) -> Line:
    """A row of one kind, "dense", "last" or "all"; `trailing` EOS follow unless it is dense."""
    ids, learned = list[int](), list[bool]()

    def add(more: tuple[int, ...] | list[int], learn: bool) -> None:
        ids.extend(more)
        learned.extend([learn or kind == "all"] * len(more))

    for piece in arrange(shots, question, arrangement):
        if piece.shot is not None:
            last = piece.kind == "question"
            add(encoded(piece.shot.question), False)
            add(encoded(piece.shot.answer), kind == "dense" or last)
            add(CLOSING if last else encoded(piece.shot.ending), kind == "last" and last)
    if kind != "dense":
        add([EOS] * trailing, True)
    return Line(ids, learned)


@dataclass(frozen=True, kw_only=True)
class LabRules:
    """`rows` a step: a share is `dense`, a share `whole` (all learned), the rest learn the last answer.

    `relevant`, `distractors`: the most examples of either kind, reached after `growing` of the run. `spelled`: until
    that share of the run answers may be words instead of letters, ever fewer. `trailing`: the most EOS after an answer.
    `width`, `layers`: of the model. `start`: a model to go on from, none for fresh weights.
    """

    name: ClassVar[str] = "lab-rules"
    objective: ClassVar[MaskedDiffusion] = MaskedDiffusion()

    rows: int = 24
    relevant: int = 10
    distractors: int = 40
    growing: float = 0.5
    spelled: float = 0.3
    dense: float = 0.5
    whole: float = 0.0
    trailing: int = 0
    width: int = 96
    layers: int = 4
    validation: int = 16  # questions of each task
    start: str | None = None
    training: Training = field(default=TRAINING)

    def model(self) -> nn.Module:
        """Fresh weights, or those of `start`."""
        size = TOKENIZER.tokenizer.get_vocab_size()
        architecture = Architecture(
            vocabulary=-(-size // 64) * 64, width=self.width, layers=self.layers, heads=self.width // 32,
            kv_heads=self.width // 32, head_width=32, feed_width=-(-self.width * 8 // 3 // 16) * 16, max_columns=1024,
            rope_base=10000.0, mask_id=MASK, end_ids=(EOS,), tied=True,
        )  # fmt: skip
        return lab.model(architecture, self.training.seed, self.start)

    def line(self, task: RuleTask, step: int, number: int) -> Line:
        """Row `number` of a step."""
        rng = Random(f"{self.training.seed} {step} {number}")
        progress = step / self.training.steps
        grown = min(1.0, 0.1 + progress / self.growing) if self.growing else 1.0
        relevant = rng.randint(1, max(2, round(grown * self.relevant)))
        distractors = rng.randint(0, round(grown * self.distractors))
        shots = task.shots(relevant + 1, distractors, FIRST_DRAW + rng.randrange(2**40))
        found = Shots(shots.relevant[:-1], shots.distractors)
        question = shots.relevant[-1]
        if rng.random() >= progress / max(self.spelled, 1e-9):
            found, question = Shots(*(list(map(spelled, some)) for some in found)), spelled(question)
        share = rng.random()
        kind = "dense" if share < self.dense else "all" if share < self.dense + self.whole else "last"
        layout = Arrangement(relevant=relevant, distractors=distractors, shuffle=rng.randrange(2**40))
        return line(found, question, layout, kind, rng.randint(0, self.trailing))

    def batch(self, step: int) -> Batch:
        """The rows of a step, from the seed and the step."""
        tasks = suite(letters="random")  # balanced ones would tell the last letter by the others
        lines = [self.line(tasks[(step * self.rows + n) % len(tasks)], step, n) for n in range(self.rows)]
        end = torch.tensor([len(ids) for ids, _ in lines])
        learned = lab.padded([learned for _, learned in lines], False)
        return Batch(lab.padded([ids for ids, _ in lines], EOS), learned.float().argmax(1), end, kept=~learned)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Accuracy on validation questions of all tasks, 10 + 40 examples, one forward; the score is at 2 masks."""
        whole = lab.whole(model, TOKENIZER, new_tokens=VALIDATED[0])
        tasks = [RuleTask(number=task.number, split="validation") for task in suite()]
        cells = {masks: Cell(arrangement=Arrangement(masks=masks), reading=FirstMask()) for masks in VALIDATED}
        records = measure(whole, tasks, list(cells.values()), limit=self.validation)
        found = {}
        for masks, cell in cells.items():
            right = [record.found["correct"] for record in records if record.cell == cell.key]
            found[f"masks_{masks}"] = sum(right) / len(right)
        return {"score": found[f"masks_{VALIDATED[0]}"]} | found

    def save(self, model: nn.Module, folder: Path) -> None:
        """Weights and tokenizer."""
        lab.save(model, folder, TOKENIZER, new_tokens=VALIDATED[0])

    def describe(self, folder: Path) -> None:
        """The card."""
        measured = f"{self.validation} validation questions of each of 16 tasks, one forward, {VALIDATED[0]} masks"
        lab.describe(folder, self, task="few-shot rules", measured=measured)
