"""Arrangements: every example once, in the order asked for, the question in its place."""

import re
from dataclasses import replace
from inspect import unwrap
from math import dist
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unveil.diagnostics.context.few_shot.shots import Arrangement, Piece, Shot, Shots, arrange

counts = st.integers(0, 12)
QUESTION = Shot(ask="?", opening="[", answer="A", closing="].", point=(0.0, 0.0))


def shots(relevant: int, distractors: int) -> Shots:
    """Examples that can be told apart, at distances that are neither in order nor all different."""
    made = [
        [
            Shot(ask=f"{kind}{at}", opening="[", answer="B", closing="].", point=(float(at * 7 % 5), float(at * 3 % 4)))
            for at in range(many)
        ]
        for kind, many in (("r", relevant), ("d", distractors))
    ]
    return Shots(*made)


def asks(pieces: list[Piece]) -> list[str]:
    return [piece.shot.ask if piece.shot else piece.kind for piece in pieces]


def laid_out(given: Shots, **settings: Any) -> list[str]:
    """The examples, the question and what has no text, in their order."""
    return asks(arrange(given, QUESTION, Arrangement(**settings)))


def test_a_shot_reads_as_its_parts() -> None:
    shot = Shot(ask="Options: (A) knit", opening="Answer:[", answer="A", closing="].")
    assert (shot.question, shot.ending) == ("Options: (A) knit\nAnswer:[", "].\n\n")


@given(
    sizes=st.tuples(counts, counts),
    order=st.sampled_from(["mixed", "block", "nearest_last", "nearest_first"]),
    place=st.sampled_from(["right", "middle", "left"]),
    position=st.floats(0, 1),
    shuffle=st.integers(0, 2**40),
)
def test_every_piece_stands_once_and_the_question_in_its_place(
    sizes: tuple[int, int], order: str, place: str, position: float, shuffle: int
) -> None:
    given = shots(*sizes)
    settings = {"order": order, "question": place, "form": "infill", "masks": 1, "position": position}
    arrangement = Arrangement(**settings, shuffle=shuffle)  # type: ignore[arg-type]
    pieces = arrange(given, QUESTION, arrangement)
    kinds = {shot.ask: kind for kind, some in zip(("relevant", "distractor"), given, strict=True) for shot in some}
    at = {"left": 0, "middle": sum(sizes) // 2, "right": sum(sizes)}[place]
    assert pieces[at : at + 2] == [Piece("question", QUESTION), Piece("masks", None)]
    rest = pieces[:at] + pieces[at + 2 :]
    assert sorted(asks(rest)) == sorted(kinds) and all(kinds[p.shot.ask] == p.kind for p in rest if p.shot)


@given(sizes=st.tuples(counts, counts), position=st.floats(0, 1))
def test_a_block_keeps_the_order_within_each_kind(sizes: tuple[int, int], position: float) -> None:
    given = shots(*sizes)
    found = laid_out(given, order="block", position=position)[:-2]
    relevant, others = [shot.ask for shot in given.relevant], [shot.ask for shot in given.distractors]
    assert [ask for ask in found if ask in relevant] == relevant and [ask for ask in found if ask in others] == others
    before = found.index("r0") if relevant else 0
    assert found[before : before + len(relevant)] == relevant
    assert not relevant or abs(before - position * len(others)) <= 0.5


@pytest.mark.parametrize("position, before", [(0.0, 0), (0.25, 10), (0.5, 20), (0.75, 30), (1.0, 40)])
def test_the_position_is_the_share_of_distractors_before_the_block(position: float, before: int) -> None:
    found = laid_out(shots(10, 40), order="block", position=position)
    assert found[before : before + 10] == [f"r{at}" for at in range(10)] and found[-2:] == ["?", "masks"]


@pytest.mark.parametrize("place, at", [("left", 0), ("middle", 25), ("right", 50)])
def test_the_question_stands_where_it_was_asked_for(place: str, at: int) -> None:
    found = laid_out(shots(10, 40), order="block", question=place, form="infill", masks=1)
    assert found[at : at + 2] == ["?", "masks"] and len(found) == 52


@given(sizes=st.tuples(counts, counts), shuffle=st.integers(0, 2**40))
def test_mixed_depends_on_shuffle_only(sizes: tuple[int, int], shuffle: int) -> None:
    given, other = shots(*sizes), Shot(ask="other", opening="[", answer="C", closing="].", point=(9.0, 9.0))
    first = laid_out(given, shuffle=shuffle)[:-2]
    arrangement = Arrangement(shuffle=shuffle, masks=50, share=0.2, position=0.7, filler="dots", fillers=3)
    assert asks(arrange(given, other, arrangement))[:-3] == first


def test_other_examples_stand_in_other_places() -> None:
    """One shuffle is not one permutation: levels would hang on where it puts the useful examples."""
    kinds = set()
    for draw in range(20):
        given = Shots(*([replace(shot, point=(float(draw),)) for shot in some] for some in shots(5, 20)))
        kinds.add(tuple(piece.kind for piece in arrange(given, QUESTION, Arrangement(shuffle=0))))
    assert len(kinds) == 20


def test_mixed_has_many_orders_and_mixes_both_kinds() -> None:
    found = [laid_out(shots(10, 40), shuffle=shuffle)[:-2] for shuffle in range(30)]
    assert len(set(map(tuple, found))) == 30
    places = [order.index("r0") for order in found]
    assert min(places) < 10 and max(places) >= 40


@given(sizes=st.tuples(counts, counts), shuffle=st.integers(0, 5))
def test_orders_by_distance(sizes: tuple[int, int], shuffle: int) -> None:
    given = shots(*sizes)
    for order, sign in (("nearest_first", 1), ("nearest_last", -1)):
        pieces = arrange(given, QUESTION, Arrangement(order=order, shuffle=shuffle))[:-2]  # type: ignore[arg-type]
        far = [sign * dist(piece.shot.point, QUESTION.point) for piece in pieces if piece.shot]
        assert far == sorted(far)


@pytest.mark.parametrize("filler", ["dots", "ends"])
def test_fillers_come_last(filler: str) -> None:
    assert laid_out(shots(1, 1), order="block", filler=filler, fillers=5) == ["r0", "d0", "?", "masks", "filler"]
    infill = {"form": "infill", "masks": 1, "question": "left", "order": "block"}
    assert laid_out(shots(1, 1), **infill, filler=filler, fillers=5) == ["?", "masks", "r0", "d0", "filler"]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"order": "blocks"}, "order is 'blocks'; it must be one of mixed, block, nearest_last, nearest_first"),
        ({"question": "top"}, "question is 'top'; it must be one of right, middle, left"),
        ({"form": "chat"}, "form is 'chat'; it must be one of generation, infill"),
        ({"filler": "stars"}, "filler is 'stars'; it must be one of none, dots, ends"),
        ({"relevant": -1}, "relevant is -1; it must be at least 0"),
        ({"distractors": -1}, "distractors is -1; it must be at least 0"),
        ({"fillers": -1}, "fillers is -1; it must be at least 0"),
        ({"shuffle": -1}, "shuffle is -1; it must be at least 0"),
        ({"masks": 0}, "masks is 0; it must be at least 1, the answer is one"),
        ({"position": 1.1}, "position is 1.1; it must be a share from 0 to 1"),
        ({"share": float("nan")}, "share is nan; it must be a share from 0 to 1"),
        ({"question": "left"}, "question is 'left'; masks to generate come last, so it must be right: infill"),
        ({"form": "infill"}, "form 'infill' has one mask, in the place of the answer: set masks=1 and share=0"),
        ({"form": "infill", "masks": 1, "share": 0.1}, "form 'infill' has one mask"),
        ({"filler": "dots"}, "filler is 'dots' and fillers is 0; give both or neither"),
        ({"fillers": 3}, "filler is 'none' and fillers is 3; give both or neither"),
    ],
)
def test_what_does_not_exist_is_refused(settings: dict[str, Any], message: str) -> None:
    arrangement = object.__new__(Arrangement)
    with pytest.raises(ValueError, match=re.escape(message)):
        unwrap(Arrangement.__init__)(arrangement, **settings)  # past the type checks, which only tests have
