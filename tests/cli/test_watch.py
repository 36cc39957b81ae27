"""The animated canvas: every column is shown once, in the style of its stage."""
import io
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.live import Live
from rich.text import Text

from unveil.canvas import DECODED, GIVEN, MASK, SOFT, SOFT_MASK, Canvas
from unveil.cli.watch import (
    END_SIGN,
    MASK_SIGN,
    SOFT_SIGN,
    Screen,
    candidate_lines,
    canvas_text,
    colour,
    counter,
    legend,
)
from unveil.sampling.recipes import llada

MASK_ID, END_ID = 30, 31


class Letters:
    """a is 0, b is 1, ..."""

    def encode(self, text: str) -> list[int]:
        return [ord(letter) - ord("a") for letter in text]

    def decode(self, ids: list[int]) -> str:
        return "".join(chr(ord("a") + token) for token in ids)


def canvas_of(stages: list[int], nfe: int = 3, written: int = 0, confidence: float = 0.5) -> Canvas:
    """A row with the letters a, b, c, ... at these stages; a prompt of one letter comes first."""
    count = len(stages)
    canvas = Canvas.blank([[0]], count, mask_id=MASK_ID, end_ids=(END_ID,))
    stage = torch.tensor([[GIVEN, *stages]], dtype=torch.int8)
    tokens = torch.where(stage >= SOFT, torch.arange(count + 1)[None] % 26, MASK_ID)
    return replace(
        canvas, stage=stage, tokens=tokens, nfe=torch.tensor([nfe]),
        written=torch.full((1, count + 1), written, dtype=torch.int32),
        confidence=torch.full((1, count + 1), confidence),
    )  # fmt: skip


def styles(text: Text) -> str:
    """The style of each character."""
    return "|".join(str(text.get_style_at_offset(Console(), place)) for place in range(len(text)))


@given(st.lists(st.sampled_from([MASK, SOFT_MASK, SOFT, DECODED]), min_size=1, max_size=40))
def test_every_column_is_shown_once(stages: list[int]) -> None:
    canvas = canvas_of(stages)
    shown = canvas_text(canvas, Letters()).plain
    signs = {MASK: MASK_SIGN, SOFT_MASK: SOFT_SIGN}
    letters = [chr(ord("a") + (place + 1) % 26) for place in range(len(stages))]
    assert shown == "a" + "".join(signs.get(stage, letter) for stage, letter in zip(stages, letters, strict=True))
    left = shown.count(MASK_SIGN) + shown.count(SOFT_SIGN)
    assert left == int(canvas.num_undecided)
    assert counter(canvas).plain.startswith(f"forward 3, {len(stages) - left} of {len(stages)} tokens")


def test_padding_is_not_shown() -> None:
    assert canvas_text(canvas_of([DECODED]).widen(9), Letters()).plain == "ab"


def test_styles_tell_stage_and_time() -> None:
    given_, mask, old, new, soft = (
        styles(canvas_text(canvas_of([MASK], nfe=0), Letters())).split("|")[0],
        styles(canvas_text(canvas_of([MASK]), Letters())).split("|")[1],
        styles(canvas_text(canvas_of([DECODED], written=1), Letters())).split("|")[1],
        styles(canvas_text(canvas_of([DECODED], written=2), Letters())).split("|")[1],
        styles(canvas_text(canvas_of([SOFT], written=1), Letters())).split("|")[1],
    )
    assert given_ == mask == "dim"
    assert "reverse" in new and "reverse" not in old and "italic" in soft and "italic" not in old
    assert len({given_, old, new, soft}) == 4


def test_an_end_is_a_sign_of_its_own() -> None:
    canvas = canvas_of([DECODED, DECODED])
    canvas = replace(canvas, tokens=torch.tensor([[0, 1, END_ID]]))
    assert canvas_text(canvas, Letters()).plain == "ab" + END_SIGN


def test_tokens_cannot_command_the_terminal() -> None:
    hostile = SimpleNamespace(decode=lambda ids: "\x1b[2J[red]")
    assert canvas_text(canvas_of([DECODED]), hostile).plain == "\ufffd[2J[red]" * 2  # type: ignore[arg-type]


@given(st.floats(0, 1), st.floats(0, 1))
def test_surer_is_greener(a: float, b: float) -> None:
    def channels(c: float) -> list[int]:
        return [int(word) for word in colour(c)[4:-1].split(",")]

    low, high = sorted((a, b))
    assert channels(low)[0] >= channels(high)[0] and channels(low)[1] <= channels(high)[1]


def test_colours() -> None:
    assert (colour(0.0), colour(0.5), colour(1.0)) == ("rgb(215,0,60)", "rgb(215,190,60)", "rgb(0,190,60)")
    assert colour(float("-inf")) == colour(0.0)


def test_the_legend_names_soft_masks_where_there_are_any() -> None:
    assert "soft" in legend(soft=True).plain and "soft" not in legend(soft=False).plain


def soft_canvas(stages: list[int], best: list[float]) -> Canvas:
    """Every position has 0.5 of [MASK], `best` of the rest as b, and what is left of it as c."""
    canvas = canvas_of(stages)
    part = torch.tensor([1.0, *best]) * 0.5
    weights = torch.stack([torch.full_like(part, 0.5), part, 0.5 - part], -1)[None]
    return replace(canvas, soft_ids=torch.tensor([MASK_ID, 1, 2]).expand(weights.shape), soft_weights=weights)


@given(
    st.lists(
        st.tuples(st.sampled_from([MASK, SOFT_MASK, SOFT, DECODED]), st.floats(0.5, 1)), min_size=1, max_size=20
    ),
    st.integers(0, 10),
)
def test_the_least_certain_soft_positions_are_listed(columns: list[tuple[int, float]], number: int) -> None:
    canvas = soft_canvas([stage for stage, _ in columns], [best for _, best in columns])
    lines = candidate_lines(canvas, Letters(), number)
    listed = [int(line.plain[:5]) for line in lines]
    soft = {place: best for place, (stage, best) in enumerate(columns, 1) if stage in (SOFT_MASK, SOFT)}
    assert listed == sorted(listed) and set(listed) <= soft.keys() and len(listed) == min(number, len(soft))
    others = [best for place, best in soft.items() if place not in listed]
    assert not others or not listed or max(soft[place] for place in listed) <= min(others) + 1e-6


def test_a_line_of_candidates() -> None:
    (line,) = candidate_lines(soft_canvas([DECODED, SOFT], [1.0, 0.75]), Letters(), 8)
    assert line.plain == f"    2  {MASK_SIGN} 0.50   b 0.38   c 0.12"
    (line,) = candidate_lines(soft_canvas([SOFT_MASK], [1.0]), Letters(), 8)
    assert line.plain == f"    1  {MASK_SIGN} 0.50   b 0.50", "a weight of 0 is none"
    assert candidate_lines(canvas_of([MASK, DECODED]), Letters(), 8) == [], "a hard canvas has none"


def test_candidates_are_one_line_and_harmless() -> None:
    hostile = SimpleNamespace(decode=lambda ids: "\x1b[2J\n\t[red]")
    (line,) = candidate_lines(soft_canvas([SOFT], [0.75]), hostile, 8)  # type: ignore[arg-type]
    assert line.plain.count("\ufffd[2J↵⇥[red]") == 2 and "\n" not in line.plain


def test_candidates_stand_below_the_canvas_and_fit() -> None:
    shown, file = screen(height=20, width=80)
    shown.console.print(replace(shown, listed=8).frame(soft_canvas([SOFT] * 2000, [0.6] * 2000)))
    lines = file.getvalue().rstrip("\n").splitlines()
    assert len(lines) <= 20 and "forward" in lines[0]
    assert ["0.30" in line for line in lines[-9:]] == [False] + [True] * 8


def screen(height: int = 40, terminal: bool = True, width: int = 20) -> tuple[Screen, io.StringIO]:
    file = io.StringIO()
    console = Console(file=file, width=width, height=height, force_terminal=terminal, markup=False, highlight=False)
    live = Live(console=console, auto_refresh=False) if terminal else None
    return Screen(tokenizer=Letters(), delay=0.0, console=console, live=live), file


@pytest.mark.parametrize("terminal", [True, False])
def test_frames_on_a_terminal_and_elsewhere(terminal: bool) -> None:
    from tests.toy import toy

    model = toy()
    canvas = Canvas.blank([[1, 2]], 4, mask_id=model.outline.blank_id)
    shown, file = screen(terminal=terminal)
    with shown:
        for step in llada(4).stream(model, canvas):
            shown.show(step)
    numbers = [line for line in file.getvalue().splitlines() if "forward " in line]
    if terminal:
        assert [f"forward {nfe}," in line for nfe, line in zip(range(5), numbers, strict=False)] == [True] * 5
    else:
        assert len(numbers) == 1 and "forward 4, 4 of 4" in numbers[0]


def test_a_long_canvas_is_shown_where_it_fills() -> None:
    shown, _ = screen(height=16)
    stages = [DECODED] * 600 + [MASK] * 20 + [DECODED] * 600
    window = shown._window(canvas_text(canvas_of(stages), Letters()))
    assert MASK_SIGN in window.plain and len(window.plain.splitlines()) == 10
    short = canvas_text(canvas_of([MASK]), Letters())
    assert shown._window(short) is short
    done = shown._window(canvas_text(canvas_of([DECODED] * 600), Letters()))
    assert len(done.plain.splitlines()) == 10 and done.plain.endswith(chr(ord("a") + 600 % 26))
