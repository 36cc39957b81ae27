"""A whole diagnosis: what is wrong is told before a model is loaded, and a file of answers changes no report."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import unveil
from unveil.checkpoints.tokenizer import FileTokenizer
from unveil.decoding.model import Model
from unveil.diagnostics.context import run as measuring
from unveil.diagnostics.context.diagnosis import Diagnosis
from unveil.diagnostics.context.few_shot.suite import rule_task, suite, word_pools
from unveil.diagnostics.context.page import markdown_page
from unveil.diagnostics.context.probes import chosen, quick
from unveil.diagnostics.context.readings import FirstMask
from unveil.diagnostics.context.report import Report, report_of
from unveil.files import read_jsonl, write_json
from unveil.models.attention import Bidirectional, Causal
from unveil.models.transformer import Architecture, Transformer, initialise

ASKED = Diagnosis(probes=["position", "masks"], tasks=["T01", "T06"], masks=(2, 5), limit=2)


def reader(*, causal: bool = False) -> Model:
    """A random model that reads the tasks; a causal one has no [MASK]."""
    words = [form for pool in word_pools().values() for word in pool for form in (word, word.capitalize())]
    pieces = [*"()[]:,.\n ABC", "Options", "Answer", *"0123456789", *(f" {text}" for text in (*"0123456789", *words))]
    tokenizer = FileTokenizer.words(pieces, ["[EOS]"] if causal else ["[EOS]", "[MASK]"])
    (eos,) = tokenizer.encode("[EOS]")
    architecture = Architecture(
        vocabulary=eos + 1 + (not causal), width=16, layers=1, heads=2, kv_heads=2, head_width=8, feed_width=16,
        mask_id=None if causal else eos + 1, end_ids=(eos,), max_columns=2048, rope_base=10000.0, shift=int(causal),
        rule=Causal() if causal else Bidirectional(),
    )  # fmt: skip
    denoiser = initialise(Transformer(architecture), seed=0, std=0.6).requires_grad_(False).eval()
    answers = [*(tokenizer.encode(letter)[0] for letter in "ABC"), eos]
    denoiser.head.weight.data[[token for token in range(architecture.vocabulary) if token not in answers]] = 0
    return Model(name="reader", denoiser=denoiser, tokenizer=tokenizer, new_tokens=8, revision="r", end_ids=(eos,))


@pytest.fixture(scope="module")
def model() -> Model:
    return reader()


def told(report: Report) -> Mapping[str, Any]:
    return json.loads(json.dumps(report.to_json()))


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"probes": ["mask"]}, "unknown probe 'mask': did you mean 'masks'?"),
    ({"tasks": ["T17"]}, "unknown task 'T17': did you mean 'T1"),
    ({"masks": (0, 5)}, "the numbers of masks are 0,5; give two or more, increasing from 1 on"),
    ({"masks": (7, 7)}, "the numbers of masks are 7; give two or more"),
    ({"masks": (2, 5), "probes": ["position"]}, "no probe varies the number of masks: position"),
    ({"probes": ["question"], "chat": True}, "probe 'question' does not fit a chat; take of "),
    ({"letters": "loaded"}, "letters='loaded' is unknown: choose one of balanced, random"),
    ({"limit": 0}, "limit=0 is outside its range, from 1 to "),
    ({"draws": 0}, "draws=0 is outside its range, from 1 to "),
    ({"hotpotqa": Path("questions.json")}, "--hotpotqa names a file, but no probe reads it: add --probe hotpotqa"),
    ({"pools": Path("none.json")}, "none.json"),
]


@pytest.mark.parametrize(("change", "fault"), WRONG, ids=[" ".join(change) for change, _ in WRONG])
def test_what_is_wrong_is_told_before_a_model_is_loaded(
    change: dict[str, Any], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises((ValueError, OSError)) as caught:
        Diagnosis(**change).check()
    assert fault in str(caught.value)

    def no_model(*_: object) -> None:
        raise AssertionError("the model was loaded before the input was checked")

    monkeypatch.setattr(unveil.Loading, "model", no_model)
    with pytest.raises((ValueError, OSError)) as caught:
        unveil.diagnose("no-such-model", **change)
    assert fault in str(caught.value)


def test_what_is_right_is_wanted_once() -> None:
    assert Diagnosis().wanted() == quick() and Diagnosis().sources() == list(suite())
    many = Diagnosis(probes=["masks", "position", "masks"], tasks=["T06", "T01", "T06"], masks=(5, 2, 5))
    assert many.wanted() == chosen(["masks", "position"], (2, 5))
    assert [task.name for task in many.sources()] == ["T06", "T01"]
    many.check()
    (texts,) = Diagnosis(probes=["hotpotqa"], hotpotqa=Path("questions.json")).wanted()
    assert texts.path == "questions.json"


def test_the_report_is_of_what_is_measured(model: Model) -> None:
    report = ASKED.of(model)
    probes, tasks = chosen(["position", "masks"], (2, 5)), [rule_task("T01"), rule_task("T06")]
    cells = [point.cell for found in probes for point in found.points()]
    records = measuring.measure(model, tasks, cells, draws="fresh", limit=2)
    settings = {
        "tasks": {task.name: task.describe for task in tasks}, "limit": 2, "draws": "fresh", "letters": "balanced",
        "pools": "shipped", "chat": False, "dtype": "float32", "device": "cpu", "adapter": None, "bits": None,
    }  # fmt: skip
    assert told(report) == told(report_of(probes, records, tasks, model="reader", revision="r", settings=settings))
    assert "locality slope" in str(report) and "cost of masks, 2 to 5" in str(report) and report.how in str(report)


def test_a_file_of_answers_changes_no_report(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = tmp_path / "items.jsonl"
    alone, kept = ASKED.of(model), ASKED.of(model, items=items)
    assert told(kept) == told(alone) and markdown_page(kept) == markdown_page(alone)
    assert len(read_jsonl(items)) == (5 + 2) * 2 * 2
    lines = items.read_bytes()
    monkeypatch.setattr(FirstMask, "__call__", None)  # nothing is read again
    again = ASKED.of(model, items=items)
    assert told(again) == told(alone) and items.read_bytes() == lines


def test_words_of_ones_own(model: Model, tmp_path: Path) -> None:
    pools = {name: list(words)[:30] for name, words in word_pools().items()}
    write_json(tmp_path / "words.json", pools)
    report = Diagnosis(probes=["masks"], tasks=["T01"], masks=(2, 5), limit=1, pools=tmp_path / "words.json").of(model)
    assert report.settings["pools"] == str(tmp_path / "words.json")


def test_a_causal_model_is_not_asked_about_masks(capsys: pytest.CaptureFixture[str]) -> None:
    causal = reader(causal=True)
    asked = Diagnosis(tasks=["T01"], limit=1)
    assert asked.left_out(causal) == ["masks", "dots"] and asked.left_out(reader()) == []
    report = asked.of(causal)
    assert [probe.name for probe in report.probes] == list(report.tables) == ["position", "gradients"]
    assert "they need one that reads [MASK]: masks, dots" in capsys.readouterr().err
    with pytest.raises(ValueError, match="probe 'masks' does not fit a causal model; take of position, gradients"):
        Diagnosis(probes=["masks"]).of(causal)


def test_a_chat_needs_a_template(model: Model) -> None:
    with pytest.raises(ValueError, match="^reader has no chat template: ask without chat$"):
        Diagnosis(probes=["masks"], chat=True).of(model)
