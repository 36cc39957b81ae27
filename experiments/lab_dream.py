"""lab-sudoku in Dream's layout: biases in q, k, v, and column i predicted at column i - 1.

    python -m experiments.lab_dream --out runs/lab-dream [--steps 600]

No model that answers in place can be exported to Dream's layout with equal logits, as its readers shift them. So the
weights of lab-sudoku learn to answer one column earlier: fine-tuning on fresh puzzles of the training split. The result
in OUT/run/model loads as any Dream checkpoint does.
"""

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path

import torch

from unveil.checkpoints.families.dream import DREAM
from unveil.checkpoints.folder import Folder
from unveil.checkpoints.weights import load_checkpoint, save_checkpoint
from unveil.files import write_text
from unveil.models.transformer import Transformer
from unveil.settings import with_settings
from unveil.tasks import generated, task
from unveil.training.settings import Falling
from unveil.training.sft import SFT
from unveil.training.trainer import run

FILES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")
SETTINGS = "canvas=20 rows=64 lr=1e-3 warmup=50 precision=bf16 validation=0.01 validate_every=200 save_every=100 seed=0"


def main() -> None:
    """Write the shifted start and the puzzles, then train, or go on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=600)
    args = parser.parse_args()
    torch.set_num_threads(1)
    start, data, folder = args.out / "start", args.out / "pairs.jsonl", args.out / "run"
    if not data.exists():
        shifted(start)
        puzzles = generated(task("sudoku:givens=4-10,split=train"), "").generate(20_000, 91)
        lines = (json.dumps({"prompt": one.prompt, "answer": one.answer}) for one in puzzles)
        write_text(data, "".join(f"{line}\n" for line in lines))
    recipe = SFT(base=str(start), data=str(data), training=Falling(steps=args.steps))
    run(with_settings(recipe, SETTINGS.split()), out=folder, resume=(folder / "metrics.jsonl").exists())


def shifted(folder: Path) -> None:
    """The weights of lab-sudoku, which do not answer there yet."""
    source = Folder.named("lab-sudoku")
    model = load_checkpoint(source)
    shift = Transformer(replace(model.architecture, shift=1, qkv_bias=True))
    state = shift.state_dict()
    for name, weight in state.items():
        weight.copy_(model.state_dict()[name]) if name in model.state_dict() else weight.zero_()
    save_checkpoint(shift, folder, DREAM)
    for name in FILES:
        shutil.copy(source.path / name, folder / name)


if __name__ == "__main__":
    main()
