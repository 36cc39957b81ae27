"""Evaluations: what is counted, both graders, graders that fail, and what makes two evaluations the same."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.evaluation.judged import MASKS, PROBLEMS, Both, Ending, Plain, file_in, small
from tests.toy import MASK, columns_computed
from unveil.checkpoints.chat import ChatTemplate
from unveil.decoding import model as decoding
from unveil.decoding.prompt import until
from unveil.evaluation import evaluation as deciding
from unveil.evaluation.evaluation import Evaluation
from unveil.evaluation.items import read_items
from unveil.evaluation.result import Result
from unveil.evaluation.run import evaluate
from unveil.evaluation.statistics import ratio_interval, wilson
from unveil.files import read_jsonl
from unveil.models.attention import Causal
from unveil.sampling.recipes import llada
from unveil.tasks.task import Problem, Verdict

SPECS = [
    "llada:steps=6,block=6",
    "fast_dllm:threshold=0.2,block=4,cache=dual",
    "fast_dllm:threshold=0.2,block=4,cache=prefix",
]
CHAT = ChatTemplate(text="{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}A{% endif %}")


def clockless(items: list[dict]) -> list[dict]:
    return [{name: value for name, value in item.items() if name != "seconds"} for item in items]


# counters


@pytest.mark.parametrize("guidance", [0.0, 0.7])
@pytest.mark.parametrize("spec", SPECS)
def test_columns_are_those_that_the_model_computes(spec: str, guidance: float, tmp_path: Path) -> None:
    """In all, and of each item whatever else is in its batch: guidance computes two rows, caches save columns."""
    found = []
    for batch in (1, 3):
        model = small()
        counts = columns_computed(model.denoiser)
        path = tmp_path / f"{batch}.jsonl"
        result = evaluate(model, Plain(), PROBLEMS, spec, batch=batch, guidance=guidance, items=path)
        items = read_items(path)
        assert sum(item["columns"] for item in items) == sum(counts) == result.token_forwards * len(PROBLEMS)
        found.append(clockless(items))
    assert found[0] == found[1]


def test_caches_show_in_token_forwards() -> None:
    whole, dual, _ = (
        evaluate(small(), Plain(), PROBLEMS, spec).token_forwards for spec in [SPECS[1][:-11], *SPECS[1:]]
    )
    assert dual < 0.8 * whole


@pytest.mark.parametrize("spec", [*SPECS, "llada:temperature=1.5"])
def test_tokens_are_those_before_the_first_end(spec: str, tmp_path: Path) -> None:
    model = small()
    result = evaluate(model, Plain(), PROBLEMS, spec, seed=5, items=file_in(tmp_path))
    answers = model.decode([problem.prompt for problem in PROBLEMS], spec, new_tokens=MASKS, seed=5)
    items = read_items(file_in(tmp_path))
    assert [item["answer"] for item in items] == [answer.text for answer in answers]
    assert [item["tokens"] for item in items] == [len(answer.text) for answer in answers]  # a character is a token
    assert 0 < sum(len(answer.text) < MASKS for answer in answers) < len(answers)
    assert result.tokens == sum(len(answer.text) for answer in answers)
    assert result.tokens_per_forward == result.tokens / sum(answer.nfe for answer in answers)
    assert result.nfe_mean * len(PROBLEMS) == sum(answer.nfe for answer in answers)


def test_masks_that_are_left_are_no_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = replace(llada(MASKS), max_steps=5)
    monkeypatch.setattr(deciding, "parse_sampler", lambda *_: stopped)
    model = small(end_ids=())
    result = evaluate(model, Plain(), PROBLEMS, "llada", items=file_in(tmp_path))
    assert result.incomplete == len(PROBLEMS) and result.tokens == 5 * len(PROBLEMS)
    assert all("complete" in item and not item["complete"] for item in read_items(file_in(tmp_path)))
    assert model.denoiser.outline.blank_id == MASK


# graders


def test_both_graders_with_their_intervals(tmp_path: Path) -> None:
    result = evaluate(small(), Both(), PROBLEMS, SPECS[0], items=file_in(tmp_path))
    items = read_items(file_in(tmp_path))
    strict, published = (sum(item[grader] for item in items) for grader in ("correct", "compat"))
    assert 0 < strict < len(items) and 0 < published < len(items)
    assert [item["correct"] for item in items] == [sum(map(ord, item["answer"])) % 2 == 0 for item in items]
    assert [item["compat"] for item in items] == [len(item["answer"]) < MASKS for item in items]
    assert (result.accuracy, result.ci_low, result.ci_high) == (strict / 7, *wilson(strict, 7))
    assert (result.compat, result.compat_low, result.compat_high) == (published / 7, *wilson(published, 7))
    assert result.remarks == {"odd one": 3} and json.loads(json.dumps(result.to_json()))["remarks"] == {"odd one": 3}


def test_means_have_the_bootstraps_interval(tmp_path: Path) -> None:
    result = evaluate(small(), Plain(), PROBLEMS, SPECS[1], items=file_in(tmp_path))
    items = read_items(file_in(tmp_path))
    nfe, tokens = ([item[name] for item in items] for name in ("nfe", "tokens"))
    assert (result.nfe_low, result.nfe_high) == ratio_interval(nfe)
    assert (result.tokens_per_forward_low, result.tokens_per_forward_high) == ratio_interval(tokens, nfe)
    assert result.nfe_low < result.nfe_mean < result.nfe_high


def test_a_task_with_one_grader_has_no_published_rule() -> None:
    result = evaluate(small(), Plain(), PROBLEMS, SPECS[0])
    assert (result.compat, result.compat_low, result.compat_high, result.remarks) == (None, None, None, {})


class Failing(Both):
    """Its published rule fails for some."""

    __qualname__ = "Both"  # the same task, to be mended

    def compat(self, problem: Problem, text: str) -> Verdict:
        if problem.id in ("p-M", "p-fo"):
            raise RecursionError("too deep")
        return super().compat(problem, text)


def test_a_grader_that_fails_loses_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are decoded, those not judged are said; a mended grader judges them without decoding."""
    with pytest.raises(ValueError, match="2 of 7 answers could not be judged; the first is p-M, RecursionError: too"):
        evaluate(small(), Failing(), PROBLEMS, SPECS[0], items=file_in(tmp_path))
    assert len(read_items(file_in(tmp_path))) == 7
    with pytest.raises(ValueError, match="items.jsonl: the same command judges them again"):
        evaluate(small(), Failing(), PROBLEMS, SPECS[0], items=file_in(tmp_path))
    whole = evaluate(small(), Both(), PROBLEMS, SPECS[0], items=tmp_path / "whole.jsonl")
    with monkeypatch.context() as patch:
        patch.delattr(decoding, "steps_queue")  # nothing is decoded
        mended = evaluate(small(), Both(), PROBLEMS, SPECS[0], items=file_in(tmp_path))
    assert clockless(read_items(file_in(tmp_path))) == clockless(read_items(tmp_path / "whole.jsonl"))
    assert (mended.accuracy, mended.compat, mended.tokens) == (whole.accuracy, whole.compat, whole.tokens)
    assert len(read_jsonl(file_in(tmp_path))) == 7 + 2 + 2  # nothing is ever overwritten


# what is asked


def test_a_prefix_is_given_and_not_judged(tmp_path: Path) -> None:
    begun = [replace(problem, prompt=problem.prompt[:1], prefix=problem.prompt[1:]) for problem in PROBLEMS]
    evaluate(small(), Plain(), PROBLEMS, SPECS[0], items=tmp_path / "a.jsonl")
    evaluate(small(), Plain(), begun, SPECS[0], items=tmp_path / "b.jsonl")
    answers = [[item["answer"] for item in read_items(tmp_path / name)] for name in ("a.jsonl", "b.jsonl")]
    assert answers[0] == answers[1]


def test_a_chat_is_asked_where_there_is_a_template(tmp_path: Path) -> None:
    model, path = small(chat=CHAT), file_in(tmp_path)
    said = evaluate(model, Plain(), PROBLEMS, SPECS[0], items=path).record
    assert said.chat and said.chat_hash == CHAT.hash
    prompts = [[{"role": "user", "content": problem.prompt}] for problem in PROBLEMS]
    expected = [answer.text for answer in model.decode(prompts, SPECS[0], new_tokens=MASKS)]
    assert [item["answer"] for item in read_items(path)] == expected
    raw = evaluate(model, Plain(), PROBLEMS, SPECS[0], chat=False, items=tmp_path / "raw.jsonl").record
    assert (raw.chat, raw.chat_hash) == (False, None) and raw.run != said.run
    with pytest.raises(ValueError, match="small has no chat template"):
        evaluate(small(), Plain(), PROBLEMS, SPECS[0], chat=True)


def answers_of(result_in: Path) -> list[str]:
    return [item["answer"] for item in read_items(result_in)]


def test_an_answer_is_judged_up_to_the_first_stop_text(tmp_path: Path) -> None:
    """The item keeps the text that was judged and the tokens before the stop."""
    model, whole, cut = small(), tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    evaluate(model, Plain(), PROBLEMS, SPECS[0], items=whole)
    stop = [answers_of(whole)[0][2:4], answers_of(whole)[1][1]]
    result = evaluate(model, Plain(), PROBLEMS, SPECS[0], stop=stop, items=cut)
    assert answers_of(cut) == [until(text, stop) for text in answers_of(whole)] != answers_of(whole)
    for before, item in zip(read_items(whole), read_items(cut), strict=True):
        assert item["correct"] == (sum(map(ord, item["answer"])) % 2 == 0)
        assert item["tokens"] == len(item["answer"]) and item["nfe"] == before["nfe"]
    assert result.record.stops == stop and f"raw prompts, stops {', '.join(map(repr, stop))}, " in result.record.line()
    with pytest.raises(ValueError, match="belongs to another evaluation"):
        evaluate(model, Plain(), PROBLEMS, SPECS[0], stop=stop[::-1], items=cut)


def test_a_tasks_own_stop_texts_are_for_raw_prompts(tmp_path: Path) -> None:
    model = small(chat=CHAT)
    found = {}
    for name, more in {"chat": {}, "raw": {"chat": False}, "none": {"chat": False, "stop": []}}.items():
        record = evaluate(model, Ending(), PROBLEMS, SPECS[0], items=tmp_path / name, **more).record
        found[name] = (record.stops, answers_of(tmp_path / name))
    assert found["chat"][0] == found["none"][0] == [] and found["raw"][0] == ["a", "Q", "z"]
    assert found["raw"][1] == [until(text, Ending.stops) for text in found["none"][1]] != found["none"][1]
    told = evaluate(model, Ending(), PROBLEMS, SPECS[0], stop=["x"], chat=False, items=tmp_path / "mine").record
    assert told.stops == ["x"] and answers_of(tmp_path / "mine") == [until(text, ["x"]) for text in found["none"][1]]


@pytest.mark.parametrize(
    ("prompt", "fault"),
    [
        ("a" * 250, "problem novel: 250 tokens and 12 new ones exceed the model's context of 256"),
        ("\u2603", "problem novel: the model's vocabulary cannot write '\u2603'"),
    ],
)
def test_a_problem_that_does_not_fit_is_named(prompt: str, fault: str) -> None:
    novel = Problem(prompt=prompt, answer=None, id="novel", data={})
    with pytest.raises(ValueError, match=fault):
        evaluate(small(), Plain(), [*PROBLEMS, novel], SPECS[0])


CHANGES = {
    "seed": {"seed": 1},
    "guidance": {"guidance": 0.5},
    "sampler": {"spec": SPECS[1]},
    "task": {"task": Plain(num_masks=8)},
    "problems": {"problems": PROBLEMS[:-1]},
    "order": {"problems": PROBLEMS[::-1]},
    "prefix": {"problems": [replace(PROBLEMS[0], prefix="x"), *PROBLEMS[1:]]},
    "weights": {"model": small(revision="1")},
    "attention": {"model": small(rule=Causal())},
    "ends": {"model": small(end_ids=(48, 3))},
    "stop": {"stop": ["a"]},
    "stops": {"stop": ["a", "b"]},
    "the task's own stops": {"task": Ending()},
    "chat": {"model": small(chat=CHAT)},
    "another template": {"model": small(chat=ChatTemplate(text=CHAT.text + "{# #}"))},
}


def test_whatever_changes_answers_changes_the_run() -> None:
    evaluation = Evaluation(model=small(), task=Plain(), problems=PROBLEMS, spec=SPECS[0])
    runs = {name: replace(evaluation, **change).run for name, change in CHANGES.items()}
    model = small()
    model.denoiser.float()
    runs["dtype"] = replace(evaluation, model=model).run
    assert len({evaluation.run, *runs.values()}) == 1 + len(runs)
    assert replace(evaluation, model=small()).run == evaluation.run
    assert replace(evaluation, model=small(chat=CHAT), chat=False).run == evaluation.run  # the template was not used
    assert replace(evaluation, stop=[]).run == evaluation.run


def test_the_record_says_on_what_it_ran(tmp_path: Path) -> None:
    (tmp_path / "problems.txt").write_text("abc")
    result: Result = evaluate(small(), Plain(), PROBLEMS, SPECS[1], data=tmp_path / "problems.txt")
    said = result.record
    assert said.data == "problems.txt"
    assert said.data_sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    assert said.unmask == "Threshold(bar=0.2) on Confidence" and "DualCache(every=None)" in said.sampler_settings
    assert said.task_settings == "Plain(name='plain', describe='Even sums.', num_masks=12)" and said.spec == SPECS[1]
    assert {"torch", "numpy", "tokenizers"} <= said.versions.keys() and said.python.startswith("3.")
    assert said.processes == 1 and said.threads >= 1 and said.wall_seconds > 0 and said.date.endswith("+00:00")
    line = said.line()
    assert line.startswith("problems problems.txt ba7816bf8f01, raw prompts, ") and "torch " in line
    assert said.commit is said.adapter is said.bits is None
    tuned = evaluate(small(commit="c0ffee", adapter="ada", bits=4), Plain(), PROBLEMS, SPECS[1]).record
    assert (tuned.commit, tuned.adapter, tuned.bits) == ("c0ffee", "ada", 4)
    assert f"problems {tuned.problems}, commit c0ffee, adapter ada, bits 4, raw prompts, " in tuned.line()
    other = evaluate(small(), Plain(), PROBLEMS[:-1], SPECS[1]).record
    assert other.data is other.data_sha256 is None and other.problems != said.problems
