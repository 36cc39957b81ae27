"""lab-rules: a small model of few-shot rules, in LLaDA's layout, to see masks distract (or not).

    python -m recipes.lab_rules --out runs/lab-rules

Rows are examples of a rule, mixed with others, and a question at the end. The rules are the suite's, or drawn, so that
the question alone does not tell what is asked. Three kinds of rows, all under the ordinary masked diffusion objective:
every answer on words is learned, the examples' too ("dense": many signals a row instead of one); the last answer, its
closing and the EOS after it (fine-tuning); or every column (pretraining). How many EOS may follow in training decides
which numbers of trailing masks the model has seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import ClassVar, NamedTuple, get_args

import torch
from torch import Tensor, nn

from recipes import lab
from unveil.checkpoints.tokenizer import FileTokenizer
from unveil.diagnostics.context.cells import Cell
from unveil.diagnostics.context.few_shot.shots import Arrangement, Piece, Shots, arrange
from unveil.diagnostics.context.few_shot.suite import NAMES, Numbers, RuleTask, suite, word_pools
from unveil.diagnostics.context.readings import FirstMask
from unveil.diagnostics.context.run import measure
from unveil.models.transformer import Architecture
from unveil.objectives.loss import Batch
from unveil.objectives.masked import MaskedDiffusion
from unveil.schedule import Linear
from unveil.training.settings import Training

PIECES = r"Options: \(A\)|, \([BC]\)|\nAnswer:\[|\]\.\n\n|\]\.| ?[A-Za-z]+| [0-9]+|[\s\S]"
FIXED = ("Options: (A)", ", (B)", ", (C)", "\nAnswer:[", "].\n\n", "].", "]", ".", "\n", "A", "B", "C")
SHORT = 3  # examples of a row, at most, before rows grow
VALIDATED = (2, 10, 50, 100, 200)  # numbers of masks
FIRST_DRAW = 1000  # draws below it are for diagnoses
SUITE = suite(letters="random")  # balanced ones would tell the last letter by the others


def vocabulary() -> list[str]:
    """What the texts are made of: fixed pieces, words as they are and capitalised, numbers from 1 to 1000."""
    words = [word for pool in word_pools().values() for word in pool]
    forms = sorted({form for word in words for form in (word, word.capitalize())})
    return [*FIXED, *(f" {form}" for form in forms), *(f" {number}" for number in range(1, 1001))]


TOKENIZER = FileTokenizer.split(PIECES, vocabulary(), lab.SPECIAL)
EOS, MASK = (TOKENIZER.encode(name)[0] for name in lab.SPECIAL)
CLOSING = TOKENIZER.encode("].")
TRAINING = Training(
    steps=1500, lr=5e-3, warmup=50, optimiser="muon", weight_decay=0.01, ema=0.99, precision="bf16",
    validate_every=250, save_every=50, patience=1500,  # the loss rises when rows begin to grow
)  # fmt: skip


@cache
def encoded(text: str) -> tuple[int, ...]:
    """The ids of a text."""
    return tuple(TOKENIZER.encode(text))


class Line(NamedTuple):
    """A row: its ids and which of them are learned."""

    ids: list[int]
    learned: list[bool]


@dataclass(frozen=True, kw_only=True)
class Even(Linear):
    """Masked at LLaDA's rate, but every masked token weighs the same."""

    def weight(self, t: Tensor) -> Tensor:
        """1."""
        return torch.ones_like(t)


def drawn(rng: Random) -> RuleTask:
    """A rule that is not of the suite: any category among one to three others."""
    categories, numbers = list(word_pools()), rng.choice(get_args(Numbers))
    while True:
        chosen, *others = rng.sample(categories, rng.randint(2, 4))
        rule = RuleTask(chosen=chosen, others=tuple(sorted(others)), numbers=numbers, letters="random")
        if not any(rule.chosen == chosen and set(rule.others) == set(others) for (chosen, others), _ in NAMES):
            return rule


def line(pieces: Sequence[Piece], kind: str, trailing: int) -> Line:
    """A row of one kind, "dense", "last" or "all"; `trailing` EOS follow unless it is dense."""
    ids, learned = list[int](), list[bool]()

    def add(more: tuple[int, ...] | list[int], learn: bool) -> None:
        ids.extend(more)
        learned.extend([learn or kind == "all"] * len(more))

    shots = [(piece.shot, piece.kind) for piece in pieces if piece.shot is not None]
    for number, (shot, role) in enumerate(shots, 1):
        last = number == len(shots)
        add(encoded(shot.question), False)
        add(encoded(shot.answer), last or (kind == "dense" and role != "distractor"))
        add(CLOSING if last else encoded(shot.ending), kind == "last" and last)
    if kind != "dense":
        add([EOS] * trailing, True)
    return Line(ids, learned)


@dataclass(frozen=True, kw_only=True)
class LabRules:
    """Rows of `columns` columns a step: a share `dense`, a share `whole` (all learned), the rest learn the last answer.

    Examples on words are at most `relevant`, others `distractors`: three and none for a share `short` of the run, in
    which all rows are dense and of the suite, then ever more until `growing`. After `short`, a row follows at most
    `rules`, one after the other, which share its examples; `drawn` is the share of rules that are not the suite's.
    `trailing`: the most EOS after an answer. `weighted`: a masked token weighs 1/t, else 1. `width`, `layers`: of the
    model. `start`: a model to go on from, none for fresh weights.
    """

    name: ClassVar[str] = "lab-rules"
    command: ClassVar[str] = "python -m recipes.lab_rules"

    columns: int = 6000
    relevant: int = 10
    distractors: int = 40
    short: float = 0.4
    growing: float = 0.7
    rules: int = 1
    drawn: float = 0.5
    dense: float = 0.5
    whole: float = 0.0
    trailing: int = 16
    weighted: bool = True
    width: int = 96
    layers: int = 4
    validation: int = 8  # questions of each task
    start: str | None = None
    training: Training = field(default=TRAINING)

    @property
    def objective(self) -> MaskedDiffusion:
        """The ordinary one."""
        return MaskedDiffusion(schedule=Linear() if self.weighted else Even())

    def model(self) -> nn.Module:
        """Fresh weights, or those of `start`."""
        size = TOKENIZER.tokenizer.get_vocab_size()
        architecture = Architecture(
            vocabulary=-(-size // 64) * 64, width=self.width, layers=self.layers, heads=self.width // 32,
            kv_heads=self.width // 32, head_width=32, feed_width=-(-self.width * 8 // 3 // 16) * 16, max_columns=1024,
            rope_base=10000.0, mask_id=MASK, end_ids=(EOS,), tied=True,
        )  # fmt: skip
        return lab.model(architecture, self.training.seed, self.start)

    def line(self, rng: Random, step: int) -> Line:
        """A row of a step."""
        progress = step / self.training.steps
        grown = min(1.0, max(0.0, (progress - self.short) / max(self.growing - self.short, 1e-9)))
        short, pieces = progress < self.short, list[Piece]()
        rules = 1 if short else rng.randint(1, self.rules)
        for _ in range(rules):  # the last question asks by the last rule
            relevant = rng.randint(1, max(1, round((SHORT + grown * (self.relevant - SHORT)) / rules)))
            distractors = rng.randint(0, round(grown * self.distractors / rules))
            pieces += self.examples(rng, relevant, distractors, drawn_too=not short)
        share = rng.random()
        dense = 1.0 if short else self.dense
        kind = "dense" if share < dense else "all" if share < dense + self.whole else "last"
        return line(pieces, kind, rng.randint(0, self.trailing))

    def examples(self, rng: Random, relevant: int, distractors: int, *, drawn_too: bool) -> list[Piece]:
        """Examples of a rule, mixed, and its question."""
        task = drawn(rng) if drawn_too and rng.random() < self.drawn else rng.choice(SUITE)
        shots = task.shots(relevant + 1, distractors, FIRST_DRAW + rng.randrange(2**40))
        found = Shots(shots.relevant[:-1], shots.distractors)
        return arrange(found, shots.relevant[-1], Arrangement(shuffle=rng.randrange(2**40)))

    def batch(self, step: int) -> Batch:
        """The rows of a step, from the seed and the step."""
        rng, lines, columns = Random(f"{self.training.seed} {step}"), list[Line](), 0
        while columns < self.columns:
            lines.append(self.line(rng, step))
            columns += len(lines[-1].ids)
        end = torch.tensor([len(ids) for ids, _ in lines])
        learned = lab.padded([learned for _, learned in lines], False)
        return Batch(lab.padded([ids for ids, _ in lines], EOS), learned.float().argmax(1), end, kept=~learned)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Accuracy on validation questions of all tasks, 10 + 40 examples, one forward; the score is at 2 masks."""
        asked = lab.with_tokenizer(model, TOKENIZER, new_tokens=VALIDATED[0])
        tasks = [replace(task, split="validation") for task in suite()]
        cells = {masks: Cell(arrangement=Arrangement(masks=masks), reading=FirstMask()) for masks in VALIDATED}
        records = measure(asked, tasks, list(cells.values()), limit=self.validation)
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


if __name__ == "__main__":
    lab.main(LabRules)
