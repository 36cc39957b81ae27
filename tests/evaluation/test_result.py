"""The results of an evaluation as a value: printed they are tables, written they are all their fields."""

import json
from dataclasses import asdict, fields, replace

import pytest

from tests.evaluation.judged import MASKS, PROBLEMS, Both, Plain, small
from unveil.evaluation.result import Result, Results
from unveil.evaluation.run import check_fit, evaluate, evaluate_each

SPECS = ["llada:steps=6,block=6", "fast_dllm:threshold=0.2,block=4,cache=dual"]


@pytest.fixture(scope="module")
def both() -> Results:
    """Two samplers on a task with two graders."""
    return evaluate_each(small(), Both(), PROBLEMS, SPECS, [None, None], seed=3)


@pytest.fixture(scope="module")
def plain() -> Results:
    """One sampler on a task with one grader."""
    return evaluate_each(small(), Plain(), PROBLEMS, SPECS[1:], [None])


def test_results_are_those_of_each_sampler(both: Results) -> None:
    timed = {"seconds": 0, "tokens_per_second": 0, "record": None}
    for spec, found in zip(SPECS, both, strict=True):
        alone = evaluate(small(), Both(), PROBLEMS, spec, seed=3)
        assert asdict(found) | timed == asdict(alone) | timed


def test_printed_they_are_tables_with_a_line_a_sampler(both: Results) -> None:
    text, published = str(both).split("By the published rule")
    assert text.startswith(f"plain with small: 7 problems, {MASKS} masks, seed 3\n")
    for found, spec in zip(both, SPECS, strict=True):
        (line,) = (line for line in text.splitlines() if line.startswith(spec.replace(",", ", ")))
        cells = line.removeprefix(spec.replace(",", ", ")).split()
        assert cells == [
            f"{found.accuracy:.1%}", f"{100 * found.ci_low:.1f}-{100 * found.ci_high:.1f}", f"{found.nfe_mean:.2f}",
            f"{found.tokens_per_forward:.2f}", f"{found.token_forwards:,.0f}", f"{found.tokens_per_second:,.0f}",
            f"{found.steps or '-'}/{found.block}",
        ]  # fmt: skip
        (line,) = (line for line in published.splitlines() if line.startswith(spec.replace(",", ", ")))
        assert f"{found.compat:.1%}" in line and line.endswith("odd one 3")


def test_a_task_with_one_grader_is_one_table(plain: Results) -> None:
    assert len(plain.tables()) == 1 and "published" not in str(plain) and "guidance" not in str(plain)
    assert "seed 0, guidance 0.7" in str(Results([replace(plain[0], guidance=0.7)]))


def test_what_others_wrote_cannot_command_the_terminal(both: Results) -> None:
    wild = "\x1b[2J[bold]"
    text = str(Results(replace(one, model=wild, sampler=f"{wild},a=1", remarks={wild: 1}) for one in both))
    assert "\x1b" not in text and text.count("\ufffd[2J[bold]") == 1 + 2 + 2 + 2


def test_as_json_they_are_all_fields(both: Results, plain: Results) -> None:
    names = {field.name for field in fields(Result)}
    assert plain.to_json() == plain[0].to_json() and plain.to_json().keys() == names
    assert both.to_json() == {"results": [one.to_json() for one in both]}
    for found in (both, plain):
        assert json.loads(json.dumps(found.to_json(), allow_nan=False)) == found.to_json()


def test_there_is_something_to_evaluate() -> None:
    check_fit(SPECS, Plain())
    with pytest.raises(ValueError, match="^no sampler to evaluate: give at least one, such as llada$"):
        check_fit([], Plain())
    with pytest.raises(ValueError, match="unknown sampler 'lada': did you mean 'llada'"):
        check_fit([*SPECS, "lada"], Plain())
