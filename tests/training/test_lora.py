"""Adapters: merged they are the model they were beside, only they are trained, and PEFT reads what is saved."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.checkpoints.published import Tree
from tests.toy import all_logits, toy
from tests.training.folder import lines, model_folder, words
from unveil.checkpoints.adapters import merged, save_adapter
from unveil.checkpoints.families import Family
from unveil.checkpoints.families.dream import DREAM
from unveil.checkpoints.families.llada import LLADA
from unveil.checkpoints.folder import Folder
from unveil.checkpoints.weights import load_checkpoint
from unveil.files import read_jsonl
from unveil.models.transformer import Transformer
from unveil.objectives.loss import Batch
from unveil.training.settings import Training
from unveil.training.sft import SFT
from unveil.training.trainer import run
from unveil.training.tuning import TARGETS, LoRA

LAYOUTS = {
    "plain": {},
    "biases": {"qkv_bias": True, "output_bias": True, "feed_bias": True, "head_bias": True},
    "tied, shifted, grouped": {"tied": True, "shift": 1, "heads": 4, "kv_heads": 2},
}


def adapted(lora: LoRA, seed: int = 0, **layout: Any) -> Transformer:
    """A toy whose adapters are no longer zero."""
    model = lora.inject(toy(**layout), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, x in model.named_parameters():
            if "lora_B" in name:
                x.normal_(0, 0.1, generator=generator)
    return model.eval()


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.float64, 1e-13)], ids=["32", "64"])
@pytest.mark.parametrize("targets", [LoRA().targets, TARGETS], ids=["papers'", "all"])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_merged_equals_unmerged(
    layout: dict[str, Any], targets: tuple[str, ...], dtype: torch.dtype, near: float
) -> None:
    layout = layout | {"dtype": dtype, "gain": 0.3}
    base, model = toy(**layout), adapted(LoRA(r=4, alpha=8, dropout=0.5, targets=targets), **layout)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    one = merged(model)
    found, want, plain = (all_logits(x).softmax(-1) for x in (one, model, base))
    assert (found - want).abs().max() <= near < 1e-2 < (plain - want).abs().max()
    assert one.state_dict().keys() == base.state_dict().keys() and one.outline.blank_id == model.outline.blank_id
    assert (one.head.weight is one.embed.weight) == (base.head.weight is base.embed.weight)
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())  # merging copies


def test_fresh_adapters_change_nothing_and_follow_from_the_seed() -> None:
    base, *models = (toy() for _ in range(4))
    state = torch.get_rng_state()
    one, same, other = (LoRA(r=4).inject(model, seed) for model, seed in zip(models, (0, 0, 1), strict=True))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(all_logits(base), all_logits(one)) and torch.equal(all_logits(base), all_logits(merged(one)))
    first, again, different = ({n: x for n, x in m.named_parameters() if "lora_A" in n} for m in (one, same, other))
    assert len(first) == 6 and all(torch.equal(x, again[name]) for name, x in first.items())
    assert all(not torch.equal(x, different[name]) for name, x in first.items())


def test_only_adapters_learn_at_least_in_float32() -> None:
    model = LoRA(r=4, targets=("query", "down")).inject(toy(dtype=torch.bfloat16), 0)
    for name, x in model.named_parameters():
        assert x.requires_grad == (".lora_" in name)
        assert x.dtype == (torch.float32 if x.requires_grad else torch.bfloat16)
    assert {name.split(".")[2] for name, x in model.named_parameters() if x.requires_grad} == {"query", "down"}
    assert all_logits(model).isfinite().all()
    assert merged(model).layers[0].query.weight.dtype == torch.float32  # what is stored is rounded once


@pytest.mark.parametrize("family", [LLADA, DREAM], ids=lambda family: family.model_type)
def test_peft_loads_the_adapter_into_the_published_model(tmp_path: Path, family: Family) -> None:
    from peft import PeftModel

    lora = LoRA(r=4, alpha=8, targets=TARGETS)
    model = adapted(lora, dtype=torch.float32)
    save_adapter(model, tmp_path / "adapter", family, "owner/name")
    base = toy(dtype=torch.float32).state_dict()
    named = {family.published(name).removesuffix(".weight"): x for name, x in base.items()}
    linear = {name: x for name, x in named.items() if x.ndim == 2 and name != family.outer["embed"]}
    loaded = PeftModel.from_pretrained(Tree(linear), tmp_path / "adapter")
    assert sum(name.endswith(".lora_A") for name, _ in loaded.named_modules()) == 14  # not the head: 7 in 2 layers
    assert loaded.peft_config["default"].base_model_name_or_path == "owner/name"
    theirs = loaded.merge_and_unload().state_dict()
    ours = {family.published(name): x for name, x in merged(model).state_dict().items()}
    assert len(theirs) == 15
    for name, x in theirs.items():
        assert torch.allclose(x, ours[name], atol=1e-6), name
    changed = {name for name, x in theirs.items() if not torch.equal(x, linear[name.removesuffix(".weight")])}
    assert len(changed) == 14


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> SFT:
    folder = tmp_path_factory.mktemp("tuned")
    return SFT(
        base=str(model_folder(folder / "base")),
        data=str(lines(folder / "d.jsonl", words())),
        canvas=12,
        rows=4,
        lora=LoRA(r=2, alpha=4, dropout=0.2),
        training=Training(steps=9, lr=1e-2, warmup=2, ema=0.5, micro_rows=2, validate_every=3, save_every=2),
    )


class Interrupted(Exception):
    pass


def start(recipe: SFT, out: Path, stop: int = -1) -> None:
    """As a fresh program would; it dies before the step `stop`."""
    batch = SFT.batch

    def stopping(self: SFT, step: int) -> Batch:
        if step == stop:
            raise Interrupted
        return batch(self, step)

    torch.manual_seed(0)  # as in a new process
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SFT, "batch", stopping)
        run(replace(recipe), out=out, resume=True)


@pytest.fixture(scope="module")
def whole(recipe: SFT, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    start(recipe, out)
    return out


@pytest.mark.parametrize("stops", [(1,), (2, 5, 8)])
def test_killed_and_resumed_it_is_the_same_run(
    recipe: SFT, whole: Path, tmp_path: Path, stops: tuple[int, ...]
) -> None:
    for stop in stops:
        with pytest.raises(Interrupted):
            start(recipe, tmp_path, stop)
    start(recipe, tmp_path)
    for name in ("state.safetensors", "model/model.safetensors", "model/adapter/adapter_model.safetensors"):
        mine, theirs = load_file(tmp_path / name), load_file(whole / name)
        assert mine.keys() == theirs.keys() and all(torch.equal(x, theirs[key]) for key, x in mine.items()), name
    mine, theirs = ([record["loss"] for record in read_jsonl(out / "metrics.jsonl")] for out in (tmp_path, whole))
    assert mine == theirs


def test_the_state_holds_adapters_and_the_base_is_as_before(recipe: SFT, whole: Path) -> None:
    state = load_file(whole / "state.safetensors")
    weights = {name for name in state if name.startswith(("model.", "exp_avg."))}
    assert len(weights) == 2 * 2 * 2 * 3 and all(".lora_" in name for name in weights)
    base = load_checkpoint(Folder(Path(recipe.base))).state_dict()
    kept = load_checkpoint(Folder(whole / "model")).state_dict()
    for name, x in base.items():
        assert torch.equal(x, kept[name]) == (name.split(".")[-2] not in recipe.lora.targets), name


def test_the_base_is_not_touched_by_training(recipe: SFT, tmp_path: Path) -> None:
    from unveil.training.trainer import train

    model = recipe.model()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    training = replace(recipe.training, ema=0.0, steps=3)
    tuned = train(model, recipe.objective, recipe.batch, training, out=tmp_path)
    for name, x in tuned.state_dict().items():
        assert torch.equal(x, before[name]) != (".lora_" in name), name


def test_a_spec() -> None:
    assert LoRA.parse("r=8, alpha=16,targets=query|up,dropout=0.1") == LoRA(
        r=8, alpha=16, targets=("query", "up"), dropout=0.1
    )
    assert LoRA.parse("") == LoRA() == LoRA.parse("r=64,alpha=128,targets=query|key|value,dropout=0")


KNOWN = "known are r, alpha, dropout, targets"
BAD = {
    "rank=4": f"lora has no setting 'rank': did you mean 'r'? {KNOWN}",
    "alfa=4": f"lora has no setting 'alfa': did you mean 'alpha'? {KNOWN}",
    "r=4,r=8": "lora is given r twice: give it once",
    "64": "'64' is no setting of lora, which are key=value",
    "r=four": "r='four' is not a whole number",
    "dropout=x": "dropout='x' is not a number",
    "r=0": "r=0 is outside its range, from 1 to 65,536: the rank of an adapter",
    "alpha=-1": "alpha=-1 is outside its range, from 1 to 1,048,576: the change is scaled by alpha / r",
    "dropout=1": "dropout=1.0 is outside its range, from 0 below 1: 0 is none",
    "targets=query|head": "LoRA has no target 'head': choose from query, key, value, output, gate, up, down",
    "targets=": "LoRA has no target '': choose from query, key, value, output, gate, up, down",
}


@pytest.mark.parametrize(("spec", "fault"), BAD.items(), ids=BAD)
def test_a_bad_spec(spec: str, fault: str) -> None:
    with pytest.raises(ValueError) as caught:
        LoRA.parse(spec)
    assert str(caught.value) == fault


def test_no_targets() -> None:
    with pytest.raises(ValueError, match="^LoRA has no target ''"):
        LoRA(targets=())


def test_without_peft_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError) as caught:
        LoRA().inject(toy(), 0)
    assert str(caught.value) == "LoRA needs peft: pip install 'unveil[lora]', or train all weights without it"
