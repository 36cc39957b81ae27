"""What each probe asks, and how its table and its findings are got from records: by hand, on few of them."""

import re
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.diagnostics.context.made_up import LETTERS, record, records_of
from unveil.diagnostics.context.attribution import Attribution
from unveil.diagnostics.context.cells import Cell
from unveil.diagnostics.context.few_shot.hotpot import HotpotQA
from unveil.diagnostics.context.few_shot.shots import Arrangement
from unveil.diagnostics.context.few_shot.suite import suite
from unveil.diagnostics.context.probes import Probe, chosen, kinds, probe, quick
from unveil.diagnostics.context.probes.appended import Confidence, Degradation, Dots, Masks, Need, Steps
from unveil.diagnostics.context.probes.elsewhere import Points, Texts
from unveil.diagnostics.context.probes.placement import (
    Gradients,
    GradientsInfill,
    Length,
    MasksPosition,
    Position,
    Question,
)
from unveil.diagnostics.context.readings import Decoded, FirstMask
from unveil.diagnostics.context.tables import answers, correlation, finding, first_minus_last, how, resampled
from unveil.evaluation.statistics import mean_interval, wilson

KINDS = kinds()
ALL = [kind() for kind in KINDS.values()]
PAPERS = [found for found in ALL if found.source]  # those of the paper, whose settings are the paper's
TWO = Masks(grid=(2, 50))


def places(found: Probe, series: str) -> list[float]:
    return [point.x for point in found.points() if point.series == series]


def arrangements(found: Probe) -> list[Arrangement]:
    return [point.cell.arrangement for point in found.points()]


def keys(found: Probe) -> set[str]:
    return {point.cell.key for point in found.points()}


@pytest.mark.parametrize("found", ALL, ids=KINDS)
def test_a_probe_explains_itself(found: Probe) -> None:
    assert KINDS[found.name] is type(found)
    assert found.title and found.axis
    assert re.match(r"((section \d, |appendix A\.\d, )?(Figs?\.|Table) \d|$)", found.source), "where the paper has it"
    assert type(found).__doc__ and not re.search(r"\bE\d", f"{type(found).__doc__} {found.source}"), "no number of ours"
    for sentence in (found.varied, found.shows):
        assert sentence[0].isupper() and sentence.endswith(".") and sentence.count(". ") == 0
    places = [(point.series, point.x) for point in found.points()]
    assert len(places) == len(set(places))


@pytest.mark.parametrize("found", PAPERS, ids=lambda found: found.name)
def test_ten_useful_examples_among_forty(found: Probe) -> None:
    sizes = {(a.relevant, a.distractors) for a in arrangements(found)}
    if found.name == "length":
        assert sizes == {(10, distractors) for distractors in (0, 10, 20, 30, 40)}
    elif found.own:
        assert all(distractors == 0 for _, distractors in sizes)
    else:
        assert sizes == {(10, 40)} | ({(2, 8)} if found.name == "need" else set())


def test_position_and_question_are_infilling_with_a_block() -> None:
    assert places(Position(), "one mask") == [0, 10, 20, 30, 40]
    for series in ("question left", "question middle", "question right"):
        assert places(Question(), series) == [0, 10, 20, 30, 40]
    for found in (Position(), Question()):
        assert {(a.order, a.form, a.masks) for a in arrangements(found)} == {("block", "infill", 1)}
    assert keys(Position()) < keys(Question())


def test_masks_are_generation_with_mixed_examples() -> None:
    assert places(Masks(), "one forward") == [2, 5, 10, 20, 50, 100, 150, 200]
    assert {(a.order, a.form) for a in arrangements(Masks())} == {("mixed", "generation")}
    assert tuple(a.masks for a in arrangements(Masks())) == Masks().grid
    assert keys(Confidence()) == keys(Masks())


def test_lines_of_length_have_as_many_added_tokens() -> None:
    for series in {point.series for point in Dots().points()}:
        assert places(Dots(), series) == [0, 48, 98, 198]
    for point in Dots().points():
        a = point.cell.arrangement
        assert a.masks + a.fillers == point.x + (1 if a.form == "infill" else 2)
    fillers = {point.series: point.cell.arrangement.filler for point in Dots().points()}
    assert list(fillers.values()) == ["none", "dots", "ends", "dots"]
    assert len(keys(Dots()) & keys(Masks())) == 4


def test_one_forward_is_the_same_cell_in_all_probes_of_masks() -> None:
    for found in (Steps(), Degradation()):
        assert len(keys(found) & keys(Masks())) == 4
    assert len(keys(Need()) & keys(Masks())) == 2
    assert {(a.order, a.form) for a in arrangements(MasksPosition())} == {("block", "generation")}


def test_readings() -> None:
    def readings(found: Probe) -> list[object]:
        return list(dict.fromkeys(point.cell.reading for point in found.points()))

    both = [Decoded(steps=40, remasking="low_confidence"), Decoded(steps=40, remasking="random")]
    assert readings(Steps()) == [FirstMask(), *both]
    assert readings(Degradation()) == [FirstMask(), *(Decoded(steps=n, remasking="random") for n in (2, 4, 6))]
    assert readings(Gradients()) == [Attribution()] and len(keys(Gradients())) == 30
    assert [a.shuffle for a in arrangements(Gradients())] == list(range(30))
    assert Gradients().num_questions == 20 and Masks().num_questions is None


def test_gradients_of_infilling_are_of_all_places_of_the_question() -> None:
    found = GradientsInfill()
    assert {point.cell.reading for point in found.points()} == {Attribution()} and found.num_questions == 20
    assert {(a.form, a.masks, a.order) for a in arrangements(found)} == {("infill", 1, "mixed")}
    for place in ("right", "middle", "left"):
        mine = [point for point in found.points() if point.series == f"question {place}"]
        assert [p.cell.arrangement.shuffle for p in mine] == list(range(30)) == [p.x for p in mine]
        assert {p.cell.arrangement.question for p in mine} == {place}


def test_masks_are_a_share_of_the_input() -> None:
    assert [a.share for a in arrangements(Length())] == [0.0] * 5 + [0.2] * 5


@given(st.integers(1, 4), st.integers(1, 7), st.integers(1, 3), st.randoms(use_true_random=False))
def test_a_line_is_the_mean_of_its_records(tasks: int, questions: int, draws: int, rng) -> None:
    (point, _) = TWO.points()
    said = {
        (task, question, draw): rng.choice(["A", "B", "C", "?"])
        for task in range(tasks)
        for question in range(questions)
        for draw in range(draws)
    }
    records = [
        record(point.cell, f"T{task}", question, answer, draw=draw, label="B", confidence=0.5, nfe=3)
        for (task, question, draw), answer in said.items()
    ]
    rng.shuffle(records)
    (line,) = answers("masks", [point], records, LETTERS)
    right = [answer == "B" for answer in said.values()]
    assert line["accuracy"] == pytest.approx(fmean(right))
    assert (line["n"], line["test_points"], line["tasks"]) == (len(said), tasks * questions, tasks)
    assert line["says_A"] + line["says_B"] + line["says_C"] + line["says_other"] == pytest.approx(1)
    assert line["says_B"] == pytest.approx(fmean(right))
    assert (line["right_A"], line["right_B"], line["right_C"]) == (0, 1, 0)
    assert (line["masks"], line["columns"], line["nfe"], line["confidence"], line["entropy"]) == (2, 100, 3, 0.5, None)
    assert line["point_low"] <= line["accuracy"] <= line["point_high"]
    if draws == 1:
        assert (line["point_low"], line["point_high"]) == wilson(sum(right), len(right))
    if tasks == 1:
        assert line["task_low"] is line["task_high"] is None
    else:
        means = [fmean(a == "B" for (t, _, _), a in said.items() if t == task) for task in range(tasks)]
        low, high = mean_interval(means)
        assert (line["task_low"], line["task_high"]) == pytest.approx((max(0, low), min(1, high)))


def test_draws_of_a_question_are_no_test_points_of_their_own() -> None:
    (point, _) = TWO.points()
    once = [record(point.cell, task, n, "A") for task in ("T01", "T02") for n in range(20)]
    often = [record(point.cell, task, n, "A", draw=d) for task in ("T01", "T02") for n in range(20) for d in range(9)]
    (one,), (other,) = (answers("masks", [point], records, LETTERS) for records in (once, often))
    assert one["point_low"] == other["point_low"] < 1 and other["n"] == 9 * one["n"]


def right(cells: list[str], told: list[str]) -> list:
    """Records of `TWO`'s or other cells: a string a cell and a task, one character a question, 1 for right."""
    names = [f"T{number}" for number in range(len(told) // len(cells))]
    pairs = [(cell, name) for name in names for cell in cells]
    return [
        record(cell, name, number, "A" if sign == "1" else "B")
        for (cell, name), signs in zip(pairs, told, strict=True)
        for number, sign in enumerate(signs)
    ]


def card_of(found: Probe, told: list[str]) -> dict[str, tuple]:
    cells = list({point.cell.key: point.cell for point in found.points()}.values())
    return {one.name: one for one in found.findings(right(cells, told))}


def test_mask_sensitivity_by_hand() -> None:
    found = card_of(Masks(grid=(2, 10, 50)), ["1111", "1110", "1000", "1100", "1111", "0000"])
    assert found["accuracy with 2 masks"].value == pytest.approx(0.75)
    assert "accuracy with 10 masks" not in found and found["accuracy with 50 masks"].value == pytest.approx(0.125)
    assert found["mask sensitivity, max - min"].value == pytest.approx(0.875 - 0.125)
    assert found["mask sensitivity, (max - min) / max"].value == pytest.approx(0.75 / 0.875)
    cost = found["cost of masks, 2 to 50"]
    assert cost.value == pytest.approx(0.625) and (cost.test_points, cost.tasks) == (8, 2)
    assert cost.low < 0.625 < cost.high


def test_a_model_that_is_never_right_loses_nothing() -> None:
    found = card_of(TWO, ["000", "000"])
    assert found["mask sensitivity, (max - min) / max"].value == 0 == found["mask sensitivity, max - min"].high


def test_the_locality_slope_is_per_whole_context() -> None:
    found = card_of(Position(), ["10000", "11000", "11100", "11110", "11111"])["locality slope"]
    assert found.value == pytest.approx(0.8)
    backwards = card_of(Position(), ["11111", "11110", "11100", "11000", "10000"])["locality slope"]
    assert backwards.value == pytest.approx(-0.8)


def test_what_dots_and_masks_cost() -> None:
    found = card_of(Dots(grid=(2, 50)), ["1111", "1000", "1100", "0100", "1110", "1000"])
    names = ["masks", "dots after 2 masks", "EOS after 2 masks", "dots after infilling"]
    assert list(found) == [f"cost of {name}" for name in names]
    assert [one.value for one in found.values()] == pytest.approx([0.75, 0.5, 0.75, 0.5])


def test_degradation_and_its_mean() -> None:
    found = card_of(Degradation(grid=(2, 50), steps=(2, 4)), ["1111", "1111", "1111", "1110", "1100", "1000"])
    assert [found[f"loss, {name}"].value for name in ("one forward", "2 steps", "4 steps")] == [0, 0.25, 0.5]
    assert found["loss, mean of 2, 4 steps"].value == pytest.approx(0.375)


def test_length_compares_the_longest_prompts() -> None:
    (found,) = card_of(Length(distractors=(0, 40)), ["1111", "1110", "1111", "1000"]).values()
    assert found.value == pytest.approx(0.5) and "40 distractors" in found.name


def test_need_by_hand() -> None:
    few, many, crowded = ["1100", "1000", "0000"], ["1100", "1100", "1110"], ["1100", "1000", "1000"]
    told = [signs for task in zip(few, many, crowded, strict=True) for signs in task]
    cells = [point.cell for point in Need().points()]
    table = Need().table(right(cells, told), LETTERS)
    assert [(line["series"], line["x"], line["change"]) for line in table] == [
        ("T0", 0, 0), ("T1", 0.25, -0.25), ("T2", 0.75, -0.5),
    ]  # fmt: skip
    (found,) = Need().findings(right(cells, told))
    # the gain of the first and third question, the change of the second and fourth
    assert found.value == pytest.approx(np.corrcoef([0, 0, 1], [0, -0.5, -0.5])[0, 1])
    assert found.shown[0] == "-0.50"


def test_need_finds_no_relation_where_there_is_none() -> None:
    """With both sides from the same questions R would be about -0.5."""
    rng, cells = np.random.default_rng(0), [point.cell for point in Need().points()]
    values = []
    for _ in range(30):
        told = ["".join(map(str, rng.integers(0, 2, 20))) for _ in range(3 * 12)]
        (found,) = Need().findings(right(cells, told))
        values.append(found.value)
    assert abs(fmean(values)) < 0.2


def test_a_correlation_of_nothing_is_not_defined() -> None:
    (found,) = card_of(Need(), ["11", "11", "10"] * 2).values()
    assert found.value is found.low is found.high is None and found.shown == ("-", "-")


def test_confidence_and_entropy() -> None:
    two = Confidence(grid=(2, 50))
    sure = {2: (0.9, 0.5), 50: (0.6, 1.5)}
    records = [
        record(point.cell, task, n, "A", confidence=sure[point.x][0], entropy=sure[point.x][1])
        for point in two.points()
        for task in ("T01", "T02")
        for n in range(3)
    ]
    lost, gained = two.findings(records)
    assert (lost.value, gained.value) == pytest.approx((0.3, -1)) and gained.shown[0] == "-1.00 nats"
    table = two.table(records, LETTERS)
    assert [(line["series"], line["x"]) for line in table] == [
        ("confidence", 2), ("confidence", 50), ("entropy", 2), ("entropy", 50),
    ]  # fmt: skip
    assert [line["mean"] for line in table] == pytest.approx([0.9, 0.6, 0.5, 1.5])


def test_gradients_by_place_and_kind() -> None:
    two = Gradients(orders=2, layout=Arrangement(relevant=1, distractors=1))
    kinds = [["relevant", "distractor"], ["distractor", "relevant"]]
    norms = {"masks": 0.5, "answer_mask": 1.0, "last": 0.2, "rest": 0.1, "mask_share": 0.25}
    records = [
        record(point.cell, task, 0, "A", examples=[1.0, 0.5 + order / 4], kinds=kinds[order], **norms)
        for order, point in enumerate(two.points())
        for task in ("T01", "T02")
    ]
    table = {(line["series"], line["x"]): line["mean"] for line in two.table(records, LETTERS)}
    assert table["all examples", 0] == 1 and table["all examples", 1] == pytest.approx(0.625)
    assert table["useful ones", 1] == pytest.approx(0.75) and table["distracting ones", 1] == pytest.approx(0.5)
    assert table["masks after the answer's", None] == 0.5 and table["all tokens but masks", None] == 0.1
    share, columns = two.findings(records)
    assert share.value == pytest.approx(0.25) and columns.value == pytest.approx(49 / 100)
    assert "the 49 masks after" in share.meaning and "(orders of the examples for each question: 2)" in share.meaning
    norms |= {"masks": None, "examples": [1.0], "kinds": ["relevant"]}
    without = [record(two.points()[0].cell, "T01", 0, "A", **norms)]
    assert "masks after the answer's" not in {line["series"] for line in two.table(without, LETTERS)}


def test_gradients_of_infilling_by_place_of_question_and_example() -> None:
    two = GradientsInfill(orders=2, layout=Arrangement(relevant=1, distractors=1))
    level = {"question right": 0.2, "question middle": 0.4, "question left": 0.6}
    records = [
        record(point.cell, task, 0, "A", examples=[level[point.series] + point.x / 10, 1.0], kinds=["relevant"] * 2)
        for point in two.points()
        for task in ("T01", "T02")
    ]
    lines = two.table(records, LETTERS)
    table = {(line["series"], line["x"]): line["mean"] for line in lines}
    assert table == pytest.approx({(s, x): 1.0 if x else norm + 0.05 for s, norm in level.items() for x in (0, 1)})
    assert {(line["probe"], line["n"], line["tasks"]) for line in lines} == {("gradients-infill", 4, 2)}


def test_intervals_compare_the_same_questions() -> None:
    """Accuracy varies much, what masks cost does not: each question loses as much."""
    points = TWO.points()
    records = [
        record(point.cell, task, n, "A", level=n % 2 + (0.25 if point.x == 2 else 0))
        for point in points
        for task in ("T01", "T02")
        for n in range(10)
    ]
    found = finding("", "", first_minus_last, points, records, value=lambda one: one.found["level"])
    assert (found.value, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))


def test_questions_that_were_not_asked_everywhere_are_left_out() -> None:
    two, fifty = (point.cell for point in TWO.points())
    records = [record(two, "T01", n, "A" if n < 2 else "B") for n in range(4)] + [record(fifty, "T01", 0, "A")]
    found = finding("", "", first_minus_last, TWO.points(), records)
    assert found.value == 0 and found.test_points == 1


def test_resampling_draws_tasks_and_questions_within_them() -> None:
    constant = [np.full((5, 1), level) for level in (0.0, 1.0, 5.0)]
    means = resampled(constant, 500)
    assert set(means.ravel()) == {0.0, 1.0, 5.0} and abs(means.mean() - 2) < 0.2
    assert len(set(means.mean(axis=(1, 2)).round(6))) > 5
    alone = resampled([np.array([[0.0], [1.0]])], 4000)
    assert sorted(set(alone.ravel())) == [0, 0.5, 1] and abs((alone == 0.5).mean() - 0.5) < 0.05
    same_task = resampled([np.arange(100.0)[:, None]] * 2, 200)
    assert (same_task[:, 0] != same_task[:, 1]).mean() > 0.9, "a task drawn twice has its questions drawn twice"


def test_findings_are_the_same_every_time() -> None:
    records = records_of([TWO])
    assert TWO.findings(records) == TWO.findings(list(records))


def test_correlation_is_pearsons() -> None:
    means = np.random.default_rng(0).random((1, 9, 3))
    x, y = means[0, :, 1] - means[0, :, 0], means[0, :, 2] - means[0, :, 1]
    assert correlation(means)[0] == pytest.approx(np.corrcoef(x, y)[0, 1])


def test_probes_with_questions_of_their_own() -> None:
    given = [suite()[0]]
    assert all(found.sources(given) is given for found in ALL if not found.own)
    own = {found.name: found for found in ALL if found.own}
    for name in ("points", "points-masks"):
        assert {source.name for source in own[name].sources(given)} == {
            f"{kind}-{seed}" for kind in ("nonlinear", "swiss_roll", "moons", "circles") for seed in range(5)
        }
    (texts,) = Texts(path="file").sources(given)
    assert texts == HotpotQA(path="file")
    series = {point.series: point.cell.arrangement for point in own["points"].points()}
    assert series["question left, nearest first"].question == "left" and len(series) == 6
    assert series["question right, nearest last"].order == "nearest_last"
    shares = [point.cell.arrangement.share for point in own["hotpotqa"].points()]
    assert shares == [0, 0.05, 0.1, 0.15, 0.2] and {p.cell.arrangement.masks for p in own["hotpotqa"].points()} == {2}


def test_near_points_are_those_next_to_the_question() -> None:
    """A made-up model that reads only what stands next to the question gains by near points on either side."""
    probe = Points(examples=(30,))

    def near(cell: Cell) -> float:
        a = cell.arrangement
        return {"right nearest_last": 1.0, "left nearest_first": 1.0}.get(f"{a.question} {a.order}", 0.0)

    records = [
        record(cell, task, n, "A" if near(cell) else "B")
        for cell in (point.cell for point in probe.points())
        for task in ("moons-0", "moons-1")
        for n in range(3)
    ]
    assert [(found.value, found.name) for found in probe.findings(records)] == [
        (1.0, "gain by near points, left"), (1.0, "gain by near points, right")
    ]  # fmt: skip


def test_choosing() -> None:
    assert chosen(None) == quick() == [Masks(), Dots(), Position(), Gradients(orders=1)]
    assert chosen(None, (2, 7)) == [Masks(grid=(2, 7)), Dots(grid=(2, 7)), Position(), Gradients(orders=1)]
    assert chosen(["gradients"]) == [Gradients()] and keys(Gradients(orders=1)) < keys(Gradients())
    every = [found.name for found in chosen(["all"])]
    assert every == [name for name, kind in KINDS.items() if not kind.own]
    assert [found.name for found in chosen(["all", "points"])] == [*every, "points"]
    assert chosen(["steps", "masks", "steps"], (2, 7)) == [Steps(grid=(2, 7)), Masks(grid=(2, 7))]
    assert [found.name for found in chosen(None, causal=True)] == ["position", "gradients"]
    assert [found.name for found in chosen(["all"], causal=True)] == ["position", "gradients"]
    assert set(every) - {found.name for found in chosen(["all"], chat=True)} == {"question", "gradients-infill"}
    assert probe("position", (2, 7)) == Position()


@pytest.mark.parametrize(
    ("names", "grid", "options", "fault"),
    [
        (["mask"], None, {}, "unknown probe 'mask': did you mean 'masks'?"),
        (
            ["position", "masks"],
            None,
            {"causal": True},
            "probe 'masks' does not fit a causal model; take of position",
        ),
        (["question"], None, {"chat": True}, "probe 'question' does not fit a chat; take of masks, confidence, dots, "),
        (["position"], (2, 5), {}, "no probe varies the number of masks: position"),
        (None, (5,), {}, "the numbers of masks are 5; give two or more, increasing from 1 on: 2,50,200"),
        (None, (0, 5), {}, "the numbers of masks are 0,5"),
        (None, (5, 2), {}, "the numbers of masks are 5,2"),
    ],
)
def test_bad_choices(names, grid, options, fault: str) -> None:
    with pytest.raises(ValueError) as error:
        chosen(names, grid, **options)
    assert str(error.value).startswith(fault)


def test_how_says_what_was_used() -> None:
    def told(*probes: Probe, chat: bool = False) -> str:
        return how([point.cell for found in probes for point in found.points()], chat=chat)

    plain = told(TWO)
    assert plain.startswith("Masks: 2, 50 after the question, the answer's included (generation). Steps: one forward, ")
    assert "none in one forward. Format: plain text" in plain and "steps" not in plain
    everything = told(TWO, Position(), Length(), Steps(), Degradation(), chat=True)
    assert "2, 50, 100, 200, 20 % of the input after" in everything and "one, in the answer's place" in everything
    assert "; 2, 4, 6, 40 steps, or one for each mask" in everything and "the model's chat template" in everything
    assert "else the most confident first or in random order" in everything
