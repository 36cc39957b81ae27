"""What the lab models share: how they are scored while they train, and the files beside their weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from unveil.checkpoints.families.llada import LLADA
from unveil.checkpoints.folder import locate
from unveil.checkpoints.tokenizer import FileTokenizer
from unveil.checkpoints.weights import load_checkpoint, save_checkpoint
from unveil.decoding.model import Model
from unveil.evaluation.run import evaluate
from unveil.files import write_json
from unveil.models.transformer import Architecture, Transformer, initialise
from unveil.tasks.task import Generated

SPECIAL = ("[EOS]", "[MASK]")
BLOCK = 32


def model(architecture: Architecture, seed: int, start: str | None = None) -> Transformer:
    """Fresh weights, or those of `start`: a shipped model or a folder."""
    if start is not None:
        return load_checkpoint(locate(start), dtype=torch.float32)
    return initialise(Transformer(architecture), seed=seed)


def whole(model: nn.Module, tokenizer: FileTokenizer, *, new_tokens: int) -> Model:
    """A model in training with its tokenizer, to be evaluated."""
    denoiser = cast(Transformer, model)
    ends = denoiser.architecture.end_ids
    return Model(name="", denoiser=denoiser, tokenizer=tokenizer, new_tokens=new_tokens, revision="", end_ids=ends)


def padded(rows: Sequence[Sequence[int | bool]], filling: int | bool) -> Tensor:
    """Rows of any lengths as one tensor."""
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=filling)


def accuracy(
    model: nn.Module, tokenizer: FileTokenizer, task: Generated, *, count: int, seed: int, batch: int = 64
) -> float:
    """Share of `count` problems solved, one token a forward by confidence in blocks of 32 (or the canvas, if less)."""
    decoding = whole(model, tokenizer, new_tokens=task.num_masks)
    sampler = f"llada:block={BLOCK}" if task.num_masks % BLOCK == 0 else "llada"
    return evaluate(decoding, task, task.generate(count, seed), sampler, batch=batch).accuracy


def save(model: nn.Module, folder: Path, tokenizer: FileTokenizer, *, new_tokens: int) -> None:
    """Weights in bfloat16, and the tokenizer as `transformers.AutoTokenizer` loads it."""
    end, mask = SPECIAL
    save_checkpoint(cast(Transformer, model), folder, LLADA, dtype=torch.bfloat16)
    tokenizer.save(folder / "tokenizer.json")
    names = {"eos_token": end, "pad_token": end, "mask_token": mask, "clean_up_tokenization_spaces": False}
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **names})
    write_json(folder / "generation_config.json", {"max_new_tokens": new_tokens})


def describe(folder: Path, recipe: Any, *, task: str, measured: str) -> None:
    """card.json: the validation of the stored file, read as float32, and where it comes from."""
    stored = load_checkpoint(folder, dtype=torch.float32)
    found = recipe.validate(stored)
    card = {
        "task": task,
        "parameters": sum(x.numel() for x in stored.parameters()),
        "recipe": f"unveil train {recipe.name}",
        "seed": recipe.training.seed,
        "accuracy": found.pop("score"),
        "accuracies": found,
        "measured": measured,
    }
    write_json(folder / "card.json", {name: value for name, value in card.items() if value != {}})
