"""How much room does a task leave to a policy? The best of 64 random orders of each problem, by forwards.

    python -m experiments.policy_room --model lab-puzzles --task sums [--limit 100]

Eight random orders at each of eight bars: a mask opens with probability sigmoid((confidence - bar) * SHARPNESS), at
least one a forward; one block of the whole canvas, greedy tokens. Prints a markdown table: the share of problems that
*some* order of at most so many forwards solves. It is chosen with
the answer known: an upper bound that no policy reaches.
"""

import argparse
from dataclasses import dataclass

import torch
from torch import Tensor

import unveil
from unveil.canvas import Canvas
from unveil.evaluation.statistics import wilson
from unveil.sampling.propose import Proposal
from unveil.sampling.random_picks import SomeCoins
from unveil.sampling.sampler import Sampler, Select
from unveil.sampling.scores import Confidence
from unveil.tasks import task

BARS = (-0.2, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0)
SHARPNESS = 10.0
EACH = 8
FORWARDS = (1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 64)


@dataclass(frozen=True, kw_only=True)
class Leaning(Confidence):
    """Logits that rise with confidence."""

    bar: float

    def __call__(self, proposal: Proposal, canvas: Canvas) -> Tensor:
        """0 at the bar."""
        return (super().__call__(proposal, canvas) - self.bar) * SHARPNESS


def main() -> None:
    """Decode, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lab-puzzles")
    parser.add_argument("--task", default="sums")
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--seed", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, asked = unveil.load(args.model), task(args.task)
    problems = asked.generate(args.limit, args.seed)
    lengths = [[float("inf")] for _ in problems]  # of right orders
    for bar in BARS:
        sampler = Sampler(unmask=Select(score=Leaning(bar=bar), pick=SomeCoins()))
        rows = [
            model.canvas(problem.prompt, new_tokens=asked.num_masks, seed=number * EACH + copy)
            for number, problem in enumerate(problems)
            for copy in range(EACH)
        ]
        for _, finished in model.stream(rows, sampler, batch=64):
            for number, row in finished:
                answer, which = model.answer(row), number // EACH
                if asked.correct(problems[which], answer.text):
                    lengths[which].append(answer.nfe)
    print(f"{asked.name}, {len(problems)} problems, {asked.num_masks} masks, {model.name}\n")
    print("| forwards | solved by some order | 95 % interval |\n|---|---|---|")
    for most in FORWARDS:
        right = sum(min(found) <= most for found in lengths)
        low, high = wilson(right, len(problems))
        print(f"| {most} | {100 * right / len(problems):.1f} % | {100 * low:.1f} to {100 * high:.1f} |")


if __name__ == "__main__":
    main()
