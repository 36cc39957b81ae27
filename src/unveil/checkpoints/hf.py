"""Any other masked or causal language model that transformers knows, as a denoiser without a cache."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unveil.canvas import SOFT, SOFT_MASK, Canvas
from unveil.checkpoints.families import check_apart, check_sizes, ends, families, named_mask, settings_of
from unveil.checkpoints.folder import Folder
from unveil.checkpoints.weights import Change, load_checkpoint
from unveil.fields import is_whole, shown
from unveil.models.attention import Bidirectional, Causal
from unveil.models.denoiser import Cache, Outline, Prediction, Want
from unveil.models.reduce import answer, shown_ids
from unveil.models.transformer import Transformer

UNBOUNDED = 1 << 20  # columns of a model that names no limit
MOST = 300  # characters of an error of transformers' or of a folder's own code


class Borrowed(nn.Module):
    """A model that transformers runs, as a denoiser. Rows are padded on the right, hidden by its attention mask.

    `affine`: its logits are what its output layer gives; then that layer sees only the columns that answer.
    """

    def __init__(self, model: Any, outline: Outline, *, affine: bool) -> None:
        super().__init__()
        self.model = model
        self._outline = outline
        self.affine = affine

    @contextmanager
    def recomputing(self) -> Iterator[None]:
        """As Transformer's, but nothing changes: the layers are transformers'."""
        yield

    @property
    def outline(self) -> Outline:
        """What callers must know of the model."""
        return self._outline

    @property
    def embed(self) -> nn.Embedding:
        """The input embeddings."""
        table: nn.Embedding = self.model.get_input_embeddings()
        return table

    def new_cache(self, canvas: Canvas) -> Cache:
        """ValueError: there is none."""
        raise ValueError("a model that transformers runs has no cache here: take a sampler with cache=none")

    def forward(
        self, canvas: Canvas, fresh: Bool[Tensor, "B L"], read: Bool[Tensor, "B L"], cache: None, want: Want
    ) -> Prediction:
        """See Denoiser. Raises ValueError for a canvas beyond the context and for a partial row."""
        a, L = self._outline, canvas.tokens.shape[1]
        if L > a.context:
            raise ValueError(
                f"the canvas has {L} columns and the model's context is {a.context}: "
                "shorten the prompt or ask for fewer new tokens"
            )
        active = fresh.any(1)
        if not torch.equal(fresh, canvas.inside & active[:, None]):
            raise ValueError("without a cache every column of a row must be recomputed: pass fresh=canvas.inside")
        active = active | ~active.any()  # a forward of nothing needs shapes, too
        index = read.flatten().nonzero()[:, 0]
        row, column = (active.cumsum(0) - 1)[index // L], (index % L - a.shift).clamp_min(0)
        states = self.states(canvas.rows(active))[row, column]
        head = self.model.get_output_embeddings() if self.affine else nn.Identity()
        return answer(states, head, self.embed, canvas, want, index=index, vocabulary=a.vocabulary)

    def states(self, canvas: Canvas) -> Float[Tensor, "B C D"]:
        """What the output layer sees in every column; the logits where they are not what it gives."""
        canvas = canvas.narrow(int(canvas.end.max()))
        given = {"inputs_embeds": self.embedded(canvas), "attention_mask": canvas.inside.long()}
        if not self.affine:
            logits: Tensor = self.model(**given).logits
            return logits
        seen: list[Tensor] = []

        def take(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
            seen.append(inputs[0])
            return (inputs[0][:, :0],)  # no logits

        hook = self.model.get_output_embeddings().register_forward_pre_hook(take)
        try:
            self.model(**given)
        finally:
            hook.remove()
        return seen[0]

    def embedded(self, canvas: Canvas) -> Float[Tensor, "B C D"]:
        """What every column shows the model: its token, or its mixture in a soft stage."""
        most = self._outline.vocabulary
        hard: Tensor = self.embed(shown_ids(canvas.tokens, most))
        if canvas.soft_ids.shape[2] == 0:
            return hard
        mixed = self.embed(shown_ids(canvas.soft_ids, most)) * canvas.soft_weights[..., None].to(hard)
        soft = (canvas.stage == SOFT_MASK) | (canvas.stage == SOFT)
        return torch.where(soft[..., None], mixed.sum(2), hard)


def load_denoiser(
    folder: Folder,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    attention: str | None = None,
    trust_remote_code: bool = False,
    changes: Sequence[Change] = (),
) -> Transformer | Borrowed:
    """What is in a folder: our transformer where the layout is a known one, else transformers' model.

    ValueError for `changes` of a model that transformers runs.
    """
    kind = folder.config.get("model_type")
    if isinstance(kind, str) and kind in families():
        return load_checkpoint(folder, device=device, dtype=dtype, attention=attention, changes=changes)
    if changes:
        raise ValueError(f"{folder}: adapters and bits are for models of {', '.join(families())}, not of {shown(kind)}")
    return load_transformers(
        folder, device=device, dtype=dtype, attention=attention, trust_remote_code=trust_remote_code
    )


def load_transformers(
    folder: Folder,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    attention: str | None = None,
    trust_remote_code: bool = False,
) -> Borrowed:
    """Read a folder through transformers' own classes, safetensors only, in `dtype` (None: as stored).

    A causal model predicts a column at the column before, also where `attention` or `is_causal: false` in config.json
    makes it bidirectional. Raises ValueError for what transformers cannot load, weights that are missing, and an
    attention that the model does not follow.
    """
    if dtype == torch.float64:
        raise ValueError("transformers computes parts of its models in float32: use dtype float32, not float64")
    settings = dict(folder.config)
    check_sizes(settings_of(settings))
    with _quiet():
        auto, config = _classes(folder, settings, trust_remote_code)
    decoder = auto.__name__ == "AutoModelForCausalLM"
    if attention is None and settings.get("is_causal") is False:
        attention = "bidirectional"
    if decoder and attention is not None:
        config.is_causal = attention == "causal"
    config.use_cache = False
    with _quiet():
        model = _loaded(auto, folder, config, dtype, trust_remote_code)
    model = model.to(device).eval().requires_grad_(False)
    with _failing(folder, "cannot run it as Unveil does, with embeddings and an attention mask", trust_remote_code):
        tried, width = _tried(model), int(model.get_input_embeddings().embedding_dim)
    if tried.causal is None:
        raise ValueError(f"{folder}: padding changes whether the model looks ahead: take is_causal out of config.json")
    if attention not in (None, "causal" if tried.causal else "bidirectional"):
        raise ValueError(f"{folder}: the model does not follow attention={attention!r}: leave it out")
    mask_id, end_ids = None, ends(settings_of(config.to_dict()))
    if not tried.causal:
        mask_id = named_mask(settings_of(folder.with_mask(settings)))
        check_apart(mask_id, end_ids, "config.json")
        if mask_id >= tried.vocabulary:
            raise ValueError(f"{folder}: mask_token_id={mask_id} is outside the vocabulary 0..{tried.vocabulary - 1}")
    outline = Outline(
        vocabulary=tried.vocabulary, mask_id=mask_id, end_ids=end_ids, context=_max_columns(model), width=width,
        shift=int(decoder), rule=Causal() if tried.causal else Bidirectional(), caches=False,
    )  # fmt: skip
    return Borrowed(model, outline, affine=tried.affine)


def _classes(folder: Folder, settings: dict[str, Any], trust: bool) -> tuple[Any, Any]:
    """transformers' auto class for the folder, and the configuration."""
    kind = str(settings.get("model_type"))
    try:
        import transformers
        from transformers.models.auto import modeling_auto as known
    except ImportError:
        raise ValueError(
            f"{folder}: model_type {kind!r} is unknown, known are {', '.join(families())}; for those that transformers "
            "knows: pip install 'unveil[hf]'"
        ) from None
    try:
        with _failing(folder, "cannot read config.json", True) if trust else nullcontext():
            config = transformers.AutoConfig.from_pretrained(folder.path, trust_remote_code=trust)
    except Exception as error:  # of many kinds
        if trust:
            raise
        raise ValueError(
            f"{folder}: model_type {kind!r} is none of {', '.join(families())}, and transformers "
            f"{transformers.__version__} cannot read config.json ({_said(error)}); a folder's own code "
            "runs only with trust_remote_code=True (--trust-remote-code)"
        ) from None
    own = settings_of(settings).inner("auto_map").values if trust else {}
    causal, masked = (
        names.get(kind) or own.get(auto)
        for names, auto in (
            (known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, "AutoModelForCausalLM"),
            (known.MODEL_FOR_MASKED_LM_MAPPING_NAMES, "AutoModelForMaskedLM"),
        )
    )
    if config.is_encoder_decoder or not (causal or masked):
        raise ValueError(f"{folder}: {kind} is neither a masked nor a causal language model: give one of these")
    if masked and causal not in (settings["architectures"] if isinstance(settings.get("architectures"), list) else ()):
        return transformers.AutoModelForMaskedLM, config
    return transformers.AutoModelForCausalLM, config


def _said(error: BaseException) -> str:
    """The first line of an error's words, with its kind where they say little without it."""
    words = (str(error) or type(error).__name__).splitlines()[0][:MOST]
    plain = isinstance(error, OSError | ValueError | RuntimeError | ImportError) or not str(error)
    return words if plain else f"{type(error).__name__}: {words}"


@contextmanager
def _failing(folder: Folder, what: str, trust: bool) -> Iterator[None]:
    """An error inside as one sentence, whatever its kind; memory and devices say their own."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        remedy = ": its own code failed; install what that needs, or ask its authors" if trust else ""
        raise ValueError(f"{folder}: transformers {what} ({_said(error)}){remedy}") from None


def _loaded(auto: Any, folder: Folder, config: Any, dtype: torch.dtype | None, trust: bool) -> Any:
    with _failing(folder, "cannot load it", trust):
        model, found = auto.from_pretrained(
            folder.path, config=config, dtype=dtype or "auto", use_safetensors=True, trust_remote_code=trust,
            output_loading_info=True,
        )  # fmt: skip
    if missing := sorted(found["missing_keys"]):
        raise ValueError(
            f"{folder}: the weights lack {', '.join(missing[:3])}, {len(missing)} in all, without which "
            f"{type(model).__name__} would be random: give a checkpoint of a whole language model"
        )
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own bars and remarks."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


class _Tried(NamedTuple):
    """What a model does, whatever its config.json says."""

    vocabulary: int
    affine: bool  # logits are what the output layer gives
    causal: bool | None  # the first column does not see the last one; None: that depends on padding


@torch.no_grad()
def _tried(model: Any) -> _Tried:
    given: list[Tensor] = []
    head = model.get_output_embeddings()
    hook = None if head is None else head.register_forward_hook(lambda layer, inputs, out: given.append(out))

    def logits(last: int, padding: int) -> Tensor:
        rows = [2, 3, last] + [0] * padding, [1, 1, 1] + [0] * padding
        ids, seen = (torch.tensor([row], device=model.device) for row in rows)
        found: Tensor = model(inputs_embeds=model.get_input_embeddings()(ids), attention_mask=seen).logits
        return found

    pairs = [(logits(4, padding), logits(5, padding)) for padding in (0, 1)]
    if hook is not None:
        hook.remove()
    affine = len(given) == 4 and torch.equal(given[0], pairs[0][0])
    blind = [torch.equal(one[:, 0], other[:, 0]) for one, other in pairs]
    return _Tried(pairs[0][0].shape[-1], affine, blind[0] if blind[0] == blind[1] else None)


def _max_columns(model: Any) -> int:
    """Columns that it has positions for; RoBERTa's begin after the one of padding."""
    for name, layer in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(layer, nn.Embedding):
            return layer.num_embeddings - (0 if layer.padding_idx is None else layer.padding_idx + 1)
    most: Any = getattr(model.config, "max_position_embeddings", None)
    return int(most) if is_whole(most, 1, UNBOUNDED) else UNBOUNDED
