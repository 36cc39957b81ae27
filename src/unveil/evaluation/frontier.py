"""The frontier as numbers: grids of settings, the efficient ones, the area under their staircase, the best at a budget.

The staircase of a family at n forwards is the best accuracy among its settings that need at most n on average, 0 where
none does. The area under it is its mean over the logarithm of n, over one range for all families: a share, as accuracy
is. Intervals resample the problems, the same ones for all families, so that differences are paired.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from unveil.decoding.spec import expand, grid_items
from unveil.evaluation.plots import GRID
from unveil.evaluation.statistics import Difference, paired_difference
from unveil.tasks.task import Generated, Problem

RESAMPLES = 2000
SMALLEST_BLOCK = 8
# What is searched: recipe, setting, its values. The last ones open a canvas of 64 in a few forwards.
HEURISTICS = (
    ("fast_dllm", "threshold", "0.1|0.2|0.3|0.4|0.5|0.6|0.7|0.8|0.9|0.95"),
    ("fast_dllm", "factor", "0.1|0.25|0.5|1|1.5|2|3|4|6|8|16|32"),
    ("eb_sampler", "gamma", "0.001|0.01|0.03|0.1|0.3|1|2|4|8|16|32"),
)


class Point(NamedTuple):
    """What a setting costs and gives."""

    forwards: float  # mean over the problems
    accuracy: float


class Span(NamedTuple):
    """The range of forwards over which areas are compared."""

    low: float
    high: float


class Family(NamedTuple):
    """Settings on one line: of one recipe, with the same settings varying and the same ones fixed."""

    name: str  # "fast_dllm:threshold,block=32": what varies has no value
    varying: tuple[str, ...]
    grids: tuple[str, ...]  # as they were asked for
    settings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """One setting, with what every problem gave."""

    result: Mapping[str, Any]  # as `Result.to_json` gives it
    correct: Float[np.ndarray, " n"]  # 0 or 1
    forwards: Float[np.ndarray, " n"]

    @property
    def sampler(self) -> str:
        """The setting."""
        return str(self.result["sampler"])

    @property
    def point(self) -> Point:
        """Means over the problems."""
        return Point(float(self.forwards.mean()), float(self.correct.mean()))


class Search(NamedTuple):
    """Which settings were tried on generated validation problems, and which go on to the test problems."""

    num_problems: int
    seed: int
    families: list[Family]
    kept: list[Family]
    tried: Mapping[str, Measured]  # by sampler


class Area(NamedTuple):
    """The area under a family's staircase, with its 95 % interval."""

    family: str
    area: float
    ci_low: float
    ci_high: float
    behind: Difference | None  # the largest area minus this one; None for the largest


class AtBudget(NamedTuple):
    """A family's best setting within a budget of forwards."""

    budget: float
    family: str
    best: Measured | None  # None: no setting is so fast
    behind: Difference | None  # accuracy of the best family minus this one's; None for the best, and without a setting


def families_of(specs: Sequence[str]) -> list[Family]:
    """One family for all grids in which the same settings of a recipe vary and the others are equal."""
    found: dict[str, Family] = {}
    for spec in specs:
        recipe, items = grid_items(spec)
        varying = tuple(key for key, _, values in items if len(values) > 1)
        texts = [key if key in varying or not equals else f"{key}={values[0]}" for key, equals, values in items]
        name = recipe + (":" if items else "") + ",".join(texts)
        known = found.get(name, Family(name, varying, (), ()))
        settings = dict.fromkeys([*known.settings, *expand(spec)])
        found[name] = Family(name, varying, (*known.grids, spec), tuple(settings))
    return list(found.values())


def block_sizes(num_masks: int) -> list[int]:
    """8, 16, 32 and so on while they are smaller than the canvas, then the whole canvas."""
    sizes = [SMALLEST_BLOCK << doubled for doubled in range(num_masks.bit_length())]
    return [size for size in sizes if size < num_masks] + [num_masks]


def heuristic_grids(blocks: Sequence[int]) -> list[str]:
    """The specs that a search tries: each heuristic over its setting and these block sizes."""
    sizes = "|".join(map(str, blocks))
    return [f"{recipe}:{key}={values},block={sizes}" for recipe, key, values in HEURISTICS]


def held_out(task: Generated, count: int, seed: int, taken: Collection[str]) -> list[Problem]:
    """`count` generated problems of the validation split, none with a prompt in `taken`.

    ValueError if so many cannot be found.
    """
    if is_dataclass(task) and hasattr(task, "split"):
        task = replace(task, split="validation")
    asked, fresh = count, list[Problem]()
    while asked <= 16 * (count + len(taken)):
        fresh = [problem for problem in task.generate(asked, seed) if problem.prompt not in taken][:count]
        if len(fresh) == count:
            return fresh
        asked *= 2
    raise ValueError(
        f"only {len(fresh)} of {count} validation problems of {task.name} are none of the {len(taken)} test problems: "
        "search on fewer, or test on fewer"
    )


def efficient(points: Sequence[Point]) -> list[int]:
    """Numbers of the points that no other beats (as fast and as accurate, better in one); fastest first.

    Of equal points only the first.
    """
    kept, most = list[int](), -math.inf
    for number in sorted(range(len(points)), key=lambda i: (points[i].forwards, -points[i].accuracy)):
        if points[number].accuracy > most:
            kept.append(number)
            most = points[number].accuracy
    return kept


def kept_of(family: Family, points: Mapping[str, Point]) -> Family:
    """The family with its efficient settings only, fastest first."""
    numbers = efficient([points[spec] for spec in family.settings])
    return family._replace(settings=tuple(family.settings[number] for number in numbers))


def best(points: Sequence[Point], budget: float) -> int | None:
    """The number of the most accurate point within `budget` forwards, of equal ones the fastest; None for none."""
    within = [number for number, point in enumerate(points) if point.forwards <= budget]
    return max(within, key=lambda i: (points[i].accuracy, -points[i].forwards), default=None)


def span_of(points: Sequence[Point]) -> Span:
    """From the fastest point to the slowest. ValueError without points."""
    if not points:
        raise ValueError("no points: evaluate at least one sampler")
    return Span(min(point.forwards for point in points), max(point.forwards for point in points))


def area(points: Sequence[Point], span: Span) -> float:
    """The mean of the staircase over log(forwards) in the span, from 0 to 1. ValueError unless 0 < low < high."""
    if not 0 < span.low < span.high < math.inf:
        raise ValueError(f"the range of forwards is {span.low:g} to {span.high:g}; it needs 0 < low < high, as in 2-32")
    forwards, accuracy = np.array(sorted(points), np.float64).reshape(-1, 2).T
    return _area(forwards, accuracy, span)


def span_from(text: str | None) -> Span | None:
    """The range of "2-32". ValueError unless 0 < low < high."""
    if text is None:
        return None
    low, _, high = text.partition("-")
    try:
        span = Span(float(low), float(high))
    except ValueError:
        raise ValueError(f"--range is {text!r}; write two numbers of forwards, such as 2-32") from None
    area([], span)
    return span


def _area(forwards: Float[np.ndarray, " S"], accuracy: Float[np.ndarray, " S"], span: Span) -> float:
    """Of points sorted by forwards."""
    height = np.maximum.accumulate(accuracy)
    edges = np.log(np.append(np.clip(forwards, *span), span.high))
    return float((height * np.diff(edges)).sum() / math.log(span.high / span.low))


def areas(families: Mapping[str, Sequence[Measured]], span: Span, *, seed: int = 0) -> list[Area]:
    """The area of each family, its percentile interval, and how far it lies behind the largest.

    All settings must have been measured on the same problems. ValueError as `area`.
    """
    first = next(iter(families.values()))[0]
    size = len(first.correct)
    rng = np.random.default_rng(seed)
    shares = rng.multinomial(size, [1 / size] * size, size=RESAMPLES) / size
    values = {name: area([one.point for one in family], span) for name, family in families.items()}
    drawn = {name: _resampled(family, shares, span) for name, family in families.items()}
    top = max(values, key=lambda name: values[name])
    found = []
    for name, value in values.items():
        low, high = np.quantile(drawn[name], [0.025, 0.975])
        worse = np.quantile(drawn[top] - drawn[name], [0.025, 0.975])
        behind = None if name == top else Difference(values[top] - value, float(worse[0]), float(worse[1]))
        found.append(Area(name, value, float(low), float(high), behind))
    return found


def _resampled(family: Sequence[Measured], shares: Float[np.ndarray, "R n"], span: Span) -> Float[np.ndarray, " R"]:
    """The area for each resampling of the problems, given as the share of each problem."""
    forwards = shares @ np.stack([one.forwards for one in family], axis=1)
    accuracy = shares @ np.stack([one.correct for one in family], axis=1)
    order = forwards.argsort(axis=1, kind="stable")
    forwards, accuracy = (np.take_along_axis(x, order, axis=1) for x in (forwards, accuracy))
    return np.array([_area(f, a, span) for f, a in zip(forwards, accuracy, strict=True)])


def at_budget(
    families: Mapping[str, Sequence[Measured]], budget: float, chosen_by: Mapping[str, Point] | None = None
) -> list[AtBudget]:
    """Each family's best setting with at most `budget` forwards, and how far it is behind the best family's.

    `chosen_by` has the points that decide which setting is best, by sampler; without it those measured here do.
    """
    picked: dict[str, Measured | None] = {}
    for name, family in families.items():
        points = [one.point if chosen_by is None else chosen_by[one.sampler] for one in family]
        number = best(points, budget)
        picked[name] = None if number is None else family[number]
    able = {name: one for name, one in picked.items() if one is not None}
    top = max(able, key=lambda name: able[name].point.accuracy, default=None)
    found = []
    for name, one in picked.items():
        behind = None if one is None or top in (None, name) else paired_difference(able[top].correct, one.correct)
        found.append(AtBudget(budget, name, one, behind))
    return found


def plotted(family: Family, results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The results as `plot_frontier` draws a family in one line: all that varies is said at the points.

    What varies beside the setting along the line names it too: families of one recipe are different lines.
    """
    along = next((key for key in family.varying if key in GRID), None)
    beside = [key for key in family.varying if key != along]
    if along is None or not beside:
        return [dict(result) for result in results]
    shown = []
    for result in results:
        recipe, items = grid_items(str(result["sampler"]))
        values = {key: value for key, _, (value,) in items}
        extra = "".join(f" {key} {values[key]}" for key in beside)
        texts = [f"{key}={value}" + extra * (key == along) for key, value in values.items() if key not in beside]
        shown.append({**result, "sampler": f"{recipe}:{','.join(texts)}", "beside": beside})
    return shown
