"""Decode a Sudoku with the shipped model: in one line, then forward by forward.

python examples/decode.py
"""

import unveil

puzzle = "1000\n0002\n4003\n0000\n=\n"
model = unveil.load("lab-sudoku")

(answer,) = model.decode([puzzle], "fast_dllm:threshold=0.9")
print(f"{answer.text}\n{answer.nfe} forwards\n")

sampler = unveil.recipes.llada(model.new_tokens, steps=10)
for step in sampler.stream(model.denoiser, model.canvas(puzzle)):
    print(f"forward {int(step.after.nfe[0])}: {int(step.after.num_undecided[0])} masks left")
