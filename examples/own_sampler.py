"""A sampler of your own is a value: another score, another pick. Here it meets LLaDA's on fresh puzzles.

python examples/own_sampler.py
"""

import unveil
from unveil.sampling.picks import Threshold
from unveil.sampling.scores import Margin
from unveil.tasks import Sudoku

model, task = unveil.load("lab-sudoku"), Sudoku()
problems = task.generate(32, seed=7)
samplers = {
    "LLaDA, one token a forward": unveil.recipes.llada(task.num_masks),
    "every token that leads the second best by 0.8": unveil.Sampler(
        unmask=unveil.Select(score=Margin(), pick=Threshold(bar=0.8))
    ),
}
for name, sampler in samplers.items():
    answers = model.decode([problem.prompt for problem in problems], sampler, new_tokens=task.num_masks, batch=32)
    right = sum(task.correct(problem, answer.text) for problem, answer in zip(problems, answers, strict=True))
    forwards = sum(answer.nfe for answer in answers) / len(answers)
    print(f"{name}: {right} of {len(problems)} right, {forwards:.1f} forwards")
