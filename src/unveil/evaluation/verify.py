"""Compare a checkpoint folder with recorded outputs of the published code: logits, tokens and forwards.

A folder of this kind holds config.json, weights, and what `recordings` reads.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from unveil.canvas import DECODED, SOFT, Canvas
from unveil.checkpoints.folder import Folder
from unveil.checkpoints.weights import load_checkpoint
from unveil.evaluation.recordings import Decode, Forward, read_decodes, read_forward
from unveil.models.denoiser import Denoiser, Guided, Want
from unveil.models.transformer import Transformer
from unveil.sampling import recipes
from unveil.sampling.blocks import Blocks
from unveil.sampling.picks import Choice, Factor
from unveil.sampling.sampler import Sampler, Select
from unveil.terminal import bars, plain, rendered, table

if TYPE_CHECKING:
    from rich.table import Table

TOLERANCE = 1e-4  # largest logit difference in float32


class Row(NamedTuple):
    """One line of the report: all recorded decodes of a sampler with the same settings, or the forward."""

    sampler: str
    settings: str
    num: int
    tokens_equal: int
    forwards_equal: int
    logit_difference: float | None
    ok: bool


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was compared and what could not be."""

    rows: list[Row]
    skipped: list[str]

    def __str__(self) -> str:
        return rendered(report_table(self), *(f"skipped: {reason}" for reason in self.skipped), summary(self))

    @property
    def ok(self) -> bool:
        """Something was compared, and all of it agrees."""
        return bool(self.rows) and all(row.ok for row in self.rows)


def verify(folder: Path) -> Report:
    """Run everything recorded in `folder` that has a counterpart here, in float32 on the CPU.

    Raises ValueError for a folder without recordings, broken recordings, or a checkpoint that does not load.
    """
    model = load_checkpoint(Folder(folder), dtype=torch.float32)
    decodes, path = read_decodes(folder, model.outline), folder / "forward.safetensors"
    if not decodes and not path.is_file():
        raise ValueError(f"{folder} has nothing recorded: expected forward.safetensors or *decodes.json in it")
    rows = [_forward(read_forward(path, model.outline), model)] if path.is_file() else []
    skipped: dict[str, int] = {}
    groups: dict[tuple[str, str], list[tuple[bool, bool]]] = {}
    with bars() as progress:
        for decode in progress.track(decodes, description="decodes"):
            plan = plan_of(decode.sampler, decode.settings, len(decode.tokens))
            if isinstance(plan, str):
                skipped[plan] = skipped.get(plan, 0) + 1
            else:
                results = groups.setdefault((decode.sampler, _short(decode.settings)), [])
                results.append(_compare(model, plan, decode))
    for (name, text), results in groups.items():
        tokens, forwards = sum(t for t, _ in results), sum(f for _, f in results)
        agree = tokens == forwards == len(results)
        rows.append(Row(name, text, len(results), tokens, forwards, None, agree))
    return Report(rows=rows, skipped=[f"{reason} ({count} decodes)" for reason, count in skipped.items()])


class Plan(NamedTuple):
    """A recorded decode in our terms."""

    sampler: Sampler
    guidance: float


def plan_of(name: str, settings: dict[str, Any], new_tokens: int) -> Plan | str:
    """The sampler that a recorded decode names, or the reason why there is none."""
    off = {"top_k": 0, "top_p": 1.0}  # null turns these off, it does not mean the default
    left = {key: off.get(key) if value is None else value for key, value in settings.items()}
    left = {key: value for key, value in left.items() if value is not None}
    if left.pop("temperature", 0.0):
        return f"{name}: drawn at a temperature, from noise that is not recorded"
    fast = dict.fromkeys(("fast", "fast_prefix", "fast_dual"), _fast)
    readers = {"llada": _llada, "dream": _dream, "evotoken": _evotoken, **fast}
    if name not in readers:
        return f"{name}: no such sampler here"
    left = {key: value for key, value in left.items() if key not in ("gen_length", "max_new_tokens")}
    try:
        plan = readers[name](name, left, new_tokens)
    except ValueError as error:
        return f"{name}: {error}"
    if isinstance(plan, Plan) and left:
        return f"{name}: unknown settings {', '.join(sorted(left))}"
    return plan


def _llada(name: str, left: dict[str, Any], new_tokens: int) -> Plan | str:
    if left.get("remasking") == "random":
        return f"{name}: random unmasking, from noise that is not recorded"
    if left.pop("logits_eos_inf", False) or left.pop("confidence_eos_eot_inf", False):
        return f"{name}: its EOS switches"
    guidance = float(left.pop("cfg_scale", 0.0))
    return Plan(
        recipes.llada(
            new_tokens,
            steps=left.pop("steps", None),
            block=left.pop("block_length", None),
            remasking=left.pop("remasking", "low_confidence"),
        ),
        guidance,
    )


@dataclass(frozen=True, kw_only=True)
class PublishedFactor(Factor):
    """Fast-dLLM's own code: where only the last mask of a block fails, it is opened too."""

    def __call__(self, scores: Tensor, eligible: Tensor, canvas: Canvas) -> Choice:
        """At least one."""
        chosen = super().__call__(scores, eligible, canvas).chosen
        one_short = chosen.sum(1, keepdim=True) + 1 == eligible.sum(1, keepdim=True)
        return Choice(torch.where(one_short, eligible, chosen))


def _fast(name: str, left: dict[str, Any], new_tokens: int) -> Plan | str:
    if left.pop("remasking", "low_confidence") != "low_confidence":
        return f"{name}: random unmasking, from noise that is not recorded"
    threshold, factor, steps = left.pop("threshold", None), left.pop("factor", None), left.pop("steps", None)
    sampler = recipes.fast_dllm(
        new_tokens,
        threshold=threshold,
        steps=steps if threshold is None and factor is None else None,
        block=left.pop("block_length", None),
        cache={"fast": "none", "fast_prefix": "prefix", "fast_dual": "dual"}[name],
    )
    if factor is not None:
        sampler = replace(sampler, unmask=Select(pick=PublishedFactor(factor=factor)))
    return Plan(sampler, 0.0)


@dataclass(frozen=True, kw_only=True)
class PublishedBlocks(Blocks):
    """EvoToken's own code: a full block is still soft in the first forward on the next one."""

    def advance(self, canvas: Canvas) -> Canvas:
        """Settle full blocks one forward late."""
        before = (canvas.stage == SOFT) & (canvas.column < self.bounds(canvas)[0])
        canvas = replace(canvas, stage=canvas.stage.masked_fill(before, DECODED))
        out = super().advance(canvas)
        back = (canvas.stage == SOFT) & ~out.done[:, None]
        return replace(out, stage=out.stage.masked_fill(back, SOFT))


def _evotoken(name: str, left: dict[str, Any], new_tokens: int) -> Plan | str:
    if left.pop("remasking", "low_confidence") != "low_confidence":
        return f"{name}: random unmasking, from noise that is not recorded"
    threshold, steps = left.pop("threshold", None), left.pop("steps", None)
    sampler = recipes.evotoken(
        new_tokens,
        steps=steps if threshold is None else None,
        threshold=threshold,
        block=left.pop("block_length", None),
        k=left.pop("k_soft", 3),
        mask_share=left.pop("alpha_soft_mask", 0.8),
    )
    return Plan(replace(sampler, blocks=PublishedBlocks(size=sampler.blocks.size)), 0.0)


def _dream(name: str, left: dict[str, Any], new_tokens: int) -> Plan | str:
    if left.pop("alg_temp", 0.0) or left.get("alg", "origin") == "origin":
        return f"{name}: positions drawn, from noise that is not recorded"
    given = {ours: left.pop(ours) for ours in ("steps", "alg", "eps", "top_p", "top_k") if ours in left}
    return Plan(recipes.dream(new_tokens, **given), 0.0)


def _compare(model: Transformer, plan: Plan, decode: Decode) -> tuple[bool, bool]:
    denoiser: Denoiser = Guided(inner=model, scale=plan.guidance) if plan.guidance else model
    try:
        canvas = Canvas.blank([decode.prompt], len(decode.tokens), mask_id=model.outline.blank_id)
        done = plan.sampler.decode(denoiser, canvas)
    except ValueError as error:
        raise ValueError(f"{decode.place} cannot be decoded: {error}") from None
    return done.answer(0) == decode.tokens, int(done.nfe) == decode.nfe


def _forward(recorded: Forward, model: Transformer) -> Row:
    ids, blank = recorded.ids, model.outline.blank_id
    ends = torch.full((len(ids),), ids.shape[1])
    canvas = Canvas.corrupt(ids, ids == blank, start=ends * 0, end=ends, mask_id=blank)
    want = Want(proposals=False, logits=True)
    logits = model(canvas, canvas.inside, canvas.inside, None, want).logits
    assert logits is not None
    difference = float((logits.view_as(recorded.logits) - recorded.logits).abs().max())
    agree = difference <= TOLERANCE
    return Row("forward", f"{len(ids)} rows of {ids.shape[1]} columns", len(ids), 0, 0, difference, agree)


def _short(settings: dict[str, Any]) -> str:
    return " ".join(f"{key}={json.dumps(value)}" for key, value in settings.items())


def report_table(report: Report) -> "Table":
    """A line per sampler and setting."""
    shown = table("sampler", "<settings", "runs", "tokens\nequal", "forwards\nequal", "logit\ndifference", "<")
    for row in report.rows:
        decoded = row.logit_difference is None
        shown.add_row(
            plain(row.sampler),
            plain(row.settings),
            str(row.num),
            str(row.tokens_equal) if decoded else "-",
            str(row.forwards_equal) if decoded else "-",
            "-" if decoded else f"{row.logit_difference:.1e}",
            "agrees" if row.ok else "DIFFERS",
            style="" if row.ok else "red",
        )
    return shown


def summary(report: Report) -> str:
    """The report in one line: how much was compared, and whether all of it agrees."""
    decodes = [row for row in report.rows if row.logit_difference is None]
    num, faults = sum(row.num for row in decodes), sum(not row.ok for row in report.rows)
    skipped = f", {len(report.skipped)} kinds skipped" if report.skipped else ""
    if not report.rows:
        return f"Nothing could be checked{skipped}."
    checked = f"{num} decodes{' and the logits' if len(decodes) < len(report.rows) else ''}{skipped}"
    return f"All agree: {checked}." if report.ok else f"{faults} of {len(report.rows)} lines differ: {checked}."
