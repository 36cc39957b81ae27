"""Supervised fine-tuning: a masked diffusion model learns answers from prompts, all its weights or adapters."""

from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar, NamedTuple, cast

import torch
from safetensors import safe_open
from torch import nn

from unveil.files import write_bytes, write_json
from unveil.models.checkpoint import FAMILIES, load_checkpoint, read_config, read_json, save_checkpoint
from unveil.models.family import Family
from unveil.models.locate import locate
from unveil.models.tokenizer import FileTokenizer
from unveil.models.transformer import Architecture, Transformer
from unveil.objectives.loss import Batch
from unveil.objectives.masked import MaskedDiffusion
from unveil.training.data import LineForm, Rows, hold_out, read_pairs
from unveil.training.lora import LoRA, merged, save_adapter
from unveil.training.settings import Training

HELD_OUT_MOST = 512  # pairs: validating stays cheap
EXAMPLES = 64  # at least so many masked rows make a score; few held-out pairs are masked several times
LEGAL = {"padding": ("canvas", "first"), "dtype": ("float32", "bfloat16")}
TEXT_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


class Base(NamedTuple):
    """What is known of the model to start from, without its weights."""

    folder: Path
    family: Family
    architecture: Architecture
    tokenizer: FileTokenizer
    eos: int


class Parts(NamedTuple):
    """The data, divided."""

    learn: Rows
    held_out: Rows


@dataclass(frozen=True, kw_only=True)
class SFT:
    """Fine-tune `base` on `data`: JSON lines with prompt and answer, or chats whose last answer is learned.

    Each answer's loss is the masked diffusion bound over its own columns (LLaDA, Nie et al. 2025, eq. 5); prompts are
    never masked. What a user loads has the layout and the dtype that `base` has on disk, adapters merged.
    """

    name: ClassVar[str] = "sft"
    objective: ClassVar[MaskedDiffusion] = MaskedDiffusion()  # per row, each over its own answer

    base: str  # a shipped model, a folder, or a hub repository
    data: str  # a JSON-lines file
    revision: str | None = None  # of a hub repository
    canvas: int = 128  # columns after a prompt: the longest answer and its EOS fit
    padding: str = "canvas"  # learn EOS up to the canvas's end (LLaDA's recipe), or answers up to the first EOS
    lora: LoRA | None = None  # None: all weights are trained
    dtype: str = "float32"  # of the frozen weights beside adapters
    rows: int = 16  # of a batch, over all processes
    validation: float = 0.05  # share of the data that is held out; 512 pairs at most
    training: Training = field(
        default_factory=lambda: Training(steps=1000, lr=2e-5, warmup=50, validate_every=100, save_every=100)
    )

    def __post_init__(self) -> None:
        if self.canvas < 2 or self.rows < 1:
            raise ValueError(f"canvas={self.canvas}, rows={self.rows}: give a canvas of at least 2 and 1 row or more")
        for name, legal in LEGAL.items():
            if getattr(self, name) not in legal:
                raise ValueError(f"{name}={getattr(self, name)!r} is unknown: use {' or '.join(legal)}")
        if not 0 < self.validation < 1:
            raise ValueError(f"validation={self.validation} is outside (0, 1): a share is held out to choose the best")
        if self.dtype != "float32" and self.lora is None:
            raise ValueError(f"dtype={self.dtype} is for frozen weights: use it with lora, or train in float32")

    @cached_property
    def source(self) -> Base:
        """Read the base's settings and tokenizer. ValueError for what is missing."""
        folder = locate(self.base, self.revision)
        config = read_config(folder)
        kind = config.get("model_type")
        if kind not in FAMILIES:
            raise ValueError(f"{folder}: model_type {kind!r} is unknown, known are {', '.join(FAMILIES)}")
        architecture = FAMILIES[kind].read(config)
        if not architecture.end_ids:
            raise ValueError(f"{folder}/config.json has no eos_token_id: answers need an end, name its id there")
        if not (folder / "tokenizer.json").is_file():
            raise ValueError(f"{folder} has no tokenizer.json: text needs one")
        codec = FileTokenizer.load(folder / "tokenizer.json")
        return Base(folder, FAMILIES[kind], architecture, codec, architecture.end_ids[0])

    @cached_property
    def parts(self) -> Parts:
        """Read the data. ValueError names the file and the line that is broken."""
        base, a = self.source, self.source.architecture
        form = LineForm(
            folder=base.folder, codec=base.tokenizer, canvas=self.canvas, context=a.max_columns,
            mask_id=a.mask_id, eos=base.eos,
        )  # fmt: skip
        pairs = read_pairs(Path(self.data), form)
        try:
            divided = hold_out(pairs, self.validation, HELD_OUT_MOST, self.training.seed)
        except ValueError as error:
            raise ValueError(f"{self.data}: {error}") from None
        rows = [Rows.of(x, canvas=self.canvas, eos=base.eos, padding=self.padding) for x in divided]
        return Parts(*rows)

    def model(self) -> Transformer:
        """The base's weights in float32; with LoRA frozen, in `dtype`, with fresh adapters."""
        assert self.parts  # read now: broken data is known before large weights are loaded
        model = load_checkpoint(self.source.folder, dtype=getattr(torch, self.dtype))
        return model if self.lora is None else self.lora.inject(model, self.training.seed)

    def batch(self, step: int) -> Batch:
        """Rows of like length, every pair once an epoch."""
        learn = self.parts.learn
        return learn.batch(learn.index(step, self.rows, self.training.seed))

    def validate(self, model: nn.Module) -> dict[str, float]:
        """The loss of the held-out pairs under masks that are always the same; "score" is minus the loss."""
        rows = self.parts.held_out
        number = len(rows.first)
        index = torch.arange(number).repeat(-(-EXAMPLES // number))
        example = self.objective.corrupt(rows.batch(index), self.source.architecture.mask_id, seed=0)
        device = next(model.parameters()).device
        total = 0.0
        for some in torch.arange(len(index)).split(self.training.micro_rows or self.rows):
            share = example.rows(some)
            share = share.narrow(int(share.canvas.end.max())).to(device)
            total += sum(float(part) for part in self.objective.losses(cast(Transformer, model), share))
        return {"validation": total, "score": -total}

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write a folder that `unveil.load` reads; LoRA's adapters, in PEFT's format, are in its folder `adapter`."""
        assert isinstance(model, Transformer)
        base = self.source
        if self.lora is not None:
            save_adapter(model, self.lora, folder / "adapter", base.family, self.base)
            model = merged(model)
        save_checkpoint(model, folder, base.family, dtype=stored_dtype(base.folder))
        for name in TEXT_FILES:
            if (base.folder / name).is_file():
                write_bytes(folder / name, (base.folder / name).read_bytes())
        settings = base.folder / "generation_config.json"
        known = read_json(settings) if settings.is_file() else {}
        write_json(folder / settings.name, known | {"max_new_tokens": self.canvas})

    def describe(self, folder: Path) -> None:
        """Write card.json: the settings, and how many pairs were learned and held out."""
        learned, held_out = (len(rows.first) for rows in self.parts)
        counts = {"pairs": learned, "held_out_pairs": held_out}
        write_json(folder / "card.json", {"recipe": f"unveil train {self.name}"} | asdict(self) | counts)


def stored_dtype(folder: Path) -> torch.dtype:
    """The dtype of a checkpoint's weights on disk."""
    with safe_open(next(iter(sorted(folder.glob("*.safetensors")))), framework="pt") as file:
        found: torch.dtype = file.get_slice(next(iter(file.keys())))[:1].dtype
    return found
