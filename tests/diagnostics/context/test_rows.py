"""A prompt is its text, piece by piece, byte for byte; what a model cannot read is told."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.diagnostics.context.small import EOS, Animals, small, written
from tests.toy import MASK
from unveil.diagnostics.context.few_shot.shots import Arrangement, Shot, Shots
from unveil.diagnostics.context.rows import Row, row

MODEL = small()
ASKED = Shot(ask="= ant bee cat", opening="[", answer="C", closing="].")
ONE = Shot(ask="= dog elk fox", opening="[", answer="A", closing="].")
TWO = Shot(ask="> 1 2 3", opening="[", answer="B", closing="].")
ONE_TEXT, TWO_TEXT = "= dog elk fox\n[A].\n\n", "> 1 2 3\n[B].\n\n"
QUESTION = "= ant bee cat\n["
BLOCK = {"relevant": 1, "distractors": 1, "order": "block"}
INFILL = {**BLOCK, "form": "infill", "masks": 1}


def chat(messages: list[dict[str, str]], ask: bool) -> str:
    """As published templates: something first, each message with its role and an end."""
    return "note|" + "".join(f"{m['role']}:{m['content']}|" for m in messages) + "assistant:" * ask


def built(source: Animals | None = None, model: Any = MODEL, chat: Any = None, **arrangement: Any) -> Row:
    layout = Arrangement(**(BLOCK | arrangement))
    return row(model, source or Animals(), Shots([ONE], [TWO]), ASKED, layout, chat=chat)


PLAIN = {
    "generation": ({"masks": 3}, ONE_TEXT + TWO_TEXT + QUESTION + "[MASK][MASK][MASK]"),
    "block at the end": ({"position": 1.0, "masks": 1}, TWO_TEXT + ONE_TEXT + QUESTION + "[MASK]"),
    "infill": (INFILL, ONE_TEXT + TWO_TEXT + QUESTION + "[MASK]]."),
    "question left": (INFILL | {"question": "left"}, QUESTION + "[MASK]].\n\n" + ONE_TEXT + TWO_TEXT),
    "question in the middle": (INFILL | {"question": "middle"}, ONE_TEXT + QUESTION + "[MASK]].\n\n" + TWO_TEXT),
    "dots": (INFILL | {"filler": "dots", "fillers": 3}, ONE_TEXT + TWO_TEXT + QUESTION + "[MASK]]...."),
    "ends": ({"filler": "ends", "fillers": 2}, ONE_TEXT + TWO_TEXT + QUESTION + "[MASK][MASK][EOS][EOS]"),
    "no examples": ({"relevant": 0, "distractors": 0}, QUESTION + "[MASK][MASK]"),
}


@pytest.mark.parametrize(("arrangement", "text"), PLAIN.values(), ids=PLAIN)
def test_plain_text_byte_for_byte(arrangement: dict[str, Any], text: str) -> None:
    examples = Shots([ONE], [TWO]) if arrangement.get("relevant", 1) else Shots([], [])
    made = row(MODEL, Animals(), examples, ASKED, Arrangement(**(BLOCK | arrangement)))
    assert written(made.ids) == text
    assert made.label == "C" and made.labels == ("A", "B", "C") and made.masks == text.count("[MASK]")
    assert made.ids[made.answer] == MASK and written(made.ids[: made.answer]).endswith(QUESTION)


def test_the_system_text_comes_first_and_belongs_to_no_piece() -> None:
    made = built(Animals(system="note:A"))
    assert written(made.ids) == "note:A\n\n" + ONE_TEXT + TWO_TEXT + QUESTION + "[MASK][MASK]"
    assert made.piece[:6] == [-1] * 5 + [0]


def test_plain_text_begins_as_the_tokenizer_begins_a_text() -> None:
    front = replace(MODEL, tokenizer=replace(MODEL.tokenizer, front=(EOS,)))
    made, bare = built(model=front), built()
    assert (made.ids, made.piece, made.answer) == ([EOS, *bare.ids], [-1, *bare.piece], bare.answer + 1)
    assert built(model=front, chat=chat).ids == built(chat=chat).ids  # a template begins its own


def text_of(made: Row, number: int) -> str:
    return written([token for token, piece in zip(made.ids, made.piece, strict=True) if piece == number])


@settings(max_examples=50)
@given(
    num=st.tuples(st.integers(0, 4), st.integers(0, 5)),
    place=st.sampled_from(["right", "middle", "left"]),
    order=st.sampled_from(["mixed", "block"]),
    fillers=st.integers(0, 3),
    masks=st.integers(1, 9),
    share=st.sampled_from([0.0, 0.1, 0.5]),
    shuffle=st.integers(0, 3),
)
def test_every_column_knows_its_piece(num: Any, place: Any, order: Any, fillers: int, masks: int, **more: Any) -> None:
    form = {"form": "generation", "masks": masks, **more} if place == "right" else {"form": "infill", "masks": 1}
    filler = {"filler": "dots", "fillers": fillers} if fillers else {}
    source, (relevant, distractors) = Animals(system="note"), num
    layout = Arrangement(relevant=relevant, distractors=distractors, order=order, question=place, **(form | filler))
    made = row(MODEL, source, source.shots(relevant, distractors, 0), source.questions(1)[0], layout)
    assert len(made.piece) == len(made.ids)
    for number, (kind, shot) in enumerate(made.pieces):
        if kind == "masks":
            assert text_of(made, number) == "[MASK]" * made.masks
            assert made.piece.index(number) == made.answer
        elif kind == "filler":
            assert text_of(made, number) == "." * fillers
        else:
            assert shot is not None
            whole = shot.question if kind == "question" else shot.question + shot.answer + shot.ending
            assert text_of(made, number) == whole
    others = len(made.ids) - made.ids.count(MASK)
    assert made.masks == made.ids.count(MASK) == max(layout.masks, round(layout.share * others))


CHAT_ONE = "user:= dog elk fox|assistant:[A].|"
CHAT_TWO = "user:> 1 2 3|assistant:[B].|"


@pytest.mark.parametrize("system", ["", "A:B"])
def test_a_chat_byte_for_byte_with_the_opening_inside_the_answer(system: str) -> None:
    made = built(Animals(system=system), chat=chat, masks=2)
    head = "note|" + (f"system:{system}|" if system else "")
    pieces = [CHAT_ONE, CHAT_TWO, "user:= ant bee cat|assistant:[", "[MASK][MASK]"]
    assert written(made.ids) == head + "".join(pieces)
    assert [text_of(made, number) for number in (-1, 0, 1, 2, 3)] == [head, *pieces]


def test_a_chat_that_is_infilled_and_filled() -> None:
    made = built(chat=chat, filler="dots", fillers=2, **INFILL)
    assert written(made.ids) == "note|" + CHAT_ONE + CHAT_TWO + "user:= ant bee cat|assistant:[[MASK]]..."
    assert text_of(made, 4) == ".."


def test_a_chat_whose_first_message_is_special_keeps_it_whole() -> None:
    def first(messages: list[dict[str, str]], ask: bool) -> str:
        return chat(messages, ask).replace("user:", "user::", 1)

    made = built(chat=first)
    assert text_of(made, 0) == "note|user::= dog elk fox|assistant:[A].|" and -1 not in made.piece


def rewriting(messages: list[dict[str, str]], ask: bool) -> str:
    return f"{len(messages)}" + chat(messages, ask)


LONG = "a prompt of 328 tokens, 300 of them masks, exceeds the model's context of 256: use fewer examples, masks or"
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "too long": ({"masks": 300}, LONG),
    "unknown word": ({"source": Animals(system="zebra")}, "the model's vocabulary cannot write 'zebra"),
    "mask in the text": ({"source": Animals(system="note[MASK]")}, "'note[MASK]\\n\\n' holds the mask token: remove"),
    "long answer": ({"source": Animals(labels=("A", "A ant"))}, "the answer 'A ant' is 2 tokens of this model and"),
    "no end id": (
        {"model": replace(MODEL, end_ids=()), "filler": "ends", "fillers": 1},
        "the model has no end id to fill with: leave out what fills with EOS (the probe dots)",
    ),
    "chat, not right": ({"chat": chat, **INFILL, "question": "left"}, "question is 'left'; in a chat it is the last"),
    "chat rewrites": ({"chat": rewriting}, "the model's chat template rewrites a message once others follow: use"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "words"), BAD.values(), ids=BAD)
def test_errors_name_the_task(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        built(**change)
    assert str(caught.value).startswith("task animals: " + words)


def test_dots_must_be_one_token() -> None:
    def spelled(text: str) -> list[int]:
        return [1, 2] if text == "." else MODEL.tokenizer.encode(text)

    layout = Arrangement(**BLOCK, filler="dots", fillers=2)
    with pytest.raises(ValueError, match="^task animals: '.' is 2 tokens of this model and fills only as one: leave"):
        row(MODEL, Animals(), Shots([ONE], [TWO]), ASKED, layout, encode=spelled)


def test_ends_are_the_models_first() -> None:
    made = built(model=replace(MODEL, end_ids=(EOS, 3)), filler="ends", fillers=2)
    assert made.ids[-2:] == [EOS, EOS]
