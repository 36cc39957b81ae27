"""What the lab models share: how they are scored while they train, and the files beside their weights."""

from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from unveil.canvas import Canvas
from unveil.files import write_json
from unveil.models.checkpoint import load_checkpoint, save_checkpoint
from unveil.models.llada import LLADA
from unveil.models.tokenizer import FileTokenizer
from unveil.models.transformer import Transformer
from unveil.sampling.queue import decode_queue
from unveil.sampling.recipes import llada
from unveil.tasks.task import Task

SPECIAL = ("[EOS]", "[MASK]")
BLOCK = 32


@torch.no_grad()
def accuracy(
    model: nn.Module, tokenizer: FileTokenizer, task: Task, *, count: int, seed: int, batch: int = 64
) -> float:
    """Share of `count` problems solved, one token a forward by confidence in blocks of 32 (or the canvas, if less)."""
    transformer = cast(Transformer, model)
    a = transformer.architecture
    problems = task.generate(count, seed)
    waiting = [
        Canvas.blank([tokenizer.encode(problem.prompt)], task.num_masks, mask_id=a.mask_id, end_ids=a.end_ids)
        for problem in problems
    ]
    waiting = [canvas.to(transformer.head.weight.device) for canvas in waiting]
    sampler = llada(task.num_masks, block=BLOCK if task.num_masks % BLOCK == 0 else None)
    done = decode_queue(sampler, transformer, waiting, batch=batch)
    right = [task.correct(problems[number], tokenizer.decode(row.answer(0))) for number, row in done]
    return sum(right) / count


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
