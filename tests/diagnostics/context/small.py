"""A toy model that reads words, and a toy few-shot source: what diagnostics are tried on."""

from dataclasses import dataclass, replace
from random import Random
from typing import Any

from tests.toy import MASK, VOCABULARY, toy
from unveil.checkpoints.tokenizer import FileTokenizer
from unveil.decoding.model import Model
from unveil.diagnostics.context.cells import Cell, Reading
from unveil.diagnostics.context.few_shot.shots import Arrangement, Shot, Shots

WORDS = ["ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "owl", "pig"]
PIECES = [*"=>[].\n:|ABC", *(f" {word}" for word in WORDS), *(f" {n}" for n in range(1, 10)), *("note", "system")]
PIECES += ["user", "assistant", *(f"{letter}x" for letter in "abcdefghijklmnop")]
CODEC = FileTokenizer.words(PIECES[: VOCABULARY - 2], ["[EOS]", "[MASK]"])
EOS = MASK - 1


def small(**more: Any) -> Model:
    """A random float64 transformer of 256 columns whose vocabulary is PIECES."""
    return Model(name="small", denoiser=toy(**more), tokenizer=CODEC, new_tokens=8, revision="small", end_ids=(EOS,))


@dataclass(frozen=True, kw_only=True)
class Animals:
    """Relevant examples are of animals, distractors of numbers; letters follow no rule. 11 tokens each."""

    name: str = "animals"
    system: str = ""
    describe: str = "Which animal?"
    labels: tuple[str, ...] = ("A", "B", "C")
    say: str = "="  # before a question

    def shots(self, relevant: int, distractors: int, draw: int) -> Shots:
        """As many as wanted."""
        groups = [(self.say, WORDS, relevant), (">", [str(n) for n in range(1, 10)], distractors)]
        return Shots(*[[_shot(sign, pool, f"{sign} {draw} {n}") for n in range(count)] for sign, pool, count in groups])

    def questions(self, count: int) -> list[Shot]:
        """As many as wanted."""
        return [_shot(self.say, WORDS, f"question {n}") for n in range(count)]


def _shot(sign: str, pool: list[str], seed: str) -> Shot:
    rng = Random(seed)
    options = rng.sample(pool, 3)
    return Shot(ask=f"{sign} {' '.join(options)}", opening="[", answer=rng.choice("ABC"), closing="].")


def written(ids: list[int]) -> str:
    """The text of ids, special tokens shown."""
    return "".join(CODEC.tokenizer.id_to_token(token) for token in ids)


def cell(reading: Reading, **arrangement: Any) -> Cell:
    """Three relevant examples and four distractors, unless said otherwise."""
    return Cell(arrangement=Arrangement(**({"relevant": 3, "distractors": 4} | arrangement)), reading=reading)


def close(one: Any, other: Any) -> bool:
    """Equal, but for the last digits of numbers: other batches sum in other orders."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(close, one, other))
    return abs(one - other) < 1e-10 if isinstance(one, float) else one == other


def same(records: list[Any], others: list[Any]) -> bool:
    """The same records, numbers nearly."""
    return len(records) == len(others) and all(
        replace(one, found={}) == replace(other, found={}) and close(one.found, other.found)
        for one, other in zip(records, others, strict=True)
    )
