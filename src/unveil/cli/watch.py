"""The canvas as it fills: masks, tokens as they appear, colour by stage and confidence."""

import time
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from unveil.terminal import out, plain

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.text import Text

    from unveil.canvas import Canvas
    from unveil.checkpoints.tokenizer import Codec
    from unveil.sampling.sampler import Step

MASK_SIGN, SOFT_SIGN, END_SIGN = "░", "▒", "∎"
AROUND = 6  # lines of a frame that are not the canvas
LISTED = 8  # positions whose candidates are shown, at most


@dataclass(frozen=True, kw_only=True, eq=False)
class Screen:
    """Shows the first row of every step, for `delay` seconds each; without a terminal only the last one."""

    tokenizer: "Codec"
    delay: float
    console: "Console"
    live: "Live | None"
    listed: int = 0  # soft positions to list with their candidates, at most

    @classmethod
    def open(cls, tokenizer: "Codec", delay: float, listed: int = 0) -> "Screen":
        """A screen on standard output."""
        from rich.live import Live

        console = out()
        live = Live(console=console, auto_refresh=False, vertical_overflow="crop") if console.is_terminal else None
        return cls(tokenizer=tokenizer, delay=delay, console=console, live=live, listed=listed)

    def __enter__(self) -> "Screen":
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.live is not None:
            self.live.stop()

    def show(self, step: "Step") -> None:
        """One frame; before the first forward also the canvas it starts from."""
        first = int(step.before.nfe[0]) == 0
        for canvas in (step.before, step.after) if first else (step.after,):
            row = canvas.rows(canvas.column[:1])
            if self.live is not None:
                self.live.update(self.frame(row), refresh=True)
                time.sleep(self.delay)
            elif bool(row.done[0]):
                self.console.print(self.frame(row))

    def frame(self, canvas: "Canvas") -> "RenderableType":
        """A one-row canvas with its counter and legend, and what its soft tokens hold."""
        from rich.console import Group

        text = self._window(canvas_text(canvas, self.tokenizer))
        lines = candidate_lines(canvas, self.tokenizer, self.listed)
        return Group(counter(canvas), "", text, "", legend(soft=canvas.soft_ids.shape[2] > 0), *lines)

    def _window(self, text: "Text") -> "Text":
        """The lines that fit on the terminal: from a little above the first mask on."""
        from rich.text import Text

        lines = text.wrap(self.console, self.console.width)
        room = max(1, self.console.height - AROUND - self.listed)
        if self.live is None or len(lines) <= room:
            return text
        masked = [place for place, line in enumerate(lines) if MASK_SIGN in line.plain or SOFT_SIGN in line.plain]
        first = max(0, min((masked or [len(lines)])[0] - room // 2, len(lines) - room))
        return Text("\n").join(lines[first : first + room])


def canvas_text(canvas: "Canvas", tokenizer: "Codec") -> "Text":
    """The columns of a one-row canvas, in order, each in its own style."""
    from rich.text import Text

    from unveil.canvas import GIVEN, MASK, SOFT, SOFT_MASK

    text = Text()
    now = int(canvas.nfe[0]) - 1
    columns = zip(
        canvas.tokens[0].tolist(), canvas.stage[0].tolist(), canvas.confidence[0].tolist(), canvas.written[0].tolist(),
        strict=True,
    )  # fmt: skip
    for token, stage, confidence, written in list(columns)[: int(canvas.end[0])]:
        if stage in (MASK, SOFT_MASK):
            text.append(MASK_SIGN if stage == MASK else SOFT_SIGN, "dim" if stage == MASK else "magenta")
            continue
        word = END_SIGN if token in canvas.end_ids else plain(tokenizer.decode([token]))
        style = colour(confidence) + (" italic" if stage == SOFT else "") + (" reverse" if written == now else "")
        text.append(word, "dim" if stage == GIVEN else style)
    return text


def candidate_lines(canvas: "Canvas", tokenizer: "Codec", number: int) -> "list[Text]":
    """What the soft positions of a one-row canvas show the model: a line for each of the `number` least certain."""
    from rich.text import Text

    from unveil.canvas import SOFT, SOFT_MASK

    if number == 0 or canvas.soft_ids.shape[2] == 0:
        return []
    soft = (canvas.stage[0] == SOFT_MASK) | (canvas.stage[0] == SOFT)
    # [MASK] has a share of its own, which says nothing about the candidates.
    weights = canvas.soft_weights[0].masked_fill(canvas.soft_ids[0] == canvas.mask_id, 0)
    certainty = weights.amax(1) / weights.sum(1).clamp_min(1e-12)
    order = certainty.masked_fill(~soft, float("inf")).argsort(stable=True)[: min(number, int(soft.sum()))]
    lines = []
    for column in sorted(order.tolist()):
        mixture = zip(canvas.soft_ids[0, column].tolist(), canvas.soft_weights[0, column].tolist(), strict=True)
        words = [f"{_word(token, canvas, tokenizer)} {weight:.2f}" for token, weight in mixture if weight != 0]
        lines.append(Text(f"{column:5}  " + "   ".join(words), "magenta", no_wrap=True, overflow="ellipsis"))
    return lines


def _word(token: int, canvas: "Canvas", tokenizer: "Codec") -> str:
    """A token on one line."""
    if token == canvas.mask_id or token in canvas.end_ids:
        return MASK_SIGN if token == canvas.mask_id else END_SIGN
    return plain(tokenizer.decode([token])).replace("\n", "↵").replace("\t", "⇥")


def colour(confidence: float) -> str:
    """Red over yellow to green for 0 to 1."""
    c = min(1.0, max(0.0, confidence))
    return f"rgb({round(215 * min(1, 2 - 2 * c))},{round(190 * min(1, 2 * c))},60)"


def counter(canvas: "Canvas") -> "Text":
    """Forwards and tokens so far."""
    from rich.text import Text

    nfe, written = int(canvas.nfe[0]), int(canvas.chosen.sum())
    rate = f", {written / nfe:.2f} tokens per forward" if nfe else ""
    return Text(f"forward {nfe}, {written} of {written + int(canvas.num_undecided)} tokens{rate}", "bold")


def legend(*, soft: bool) -> "Text":
    """What the signs and colours mean."""
    from rich.text import Text

    text = Text.assemble((MASK_SIGN, "dim"), (" mask   ", "dim"))
    if soft:
        text.append(f"{SOFT_SIGN} soft mask   ", "magenta")
    text.append("confidence ", "dim")
    for tenth in range(0, 11, 2):
        text.append("■", colour(tenth / 10))
    return text.append(" low to high   ", "dim").append("written now", "reverse").append("   given", "dim")
