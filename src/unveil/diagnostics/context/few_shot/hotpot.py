r"""HotpotQA with two options: which of two does a question ask for, after a context of several articles?

Source: Piskorz et al. 2025, arXiv 2511.21338, appendix A.7, on the 'distractor' configuration of HotpotQA (Yang et al.
2018). Kept are the questions that name two options ("Who is older, Tom or Ann?") one of which is the answer. Text:
"**Context**:\n'...'.\n\n**Question**: 'Who is older, Tom or Ann?' [A] Tom\n [B] Ann\n**Answer**:[A]". Our choice are
the regular expression, the form of the context (a line "title: sentences" for each article) and which items are
examples: every tenth of those kept.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from unveil.diagnostics.context.few_shot.shots import Shot, Shots
from unveil.tasks.sources import Item, fetched, items_of

DATASET = "hotpotqa/hotpot_qa"
REVISION = "1908d6afbbead072334abe2965f91bd2709910ab"
# After a comma, colon or "between": two options, to the end or a comma before a small letter. None has a third "or";
# the first has no comma or colon.
OPTIONS = re.compile(
    r"(?:[,:;]|\bbetween)\s+(?:either\s+)?([^,:;?]+?)\s+or\s+((?:(?!\sor\s)[^?])+?)(?=,\s+[a-z]|\s*\?*\s*$)"
)
EVERY = 10  # how many items to an example


@dataclass(frozen=True, kw_only=True)
class HotpotQA:
    """`path`: JSON lines or one JSON list, as the official file or the hub; None has `datasets` load "validation".

    `max_words`: of context, question and options together. The paper's limit is 1000 tokens; words are ours, as texts
    have no tokens yet. Options keep the order of the question, which makes the letters. Relevant examples only.
    """

    name: ClassVar[str] = "hotpotqa"
    describe: ClassVar[str] = "HotpotQA: several short articles, then a question with two options: choose A or B"
    labels: ClassVar[tuple[str, ...]] = ("A", "B")
    system: ClassVar[str] = "Which of the following answers is true? Respond with [A] or [B]."

    path: str | None = None
    max_words: int = 700

    def __post_init__(self) -> None:
        if self.max_words < 1:
            raise ValueError(f"max_words is {self.max_words}; it must be at least 1")

    def shots(self, relevant: int, distractors: int, draw: int) -> Shots:
        """So many of the file's examples, from number `draw` on and round; the paper takes one.

        ValueError if there are not so many examples, or if there are `distractors`.
        """
        examples = self._parts[0]
        if distractors:
            raise ValueError(f"distractors is {distractors}; {self.name} has none: set it to 0")
        if not 0 <= relevant <= len(examples):
            raise ValueError(f"relevant is {relevant}; it must be from 0 to {len(examples)}, {self.name} has no more")
        if draw < 0:
            raise ValueError(f"draw is {draw}; it must be at least 0")
        first = draw % len(examples)
        return Shots([*examples[first:], *examples[:first]][:relevant], [])

    def questions(self, count: int) -> list[Shot]:
        """The first `count` that are no examples. ValueError if there are not so many."""
        questions = self._parts[1]
        if not 0 <= count <= len(questions):
            raise ValueError(f"count is {count}; it must be from 0 to {len(questions)}, {self.name} has no more")
        return questions[:count]

    @cached_property
    def _parts(self) -> tuple[list[Shot], list[Shot]]:
        """Examples and questions. ValueError names the broken item, or says that too few can be used."""
        found: dict[str, Shot] = {}  # by question: none is there twice
        for item in _fetched() if self.path is None else items_of(self.path):
            question, shot = _parsed(item)
            if shot and len(shot.ask.split()) <= self.max_words:
                found.setdefault(question, shot)
        kept = list(found.values())
        if len(kept) < 2:
            raise ValueError(
                f"{self.path or DATASET} has {len(kept)} questions with two options in at most {self.max_words} words; "
                "two are needed, one is an example: raise max_words or give another file"
            )
        return kept[::EVERY], [shot for number, shot in enumerate(kept) if number % EVERY]


def _fetched() -> Iterator[Item]:
    return fetched(DATASET, "distractor", split="validation", revision=REVISION, extra="diagnose")


def _parsed(item: Item) -> tuple[str, Shot | None]:
    """An item's question, and its shot if two options are found. ValueError names the place and the broken field."""
    question, answer = (" ".join(item.text(field).split()) for field in ("question", "answer"))
    context = _context(item)
    options = _options(question, answer)
    if options is None:
        return question, None
    first, second = options
    ask = f"**Context**:\n'{context}'.\n\n**Question**: '{question}' [A] {first}\n [B] {second}"
    letter = "A" if _plain(first) == _plain(answer) else "B"
    return question, Shot(ask=ask, opening="**Answer**:[", answer=letter, closing="]")


def _context(item: Item) -> str:
    """Articles as text, a line each. They are pairs, as in the official file, or two lists, as on the hub."""
    context = item.fields.get("context")
    match context:
        case {"title": [*titles], "sentences": [*texts]} if len(titles) == len(texts):
            context = list(zip(titles, texts, strict=True))
    if not isinstance(context, list) or not all(map(_is_article, context)):
        raise ValueError(
            f"{item.place}: 'context' must be a list of [title, list of texts], or have a list 'title', and in "
            "'sentences' a list of texts for each"
        )
    return "\n".join(f"{title}: {' '.join(' '.join(texts).split())}" for title, texts in context)


def _is_article(value: Any) -> bool:
    """Whether it is a title and a list of texts."""
    match value:
        case [str(), [*texts]]:
            return all(isinstance(text, str) for text in texts)
    return False


def _options(question: str, answer: str) -> tuple[str, str] | None:
    """The first two options exactly one of which is the answer."""
    for first, second in OPTIONS.findall(question):
        plain = (_plain(first), _plain(second))
        if all(plain) and plain.count(_plain(answer)) == 1:
            return first, second
    return None


def _plain(text: str) -> str:
    """Without capitals, punctuation, articles and further blanks, as the data set's own judge compares."""
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", re.sub(r"[^\w\s]|_", "", text.lower())).split())
