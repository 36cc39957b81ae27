r"""4x4 Sudoku: fill the grid so that every row, column and 2x2 box holds 1, 2, 3 and 4.

Text: the puzzle's four lines (0 = empty), a line with "=", then the solution's four lines, 19 characters:
"1000\n0002\n4003\n0000\n=\n" + "1234\n3412\n4123\n2341".

What is held out, and what is not. A puzzle is known by its givens (16 characters). The published test
puzzles (`sudoku_4x4_K.jsonl`) are never generated: `sudoku_test_hashes.json` holds their fingerprints, not
the puzzles. All other puzzles belong to "train" or "validation" by their fingerprint, so the two never meet.
But there are only 288 grids, and all of them occur in training as solutions; there are only 25,728 puzzles
with four givens, and a long training sees most of those not held out, also such that are a held-out puzzle with
its digits renamed. Accuracy here says how well a sampler decodes, not how well a model generalises.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from unveil.tasks.sources import items_of
from unveil.tasks.splits import Drawn, check_split, drawn_for, fingerprint
from unveil.tasks.task import Problem

DRAW = 512  # puzzles drawn at once; fixed, so that the same seed gives the same first puzzles for any count
HOPELESS = 200_000  # draws without a single puzzle kept


class _Grids(NamedTuple):
    """All grids: 12 with the first row 1234, times 24 ways to name the digits. And all puzzles with one solution."""

    names: UInt8[np.ndarray, "24 5"]  # names[n, d]: what digit d becomes; 0 stays 0
    canonical: UInt8[np.ndarray, "12 16"]
    all: UInt8[np.ndarray, "288 16"]
    puzzles: Int64[np.ndarray, "P 2"]  # (canonical grid, given cells as bits), by number of givens
    start: Int64[np.ndarray, " 18"]  # puzzles[start[k] : start[k + 1]] have k givens


def _whole(lines: UInt8[np.ndarray, "N 4 4"]) -> Bool[np.ndarray, " N"]:
    """Every line holds 1, 2, 3 and 4."""
    whole: Bool[np.ndarray, " N"] = (np.bitwise_or.reduce(1 << lines, axis=-1) == 0b11110).all(-1)
    return whole


def _one_solution(
    canonical: UInt8[np.ndarray, "12 16"], grids: UInt8[np.ndarray, "288 16"]
) -> Bool[np.ndarray, "12 65536"]:
    """Whether the given cells (bits of the column's number) leave the canonical grid as the only solution."""
    shared = (canonical[:, None] == grids) @ (1 << np.arange(16))  # (12, 288) the cells in which two grids agree
    several = np.zeros((12, 1 << 16), bool)
    np.put_along_axis(several, shared, True, axis=1)
    several[:, -1] = False  # a grid agrees with itself wholly, with no other
    for bit in range(16):  # fewer givens are never less ambiguous: pass on to all subsets
        halves = several.reshape(12, -1, 2, 1 << bit)
        halves[:, :, 0] |= halves[:, :, 1]
    return ~several


@cache
def _grids() -> _Grids:
    rows = np.array(list(permutations(range(1, 5))), np.uint8)
    below = rows[np.indices((24, 24, 24)).reshape(3, -1).T]  # (13824, 3, 4)
    boards = np.concatenate([np.broadcast_to(rows[:1], (len(below), 1, 4)), below], axis=1)
    boxes = boards.reshape(-1, 2, 2, 2, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 4, 4)
    canonical = boards[_whole(boards.transpose(0, 2, 1)) & _whole(boxes)].reshape(-1, 16)
    names = np.concatenate([np.zeros((24, 1), np.uint8), rows], axis=1)
    grids = names[:, canonical].reshape(-1, 16)
    puzzles = np.argwhere(_one_solution(canonical, grids))
    givens = (puzzles[:, 1:] >> np.arange(16) & 1).sum(1)
    order = np.argsort(givens, kind="stable")
    return _Grids(names, canonical, grids, puzzles[order], np.searchsorted(givens[order], np.arange(18)))


@cache
def _solutions() -> frozenset[str]:
    return frozenset(_lines(digits) for digits in _strings(_grids().all))


@cache
def _test_fingerprints() -> frozenset[str]:
    return frozenset(json.loads(Path(__file__).with_name("sudoku_test_hashes.json").read_text()))


def _strings(cells: UInt8[np.ndarray, "N 16"]) -> list[str]:
    text = (cells + ord("0")).tobytes().decode()
    return [text[i : i + 16] for i in range(0, len(text), 16)]


def _lines(digits: str) -> str:
    return "\n".join(digits[i : i + 4] for i in range(0, 16, 4))


def _givens(text: object) -> str | None:
    """The 16 characters of a puzzle of four lines, or None if it is no such puzzle."""
    lines = text.strip() if isinstance(text, str) else ""
    digits = lines.replace("\n", "")
    return digits if len(digits) == 16 and set(digits) <= set("01234") and _lines(digits) == lines else None


def _fits(givens: str, solution: str) -> bool:
    return all(given in ("0", digit) for given, digit in zip(givens, solution.replace("\n", ""), strict=True))


@dataclass(frozen=True, kw_only=True)
class Sudoku:
    """Puzzles with exactly one solution, as the published test files have; the number of givens is drawn evenly.

    `givens` (fewest, most), within 4 to 16: with three givens no puzzle has one solution. `split`: which
    puzzles `generate` and `arrays` may yield; training asks for "train", all else keeps "validation".
    `exclude`: givens (16 characters each) never to yield, besides the published test puzzles.
    """

    name: ClassVar[str] = "sudoku"
    num_masks: ClassVar[int] = 19
    describe: ClassVar[str] = (
        "4x4 Sudoku: the rows of the puzzle, '=', then the solved grid; right when rows, columns, boxes and givens hold"
    )

    givens: tuple[int, int] = (4, 12)
    split: Drawn = "validation"
    exclude: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        fewest, most = self.givens
        if not 4 <= fewest <= most <= 16:
            raise ValueError(f"givens is {self.givens}; it must be (fewest, most) with 4 <= fewest <= most <= 16")
        check_split(self.split, get_args(Drawn))
        for puzzle in self.exclude:
            if len(puzzle) != 16 or not set(puzzle) <= set("01234"):
                raise ValueError(f"exclude holds {puzzle!r}; a puzzle is 16 digits from 0 to 4 without line breaks")

    def arrays(
        self, count: int, rng: np.random.Generator
    ) -> tuple[UInt8[np.ndarray, "count 16"], UInt8[np.ndarray, "count 16"]]:
        """Puzzles (0 = empty) and their solutions, row by row, drawn independently (so one may come twice).

        ValueError if `count` is below 1, or if `exclude` leaves nothing to draw.
        """
        if count < 1:
            raise ValueError(f"count is {count}; it must be at least 1")
        banned = _test_fingerprints() | {fingerprint(puzzle) for puzzle in self.exclude}
        kept: list[UInt8[np.ndarray, "n 2 16"]] = []
        num_drawn = num_kept = 0
        while num_kept < count:
            pairs = self._draw(rng)
            kept.append(pairs[self._allowed(_strings(pairs[:, 0]), banned)])
            num_drawn, num_kept = num_drawn + DRAW, num_kept + len(kept[-1])
            if not num_kept and num_drawn > HOPELESS:
                raise ValueError(f"no {self.split} puzzle with {self.givens} givens is left; exclude fewer puzzles")
        pairs = np.concatenate(kept)[:count]
        return pairs[:, 0], pairs[:, 1]

    def _draw(self, rng: np.random.Generator) -> UInt8[np.ndarray, "n 2 16"]:
        grids = _grids()
        num_givens = rng.integers(self.givens[0], self.givens[1] + 1, size=DRAW)
        grid, bits = grids.puzzles[rng.integers(grids.start[num_givens], grids.start[num_givens + 1])].T
        solutions = grids.names[rng.integers(24, size=DRAW)[:, None], grids.canonical[grid]]
        given = (bits[:, None] >> np.arange(16) & 1).astype(np.uint8)
        return np.stack([solutions * given, solutions], axis=1)

    def _allowed(self, puzzles: Iterable[str], banned: frozenset[str]) -> Bool[np.ndarray, " n"]:
        """One puzzle in sixteen is for validation."""
        prints = [fingerprint(puzzle) for puzzle in puzzles]
        return np.array([p not in banned and drawn_for(p) == self.split for p in prints])

    def generate(self, count: int, seed: int) -> list[Problem]:
        """`count` puzzles of the split. ValueError as in `arrays`, and for a negative seed."""
        if seed < 0:
            raise ValueError(f"seed is {seed}; it must be at least 0")
        puzzles, solutions = self.arrays(count, np.random.default_rng(seed))
        pairs = zip(_strings(puzzles), _strings(solutions), strict=True)
        return [self.problem(p, _lines(s), f"{self.split}-{seed}-{i}") for i, (p, s) in enumerate(pairs)]

    @staticmethod
    def problem(givens: str, answer: str | None, id: str) -> Problem:
        """The problem of a puzzle of 16 characters."""
        return Problem(prompt=_lines(givens) + "\n=\n", answer=answer, id=id, data={"givens": givens})

    def read(self, path: str | PathLike[str]) -> list[Problem]:
        """Lines {"input": four lines of 0 to 4, "output": a solution (may be left out)}; the split does not matter.

        ValueError names the file and the line that is not JSON, holds no puzzle, or a wrong solution.
        """
        return [self._parsed(*item) for item in items_of(path)]

    def _parsed(self, place: str, id: str, item: Mapping[str, Any]) -> Problem:
        givens, answer = _givens(item.get("input")), item.get("output")
        if givens is None:
            raise ValueError(f"{place}: 'input' is {item.get('input')!r}; it must be four lines of four digits 0 to 4")
        problem = self.problem(givens, answer if isinstance(answer, str) else None, id)
        if answer is not None and not self.correct(problem, str(answer)):
            raise ValueError(f"{place}: 'output' is {answer!r}, which does not solve the puzzle; correct or remove it")
        if answer is None and not any(_fits(givens, solution) for solution in _solutions()):
            raise ValueError(f"{place}: the puzzle {item['input']!r} has no solution; correct or remove the line")
        return problem

    def correct(self, problem: Problem, text: str) -> bool:
        """Whether `text`, blanks at its ends aside, is a whole grid that keeps the rules and the givens."""
        answer = text.strip()
        return answer in _solutions() and _fits(problem.data["givens"], answer)
