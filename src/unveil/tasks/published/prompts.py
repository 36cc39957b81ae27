r"""The words in which the problems are asked, to the letter, oddities included, so that numbers can be compared.

Source: d1 (Zhao et al. 2025, "d1: Scaling reasoning in diffusion large language models via reinforcement learning",
github.com/dllm-reasoning/d1, Apache-2.0), eval/gsm8k.py, math500.py, countdown.py and sudoku.py. EvoToken's release
(Zhong et al. 2026, arXiv 2601.07351) and that of the learned unmasking policies (Jazbec et al. 2025, arXiv 2512.09106)
ask in the same words. One message of the user holds an instruction, a blank line and the question; the answer begins
with PREFIX, which the model is given.
"""

PREFIX = "<reasoning>"
FORM = """
Respond in the following format:
<reasoning>
Your reasoning here
</reasoning>
<answer>
\\boxed{...}
</answer>"""
MATHS = (
    "You are a math expert. You will be given a question to solve. Solve it step by step. "
    "Wrap the final answer in a \\boxed{}."
)
GSM8K = f"{MATHS} {FORM}"
MATH = f'{MATHS}{FORM}" \n'  # of MATH-500 and SVAMP; the quotation mark is theirs
COUNTDOWN = (
    "Using only the provided numbers, create an arithmetic expression that evaluates to exactly the provided target "
    "number. You may use the operations +, -, *, and / as needed, but each number must be used exactly once. Think "
    "step-by-step. After reasoning, provide only your final expression inside \\boxed{} tags without including an "
    "equals sign or the target number. For example: \\boxed{a + b * c}" + FORM.removeprefix("\n")
)
SUDOKU = """
Please solve the following 4x4 Sudoku puzzle. The puzzle is provided as a 16-character string reading left-to-right, \
top-to-bottom, where '0' represents empty cells.

Rules:
- Fill empty cells with digits 1-4
- Each row must contain digits 1-4 exactly once
- Each column must contain digits 1-4 exactly once
- Each 2x2 box must contain digits 1-4 exactly once

Important: Your solution must be a COMPLETE 16-character string with only the digits 1-4, representing your final \
solved grid.

Respond in this exact format:
<reasoning>
Your step-by-step solving process
</reasoning>
<answer>
[16-character solution string with no spaces or separators]
</answer>
"""


def written(reasoning: str, answer: str) -> str:
    """An answer in the form that is asked for, after PREFIX."""
    return f"{reasoning}\n</reasoning>\n<answer>\n{answer}\n</answer>"
