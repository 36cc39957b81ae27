r"""Multidimensional classification: on which side of an unseen boundary does a point lie?

Source: Piskorz et al. 2025, arXiv 2511.21338, appendix A.8: points of three whole numbers from 1 to 100, labels "Above"
and "Below", four kinds of boundary with five seeds each, 100 examples and 1000 questions, balanced. The paper does not
print its text; ours is in the manner of its other tasks: "Point: 12 55 90\nAnswer:[Above].\n\n". Our choice, too, are
the polynomials' degree and scale, "Above" for scikit-learn's class 1, and that moons and circles come as by default,
without noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import ClassVar, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Int

from unveil.diagnostics.context.few_shot.shots import Shot, Shots

Kind = Literal["nonlinear", "swiss_roll", "moons", "circles"]

NUM_SEEDS = 5
NUM_EXAMPLES = 100
NUM_QUESTIONS = 1000
NUM_DRAWN = 5000  # points, of which the first that are needed of each label are kept
LARGEST = 100
DEGREE = 2


@dataclass(frozen=True, kw_only=True)
class Classification:
    """`kind`: how the classes lie. `seed`, 0 to 4: which points, and which boundary where it is random.

    All examples are relevant. Needs scikit-learn.
    """

    labels: ClassVar[tuple[str, ...]] = ("Above", "Below")
    system: ClassVar[str] = ""

    kind: Kind
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind is {self.kind!r}; it must be one of {', '.join(get_args(Kind))}")
        if not 0 <= self.seed < NUM_SEEDS:
            raise ValueError(f"seed is {self.seed}; it must be from 0 to {NUM_SEEDS - 1}")

    @property
    def name(self) -> str:
        """As in "moons-3"."""
        return f"{self.kind}-{self.seed}"

    @property
    def describe(self) -> str:
        """One sentence for a stranger: what is asked."""
        kind = self.kind.replace("_", " ")
        return f"Classification: the side, above or below, of a point of three numbers ({kind}, seed {self.seed})"

    def shots(self, relevant: int, distractors: int, draw: int) -> Shots:
        """The first of the draw's order of all examples; any number of them has as many of each label, but for one.

        ValueError if `relevant` is not from 0 to 100, if there are `distractors`, or if `draw` is below 0.
        """
        if distractors:
            raise ValueError(f"distractors is {distractors}; all examples of {self.name} keep its rule: set it to 0")
        if not 0 <= relevant <= NUM_EXAMPLES:
            raise ValueError(f"relevant is {relevant}; it must be from 0 to {NUM_EXAMPLES}, {self.name} has no more")
        if draw < 0:
            raise ValueError(f"draw is {draw}; it must be at least 0")
        groups = [group[: NUM_EXAMPLES // 2] for group in self._groups]
        return Shots(_in_turn(groups, Random(f"{self.name} {draw}"))[:relevant], [])

    def questions(self, count: int) -> list[Shot]:
        """The first `count` test points, balanced as the examples. ValueError if it is not from 0 to 1000."""
        if not 0 <= count <= NUM_QUESTIONS:
            raise ValueError(f"count is {count}; it must be from 0 to {NUM_QUESTIONS}, {self.name} has no more")
        groups = [group[NUM_EXAMPLES // 2 :] for group in self._groups]
        return _in_turn(groups, Random(f"{self.name} questions"))[:count]

    @cached_property
    def _groups(self) -> list[list[Shot]]:
        """For each label examples, then questions; no point is there twice."""
        points, above = _drawn(self.kind, self.seed)
        labelled = dict(zip(map(tuple, points.tolist()), above.tolist(), strict=True))
        num_kept = (NUM_EXAMPLES + NUM_QUESTIONS) // len(self.labels)
        groups = []
        for label in self.labels:
            of_label = [point for point, high in labelled.items() if high == (label == "Above")]
            assert len(of_label) >= num_kept
            groups.append([_shot(point, label) for point in of_label[:num_kept]])
        return groups


def _drawn(kind: Kind, seed: int) -> tuple[Int[np.ndarray, "N 3"], Bool[np.ndarray, " N"]]:
    """Points in random order, some of them twice, and whether they are above. ValueError without scikit-learn."""
    try:
        from sklearn.datasets import make_circles, make_moons, make_swiss_roll
        from sklearn.preprocessing import PolynomialFeatures
    except ImportError:
        raise ValueError(f"{kind} needs scikit-learn: pip install 'unveil[diagnose]', or leave it out") from None
    rng = np.random.RandomState(seed)  # unlike `default_rng`, the same numbers in all versions
    anywhere = rng.randint(1, LARGEST + 1, (NUM_DRAWN, 3))
    if kind == "nonlinear":
        # from -1 to 1 and without a constant term, every polynomial has both signs
        scaled = 2 * (anywhere - 1) / (LARGEST - 1) - 1
        terms = PolynomialFeatures(DEGREE, include_bias=False).fit_transform(scaled)
        return anywhere, terms @ rng.standard_normal(terms.shape[1]) > 0  # where its logistic is above 0.5
    if kind == "swiss_roll":
        roll, along = make_swiss_roll(NUM_DRAWN, random_state=rng)
        return _whole(roll), along > np.median(along)
    plane, classes = (make_moons if kind == "moons" else make_circles)(NUM_DRAWN, random_state=rng)
    return np.column_stack([_whole(plane), anywhere[:, 2]]), classes == 1


def _whole(points: Float[np.ndarray, "N D"]) -> Int[np.ndarray, "N D"]:
    """Each dimension stretched to the whole numbers from 1 to 100."""
    low, high = points.min(axis=0), points.max(axis=0)
    return np.rint(1 + (LARGEST - 1) * (points - low) / (high - low)).astype(int)


def _in_turn(groups: Sequence[Sequence[Shot]], rng: Random) -> list[Shot]:
    """Each group shuffled; then one of each, in random order, then the next ones."""
    shuffled = [rng.sample(group, len(group)) for group in groups]
    return [shot for row in zip(*shuffled, strict=True) for shot in rng.sample(row, len(row))]


def _shot(point: Sequence[int], label: str) -> Shot:
    ask = "Point: " + " ".join(map(str, point))
    return Shot(ask=ask, opening="Answer:[", answer=label, closing="].", point=tuple(map(float, point)))
