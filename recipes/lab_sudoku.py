"""Train lab-sudoku: 0.8 M parameters, LLaDA's layout, one thread of a laptop, under an hour.

    python recipes/lab_sudoku.py --out runs/lab-sudoku [--resume]

The best weights on validation puzzles (decoded one token a forward, by confidence) are kept in OUT/model, in bfloat16.
Everything follows from the seed; a killed run goes on with --resume as if nothing had happened.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from unveil.canvas import Canvas
from unveil.files import write_json
from unveil.models.checkpoint import load_checkpoint, save_checkpoint
from unveil.models.llada import LLADA
from unveil.models.tokenizer import FileTokenizer
from unveil.models.transformer import Architecture, Transformer, initialise
from unveil.objectives.masked import Batch, MaskedDiffusion
from unveil.sampling.recipes import llada
from unveil.tasks.sudoku import Sudoku
from unveil.training.trainer import Training, train

TOKENIZER = FileTokenizer.characters("\n=01234", ["[EOS]", "[MASK]"])
MASK, EOS = TOKENIZER.encode("[MASK]")[0], TOKENIZER.encode("[EOS]")[0]
ARCHITECTURE = Architecture(
    vocabulary=16, width=128, layers=4, heads=4, kv_heads=4, head_width=32, feed_width=352, max_columns=64,
    rope_base=10000.0, mask_id=MASK, end_ids=(EOS,),
)  # fmt: skip
TRAINING = Training(steps=6000, lr=2e-3, warmup=200, weight_decay=0.01, seed=0, validate_every=250, save_every=100)
ROWS = 128
CHARACTERS = TOKENIZER.encode("01234")
NEWLINE, EQUALS = TOKENIZER.encode("\n=")


def sequences(puzzles: np.ndarray, solutions: np.ndarray) -> torch.Tensor:
    """(n, 16) puzzles and solutions as (n, 41) ids: the text form of the task."""
    ids = np.array(CHARACTERS)
    rows = len(puzzles)
    line = np.full((rows, 4, 1), NEWLINE)
    above = np.concatenate([ids[puzzles].reshape(rows, 4, 4), line], 2).reshape(rows, 20)
    below = np.concatenate([ids[solutions].reshape(rows, 4, 4), line], 2).reshape(rows, 20)[:, :19]
    middle = np.tile([EQUALS, NEWLINE], (rows, 1))
    return torch.from_numpy(np.concatenate([above, middle, below], 1))


def batch(step: int) -> Batch:
    """The batch of a step: fresh puzzles of the training split, from a seed and the step."""
    puzzles, solutions = Sudoku(split="train").arrays(ROWS, np.random.default_rng([TRAINING.seed, step]))
    return Batch(sequences(puzzles, solutions), torch.full((ROWS,), 22), torch.full((ROWS,), 41))


def validate(model: torch.nn.Module) -> dict[str, float]:
    """Share of 512 validation puzzles with 4 to 6 givens solved, one token a forward, by confidence."""
    model.eval()
    task = Sudoku(givens=(4, 6), split="validation")
    problems = task.generate(512, seed=1)
    prompts = [TOKENIZER.encode(problem.prompt) for problem in problems]
    canvas = Canvas.blank(prompts, task.num_masks, mask_id=MASK)
    done = llada(task.num_masks).decode(model, canvas)  # type: ignore[arg-type]
    answers = [TOKENIZER.decode(done.answer(row)) for row in range(len(prompts))]
    right = [task.correct(problem, answer) for problem, answer in zip(problems, answers, strict=True)]
    return {"score": float(np.mean(right))}


def describe(folder: Path) -> None:
    """Write what stands beside the weights; the score is that of the stored bfloat16 file, read as float32."""
    stored = load_checkpoint(folder, dtype=torch.float32)
    TOKENIZER.save(folder / "tokenizer.json")
    names = {"eos_token": "[EOS]", "pad_token": "[EOS]", "mask_token": "[MASK]", "clean_up_tokenization_spaces": False}
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **names})
    write_json(folder / "generation_config.json", {"max_new_tokens": Sudoku.num_masks})
    card = {
        "task": "sudoku",
        "parameters": sum(x.numel() for x in stored.parameters()),
        "recipe": "recipes/lab_sudoku.py",
        "seed": TRAINING.seed,
        "accuracy": validate(stored)["score"],
        "measured": "512 validation puzzles with 4 to 6 givens, llada, 19 masks, 19 forwards, one block",
    }
    write_json(folder / "card.json", card)
    print(card)


def main() -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the run")
    parser.add_argument("--resume", action="store_true", help="go on with the run in that folder")
    parser.add_argument("--threads", type=int, default=1, help="threads of this process (one is fastest for this size)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = initialise(Transformer(ARCHITECTURE), seed=TRAINING.seed)
    best = args.out / "model"

    def keep(model: torch.nn.Module) -> None:
        assert isinstance(model, Transformer)
        save_checkpoint(model, best, LLADA, dtype=torch.bfloat16)

    train(model, MaskedDiffusion(), batch, TRAINING, out=args.out, validate=validate, keep=keep, resume=args.resume)
    describe(best)


if __name__ == "__main__":
    main()
