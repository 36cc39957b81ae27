"""Text in, text out: a denoiser with its tokenizer."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from typing import NamedTuple

import torch

from unveil.canvas import Canvas
from unveil.checkpoints.adapters import adapter_folder, read_adapter
from unveil.checkpoints.chat import ChatTemplate, chat_template, has_template
from unveil.checkpoints.family import ends
from unveil.checkpoints.hf import Borrowed, load_denoiser
from unveil.checkpoints.locate import changed, commit_of, fingerprint, locate, place
from unveil.checkpoints.quantise import packing
from unveil.checkpoints.tokenizer import Codec, FileTokenizer, load_tokenizer
from unveil.checkpoints.weights import Change
from unveil.decoding.prompt import Prompt, question, rendered, tokens_until, until
from unveil.decoding.spec import parse_sampler
from unveil.files import read_settings
from unveil.models.denoiser import Denoiser
from unveil.models.guidance import Guided
from unveil.models.transformer import Transformer
from unveil.sampling.queue import steps_queue
from unveil.sampling.sampler import Sampler, Step

HOLE = re.compile(r"\[MASK(?::(\d+))?\]")


class Answer(NamedTuple):
    """What a row became."""

    text: str
    tokens: list[int]
    nfe: int  # forwards spent on this row
    complete: bool  # False: a step limit left masks


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A loaded model. `denoiser` is all that samplers, objectives and diagnostics need."""

    name: str
    denoiser: Transformer | Borrowed
    tokenizer: Codec
    new_tokens: int  # how many masks a prompt gets where nothing is said
    revision: str  # a fingerprint of the weights, adapter and bits included
    end_ids: tuple[int, ...] = ()  # a row ends after a block with one of them
    chat: ChatTemplate | None = None  # None: prompts are raw text
    commit: str | None = None  # of the hub repository that it is from
    adapter: str | None = None  # a fingerprint of the adapter that was added
    bits: int | None = None  # of the layers' weights, None: as loaded

    @classmethod
    def load(
        cls,
        name: str | PathLike[str],
        *,
        revision: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        attention: str | None = None,
        trust_remote_code: bool = False,
        adapter: str | PathLike[str] | None = None,
        bits: int | None = None,
    ) -> "Model":
        """A shipped model, a folder with its tokenizer, or a hub repository.

        Layouts: those of LLaDA, Dream, Llama, Qwen2 and Qwen3; others run through transformers, without a cache.
        Default device: a GPU if there is one; default dtype: float32 on a CPU, else as stored. `attention`: causal or
        bidirectional, where a model leaves the choice. A folder's own code runs only with `trust_remote_code`.
        `adapter`, a folder or a hub repository in PEFT's format, is added to the weights as they are read; `bits` (8 or
        4) then rounds the layers' weights, all else stays in `dtype`.
        Chats need transformers. Without it rows do not end with what a chat template writes after an answer, either.
        Raises ValueError for whatever is missing or broken, saying which file.
        """
        folder = locate(fspath(name), revision, code=trust_remote_code)
        where, kind = place(device, dtype)
        added = None if adapter is None else adapter_folder(fspath(adapter))
        tokenizer = load_tokenizer(folder)
        chat = chat_template(folder) if has_template(folder) else None
        turn_end = _turn_end(chat, tokenizer)  # before large weights are read
        changes: list[Change] = [] if added is None else [read_adapter(added, folder).merge]
        changes += [] if bits is None else [packing(bits)]
        denoiser = load_denoiser(
            folder, device=where, dtype=kind, attention=attention, trust_remote_code=trust_remote_code, changes=changes
        )
        mark = None if added is None else fingerprint(added)
        settings = read_settings(folder / "generation_config.json")
        return cls(
            name=fspath(name),
            denoiser=denoiser,
            tokenizer=tokenizer,
            new_tokens=int(settings.get("max_new_tokens", 128)),
            revision=changed(fingerprint(folder), mark, bits),
            end_ids=tuple(dict.fromkeys([*ends(settings), *denoiser.architecture.end_ids, *turn_end])),
            chat=chat,
            commit=commit_of(folder),
            adapter=mark,
            bits=bits,
        )

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights that are not rounded."""
        return self.denoiser.embed.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are, and canvases are made."""
        return self.denoiser.embed.weight.device

    @property
    def chats(self) -> bool:
        """Whether prompts can be chats."""
        return self.chat is not None

    @property
    def chat_hash(self) -> str | None:
        """Twelve hexadecimal digits of the chat template."""
        return None if self.chat is None else self.chat.hash

    def asked(self, prompt: str, prefix: str = "", *, chat: bool | None = None) -> Prompt:
        """What to give for a question whose answer begins with `prefix`: a chat, or both as one raw text.

        Default: a chat where the model has a template. ValueError for a chat where it has none.
        """
        if self.chats if chat is None else chat:
            if self.chat is None:
                raise ValueError(f"{self.name} has no chat template: ask with raw text")
            return question(prompt, prefix)
        return prompt + prefix

    def ids(self, prompt: Prompt) -> list[int]:
        """The tokens of a prompt: raw text after what the tokenizer itself puts in front of it, a chat as rendered.

        ValueError for what the vocabulary cannot write, and as `rendered`.
        """
        if isinstance(prompt, str):
            return [*self.tokenizer.front, *self.tokenizer.encode(prompt)]
        return self.tokenizer.encode(rendered(prompt, self.chat))

    def canvas(self, prompt: Prompt, *, new_tokens: int | None = None, seed: int = 0) -> Canvas:
        """A prompt and its masks. ValueError as `ids` and `blank`."""
        return self.blank(self.ids(prompt), new_tokens=new_tokens, seed=seed)

    def blank(self, ids: Sequence[int], *, new_tokens: int | None = None, seed: int = 0) -> Canvas:
        """The tokens of a prompt and masks. ValueError if there are none, one is [MASK], or they exceed the context."""
        count = self.new_tokens if new_tokens is None else new_tokens
        self._fits(len(ids), count)
        mask_id = self.denoiser.mask_id
        return Canvas.blank([ids], count, mask_id=mask_id, end_ids=self.end_ids, seed=seed, device=self.device)

    def template(self, text: str, *, seed: int = 0) -> Canvas:
        """Infilling: `[MASK]` in the text is one hole, `[MASK:5]` five. Everything else stays as it is."""
        a = self.denoiser.architecture
        ids = list(self.tokenizer.front)
        last = 0
        for hole in HOLE.finditer(text):
            count = int(hole.group(1) or 1)
            if count < 1:
                raise ValueError(f"the template has a hole of no tokens, {hole.group()}: write [MASK] or [MASK:5]")
            self._fits(len(ids), count)
            ids += self.tokenizer.encode(text[last : hole.start()]) + [a.mask_id] * count
            last = hole.end()
        ids += self.tokenizer.encode(text[last:])
        if a.mask_id not in ids:
            raise ValueError(f"the template {text!r} has no hole: write [MASK] (or [MASK:5]) where tokens are wanted")
        self._fits(len(ids), 0)
        return Canvas.template([ids], mask_id=a.mask_id, seed=seed, device=self.device)

    def sampler(self, sampler: Sampler | str | None, canvas: Canvas) -> Sampler:
        """A sampler from a value, a spec such as "fast_dllm:threshold=0.9", or one token a forward.

        ValueError for a causal model without a mask token and a sampler that opens any but the leftmost mask.
        """
        causal = self.denoiser.mask_id >= self.denoiser.architecture.vocabulary
        if not isinstance(sampler, Sampler):
            left = "left_to_right:cache=block" if isinstance(self.denoiser, Transformer) else "left_to_right"
            sampler = parse_sampler(sampler or (left if causal else "llada"), int(canvas.num_undecided.max()))
        if causal and sampler.blocks.size != 1:
            raise ValueError(f"{self.name} is causal and predicts only the token after what it sees: use left_to_right")
        return sampler

    @torch.inference_mode()  # only text and ids leave
    def decode(
        self,
        prompts: Sequence[Prompt],
        sampler: Sampler | str | None = None,
        *,
        new_tokens: int | None = None,
        batch: int = 16,
        seed: int = 0,
        guidance: float = 0.0,
        stop: Sequence[str] = (),
    ) -> list[Answer]:
        """Answers in the order of the prompts, each as if it were alone; `batch` rows are decoded at a time.

        An answer ends before the first of the `stop` texts in it.
        """
        if isinstance(prompts, str):
            raise ValueError("prompts is one text: give a list, for example [text]")
        until("", stop)  # refused now, not after the first row
        rows = []
        for number, prompt in enumerate(prompts):
            try:
                rows.append(self.canvas(prompt, new_tokens=new_tokens, seed=seed + number))
            except ValueError as error:  # each row is built alone and calls itself the first
                raise ValueError(str(error).replace("prompt 0", f"prompt {number}", 1)) from None
        answers: dict[int, Answer] = {}
        for _, finished in self.stream(rows, sampler, batch=batch, guidance=guidance):
            answers.update({number: self.answer(row, stop) for number, row in finished})
        return [answers[number] for number in range(len(rows))]

    def stream(
        self, rows: Sequence[Canvas], sampler: Sampler | str | None = None, *, batch: int = 16, guidance: float = 0.0
    ) -> Iterator[tuple[Step, list[tuple[int, Canvas]]]]:
        """The steps as they happen, each with the (number, row) pairs that it finished."""
        if rows:
            widest = max(rows, key=lambda row: int(row.end - row.start))
            yield from steps_queue(self.sampler(sampler, widest), self.guided(guidance), rows, batch=batch)

    def guided(self, scale: float) -> Denoiser:
        """The denoiser, under classifier-free guidance where `scale` is not 0."""
        return Guided(inner=self.denoiser, scale=scale) if scale else self.denoiser

    def answer(self, row: Canvas, stop: Sequence[str] = ()) -> Answer:
        """The text of a finished one-row canvas, up to its first end id and before the first of the `stop` texts.

        A token in which a stop text begins counts where it also writes text before it.
        """
        tokens = row.answer(0)
        complete = self.denoiser.mask_id not in tokens
        whole = self.tokenizer.decode(tokens)
        text = until(whole, stop)
        if text != whole:
            tokens = tokens_until(text, tokens, self.tokenizer.decode)
        return Answer(text, tokens, int(row.nfe), complete)

    def _fits(self, given: int, new: int) -> None:
        room = self.denoiser.architecture.max_columns
        if given + new > room:
            raise ValueError(
                f"{given} tokens and {new} new ones exceed the model's context of {room}: "
                f"shorten the prompt by {given + new - room} tokens or ask for fewer new tokens"
            )


def _turn_end(chat: ChatTemplate | None, tokenizer: FileTokenizer) -> list[int]:
    """The special token that ends an answer in a chat: EoT where LLaDA-8B-Instruct's settings name only EOS."""
    ids = [] if chat is None else tokenizer.encode(chat.turn_end.lstrip())
    return [token for token in ids[:1] if tokenizer.is_special(token)]
