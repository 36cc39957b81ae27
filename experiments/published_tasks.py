"""The published benchmarks end to end on a random model of bytes: readers, prompts, decoding, judges, records.

    python -m experiments.published_tasks --data FOLDER --out runs/published [--limit 100]

FOLDER holds the files as their authors publish them (gsm8k/test.jsonl, math500/test.jsonl, svamp/SVAMP.json,
countdown/*.jsonl, sudoku/*.jsonl, humaneval/HumanEval.jsonl.gz). The model is of LLaDA's layout with a chat template,
0.9 M parameters; nothing it says is right. Prints what each took; the results lie in OUT.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from unveil.checkpoints.families.llada import LLADA
from unveil.checkpoints.weights import save_checkpoint
from unveil.files import read_json, write_json
from unveil.models.transformer import Architecture, Transformer, initialise

SPECIAL = ("<|endoftext|>", "<|turn|>", "<|end|>", "<|mask|>")
CHAT = (
    "{% for m in messages %}<|turn|>{{ m.role }}\n{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
)
ASKED = (  # the task and its file
    ("gsm8k", "gsm8k/test.jsonl"), ("math500", "math500/test.jsonl"), ("svamp", "svamp/SVAMP.json"),
    ("countdown-text", "countdown/cd3_test.jsonl"), ("countdown-text", "countdown/countdown_cd3_test.jsonl"),
    ("sudoku-text", "sudoku/sudoku_4x4_6.jsonl"), ("humaneval", "humaneval/HumanEval.jsonl.gz"),
)  # fmt: skip
CANVAS, SAMPLER = 64, "fast_dllm:steps=8,block=32,cache=dual"


def main() -> None:
    """Make the model, ask everything, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit", type=int, help="problems of each file; default: all")
    args = parser.parse_args()
    model = made(args.out / "model")
    print("| task | file | problems | strict | compat | forwards | seconds |\n|---|---|---|---|---|---|---|")
    for name, file in ASKED:
        began, result = time.perf_counter(), args.out / f"{name}-{Path(file).stem}.json"
        words = [f"--task={name}:canvas={CANVAS}", f"--data={args.data / file}", f"--sampler={SAMPLER}", "--threads=1"]
        words += [f"--json={result}", *([f"--limit={args.limit}"] if args.limit else [])]
        words += ["--allow-code-execution"] if name == "humaneval" else []
        subprocess.run(
            [sys.executable, "-m", "unveil", "evaluate", str(model), *words], check=True, stdout=subprocess.DEVNULL
        )
        said = read_json(result)
        shown = [name, file, said["n"], said["accuracy"], said.get("compat"), said["nfe_mean"]]
        print("| " + " | ".join(map(str, [*shown, round(time.perf_counter() - began)])) + " |", flush=True)


def made(folder: Path) -> Path:
    """A random model with a tokenizer of bytes and a chat template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({one: place for place, one in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    end, _, turn_end, mask = map(tokenizer.token_to_id, SPECIAL)
    architecture = Architecture(
        vocabulary=len(alphabet) + len(SPECIAL), width=128, layers=4, heads=4, kv_heads=4, head_width=32,
        feed_width=384, mask_id=mask, end_ids=(end, turn_end), max_columns=8192,
    )  # fmt: skip
    save_checkpoint(initialise(Transformer(architecture), seed=0), folder, LLADA)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"eos_token": SPECIAL[0], "mask_token": SPECIAL[3], "tokenizer_class": "PreTrainedTokenizerFast"}
    write_json(folder / "tokenizer_config.json", names | {"chat_template": CHAT})
    return folder


if __name__ == "__main__":
    main()
