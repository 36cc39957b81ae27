"""A tiny random model in the place of the shipped one."""
from pathlib import Path

import pytest

from unveil.checkpoints.families.llada import LLADA
from unveil.checkpoints.tokenizer import FileTokenizer
from unveil.checkpoints.weights import save_checkpoint
from unveil.files import write_json
from unveil.models.transformer import Architecture, Transformer, initialise


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of LLaDA's layout with random weights: its answers are nonsense, and always the same."""
    folder = tmp_path_factory.mktemp("lab") / "lab-sudoku"
    tokenizer = FileTokenizer.characters("\n=01234", ["[EOS]", "[MASK]"])
    eos, mask = tokenizer.encode("[EOS][MASK]")
    architecture = Architecture(
        vocabulary=16, width=16, layers=1, heads=2, kv_heads=2, head_width=8, feed_width=32, mask_id=mask,
        end_ids=(eos,), max_columns=64, rope_base=10000.0,
    )  # fmt: skip
    model = initialise(Transformer(architecture), seed=0, std=0.6)
    model.head.weight.data[[7, *range(9, 16)]] = 0  # only characters are ever best
    save_checkpoint(model, folder, LLADA)
    tokenizer.save(folder / "tokenizer.json")
    write_json(folder / "generation_config.json", {"max_new_tokens": 19})
    return folder


@pytest.fixture(autouse=True)
def lab(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of shipped models, with the tiny one in it and nothing else."""
    monkeypatch.setattr("unveil.checkpoints.folder.LAB", tiny.parent)
    return tiny.parent
