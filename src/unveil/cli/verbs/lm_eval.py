"""unveil lm-eval: EleutherAI's evaluation harness with models and samplers of this package."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

DEFAULTS = ("--model", "unveil", "--batch_size", "16")


class WithTheirHelp(TyperCommand):
    """A verb whose help is followed by lm-eval's."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Ours, then theirs where it is installed."""
        super().format_help(ctx, formatter)
        if find_spec("lm_eval") is not None:
            with suppress(SystemExit):
                _hand_over(["run", "--help"])


COMMAND: dict[str, Any] = {
    "cls": WithTheirHelp,
    "context_settings": {"ignore_unknown_options": True},
    "no_args_is_help": True,
}

Words = Annotated[
    list[str],
    typer.Argument(metavar="WORDS", help="The options of lm-eval, or a verb of it.", show_default=False),
]


def lm_eval(words: Words) -> None:
    """Run the benchmarks of lm-eval, EleutherAI's Language Model Evaluation Harness; its options follow.

    Without --model it runs the model "unveil", whose --model_args are

    \b
    pretrained  a shipped model, a folder, or a Hugging Face repository
    sampler     as in `unveil decode`; for tasks that generate
    samples     forwards for the bound of a likelihood, 1 or an even number
                (default 128; answers of up to 7 tokens are exact with that)
    guidance, seed, and what loads a model (dtype, revision, ...)
                as in `unveil decode`

    All others are settings of the sampler, so its commas may stay. The number of masks is a task's max_gen_toks.

    Chats need --apply_chat_template; several processes: accelerate launch -m unveil lm-eval ...

    \b
    Example: unveil lm-eval --tasks gsm8k --apply_chat_template
      --model_args pretrained=GSAI-ML/LLaDA-8B-Instruct,sampler=llada:block=32
    """
    if find_spec("lm_eval") is None:
        raise ValueError("unveil lm-eval needs lm-eval: pip install 'unveil[lm-eval]'")
    import unveil.evaluation.likelihood.harness  # noqa: F401  makes the model known
    from unveil.processes import launched

    with launched():
        _hand_over(words_for(words))


def words_for(words: Sequence[str]) -> list[str]:
    """The words that lm-eval gets: the user's after the defaults, which they override.

    No defaults for another verb than `run`, nor beside a file of settings, which would lose against them.
    """
    if words[0] in ("ls", "validate") or any(word.startswith(("-C", "--conf")) for word in words):
        return list(words)
    return [*DEFAULTS, *words[words[0] == "run" :]]


def _hand_over(words: Sequence[str]) -> None:
    """lm-eval's own program, which reads the words of the process."""
    from lm_eval.__main__ import cli_evaluate

    before, sys.argv = sys.argv, ["lm-eval", *words]
    try:
        cli_evaluate()
    finally:
        sys.argv = before
