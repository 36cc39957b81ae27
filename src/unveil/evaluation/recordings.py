"""What the published code gave, as a folder beside a checkpoint keeps it: read with every shape, type and id checked.

forward.safetensors holds input_ids and logits (or logits_shifted), *decodes*.json the field traces, a list of objects
with sampler, settings, prompt, tokens and nfe.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float, Int64
from safetensors import SafetensorError
from torch import Tensor

from unveil.fields import Fields, shown
from unveil.files import read_json
from unveil.legal import FORWARDS
from unveil.models.denoiser import Outline
from unveil.models.tensors import open_tensors

REMEDY = "record it again, or download it again"
COUNTS = ("steps", "gen_length", "max_new_tokens", "block_length", "top_k", "k_soft")  # known settings, by their kind
NUMBERS = ("temperature", "cfg_scale", "threshold", "factor", "eps", "top_p", "alg_temp", "alpha_soft_mask")
WORDS = ("remasking", "alg")
SWITCHES = ("logits_eos_inf", "confidence_eos_eot_inf")
IDS, REAL = ("I64", "I32"), ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True, kw_only=True)
class Decode:
    """A decode by the published code."""

    place: str  # file and number, for errors
    sampler: str
    settings: dict[str, Any]
    prompt: list[int]
    tokens: list[int]
    nfe: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Forward:
    """One forward of the published code."""

    ids: Int64[Tensor, "B L"]
    logits: Float[Tensor, "B L V"]


def read_forward(path: Path, outline: Outline) -> Forward:
    """The forward in a file. ValueError unless it fits the model; no tensor is read before its shape is known to."""
    try:
        with open_tensors(path) as file:
            name = "logits_shifted" if "logits_shifted" in file.keys() else "logits"
            if not {"input_ids", name} <= set(file.keys()):
                raise ValueError(f"{path} lacks input_ids or logits: it is no recorded forward")
            _check_tensors(str(path), name, file.get_slice("input_ids"), file.get_slice(name), outline)
            found = Forward(ids=file.get_tensor("input_ids").long(), logits=file.get_tensor(name))
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}): download it again") from None
    least, most = int(found.ids.min()), int(found.ids.max())
    if least < 0 or most > _last_id(outline):
        fault = least if least < 0 else most
        raise ValueError(f"{path}: input_ids holds {fault}, no token from 0 to {_last_id(outline)}: {REMEDY}")
    return found


def _check_tensors(file: str, name: str, ids: Any, logits: Any, outline: Outline) -> None:
    """ValueError unless both slices are of the right kind, with rows, and of columns that the model has room for."""
    for known, tensor, kinds in (("input_ids", ids, IDS), (name, logits, REAL)):
        if tensor.get_dtype() not in kinds:
            raise ValueError(f"{file}: {known} has dtype {tensor.get_dtype()}, not {' or '.join(kinds)}: {REMEDY}")
    shape, wide = ids.get_shape(), outline.context
    if len(shape) != 2 or shape[0] < 1 or not 1 <= shape[1] <= wide:
        raise ValueError(f"{file}: input_ids has shape {shown(shape)}, not rows of 1 to {wide} columns: {REMEDY}")
    if logits.get_shape() != [*shape, outline.vocabulary]:
        wanted = [*shape, outline.vocabulary]
        raise ValueError(f"{file}: {name} has shape {shown(logits.get_shape())}, not {wanted} as the model: {REMEDY}")


def read_decodes(folder: Path, outline: Outline) -> list[Decode]:
    """All decodes in a folder's files. ValueError, naming file and field, for what no decode of the model can be."""
    found = []
    for path in sorted(folder.glob("*decodes*.json")):
        traces = read_json(path).get("traces", [])
        if not isinstance(traces, list):
            raise ValueError(f"{path}: traces={shown(traces)} is no list: {REMEDY}")
        found += [_decode(f"{path}, trace {number}", trace, outline) for number, trace in enumerate(traces)]
    return found


def _decode(place: str, trace: Any, outline: Outline) -> Decode:
    wanted = ("sampler", "settings", "prompt", "tokens", "nfe")
    if not isinstance(trace, dict):
        raise ValueError(f"{place} is {shown(trace)}, no object {{...}}: {REMEDY}")
    if missing := [name for name in wanted if trace.get(name) is None]:
        raise ValueError(f"{place} lacks {', '.join(sorted(missing))}: it is no recorded decode")
    told, most = Fields(place, trace, REMEDY), _last_id(outline)
    prompt, tokens = told.ids("prompt", most=most), told.ids("tokens", most=most)
    if len(prompt) + len(tokens) > outline.context:
        raise ValueError(
            f"{place}: {len(prompt)} tokens and {len(tokens)} new ones exceed the model's context of "
            f"{outline.context}: {REMEDY}"
        )
    settings = _settings(told.inner("settings"))
    nfe = told.whole("nfe", most=FORWARDS)
    return Decode(
        place=place, sampler=told.text("sampler"), settings=settings, prompt=prompt, tokens=tokens, nfe=nfe
    )  # fmt: skip


def _settings(told: Fields) -> dict[str, Any]:
    """The same, each known one of its kind; null means that it is off."""
    for name in COUNTS:
        told.whole(name, None, most=FORWARDS)
    for name in NUMBERS:
        told.number(name, None, least=-1e6, most=1e6)
    for name in WORDS:
        told.text(name, None)
    for name in SWITCHES:
        told.flag(name, None)
    return dict(told.values)


def _last_id(outline: Outline) -> int:
    """The largest that a canvas may hold: of a token, or of [MASK], which may be one past them."""
    return max(outline.vocabulary - 1, outline.blank_id)
