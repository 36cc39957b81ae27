"""unveil train: trainings by name, settings by text, fine-tuning from a data file to a model that decodes."""

import json
import os
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from recipes.lab_puzzles import LabPuzzles
from recipes.lab_rules import LabRules
from recipes.lab_sudoku import LabSudoku
from tests.cli.program import run, words_of
from unveil import catalogue
from unveil.settings import convert, defaults, with_settings, written
from unveil.training import mask_agnostic, policy, trainer, trajectory
from unveil.training.mask_agnostic import MaskAgnosticTuning
from unveil.training.policy import PolicyTraining
from unveil.training.settings import Training
from unveil.training.sft import SFT
from unveil.training.trajectory import TrajectoryTuning
from unveil.training.tuning import LoRA

TRAININGS = (SFT, MaskAgnosticTuning, TrajectoryTuning, PolicyTraining)
KINDS: dict[str, type[Any]] = {kind.name: kind for kind in TRAININGS}
LABS = (LabSudoku, LabPuzzles, LabRules)  # their own programs read --set in the same way
QUICK = [word for text in ("canvas=8", "rows=4", "steps=4", "warmup=1") for word in ("--set", text)]


@dataclass(frozen=True, kw_only=True)
class Toy:
    """A recipe with a setting of every kind."""

    name: ClassVar[str] = "toy"

    rows: int = 8
    share: float = 0.5
    word: str = "a"
    file: str | None = None
    sizes: tuple[int, ...] = (1, 2)
    pair: tuple[int, float] = (1, 0.5)
    strict: bool = False
    lora: LoRA | None = None
    seed: int = 7  # the recipe's own, before that of its training
    training: Training = field(default_factory=lambda: Training(steps=5))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{n}=", "answer": str(n)[::-1]}) + "\n" for n in (10, 20, 31, 42)))
    return path


def sft(data: Path, *more: object) -> Any:
    return run("train", "sft", "--model", "lab-sudoku", "--data", data, "--out", data.parent / "run", *QUICK, *more)


@pytest.mark.parametrize("module", [mask_agnostic, trajectory, policy], ids=lambda module: module.__name__)
def test_the_presets_in_the_help_are_the_presets(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    file = module.__name__.rpartition(".")[2]
    monkeypatch.setenv("COLUMNS", "200")
    assert catalogue.presets(file) == tuple(module.PRESETS)
    told = words_of(run("train", file.replace("_", "-"), "--help").out)
    names = told.partition("for a model: ")[2].partition(". Other")[0]
    assert tuple(names.replace("- ", "-").split(", ")) == tuple(module.PRESETS)  # a name may be broken at a hyphen


def test_without_a_name_the_trainings_are_listed() -> None:
    told = run("train")
    assert told.code == 0 and told.err == ""
    assert all(name in told.out for name in KINDS)


def test_a_name_that_does_not_exist_suggests_one() -> None:
    told = run("train", "trajectori")
    known = ", ".join(KINDS)
    assert told == (2, "", f"error: unknown training 'trajectori': did you mean 'trajectory'? known are {known}\n")


@pytest.mark.parametrize("name", KINDS)
def test_the_help_of_a_training_ends_with_its_settings(name: str) -> None:
    told = run("train", name, "--help")
    assert told.code == 0
    for setting, value in defaults(KINDS[name]).items():
        assert f"{setting}={written(value)}" in told.out
    assert "training=" not in told.out and "base=" not in told.out


@pytest.mark.parametrize("kind", [Toy, *TRAININGS, *LABS], ids=lambda kind: kind.name)
def test_every_default_can_be_written(kind: type[Any]) -> None:
    needed = [field for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING]
    recipe = kind(**{field.name: "a" for field in needed})
    texts = [f"{name}={written(value)}" for name, value in defaults(kind).items()]
    assert with_settings(recipe, texts) == recipe


def test_settings_of_every_kind() -> None:
    texts = "rows=3 share=1e-2 word=b file=x.txt sizes=4,5,6 pair=2,0.25 strict=True seed=9 steps=11 ema=0.9".split()
    assert with_settings(Toy(), [*texts, "lora=r=8,alpha=4", "betas=0.8,0.9"]) == Toy(
        rows=3, share=0.01, word="b", file="x.txt", sizes=(4, 5, 6), pair=(2, 0.25), strict=True, seed=9,
        lora=LoRA(r=8, alpha=4), training=Training(steps=11, ema=0.9, betas=(0.8, 0.9)),
    )  # fmt: skip
    assert with_settings(Toy(file="x", lora=LoRA()), ["file=none", "lora=None"]) == Toy()


BAD = {
    "rows": "'rows' is no setting of toy, which are key=value",
    "row=3": "toy has no setting 'row': did you mean 'rows'? known are rows, share, word, file, sizes, pair, strict,",
    "training=3": "toy has no setting 'training': did you mean",
    "rows=many": "rows='many' is not a whole number",
    "rows=2.5": "rows='2.5' is not a whole number",
    "share=half": "share='half' is not a number",
    "strict=yes": "strict='yes' is unknown: choose one of true, false",
    "pair=1": "pair='1' is not 2 values with commas between them",
    "sizes=1,x": "sizes='x' is not a whole number",
    "lora=r=0": "r=0 is outside its range, from 1 to 65,536: the rank of an adapter",
    "steps=0": "steps=0 is outside its range, from 1 to 1,000,000,000",
}


@pytest.mark.parametrize(("text", "fault"), BAD.items(), ids=BAD)
def test_a_bad_setting(text: str, fault: str) -> None:
    with pytest.raises(ValueError) as caught:
        with_settings(Toy(), [text])
    assert str(caught.value).startswith(fault)


def test_a_setting_given_twice() -> None:
    with pytest.raises(ValueError, match="^toy is given rows twice: give it once$"):
        with_settings(Toy(), ["rows=1", "rows=1"])
    assert convert("rows", "1", int) == 1


def test_fine_tuning_ends_with_a_model_that_decodes(data: Path) -> None:
    told = sft(data, "--set", "validate_every=1", "--set", "lr=0.05")
    folder = data.parent / "run" / "model"
    assert told.code == 0 and "3 pairs to learn from, 1 held out" in told.err
    assert f'Try: unveil decode {folder} "PROMPT"' in told.out
    row = next(line for line in told.out.splitlines() if str(folder) in line).split()
    records = [json.loads(line) for line in (data.parent / "run" / "metrics.jsonl").read_text().splitlines()]
    scores = [record["score"] for record in records]
    best = max(scores)
    assert row[:4] == ["4", f"{best:.4f}", str(1 + scores.index(best)), f"{records[-1]['loss']:.4f}"]
    assert min(scores) < best - 0.01
    assert run("decode", folder, "10=").code == 0


def test_adapters_from_the_command_line(data: Path) -> None:
    assert sft(data, "--lora", "r=2,alpha=4,targets=query|up").code == 0
    config = json.loads((data.parent / "run" / "model" / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (2, 4)
    assert config["base_model_name_or_path"] == "lab-sudoku"
    assert {name.split(".")[-1] for name in config["target_modules"]} == {"q_proj", "up_proj"}
    assert run("decode", data.parent / "run" / "model", "10=").code == 0


@pytest.mark.parametrize(("words", "rate"), [([], 2e-5), (["--lora", ""], 1e-4), (["--lora", "", "--set", "lr=1"], 1)])
def test_the_rate_of_adapters_is_higher(
    data: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], rate: float
) -> None:
    seen: list[SFT] = []
    monkeypatch.setattr(trainer, "run", lambda recipe, **_: seen.append(recipe) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("train", "sft", "--model", "lab-sudoku", "--data", data, "--set", "canvas=8", *words)
    assert seen[0].training.lr == rate and seen[0].lora == (LoRA() if words else None)


def agnostic(data: Path, *more: object) -> Any:
    return run("train", "mask-agnostic", "--model", "lab-sudoku", "--data", data, "--out", data.parent / "run", *more)


def test_mask_agnostic_fine_tuning_ends_with_a_model_that_decodes(data: Path) -> None:
    with data.open("a") as file:
        file.write(json.dumps({"prompt": "1" * 70 + "=", "answer": "1"}) + "\n")
    few = [word for text in ("rows=4", "steps=3", "max_masks=8", "validate_every=1") for word in ("--set", text)]
    told = agnostic(data, *few, "--lora", "r=2,alpha=4")
    assert told.code == 0 and "3 pairs to learn from, 1 held out, 1 left out, longer than the context" in told.err
    folder = data.parent / "run" / "model"
    assert f'Try: unveil decode {folder} "PROMPT"' in told.out and run("decode", folder, "10=").code == 0
    assert json.loads((folder / "card.json").read_text())["lora"]["r"] == 2


def test_a_preset_is_changed_by_what_is_set(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[MaskAgnosticTuning] = []
    monkeypatch.setattr(trainer, "run", lambda recipe, **_: seen.append(recipe) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        agnostic(data, "--preset", "llada-8b-instruct", "--lora", "r=8,alpha=2", "--set", "lr=0.5")
    assert (seen[0].beta, seen[0].training.lr, seen[0].lora) == (10.0, 0.5, LoRA(r=8, alpha=2))
    assert seen[0].training.precision == "bf16"
    told = agnostic(data, "--preset", "llada-8b-bass")
    fault = "error: unknown preset 'llada-8b-bass': did you mean 'llada-8b-base'? known are llada-8b-base, "
    assert told.code == 2 and told.err.startswith(fault)


def test_what_a_preset_has_can_be_taken_away(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[MaskAgnosticTuning] = []
    monkeypatch.setattr(trainer, "run", lambda recipe, **_: seen.append(recipe) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        agnostic(data, "--preset", "llada-8b-instruct", "--set", "lora=none", "--set", "dtype=float32")
    assert seen[0].lora is None and seen[0].beta == 10.0


def test_a_run_is_resumed_and_never_overwritten(data: Path) -> None:
    assert sft(data).code == 0
    before = (data.parent / "run" / "state.safetensors").read_bytes()
    folder = data.parent / "run"
    told = sft(data)
    assert told.code == 2 and f"{folder} already holds a run: go on with --resume, or choose another folder" in told.err
    told = sft(data, "--resume")
    assert told.code == 0 and "Try: unveil decode" in told.out
    told = sft(data, "--resume", "--set", "validation=0.4")
    assert told.code == 2 and "was started with validation=0.05 and is resumed with validation=0.4" in told.err
    assert (folder / "state.safetensors").read_bytes() == before


FAULTS = {
    "model": (["--model", "lab-sudoko"], "no model 'lab-sudoko': give a shipped model"),
    "lora": (["--lora", "rank=3"], "lora has no setting 'rank': did you mean 'r'? known are r, alpha"),
    "setting": (["--set", "pading=first"], "sft has no setting 'pading': did you mean 'padding'?"),
    "field": (["--set", "padding=last"], "padding='last' is unknown: use canvas or first"),
    "threads": (["--threads", "0"], "Invalid value for '--threads'"),
    "data": (["--data", "nothing.jsonl"], "Invalid value for '--data'"),
}


@pytest.mark.parametrize(("words", "fault"), FAULTS.values(), ids=FAULTS)
def test_bad_words(data: Path, words: list[str], fault: str) -> None:
    told = sft(data, *words)
    assert (told.code, told.out) == (2, "") and "Traceback" not in told.err
    assert fault in words_of(told.err)
    assert not (data.parent / "run").exists()


def test_a_bad_line_of_data(data: Path) -> None:
    data.write_text(data.read_text() + '{"prompt": "1="}\n')
    told = sft(data)
    assert told.code == 2 and f"error: {data}, line 5: field 'answer' is missing or no text" in told.err


def test_a_run_may_not_replace_its_base(data: Path) -> None:
    assert sft(data).code == 0
    folder = data.parent / "run"
    told = run("train", "sft", "--model", folder / "model", "--data", data, "--out", folder, *QUICK, "--resume")
    assert told.code == 2 and f"the run in {folder} would replace {folder / 'model'}, from which it" in told.err


def test_a_loss_that_is_not_finite_is_one_sentence(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Training, "rate", lambda self, step: 1e30)
    told = sft(data)
    assert told.code == 2 and "Traceback" not in told.err
    assert "error: step 2: the loss of its batch" in told.err


def test_ctrl_c_says_how_to_go_on(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "run", stop)
    told = sft(data)
    kept = f"stopped. The run in {data.parent / 'run'} is kept: the same command with --resume goes on."
    assert told.code == 130 and kept in told.err


@pytest.mark.parametrize(("error", "fault"), [
    (FloatingPointError("step 3: the loss is nan"), "error: step 3: the loss is nan\n"),
    (torch.OutOfMemoryError("out of memory\nmore"), "not enough memory (out of memory): set micro_rows=1 and check"),
])  # fmt: skip
def test_what_goes_wrong_in_training_is_one_sentence(
    data: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, fault: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(trainer, "run", fail)
    told = sft(data)
    assert told.code == 2 and fault in told.err and "Traceback" not in told.err


def test_the_folder_by_default_and_threads(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.chdir(data.parent)
    told = run("train", "sft", "--model", "lab-sudoku", "--data", data, *QUICK, "--threads", 3)
    assert threads == [3]
    best = Path("runs") / "sft" / "model"
    assert told.code == 0 and f'Try: unveil decode {best} "PROMPT"' in told.out
    assert len((best.parent / "metrics.jsonl").read_text().splitlines()) == 4 and (best / "config.json").exists()


def test_only_the_main_process_speaks(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "run", lambda recipe, out, resume: out / "model")
    monkeypatch.setitem(os.environ, "RANK", "1")
    told = sft(data)
    assert (told.code, told.out, told.err) == (0, "", "")
