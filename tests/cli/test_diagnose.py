"""unveil diagnose: what the library measures, as a report; interrupted or extended, it goes on from its answers."""

import json
import shutil
import string
from pathlib import Path

import pytest

import unveil
from tests.cli.program import run, words_of
from tests.diagnostics.context.small import small
from unveil.checkpoints.families.llada import LLADA
from unveil.checkpoints.families.llama import LLAMA
from unveil.checkpoints.tokenizer import FileTokenizer
from unveil.checkpoints.weights import save_checkpoint
from unveil.cli.verbs.diagnose import PROBES
from unveil.cli.verbs.diagnose import QUICK as SHOWN
from unveil.diagnostics.context import diagnosis
from unveil.diagnostics.context import run as measuring
from unveil.diagnostics.context.few_shot.suite import rule_task, word_pools
from unveil.diagnostics.context.probes import chosen, kinds, quick
from unveil.diagnostics.context.probes.elsewhere import Texts
from unveil.diagnostics.context.report import report_of
from unveil.files import read_jsonl
from unveil.models.attention import Bidirectional, Causal
from unveil.models.transformer import Architecture, Transformer, initialise

QUESTIONS = 2
FAST = ["--task", "T01", "--task", "T06", "--masks", "2,5", "--limit", QUESTIONS]


@pytest.fixture(scope="session")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of LLaDA's layout with random weights that can read and write the tasks."""
    folder = tmp_path_factory.mktemp("rules") / "rules"
    return saved(folder, FileTokenizer.words(pieces(), ["[EOS]", "[MASK]"]))


def pieces() -> list[str]:
    """What the tasks are written with."""
    words = [form for pool in word_pools().values() for word in pool for form in (word, word.capitalize())]
    digits = "0123456789"
    return [*"()[]:,.\n ABC", "Options", "Answer", *digits, *(f" {text}" for text in (*digits, *words))]


def saved(folder: Path, tokenizer: FileTokenizer, *, causal: bool = False) -> Path:
    """A model of random weights that answers A, B, C or EOS; a causal one has no mask token."""
    (eos,) = tokenizer.encode("[EOS]")
    mask = eos + 1
    architecture = Architecture(
        vocabulary=mask + (not causal), width=16, layers=1, heads=2, kv_heads=2, head_width=8, feed_width=16,
        mask_id=None if causal else mask, end_ids=(eos,), max_columns=2048, rope_base=10000.0, shift=int(causal),
        rule=Causal() if causal else Bidirectional(),
    )  # fmt: skip
    model = initialise(Transformer(architecture), seed=0, std=0.6)
    answers = [*(tokenizer.encode(letter)[0] for letter in "ABC"), eos]
    model.head.weight.data[[token for token in range(architecture.vocabulary) if token not in answers]] = 0
    save_checkpoint(model, folder, LLAMA if causal else LLADA)
    tokenizer.save(folder / "tokenizer.json")
    return folder


def told(folder: Path) -> dict:
    """The report's numbers."""
    return json.loads((folder / "report.json").read_text("utf-8"))


def hotpot(file: Path) -> Path:
    """One example and four questions, as the official file has them."""
    rest = {"answer": "Lake Pim", "context": [["Lake Pim", ["It is deep.", " It is cold."]]]}
    items = [{"question": f"Which is deeper, Lake Q{n} or Lake Pim?", **rest} for n in range(5)]
    file.write_text(json.dumps(items))
    return file


def test_too_few_questions_are_told_before_a_model_is_loaded(tmp_path: Path) -> None:
    file = hotpot(tmp_path / "hotpot.json")
    said = run("diagnose", "no-such-model", "--out", tmp_path, "--probe", "hotpotqa", "--hotpotqa", file)
    assert said.code == 2 and "count is 50; it must be from 0 to 4, hotpotqa has no more" in words_of(said.err)
    said = run("diagnose", "no-such-model", "--out", tmp_path, "--hotpotqa", file)
    assert said.code == 2 and "no probe reads it: add --probe hotpotqa" in words_of(said.err)


def test_the_report_is_what_the_library_measures(rules: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    said = run("diagnose", rules, "--out", out, *FAST)
    assert said.code == 0, said.err
    names = {f"{found.name}.{kind}" for found in quick() for kind in ("png", "csv")}
    assert {path.name for path in out.iterdir()} == {"report.html", "report.md", "report.json", "items.jsonl", *names}
    assert "mask sensitivity, max - min" in said.out and "locality slope" in said.out and "points" in said.out
    assert "masks' share of attribution" in said.out and f"The report: {out / 'report.html'}" in said.out
    assert "Masks: 2, 5, 50 after the question" in words_of(said.out)
    probes, tasks = chosen(None, (2, 5)), [rule_task("T01"), rule_task("T06")]
    cells = [point.cell for found in probes for point in found.points()]
    model = unveil.load(rules)
    records = measuring.measure(model, tasks, cells, draws="fresh", limit=QUESTIONS)
    settings = {
        "tasks": {task.name: task.describe for task in tasks}, "limit": QUESTIONS, "draws": "fresh",
        "letters": "balanced", "pools": "shipped", "chat": False, "dtype": "float32", "device": "cpu",
        "adapter": None, "bits": None,
    }  # fmt: skip
    expected = report_of(probes, records, tasks, model=model.name, revision=model.revision, settings=settings)
    assert told(out)["settings"] == settings and told(out) == json.loads(json.dumps(expected.to_json()))
    assert all(line["n"] == len(tasks) * QUESTIONS for line in told(out)["tables"]["masks"])
    assert len(read_jsonl(out / "items.jsonl")) == len({cell.key for cell in cells}) * len(tasks) * QUESTIONS


def test_interrupted_it_goes_on(rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["diagnose", rules, *FAST, "--probe", "masks", "--out"]
    append, written = measuring.append_line, []

    def counting(path: Path, text: str) -> None:
        append(path, text)
        written.append(text)
        if len(written) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(measuring, "append_line", counting)
        said = run(*words, tmp_path / "cut")
    assert said.code == 130 and said.out == "" and words_of(said.err).startswith("stopped. The answers so far are kept")
    items = tmp_path / "cut" / "items.jsonl"
    before = items.read_text()
    assert len(read_jsonl(items)) == 3 and not (tmp_path / "cut" / "report.html").exists()
    assert run(*words, tmp_path / "cut").code == 0 and run(*words, tmp_path / "whole").code == 0
    assert items.read_text().startswith(before) and len(read_jsonl(items)) == 2 * 2 * QUESTIONS
    assert told(tmp_path / "cut")["card"] == told(tmp_path / "whole")["card"]


def test_more_is_asked_on_top(rules: Path, tmp_path: Path) -> None:
    words = ["diagnose", rules, *FAST, "--out", tmp_path]
    items = tmp_path / "items.jsonl"
    counts = []
    for more in (["--probe", "masks"], ["--probe", "confidence"], ["--probe", "masks", "--limit", 3]):
        assert run(*words, *more).code == 0
        counts.append(len(read_jsonl(items)))
    assert counts == [8, 8, 12]
    assert told(tmp_path)["tables"]["masks"][0]["test_points"] == 6


def test_probes_that_need_few_questions_are_asked_few() -> None:
    (gradients, masks) = chosen(["gradients", "masks"], (2, 5))
    asked: dict[int, int] = {}

    def measure(model, tasks, cells, *, limit: int, **more) -> list:
        asked[limit] = len(cells)
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diagnosis, "measure", measure)
        diagnosis.answers(small(), [], [gradients, masks], Path("none"), limit=50)
        assert asked == {20: 30, 50: 2}
        asked.clear()
        diagnosis.answers(small(), [], [gradients, masks], Path("none"), limit=20)
        assert asked == {20: 32}


def test_fixed_draws_and_random_letters(rules: Path, tmp_path: Path) -> None:
    more = ["--probe", "masks", "--draws", 2, "--letters", "random"]
    assert run("diagnose", rules, *FAST, *more, "--out", tmp_path).code == 0
    line = told(tmp_path)["tables"]["masks"][0]
    assert (line["n"], line["test_points"]) == (8, 4)
    assert told(tmp_path)["settings"]["draws"] == 2 and told(tmp_path)["settings"]["letters"] == "random"


def no_model(*_: object, **__: object) -> None:
    raise AssertionError("the model was loaded before the input was checked")


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--probe", "mask"], "unknown probe 'mask': did you mean 'masks'?"),
        (["--task", "T17"], "unknown task 'T17': did you mean 'T1"),
        (["--masks", "2,many"], "--masks is '2,many'; write whole numbers and commas, such as 2,50,200"),
        (["--masks", "0,5"], "the numbers of masks are 0,5; give two or more, increasing from 1 on"),
        (["--masks", "7"], "the numbers of masks are 7; give two or more"),
        (["--masks", "2,5", "--probe", "position"], "no probe varies the number of masks: position"),
        (["--draws", "none"], "--draws is 'none'; write fresh, or how many draws: 1 or more"),
        (["--draws", "0"], "--draws is '0'; write fresh"),
        (["--letters", "none"], "Invalid value for '--letters'"),
        (["--limit", "0"], "Invalid value for '--limit'"),
        (["--pools", "none.json"], "Invalid value for '--pools'"),
        (["--chat", "--probe", "question"], "probe 'question' does not fit a chat"),
    ],
)
def test_bad_input_is_found_before_the_model_is_loaded(
    words: list[str], fault: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(unveil.Loading, "model", no_model)
    said = run("diagnose", "rules", "--out", tmp_path / "out", *words)
    assert said.code == 2 and fault in words_of(said.err) and said.out == ""
    assert not (tmp_path / "out").exists()


def test_a_folder_is_needed(tmp_path: Path) -> None:
    assert "Missing option '--out'" in words_of(run("diagnose", "rules").err)
    (tmp_path / "file").write_text("")
    assert "Invalid value for '--out'" in words_of(run("diagnose", "rules", "--out", tmp_path / "file").err)


def test_a_model_that_cannot_read_the_tasks_says_so(tmp_path: Path) -> None:
    said = run("diagnose", "lab-sudoku", *FAST, "--out", tmp_path)
    assert said.code == 2 and "task T01: the model's vocabulary cannot write" in words_of(said.err)


def test_a_model_without_a_chat_template_says_so(rules: Path, tmp_path: Path) -> None:
    said = run("diagnose", rules, "--chat", "--out", tmp_path / "out")
    assert said.code == 2 and "has no chat template" in words_of(said.err) and not (tmp_path / "out").exists()


def test_a_chat_is_asked_in_the_models_template(rules: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    folder = shutil.copytree(rules, tmp_path / "model")
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ ('(' if m.role == 'user' else ')') ~ m.content ~ '\n' }}{% endfor %}"
        "{{ ')' if add_generation_prompt }}"
    )
    said = run("diagnose", folder, "--chat", *FAST, "--probe", "masks", "--out", tmp_path / "out")
    assert said.code == 0, said.err
    assert "Format: the model's chat template" in words_of(said.out) and told(tmp_path / "out")["settings"]["chat"]

    def chat(messages: list[dict[str, str]], ask: bool) -> str:
        turns = [("(" if each["role"] == "user" else ")") + each["content"] + "\n" for each in messages]
        return "".join(turns) + ")" * ask

    tasks, cells = [rule_task("T01"), rule_task("T06")], [point.cell for point in chosen(["masks"], (2, 5))[0].points()]
    kept, model = tmp_path / "kept.jsonl", unveil.load(folder)
    measuring.measure(model, tasks, cells, draws="fresh", limit=QUESTIONS, chat=chat, items=kept)
    assert prompts(tmp_path / "out" / "items.jsonl") == prompts(kept)


def prompts(items: Path) -> dict[tuple, str]:
    """Digests of the prompts."""
    return {(x["task"], x["question"], x["cell"]): x["prompt"] for x in read_jsonl(items)}


def test_texts_are_read_from_a_file(tmp_path: Path) -> None:
    file, out = hotpot(tmp_path / "hotpot.json"), tmp_path / "out"
    model = saved(tmp_path / "model", FileTokenizer.characters(string.printable, ["[EOS]", "[MASK]"]))
    said = run("diagnose", model, "--probe", "hotpotqa", "--hotpotqa", file, "--limit", 3, "--out", out)
    assert said.code == 0, said.err
    assert "cost of masks, hotpotqa" in said.out and told(out)["chance"] == {"hotpotqa": 0.5}
    texts = Texts(path=str(file))
    cells = [point.cell for point in texts.points()]
    records = measuring.measure(unveil.load(model), texts.sources([]), cells, draws="fresh", limit=3)
    table = texts.table(records, ("A", "B"))
    assert told(out)["tables"] == {"hotpotqa": json.loads(json.dumps(table))}
    assert [(line["x"], line["n"], line["right_B"]) for line in table] == [(x, 3, 1) for x in (0, 5, 10, 15, 20)]


def test_a_causal_model_is_asked_what_the_paper_asks_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unveil.Loading, "model", lambda *_, **__: small(rule=Causal(), shift=1))
    said = run("diagnose", "any", "--probe", "position", "--probe", "masks", "--out", tmp_path / "out")
    fault = "probe 'masks' does not fit a causal model; take of position, gradients"
    assert said.code == 2 and fault in words_of(said.err) and not (tmp_path / "out").exists()


def test_a_causal_model_without_a_mask_token_is_asked_the_others(tmp_path: Path) -> None:
    model = saved(tmp_path / "model", FileTokenizer.words(pieces(), ["[EOS]"]), causal=True)
    unfit = ", ".join(name for name, kind in kinds().items() if not kind.causal and not kind.own)
    for more, left in (([], "masks, dots\n"), (["--probe", "all"], f"{unfit}\n")):
        said = run("diagnose", model, "--task", "T01", "--masks", "2,5", "--limit", 1, "--out", tmp_path / "out", *more)
        assert said.code == 0 and "Traceback" not in said.err, said.err
        assert f"left out, for the model is causal and they need one that reads [MASK]: {left}" in said.err
        assert list(told(tmp_path / "out")["tables"]) == ["position", "gradients"]


def test_the_names_in_the_help_are_the_probes() -> None:
    assert PROBES == tuple(kinds()) and SHOWN == tuple(found.name for found in quick())
    own = [name for name, kind in kinds().items() if kind.own]
    left_out = f"all (without {', '.join(own[:-1])} and {own[-1]}, which have questions of their own)"
    assert f"{', '.join(PROBES)}, or {left_out}" in words_of(run("diagnose", "--help").out)
    assert len(PROBES) == 15 and own == ["points", "points-masks", "hotpotqa"]
