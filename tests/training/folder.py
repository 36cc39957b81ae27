"""A model's folder for fine-tuning: a tiny transformer over characters, with a tokenizer and, if wanted, a template."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from unveil.checkpoints.families.llada import LLADA
from unveil.checkpoints.folder import Folder
from unveil.checkpoints.tokenizer import FileTokenizer
from unveil.checkpoints.weights import save_checkpoint
from unveil.files import write_json
from unveil.models.transformer import Architecture, Transformer, initialise

ALPHABET = "\n =<>:;.,!?|abcdefghijklmnopqrstuvwxyz0123456789"
SPECIAL = ["[EOS]", "[MASK]"]
CODEC = FileTokenizer.characters(ALPHABET, SPECIAL)
EOS, MASK = (CODEC.encode(name)[0] for name in SPECIAL)
CONTEXT = 96
TEMPLATE = (  # as Llama's: each message with its role and an end
    "{% for m in messages %}{{ '<' + m['role'] + '>' + m['content'] | trim + '[EOS]' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


def model_folder(folder: Path, *, template: str | None = None, **change: Any) -> Path:
    """LLaDA's layout in bfloat16, as published models are."""
    sizes = {"vocabulary": 64, "width": 32, "layers": 2, "heads": 2, "kv_heads": 2, "head_width": 16, "feed_width": 48}
    architecture = Architecture(
        **(sizes | {"mask_id": MASK, "end_ids": (EOS,), "max_columns": CONTEXT, "rope_base": 10000.0} | change)
    )
    save_checkpoint(initialise(Transformer(architecture), 0, std=0.2), folder, LLADA, dtype=torch.bfloat16)
    CODEC.save(folder / "tokenizer.json")
    names = {"eos_token": "[EOS]", "mask_token": "[MASK]", "tokenizer_class": "PreTrainedTokenizerFast"}
    write_json(folder / "tokenizer_config.json", names)
    write_json(folder / "generation_config.json", {"max_new_tokens": 19, "temperature": 0.5})
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return folder


def folder_of(path: Path = Path("nowhere"), tokenizer: FileTokenizer = CODEC) -> Folder:
    """A folder whose tokenizer is known, whatever lies there."""
    folder = Folder(path)
    vars(folder)["tokenizer"] = tokenizer
    return folder


def lines(path: Path, items: Sequence[Any]) -> Path:
    """A JSON-lines file; a text stands for itself."""
    path.write_text("".join((item if isinstance(item, str) else json.dumps(item)) + "\n" for item in items))
    return path


def words(count: int = 24) -> list[dict[str, str]]:
    """Short prompts whose answers are the prompt's letter and length; all different."""
    return [
        {"prompt": "abcdefgh"[n % 8] * (1 + n // 8) + "=", "answer": f"{'abcdefgh'[n % 8]}{1 + n // 8}" * (1 + n % 3)}
        for n in range(count)
    ]
