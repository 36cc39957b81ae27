"""What fine-tunings share: a model to start from, pairs of prompt and answer, a held-out share of them, a folder."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import nn

from unveil.checkpoints.adapters import NAME, merged, save_adapter
from unveil.checkpoints.folder import Folder
from unveil.checkpoints.weights import load_checkpoint, save_checkpoint
from unveil.files import write_bytes, write_json
from unveil.legal import LORA, TRAININGS, check_fields
from unveil.models.denoiser import Outline
from unveil.models.transformer import Transformer
from unveil.objectives.loss import Batch, Objective
from unveil.settings import convert, nearest, one_of, split_pairs
from unveil.training.data import LONG, MARKED, LineForm, Pair, Reading, Rows, hold_out
from unveil.training.instructions import LAYOUTS
from unveil.training.settings import Training

TARGETS = ("query", "key", "value", "output", "gate", "up", "down")


@dataclass(frozen=True, kw_only=True)
class LoRA:
    """W x + alpha / r * B A x in the linear layers `targets` of every layer; A is random, B zero at first."""

    r: int = 64
    alpha: int = 128
    dropout: float = 0.0
    targets: tuple[str, ...] = ("query", "key", "value")

    def __post_init__(self) -> None:
        check_fields(self, LORA)
        for target in self.targets or ("",):
            if target not in TARGETS:
                raise ValueError(f"LoRA has no target {target!r}: choose from {', '.join(TARGETS)}")

    @classmethod
    def parse(cls, text: str) -> "LoRA":
        """`r=64,alpha=128,targets=query|value`; what is not given has its default. ValueError names what is wrong."""
        kinds: dict[str, Any] = {field.name: field.type for field in fields(cls)}
        texts = split_pairs("lora", text.split(","), list(kinds))
        return cls(**{name: convert(name, value, kinds[name]) for name, value in texts.items()})

    def inject(self, model: Transformer, seed: int) -> Transformer:
        """Put adapters, in at least float32, into `model` and freeze all else. ValueError if peft is not installed."""
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError:
            raise ValueError("LoRA needs peft: pip install 'unveil[lora]', or train all weights without it") from None
        config = LoraConfig(
            r=self.r, lora_alpha=self.alpha, lora_dropout=self.dropout, target_modules=list(self.targets)
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inject_adapter_in_model(config, model, NAME)
        for x in model.parameters():
            if x.requires_grad:
                x.data = x.data.to(torch.promote_types(x.dtype, torch.float32))
        return model


HELD_OUT_MOST = 512  # pairs: validating stays cheap
EXAMPLES = 64  # at least so many masked rows make a score; few held-out pairs are masked several times
DTYPES = ("float32", "bfloat16")
GROUPS = ("length", "none")
GENERATION = "generation_config.json"
TEXT_FILES = (
    "tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json",
    "chat_template.jinja", GENERATION,
)  # fmt: skip


class Parts(NamedTuple):
    """The data, divided."""

    learn: Rows
    held_out: Rows


@dataclass(frozen=True, kw_only=True)
class Tuning(ABC):
    """Fine-tune `base` on `data`: lines with prompt and answer, or chats whose last answer is learned.

    What a user loads has the layout and the dtype that `base` has on disk, adapters merged.
    """

    name: ClassVar[str]

    base: str  # a shipped model, a folder, or a hub repository
    data: str  # a file, or hub:OWNER/NAME[@REVISION][:SPLIT]; see read_items
    layout: str = "pairs"  # of the data: prompts and answers or chats, or s1k; see LAYOUTS
    long: str = "skip"  # what becomes of a line longer than the canvas: refuse, skip, or cut its answer
    bad: str = "refuse"  # what becomes of a line whose label is false: refuse, skip or take
    revision: str | None = None  # of a hub repository
    lora: LoRA | None = None  # None: all weights are trained
    dtype: str = "float32"  # of the frozen weights beside adapters
    rows: int = 16  # of a batch, over all processes
    group: str = "length"  # which rows share a batch: those of like length, or with none any
    validation: float = 0.05  # share of the data that is held out; 512 pairs at most
    training: Training

    def __post_init__(self) -> None:
        if not 0 < self.validation < 1:
            raise ValueError(f"validation={self.validation} is outside (0, 1): a share is held out to choose the best")
        check_fields(self, TRAININGS)
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout={self.layout!r} is unknown: {nearest(self.layout, LAYOUTS)}")
        for name, legal in (("group", GROUPS), ("long", LONG), ("bad", MARKED)):
            one_of(name, getattr(self, name), legal)
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype={self.dtype!r} is unknown: use {' or '.join(DTYPES)}")
        if self.dtype != "float32" and self.lora is None:
            raise ValueError(f"dtype={self.dtype} is for frozen weights: use it with lora, or train in float32")

    @property
    @abstractmethod
    def objective(self) -> Objective[Any]:
        """What is minimised."""

    @property
    @abstractmethod
    def reading(self) -> Reading:
        """The pairs of the data, and what is left out. ValueError names the file and the line that is broken."""

    @abstractmethod
    def laid(self, pairs: Sequence[Pair]) -> Rows:
        """Pairs as rows: what of them is learned."""

    @cached_property
    def source(self) -> Folder:
        """The folder of the base. ValueError for one that cannot be trained: without a mask token, or an end id."""
        folder = Folder.named(self.base, self.revision)
        outline = folder.layout[1].outline
        if outline.mask_id is None:
            raise ValueError(
                f"{folder} is causal and has no mask token to train with: put is_causal false and a mask_token_id into "
                "its config.json"
            )
        if not outline.end_ids:
            raise ValueError(f"{folder}/config.json has no eos_token_id: answers need an end, name its id there")
        assert folder.tokenizer  # a broken one is known now
        return folder

    @property
    def outline(self) -> Outline:
        """What is known of the base without its weights."""
        return self.source.layout[1].outline

    @property
    def eos(self) -> int:
        """The id that ends an answer: the first of the base's end ids."""
        return self.outline.end_ids[0]

    def form(self, canvas: int | None) -> LineForm:
        """How a line becomes ids of the base; what must fit on a canvas."""
        outline = self.outline
        return LineForm(
            folder=self.source, canvas=canvas, context=outline.context, mask_id=outline.blank_id, eos=self.eos,
            layout=LAYOUTS[self.layout], long=self.long, bad=self.bad,
        )  # fmt: skip

    @cached_property
    def parts(self) -> Parts:
        """The data, divided. ValueError for too little."""
        pairs = self.reading.pairs
        try:
            divided = hold_out(pairs, self.validation, HELD_OUT_MOST, self.training.seed)
        except ValueError as error:
            raise ValueError(f"{self.data}: {error}") from None
        return Parts(*map(self.laid, divided))

    def counts(self) -> dict[str, int]:
        """How many pairs are learned, held out, and left out."""
        learn, held_out = (len(rows.first) for rows in self.parts)
        return {"pairs": learn, "held_out_pairs": held_out, "left_out_pairs": sum(self.reading.left_out.values())}

    @property
    def num_cut(self) -> int:
        """How many answers were cut to fit."""
        return 0

    @property
    def remarks(self) -> dict[str, int]:
        """How many lines were not taken as they are, by reason."""
        left_out = {f"left out, {reason}": count for reason, count in self.reading.left_out.items() if count}
        return left_out | ({"with a cut answer": self.num_cut} if self.num_cut else {})

    def model(self) -> Transformer:
        """The base's weights in float32; with LoRA frozen, in `dtype`, with fresh adapters."""
        assert self.parts  # read now: broken data is known before large weights are loaded
        model = load_checkpoint(self.source, dtype=getattr(torch, self.dtype))
        return model if self.lora is None else self.lora.inject(model, self.training.seed)

    def batch(self, step: int) -> Batch:
        """Every pair once an epoch."""
        learn = self.parts.learn
        return learn.batch(learn.index(step, self.rows, self.training.seed, self.group))

    def held_out(self) -> Batch:
        """All held-out pairs, several times if they are few."""
        rows = self.parts.held_out
        return rows.batch(torch.arange(len(rows.first)).repeat(-(-EXAMPLES // len(rows.first))))

    def shares(self, model: nn.Module) -> Iterator[Any]:
        """The held-out examples, under masks that are always the same, as many at a time as in training."""
        example = self.objective.corrupt(self.held_out(), self.outline.blank_id, seed=0)
        device = next(model.parameters()).device
        for some in torch.arange(len(example.canvas.end)).split(self.training.micro_rows or self.rows):
            share = example.rows(some)
            yield share.narrow(int(share.canvas.end.max())).to(device)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """The loss of the held-out pairs; "score" is minus the loss."""
        denoiser = cast(Transformer, model)
        total = sum(float(part) for share in self.shares(model) for part in self.objective.losses(denoiser, share))
        return {"validation": total, "score": -total}

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write a folder that `unveil.load` reads; LoRA's adapters, in PEFT's format, are in its folder `adapter`."""
        assert isinstance(model, Transformer)
        base, family = self.source, self.source.layout[0]
        if self.lora is not None:
            save_adapter(model, folder / "adapter", family, self.base)
            model = merged(model)
        save_checkpoint(model, folder, family, dtype=base.stored_dtype)
        for name in TEXT_FILES:
            if (base.path / name).is_file():
                write_bytes(folder / name, (base.path / name).read_bytes())

    def describe(self, folder: Path) -> None:
        """Write card.json: the settings, how many pairs were learned and held out, and what was left out and why."""
        told = self.counts() | {"left_out": self.reading.left_out, "cut_pairs": self.num_cut}
        write_json(folder / "card.json", {"recipe": f"unveil train {self.name}"} | asdict(self) | told)
