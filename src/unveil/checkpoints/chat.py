"""A model's chat template: messages to text."""

from collections.abc import Callable
from pathlib import Path

from unveil.files import read_json


def has_template(folder: Path) -> bool:
    """Whether a model's folder has a chat template."""
    settings = folder / "tokenizer_config.json"
    written = settings.is_file() and read_json(settings).get("chat_template")
    return bool(written) or (folder / "chat_template.jinja").is_file()


def chat_template(folder: Path) -> Callable[[list[dict[str, str]], bool], str]:
    """(messages, whether an answer is to follow) -> text, by the template of a model's folder (run in a sandbox).

    Some templates (LLaDA-8B-Instruct's) always begin the next answer; where none is to follow that is cut off.
    ValueError where the folder has none or transformers is not installed.
    """
    if not has_template(folder):
        raise ValueError(
            f"{folder} has no chat template: put its chat_template.jinja there, or use prompts without chat"
        )
    try:
        from jinja2 import TemplateError
        from transformers import PreTrainedTokenizerFast
    except ImportError:
        raise ValueError("chats need transformers: pip install 'unveil[chat]', or use prompts without chat") from None
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)

    def applied(messages: list[dict[str, str]], ask: bool) -> str:
        # as a batch: a chat without messages is an error for transformers
        return str(tokenizer.apply_chat_template([messages], tokenize=False, add_generation_prompt=ask)[0])

    one = [{"role": "user", "content": "."}]
    try:  # what it writes after any messages, where it does not listen to what is asked
        always = applied([], False) if applied(one, False) == applied(one, True) else ""
    except TemplateError:  # no chat is empty, or so short, for this one
        always = ""

    def render(messages: list[dict[str, str]], ask: bool) -> str:
        try:
            text = applied(messages, ask)
        except TemplateError as error:
            raise ValueError(f"the model's chat template refuses the messages ({error}): change them") from None
        return text if ask else text.removesuffix(always)

    return render
