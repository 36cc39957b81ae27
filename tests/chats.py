"""Chat templates of the published kinds, in small, and a model's folder with one of them."""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, processors

from tests.toy import toy
from unveil.checkpoints.families.llada import LLADA
from unveil.checkpoints.tokenizer import FileTokenizer
from unveil.checkpoints.weights import save_checkpoint
from unveil.files import write_json

ALPHABET = "\n abcdefghijklmnopqrstuvwxyzABCDEFGQ0123?:.-"
SPECIAL = ["<bos>", "<eos>", "<start>", "<end>", "<eot>"]
NAMES = {"bos_token": "<bos>", "eos_token": "<eos>"}
TEMPLATES = {
    # as LLaDA-8B-Instruct's: strips, and always begins the next answer
    "llada": "{% for m in messages %}{{ (bos_token if loop.first else '') + '<start>' + m.role + '<end>\n\n' "
    "+ m.content | trim + '<eot>' }}{% endfor %}{{ '<start>assistant<end>\n\n' }}",
    # as Qwen2's and Dream's: a system message of its own, contents as they are
    "chatml": "{% if messages[0].role != 'system' %}{{ '<start>system\nbe kind<end>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<start>' + m.role + '\n' + m.content + '<end>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start>assistant\n' }}{% endif %}",
    # as Mistral's: nothing stands for the assistant but a blank, no system messages
    "mistral": "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ 'Q ' + m.content + ' A' }}"
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content.strip() + eos_token }}"
    "{% else %}{{ raise_exception('only users') }}{% endif %}{% endfor %}",
}
ENDS = {"llada": ["<eot>"], "chatml": ["<end>"], "mistral": []}  # what ends an answer, beside <eos>


def chat_folder(folder: Path, template: str | None = None, *, front: bool = False, **settings: Any) -> Path:
    """A random model over characters; `front`: its tokenizer puts <bos> before a text."""
    tokenizer = FileTokenizer.characters(ALPHABET, [*SPECIAL, "[MASK]"])
    eos, mask = tokenizer.encode("<eos>[MASK]")
    model = toy(gain=0.5, end_ids=(eos,))
    assert mask == model.outline.blank_id
    save_checkpoint(model, folder, LLADA)
    if front:
        put_in_front(tokenizer.tokenizer)
    tokenizer.save(folder / "tokenizer.json")
    write_json(folder / "tokenizer_config.json", NAMES | {"tokenizer_class": "PreTrainedTokenizerFast"} | settings)
    write_json(folder / "generation_config.json", {"max_new_tokens": 8})
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return folder


def put_in_front(tokenizer: Tokenizer) -> None:
    """<bos> before a text and <eos> after it, as Llama's tokenizers put theirs."""
    tokens = [(name, tokenizer.token_to_id(name)) for name in NAMES.values()]
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A <eos>", special_tokens=tokens)
