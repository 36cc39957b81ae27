"""A folder of Dream's kind: vocab.json and merges.txt, no tokenizer.json, special tokens in tokenizer_config.json."""

from pathlib import Path
from typing import Any

from tokenizers import pre_tokenizers

from unveil.checkpoints.families.dream import DREAM
from unveil.checkpoints.weights import save_checkpoint
from unveil.files import write_json
from unveil.models.transformer import Architecture, Transformer, initialise

MERGES = ["h e", "l l", "he ll", "hell o", "Ġ w", "Ġw o", "1 2", "Ċ Ċ", "Ġ Ġ", "' s", "ĠĠ ĠĠ", "Ã ©", "a Ċ", "S a"]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|beginoftext|>", "<|mask|>"]
PLAIN = "<tool_call>"  # a token of its own, and yet text
FIRST = 256 + len(MERGES)  # the id of the first special token
NAMES = {
    "bos_token": "<|beginoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>",
    "mask_token": "<|mask|>",
}  # fmt: skip


def byte_pair_folder(folder: Path, **settings: Any) -> Path:
    """The 256 bytes, a few merges, special tokens after them."""
    folder.mkdir(exist_ok=True)
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(merge.split()) for merge in MERGES)]
    write_json(folder / "vocab.json", {token: number for number, token in enumerate(tokens)})
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(MERGES) + "\n", "utf-8")
    flags = dict.fromkeys(("lstrip", "rstrip", "single_word", "normalized"), False)
    added = {
        str(len(tokens) + number): {"content": content, "special": content != PLAIN, **flags}
        for number, content in enumerate([*SPECIAL, PLAIN])
    }
    code = {"AutoTokenizer": ["tokenization_dream.DreamTokenizer", None]}
    told = {
        "tokenizer_class": "DreamTokenizer",
        "auto_map": code,
        "add_bos_token": False,
        "added_tokens_decoder": added,
    }
    write_json(folder / "tokenizer_config.json", told | NAMES | settings)
    return folder


def dream_folder(folder: Path, **settings: Any) -> Path:
    """The same with a random model of Dream's layout."""
    architecture = Architecture(
        vocabulary=FIRST + 8, width=8, layers=1, heads=1, kv_heads=1, head_width=8, feed_width=8, mask_id=FIRST + 4,
        end_ids=(FIRST,), max_columns=64, rope_base=100.0, shift=1, qkv_bias=True,
    )  # fmt: skip
    save_checkpoint(initialise(Transformer(architecture), 0), folder, DREAM)
    return byte_pair_folder(folder, **settings)
