"""What the recipes share: the command line, how a model is scored while it trains, and the files beside its weights."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from unveil.checkpoints.families.llada import LLADA
from unveil.checkpoints.folder import Folder
from unveil.checkpoints.tokenizer import FileTokenizer
from unveil.checkpoints.weights import load_checkpoint, save_checkpoint
from unveil.decoding.model import Model
from unveil.evaluation.run import evaluate
from unveil.files import write_json
from unveil.models.transformer import Architecture, Transformer, initialise
from unveil.settings import defaults, with_settings, written
from unveil.tasks.task import Generated
from unveil.terminal import speaks
from unveil.train import tuned

SPECIAL = ("[EOS]", "[MASK]")  # the last tokens of every vocabulary here
BLOCK = 32  # columns that are decoded at a time
BAD_INPUT, INTERRUPTED = 2, 130  # exit codes


def main(recipe_class: type[Any], words: Sequence[str] | None = None) -> None:
    """Train a recipe as the command line says (`words`; None: that of the program), and print what came of it."""
    parser = _parser(recipe_class)
    asked = parser.parse_args(words)
    try:
        recipe = with_settings(recipe_class(), asked.settings)
        trained = tuned(recipe, asked.out, resume=asked.resume, threads=asked.threads)
    except (ValueError, OSError, FloatingPointError) as error:
        parser.exit(BAD_INPUT, f"error: {error}\n")
    except KeyboardInterrupt:
        parser.exit(INTERRUPTED, f"stopped. The run in {asked.out} is kept: the same command with --resume goes on.\n")
    if speaks():
        print(f'{trained}\n\nTry: unveil decode {trained.best} "PROMPT"')


def _parser(recipe_class: type[Any]) -> argparse.ArgumentParser:
    """The options of a recipe; the help ends with its settings."""
    settings = ", ".join(f"{name}={written(value)}" for name, value in defaults(recipe_class).items())
    parser = argparse.ArgumentParser(
        prog=recipe_class.command,
        description=f"Train {recipe_class.name}. The best model so far is in OUT/model. {recipe_class.__doc__}",
        epilog=f"Settings (--set) and their defaults: {settings}",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", default=Path("runs") / recipe_class.name,
        help="the folder of the run; default: %(default)s",
    )  # fmt: skip
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="NAME=VALUE",
        help="change a setting, for example steps=2000; repeat it for several",
    )  # fmt: skip
    parser.add_argument("--resume", action="store_true", help="go on with the run in that folder, if there is one")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads of each process, one if unset")
    return parser


def model(architecture: Architecture, seed: int, start: str | None = None) -> Transformer:
    """Fresh weights, or those of `start`: a shipped model, a folder or a hub repository."""
    if start is not None:
        return load_checkpoint(Folder.named(start), dtype=torch.float32)
    return initialise(Transformer(architecture), seed=seed)


def with_tokenizer(model: nn.Module, tokenizer: FileTokenizer, *, new_tokens: int) -> Model:
    """A model in training as one that is asked with text, to be evaluated."""
    denoiser = cast(Transformer, model)
    ends = denoiser.outline.end_ids
    return Model(name="", denoiser=denoiser, tokenizer=tokenizer, new_tokens=new_tokens, revision="", end_ids=ends)


def padded(rows: Sequence[Sequence[int | bool]], filling: int | bool) -> Tensor:
    """Rows of any lengths as one tensor."""
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=filling)


def accuracy(
    model: nn.Module, tokenizer: FileTokenizer, task: Generated, *, count: int, seed: int, batch: int = 64
) -> float:
    """Share of `count` problems solved, one token a forward by confidence in blocks of 32 (or the canvas, if less)."""
    asked = with_tokenizer(model, tokenizer, new_tokens=task.num_masks)
    sampler = f"llada:block={BLOCK}" if task.num_masks % BLOCK == 0 else "llada"
    return evaluate(asked, task, task.generate(count, seed), sampler, batch=batch).accuracy


def save(model: nn.Module, folder: Path, tokenizer: FileTokenizer, *, new_tokens: int) -> None:
    """Weights in bfloat16, and the tokenizer as `transformers.AutoTokenizer` loads it."""
    end, mask = SPECIAL
    save_checkpoint(cast(Transformer, model), folder, LLADA, dtype=torch.bfloat16)
    tokenizer.save(folder / "tokenizer.json")
    names = {"eos_token": end, "pad_token": end, "mask_token": mask, "clean_up_tokenization_spaces": False}
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **names})
    write_json(folder / "generation_config.json", {"max_new_tokens": new_tokens})


def describe(folder: Path, recipe: Any, *, task: str, measured: str) -> None:
    """card.json: the validation of the stored weights, read as float32, and where they come from."""
    stored = load_checkpoint(Folder(folder), dtype=torch.float32)
    found = recipe.validate(stored)
    card = {
        "task": task,
        "parameters": sum(x.numel() for x in stored.parameters()),
        "recipe": recipe.command,
        "seed": recipe.training.seed,
        "accuracy": found.pop("score"),
        "accuracies": found,
        "measured": measured,
    }
    write_json(folder / "card.json", {name: value for name, value in card.items() if value != {}})
