"""lm-eval's tasks on masked diffusion models: the model `unveil` of EleutherAI's Language Model Evaluation Harness.

Generation is a sampler on as many masks as a task allows tokens, likelihoods are the bound of `likelihood`. All that
LLaDA's published harness (eval_llada.py) takes on its command line stands in the results.
"""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM, CacheHook
from lm_eval.api.registry import register_model
from tqdm import tqdm

from unveil.canvas import Canvas
from unveil.decoding.loading import Loading
from unveil.decoding.model import Answer, Model
from unveil.decoding.prompt import rendered
from unveil.decoding.spec import mark
from unveil.evaluation.likelihood.bound import Likelihood, Text, estimator, log_likelihoods
from unveil.evaluation.likelihood.continuations import Score, scores
from unveil.evaluation.likelihood.lm_eval_terms import (
    encode,
    encode_pair,
    generation,
    model_record,
    prefix,
    sampler_spec,
    scored_record,
    stops,
    windows,
    written_record,
)

LOADING = tuple(field.name for field in fields(Loading))
OPTIONS = ("pretrained", "sampler", "samples", "batch_size", "guidance", "seed", *LOADING)
OWNER = "unveil"  # where a cache says whose it is
TURN = 1 << 32  # between the seeds of several answers, or windows, of one document


@register_model("unveil")
class UnveilLM(LM):
    """A model of Unveil for lm-eval.

    `sampler` is a spec, built for each number of masks; lm-eval parts model arguments at commas, so what is none of the
    OPTIONS (`more` may have those of Loading) is a setting of the sampler: `sampler=llada:steps=64,block=32` is what
    it says. `samples` are those of the likelihood's bound. A batch has `batch_size` rows, for likelihoods the columns
    of that many of the longest text. Document i draws its noise from seed + i, and the choices of a question share it.
    Under `accelerate launch` each process takes its share. ValueError for what the model or the sampler cannot do.
    """

    def __init__(
        self,
        pretrained: str | os.PathLike[str] | Model,
        *,
        sampler: str | None = None,
        samples: int = 128,
        batch_size: int | str = 16,
        guidance: float = 0.0,
        seed: int = 0,
        device: str | None = None,
        **more: Any,
    ) -> None:
        super().__init__()
        if not str(batch_size).isdecimal() or int(batch_size) < 1:
            raise ValueError(f"batch_size={batch_size!r} is not a number of rows: give at least 1, for example 16")
        loading = {name: more.pop(name) for name in LOADING if name in more}
        self.spec = sampler_spec(sampler, more, OPTIONS)
        self.batch_size, self.samples, self.guidance, self.seed = int(batch_size), samples, guidance, seed
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from accelerate import PartialState

            state = PartialState()
            self._rank, self._world_size, device = state.process_index, state.num_processes, str(state.device)
        if device == "cuda:0" and not torch.cuda.is_available():
            device = None  # lm-eval says cuda:0 where the user names no device
        if not isinstance(pretrained, Model):
            pretrained = Loading(device=device, **loading).model(pretrained)
        elif loading:
            raise ValueError(f"{', '.join(loading)} is for a model to be loaded, and this one is: leave it out")
        self.model, self.loading = pretrained, loading
        self.denoiser, outline = pretrained.guided(guidance), pretrained.denoiser.outline
        self.estimate = estimator(outline.rule, shift=outline.shift, samples=samples)
        self._device = pretrained.device
        self._scored = list[Likelihood]()
        self._written = defaultdict[int, list[Answer]](list)  # by the number of masks

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(log-probability, whether greedy decoding writes it) of each continuation."""
        texts = [self._text(request, *encode_pair(self.model, *request.args)) for request in requests]
        with self._bar(len(texts), disable_tqdm) as bar:

            def keep(number: int, score: Score) -> None:
                result = score.likelihood.log_prob, score.greedy
                self.cache_hook.add_partial("loglikelihood", requests[number].args, result)
                bar.update()

            found = scores(
                self.denoiser, self.estimate, texts, columns=self._columns(texts), device=self._device, on_score=keep
            )
        self._scored += [score.likelihood for score in found]
        return [(score.likelihood.log_prob, score.greedy) for score in found]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """The log-probability of each document, window by window."""
        texts, owners = list[Text](), list[int]()
        for number, request in enumerate(requests):
            for turn, (context, continuation) in enumerate(windows(self.model, request.args[0])):
                texts.append(self._text(request, context, continuation, turn))
                owners.append(number)
        with self._bar(len(texts), disable_tqdm) as bar:
            found = log_likelihoods(
                self.denoiser, self.estimate, texts, columns=self._columns(texts), device=self._device,
                on_text=lambda number, one: bar.update(),
            )  # fmt: skip
        self._scored += found
        sums = [0.0] * len(requests)
        for owner, one in zip(owners, found, strict=True):
            sums[owner] += one.log_prob
        for request, total in zip(requests, sums, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return sums

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """The answers, each cut before the first of its stop texts."""
        alike, turns = defaultdict[str, list[int]](list), list[int]()
        seen = Counter[int]()
        for number, request in enumerate(requests):
            alike[json.dumps(request.args[1], sort_keys=True)].append(number)
            turns.append(seen[id(request)])  # lm-eval repeats a request to have several answers
            seen[id(request)] += 1
        texts = dict[int, str]()
        with self._bar(len(requests), disable_tqdm) as bar:
            for numbers in alike.values():
                for number, text in self._generated(requests, numbers, turns):
                    texts[number] = text
                    self.cache_hook.add_partial("generate_until", requests[number].args, text)
                    bar.update()
        return [texts[number] for number in range(len(requests))]

    def _generated(
        self, requests: Sequence[Instance], numbers: Sequence[int], turns: Sequence[int]
    ) -> Iterator[tuple[int, str]]:
        """Answers, as they finish, to requests with the same generation arguments."""
        first = requests[numbers[0]]
        try:
            asked = generation(first.args[1], self.spec, self.model.new_tokens)
        except ValueError as error:
            raise ValueError(f"{_name(first)}: {error}") from None
        end_ids, texts = stops(self.model, asked.stop)
        rows = [
            self._canvas(requests[n], asked.new_tokens, end_ids, self._seed(requests[n], turns[n])) for n in numbers
        ]
        order = sorted(range(len(rows)), key=lambda place: -int(rows[place].end))  # the longest first
        waiting = [rows[place] for place in order]
        for _, finished in self.model.stream(waiting, self.spec, batch=self.batch_size, guidance=self.guidance):
            for place, row in finished:
                answer = self.model.answer(row, texts)
                self._written[asked.new_tokens].append(answer)
                yield numbers[order[place]], answer.text

    def _canvas(self, request: Instance, new_tokens: int, end_ids: tuple[int, ...], seed: int) -> Canvas:
        ids = encode(self.model, request.args[0])
        self._check(request, len(ids), new_tokens)
        try:
            return replace(self.model.blank(ids, new_tokens=new_tokens, seed=seed), end_ids=end_ids)
        except ValueError as error:
            raise ValueError(f"{_name(request)}: {error}") from None

    def _text(self, request: Instance, context: Sequence[int], continuation: Sequence[int], turn: int = 0) -> Text:
        self._check(request, len(context), len(continuation))
        if not continuation:
            raise ValueError(f"{_name(request)}: {request.args[-1]!r} adds no token to the context: nothing to score")
        if self.denoiser.outline.blank_id in (*context, *continuation):
            raise ValueError(f"{_name(request)} contains the model's mask token: leave this document out")
        return Text(context, continuation, self._seed(request, turn))

    def _check(self, request: Instance, given: int, more: int) -> None:
        """Nothing is cut off: ValueError for what exceeds the context."""
        room = self.model.denoiser.outline.context
        if given + more > room:
            raise ValueError(
                f"{_name(request)}: {given} tokens and {more} more exceed the model's context of {room}: give fewer "
                "examples (--num_fewshot), or ask for fewer new tokens (--gen_kwargs max_gen_toks=...)"
            )

    def _seed(self, request: Instance, turn: int) -> int:
        return self.seed + (request.doc_id or 0) + turn * TURN

    def _columns(self, texts: Sequence[Text]) -> int:
        return self.batch_size * max((text.length for text in texts), default=1)

    def _bar(self, total: int, disabled: bool) -> Any:
        return tqdm(total=total, desc=f"unveil: {self.model.name}", disable=disabled or self.rank != 0)

    def set_cache_hook(self, cache_hook: CacheHook) -> None:
        """lm-eval's cache (--use_cache) knows requests only; ValueError for one filled under other settings."""
        super().set_cache_hook(cache_hook)
        if (kept := cache_hook.dbdict) is None:
            return
        dtype, spec = str(self.model.dtype), None if self.spec is None else mark(self.spec)
        model = [self.model.revision, repr(self.model.denoiser.outline), list(self.model.ends)]
        about = [*model, dtype, spec, self.samples, self.guidance, self.seed]
        if len(kept) and kept.get(OWNER) != about:
            raise ValueError("the file of --use_cache has answers of another model or of other settings: name another")
        kept[OWNER] = about

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The text of a chat; without a generation prompt a last message of the assistant is continued.

        ValueError where the model has no chat template, or it refuses the messages.
        """
        if self.model.chat is None or (not add_generation_prompt and chat_history[-1]["role"] == "assistant"):
            return rendered(chat_history, self.model.chat)
        return self.model.chat(chat_history, add_generation_prompt)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The model's template, for the results. ValueError for one of several by name: a model has one."""
        if isinstance(chat_template, str):
            raise ValueError(f"chat template {chat_template!r} is asked by name, a model has one: give no name")
        return None if self.model.chat is None or not chat_template else self.model.chat.text

    @property
    def tokenizer_name(self) -> str:
        """What prepared requests are kept under: they depend on the chat template alone."""
        return f"{self.model.name}-{self.model.chat_hash}".replace("/", "__")

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """The same tensor of all processes."""
        return torch.stack(self._gathered(tensor.cpu())) if self.world_size > 1 else tensor

    def gather_object(self, obj: Any, dst: int = 0) -> list[Any] | None:
        """The objects of all processes, at process `dst`."""
        gathered = self._gathered(obj)
        return gathered if self.rank == dst else None

    def barrier(self) -> None:
        """Wait for all processes."""
        self._gathered(None)

    def _gathered(self, obj: Any) -> list[Any]:
        if self.world_size == 1:
            return [obj]
        from accelerate.utils import gather_object

        gathered: list[Any] = gather_object([obj])
        return gathered

    def get_model_info(self) -> dict[str, Any]:
        """What goes into the results beside lm-eval's own settings; counts are those of this process."""
        generated = [
            written_record(self.model, self.spec, masks, self._written[masks]) for masks in sorted(self._written)
        ]
        return {
            **model_record(self.model, self.loading),
            "sampler": None if self.spec is None else mark(self.spec),
            "guidance": self.guidance,
            "noise_seed": self.seed,
            "prefix_token_ids": prefix(self.model),
            "processes": self.world_size,
            "generated": generated,
            "scored": scored_record(self.estimate, self._scored),
        }


def _name(request: Instance) -> str:
    return f"task {request.task_name}, document {request.doc_id}"
