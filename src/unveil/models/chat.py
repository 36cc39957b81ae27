"""A model's chat template: messages to text."""

from collections.abc import Callable
from pathlib import Path

from unveil.models.checkpoint import read_json


def chat_template(folder: Path) -> Callable[[list[dict[str, str]], bool], str]:
    """(messages, whether an answer is to follow) -> text, by the template of a model's folder (run in a sandbox).

    ValueError where the folder has none or transformers is not installed.
    """
    settings = folder / "tokenizer_config.json"
    written = settings.is_file() and read_json(settings).get("chat_template")
    if not written and not (folder / "chat_template.jinja").is_file():
        raise ValueError(
            f"{folder} has no chat template: put its chat_template.jinja there, or use prompts without chat"
        )
    try:
        from jinja2 import TemplateError
        from transformers import PreTrainedTokenizerFast
    except ImportError:
        raise ValueError("chats need transformers: pip install 'unveil[chat]', or use prompts without chat") from None
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)

    def render(messages: list[dict[str, str]], ask: bool) -> str:
        try:
            return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask))
        except TemplateError as error:
            raise ValueError(f"the model's chat template refuses the messages ({error}): change them") from None

    return render
