"""The noise of likelihoods, and of their differences between the choices of a question, by how masks are drawn.

    python -m experiments.likelihood_noise --samples 8

Word problems with two choices each: whole solutions of other problems (as long as each other, or not), or the right
steps with two wrong results. Prints the standard deviation over seeds in nats, root mean square over the questions.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch

import unveil
from unveil.evaluation.likelihood.bound import Bound, Estimator, Text, Views, log_likelihoods
from unveil.sampling.sampler import Sampler
from unveil.tasks import Problem, Sums

QUESTIONS = 12
APART = 1 << 20  # between the seeds of two choices that share nothing


@dataclass(frozen=True, kw_only=True)
class Published:
    """LLaDA's eval_llada.py: one random offset, `samples` equidistant numbers of masks from it, a subset each."""

    samples: int
    greedy: Sampler = Sampler()

    def views(self, length: int, seed: int) -> Views:
        """Its `_forward_process` for one batch of all samples."""
        generator = torch.Generator().manual_seed(Random(seed).getrandbits(32))  # near seeds begin alike
        first = int(torch.randint(1, length + 1, (), generator=generator))
        last = first + (self.samples - 1) * (length / self.samples)
        count = (torch.linspace(first, last, self.samples).round().long() - 1) % length + 1
        order = torch.rand(self.samples, length, generator=generator).argsort(1)
        hidden = order < count[:, None]
        weight = length / (count.double() * self.samples)
        return Views(hidden, hidden, torch.arange(self.samples), weight, exact=False)


def choices(model: unveil.Model) -> dict[str, list[tuple[str, str, str]]]:
    """(prompt, one choice, the other) by kind."""
    problems = Sums().generate(400, 5)

    def length(problem: Problem) -> int:
        return len(model.tokenizer.encode(problem.answer))

    same = [problem for problem in problems if length(problem) == 23][: QUESTIONS + 2]
    shorter = [problem for problem in problems if length(problem) == 16][: QUESTIONS + 2]
    found: dict[str, list[tuple[str, str, str]]] = {
        "other solutions, 23 tokens": [],
        "23 and 16 tokens": [],
        "results": [],
    }
    for number, problem in enumerate(same[:QUESTIONS]):
        one, other = same[number + 1].answer, same[number + 2].answer
        steps, result = problem.answer.rsplit("#", 1)[0], problem.data["result"]
        found["other solutions, 23 tokens"].append((problem.prompt, one, other))
        found["23 and 16 tokens"].append((problem.prompt, one, shorter[number].answer))
        found["results"].append((problem.prompt, f"{steps}#{result + 1}", f"{steps}#{result + 2}"))
    return found


def noise(
    model: unveil.Model, estimate: Estimator, asked: Sequence[tuple[str, str, str]], seeds: int, apart: int
) -> tuple[float, float, float]:
    """Of one likelihood, of the difference of two, and the forwards of one."""
    encode = model.tokenizer.encode
    texts = [
        Text(encode(prompt), encode(choice), seed + apart * place)
        for prompt, *pair in asked
        for seed in range(seeds)
        for place, choice in enumerate(pair)
    ]
    found = log_likelihoods(model.denoiser, estimate, texts, columns=8192)
    values = torch.tensor([one.log_prob for one in found]).view(len(asked), seeds, 2)
    one, difference = (float(x.var(1).mean().sqrt()) for x in (values, values[..., 0] - values[..., 1]))
    return one, difference, sum(likelihood.forwards for likelihood in found) / len(found)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lab-puzzles")
    parser.add_argument("--samples", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--seeds", type=int, default=24)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = unveil.load(args.model, device="cpu")
    print(
        "| choices | samples | one: published | one: here | forwards | difference: published | two seeds | one seed |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, asked in choices(model).items():
        for samples in args.samples:
            old = noise(model, Published(samples=samples), asked, args.seeds, APART)
            two = noise(model, Bound(samples=samples), asked, args.seeds, APART)
            one = noise(model, Bound(samples=samples), asked, args.seeds, 0)
            print(
                f"| {name} | {samples} | {old[0]:.2f} | {two[0]:.2f} | {two[2]:.1f} | {old[1]:.2f} | {two[1]:.2f} "
                f"| {one[1]:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
