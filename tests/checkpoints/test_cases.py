"""Public bug reports of other projects' checkpoints, rebuilt in small: each is read, or refused by its name."""

import json
import re
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.chats import TEMPLATES, chat_folder
from tests.checkpoints.published import published, set_config
from tests.limits import slowness
from tests.toy import toy
from tests.training.folder import CODEC
from unveil.checkpoints.families.dream import DREAM
from unveil.checkpoints.families.llada import LLADA
from unveil.checkpoints.folder import Folder
from unveil.checkpoints.shards import few
from unveil.checkpoints.tokenizer import FileTokenizer
from unveil.checkpoints.weights import load_checkpoint, save_checkpoint
from unveil.decoding.loading import load
from unveil.decoding.model import Model
from unveil.files import write_json

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good model of LLaDA's layout, with its tokenizer and without a chat template."""
    return chat_folder(tmp_path / "model")


def refusal(folder: Path, **options: Any) -> str:
    with pytest.raises(ValueError) as caught:
        load(folder, device="cpu", **options).decode(["abc"], new_tokens=2)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(folder), "FOLDER")


def tokens(model: Model, text: str = "abc") -> list[int]:
    return model.decode([text], new_tokens=6)[0].tokens


def set_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / WHOLE)
    change(weights)
    save_file(weights, folder / WHOLE)


def shards(folder: Path, seed: int) -> list[Path]:
    """Other weights in several files beside the whole one, with their index."""
    save_checkpoint(toy(seed=seed, gain=0.5, end_ids=(45,)), folder / "shards", LLADA, shard="40KB")
    for path in (folder / "shards").glob("model*"):
        shutil.move(path, folder / path.name)
    return sorted(folder.glob("model-*"))


@pytest.mark.parametrize(
    ("dtype", "name"), [(torch.float8_e4m3fn, "F8_E4M3"), (torch.int8, "I8"), (torch.bool, "BOOL")]
)
def test_other_dtypes_are_named(folder: Path, dtype: torch.dtype, name: str) -> None:
    set_weights(folder, lambda weights: weights.update({name: x.to(dtype) for name, x in weights.items()}))
    assert re.match(rf"FOLDER/{WHOLE}: \S+ has dtype {name}, which is not supported: give the", refusal(folder))


@pytest.mark.parametrize("name", ["qweight", "qzeros", "SCB", "weight_scale_inv"])
def test_quantised_weights_are_named(folder: Path, name: str) -> None:
    extra = f"model.transformer.blocks.0.q_proj.{name}"
    set_weights(folder, lambda weights: weights.update({extra: torch.zeros(2, dtype=torch.int32)}))
    assert refusal(folder).startswith(f"FOLDER/model.safetensors: {extra} belongs to quantised weights (GPTQ, AWQ,")


def test_buffers_of_older_programs_are_passed_over(folder: Path) -> None:
    before = tokens(load(folder))
    buffers = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4), "x.position_ids": torch.arange(3),
        "h.0.attn.masked_bias": torch.tensor(-1e4),
    }  # fmt: skip
    set_weights(folder, lambda weights: weights.update(buffers))
    assert tokens(load(folder)) == before


def test_only_pickled_weights_are_never_read(folder: Path) -> None:
    (folder / WHOLE).rename(folder / "pytorch_model.bin")
    assert refusal(folder) == (
        "FOLDER holds its weights only as pytorch_model.bin: such files are never read, for that runs a program in "
        "them; where you trust it, load it once with transformers and save it with save_pretrained, which writes "
        "safetensors"
    )
    write_json(folder / INDEX, {"weight_map": {"a": "pytorch_model.bin"}})
    assert refusal(folder).startswith(f"FOLDER/{INDEX} names 'pytorch_model.bin': such files are never read")


def test_a_whole_file_beside_an_index_whose_shards_are_gone(folder: Path) -> None:
    before = tokens(load(folder))
    for path in shards(folder, 5):
        path.unlink()
    with pytest.warns(UserWarning, match=f"{INDEX} names files that are gone, model-00001"):
        assert tokens(load(folder)) == before
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = Folder(folder).fingerprint
        set_weights(folder, lambda weights: weights["model.transformer.wte.weight"].mul_(2))
        assert Folder(folder).fingerprint != first


def test_an_index_may_name_a_folder_inside(folder: Path) -> None:
    old = shards(folder, 5)
    (folder / WHOLE).unlink()
    before = tokens(load(folder))
    (folder / "part").mkdir()
    for path in old:
        path.rename(folder / "part" / path.name)
    mapping = json.loads((folder / INDEX).read_text())["weight_map"]
    write_json(folder / INDEX, {"weight_map": {name: f"part/{file}" for name, file in mapping.items()}})
    assert tokens(load(folder)) == before


def test_two_sets_of_weights_are_refused(folder: Path) -> None:
    old = shards(folder, 5)
    assert refusal(folder).startswith("FOLDER holds two sets of weights, model.safetensors and model-00001-of-")
    old[0].unlink()
    assert refusal(folder).startswith("FOLDER holds two sets of weights, model.safetensors and model-00002-of-")
    (folder / WHOLE).unlink()
    assert f"{old[0].name} does not exist" in refusal(folder)
    (folder / INDEX).unlink()
    assert (
        refusal(folder)
        == f"FOLDER holds {few([path.name for path in old[1:]])} and no {INDEX} of them: download it again"
    )


def test_a_tensor_in_two_shards_is_taken_from_the_one_that_the_index_names(folder: Path) -> None:
    old = shards(folder, 5)
    (folder / WHOLE).unlink()
    before, mark = tokens(load(folder)), Folder(folder).fingerprint
    mapping = json.loads((folder / INDEX).read_text())["weight_map"]
    name = next(name for name, file in mapping.items() if file == old[0].name)
    save_file(load_file(old[1]) | {name: torch.zeros(3)}, old[1])
    assert tokens(load(folder)) == before
    write_json(folder / INDEX, {"weight_map": mapping | {name: old[1].name}})
    assert f"{name} has shape (3,)" in refusal(folder) and Folder(folder).fingerprint != mark


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/x.safetensors", "a/../../x.safetensors", "model.txt", "a\x00b"]
)
def test_an_index_names_files_in_its_folder(folder: Path, name: str) -> None:
    shutil.copy(folder / WHOLE, folder.parent / "x.safetensors")
    write_json(folder / INDEX, {"weight_map": {"a": name}})
    assert (
        refusal(folder) == f"FOLDER/{INDEX}: weight_map names {name!r}, no safetensors file in the folder: correct it"
    )


def test_a_link_out_of_the_folder_is_refused_but_in_the_cache_of_the_hub(tmp_path: Path) -> None:
    folder = chat_folder(tmp_path / "hub" / "models--owner--name" / "snapshots" / "abc")
    blobs = folder.parent.parent / "blobs"
    blobs.mkdir()
    for path in shards(folder, 5):
        shutil.move(path, blobs / path.name)
        path.symlink_to(blobs / path.name)
    (folder / WHOLE).unlink()
    load(folder)
    shutil.copytree(folder, tmp_path / "copy", symlinks=True)
    assert "is a link out of the folder, to " in refusal(tmp_path / "copy")


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "experts": ({"num_experts": 8}, "config.json: num_experts=8: LLaDA-MoE is not supported, only dense models"),
    "their class": ({"architectures": ["LLaDAMoEModelLM"]}, "config.json: architectures=['LLaDAMoEModelLM']: "),
    "block_size": ({"block_size": 4}, "config.json: block_size=4 is not supported for llada, and without it the model"),
    "clip_qkv": ({"clip_qkv": 8.0}, "config.json: clip_qkv=8.0 is not supported for llada, and without it the model"),
    "no clip": ({"clip_qkv": 0}, "config.json: clip_qkv=0 is not supported for llada"),
    "window": ({"sliding_window": 4}, "config.json: sliding_window=4 is not supported for llada"),
    "layers with a window": ({"layer_types": ["sliding_attention"]}, "config.json: layer_types=['sliding_att"),
    "causal": ({"is_causal": True}, "config.json: is_causal=True is not supported for llada"),
    "rope": ({"rope_scaling": {"type": "ntk", "factor": 2}}, "config.json: rope_type='ntk' is not supported: give"),
    "rope without a kind": ({"rope_scaling": {"factor": 2}}, "config.json: rope_scaling: factor=2 is given without"),
    "llama's rope": (
        {"rope_scaling": {"rope_type": "llama3", "factor": 2, "low_freq_factor": 1, "high_freq_factor": 4,
                          "original_max_position_embeddings": 8}},
        "config.json: rope_scaling={'rope_type': 'llama3'",
    ),
    "rope as a list": ({"rope_scaling": [1]}, "config.json: rope_scaling=[1] is no object {...}: correct it"),
    "quantised": ({"quantization_config": {"quant_method": "gptq"}}, "config.json: quantization_config ('gptq') "),
    "mask is end": ({"eos_token_id": 49}, "config.json: eos_token_id=49 is also the mask token (mask_token_id): rows"),
    "no heads": ({"n_heads": 0}, "config.json: n_heads=0 is no whole number from 1 to 1048576: correct it"),
    "heads": ({"n_heads": 3}, "config.json: n_heads=3 is no divisor of d_model=32: correct it"),
    "layers": ({"n_layers": 1e12}, "config.json: n_layers=1000000000000.0 is no whole number from 1 to 1024"),
    "many layers": ({"n_layers": 10**12}, "config.json: n_layers=1000000000000 is no whole number from 1 to 1024"),
    "a text": ({"d_model": "32"}, "config.json: d_model='32' is no whole number from 1 to 1048576: correct it"),
    "true": ({"n_layers": True}, "config.json: n_layers=True is no whole number"),
    "eps": ({"rms_norm_eps": float("nan")}, "config.json: rms_norm_eps=nan is no number from 0 to 1: correct it"),
    "theta": ({"rope_theta": -5}, "config.json: rope_theta=-5 is no number from 1 to 1e+12: correct it"),
    "flag": ({"include_bias": "no"}, "config.json: include_bias='no' is neither true nor false: correct it"),
    "mask": ({"mask_token_id": -1}, "config.json: mask_token_id=-1 is no whole number of at least 0: correct it"),
    "kind": ({"model_type": ["llada"]}, "FOLDER: "),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), CONFIGS.values(), ids=CONFIGS)
def test_settings_are_refused_by_name(folder: Path, change: dict[str, Any], message: str) -> None:
    load(folder)
    set_config(folder, **change)
    assert refusal(folder).startswith(message)


def test_settings_that_change_nothing_are_no_fault(tmp_path: Path) -> None:
    folder = published("qwen2", tmp_path)
    set_config(tmp_path, sliding_window=64, use_sliding_window=None, layer_types=["full_attention"] * 2, clip_qkv=None)
    load_checkpoint(Folder(tmp_path))
    set_config(tmp_path, sliding_window=4, use_sliding_window=False)
    load_checkpoint(Folder(tmp_path))
    set_config(tmp_path, use_sliding_window=None)
    with pytest.raises(ValueError, match="sliding_window=4 is not supported for qwen2"):
        load_checkpoint(Folder(tmp_path))
    assert folder is not None


@pytest.mark.parametrize(("value", "ids"), [(49, "49"), ([45, 49], "49")])
def test_an_end_of_the_generation_settings_is_not_the_mask(folder: Path, value: Any, ids: str) -> None:
    write_json(folder / "generation_config.json", {"eos_token_id": value})
    assert refusal(folder).startswith(f"FOLDER/generation_config.json: eos_token_id={ids} is also the mask token")


def test_no_number_of_new_tokens_is_the_usual_number(folder: Path) -> None:
    write_json(folder / "generation_config.json", {"max_new_tokens": None, "eos_token_id": [44]})
    model = load(folder)
    assert model.new_tokens == 128 and model.end_ids == (44, 45)


def test_an_export_for_llada_has_no_live_dropout(folder: Path) -> None:
    save_checkpoint(load_checkpoint(Folder(folder)), folder / "out", LLADA)
    config = json.loads((folder / "out" / "config.json").read_text())
    assert {config[f"{name}_dropout"] for name in ("attention", "embedding", "residual")} == {0.0}


FAULTY = {
    "division": ("{{ 1 / 0 }}", r"fails \(ZeroDivisionError: division by zero\): mend the template, or use raw text"),
    "include": ("{% include 'x' %}", r"fails \(TypeError: no loader"),
    "syntax": ("{% for %}", r"has a syntax error \(line 1: "),
    "endless": (
        "{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}",
        r"(took more than|wants more)",
    ),
    "memory": ("{{ 'a' * 10**10 }}", "wants more than 1024 MiB"),
    "text": ("{{ 'a' * 10**8 }}", "writes more than 16 MiB"),
    "recursion": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
}


@pytest.mark.parametrize(("template", "message"), FAULTY.values(), ids=FAULTY)
def test_a_faulty_template_is_named_and_raw_text_never_renders_it(tmp_path: Path, template: str, message: str) -> None:
    model = load(chat_folder(tmp_path, template), device="cpu")
    began = time.process_time()
    assert model.raw().decode(["abc"], new_tokens=2)
    assert "_renderer" not in vars(model.chat) and time.process_time() - began < 5 * slowness()
    with pytest.raises(ValueError, match=f"^prompt 0: the model's chat template .*{message}"):
        model.decode([model.asked("abc")], new_tokens=2)


def test_a_turn_end_that_the_vocabulary_lacks_does_not_keep_raw_text_out(tmp_path: Path) -> None:
    model = load(chat_folder(tmp_path, "{% for m in messages %}{{ m.content + '~%' }}{% endfor %}"), device="cpu")
    assert model.raw().decode(["abc"], new_tokens=2)
    with pytest.warns(UserWarning, match="no row ends with what the chat template writes after an answer: the model's"):
        assert model.ends == model.end_ids


def test_tokens_beyond_the_embeddings_are_refused_and_beyond_the_tokenizer_remarked(folder: Path) -> None:
    tokenizer = FileTokenizer.load(folder / "tokenizer.json")
    tokenizer.tokenizer.add_special_tokens([f"<extra{number}>" for number in range(3)])
    tokenizer.save(folder / "tokenizer.json")
    model = load(folder)
    with pytest.raises(
        ValueError, match=r"^'<extra0>' of 'a<extra0>' is token 50, beyond the 50 embeddings of the model"
    ):
        model.ids("a<extra0>")
    with pytest.warns(UserWarning, match="token 99 is none of the tokenizer's: it is left out of texts"):
        assert model.tokenizer.decode([1, 99, 2]) == model.tokenizer.decode([1, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.tokenizer.decode([1, 99])  # once


def test_a_post_processor_of_unknown_tokens_is_named(folder: Path) -> None:
    text = json.loads((folder / "tokenizer.json").read_text())
    one = {"SpecialToken": {"id": "<gone>", "type_id": 0}}
    text["post_processor"] = {
        "type": "TemplateProcessing", "single": [one, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [],
        "special_tokens": {},
    }  # fmt: skip
    write_json(folder / "tokenizer.json", text)
    assert refusal(folder).startswith("FOLDER/tokenizer.json")


def test_settings_of_the_tokenizer_that_change_ids_change_the_fingerprint(folder: Path) -> None:
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    marks = [Folder(folder).fingerprint]
    for change in ({"add_bos_token": True}, {"add_bos_token": True, "bos_token": "<eot>"}, {"chat_template": "x"}):
        write_json(folder / "tokenizer_config.json", settings | change)
        marks.append(Folder(folder).fingerprint)
    assert len(set(marks)) == 3 and marks[0] == marks[3]


CODE = """
import torch
{first}
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import MaskedLMOutput
class Config(PretrainedConfig):
    model_type = "own"
class Model(PreTrainedModel):
    config_class = Config
    def __init__(self, config):
        super().__init__(config)
        self.emb = torch.nn.Embedding(64, 8)
        {inside}
        self.post_init()
    def get_input_embeddings(self): return self.emb
    def forward(self, {given}):
        return MaskedLMOutput(logits=self.emb(input_ids) @ self.emb.weight.T)
"""
OWN = {
    "ImportError": ("import flash_attn_not_here", "pass", "input_ids=None, **k", "flash_attn_not_here"),
    "AttributeError": ("", "self.gone", "input_ids=None, **k", "no attribute 'gone'"),
    "TypeError": ("", "pass", "input_ids=None, timesteps=None", "unexpected keyword argument"),
    "exit": ("raise SystemExit(0)", "pass", "input_ids=None, **k", "0"),
}


@pytest.mark.parametrize(("first", "inside", "given", "words"), OWN.values(), ids=OWN)
def test_code_that_fails_is_one_sentence(tmp_path: Path, first: str, inside: str, given: str, words: str) -> None:
    (tmp_path / "own.py").write_text(CODE.format(first=first, inside=inside, given=given))
    names = {"AutoConfig": "own.Config", "AutoModelForMaskedLM": "own.Model"}
    write_json(tmp_path / "config.json", {"model_type": "own", "auto_map": names, "mask_token_id": 3})
    save_file({"emb.weight": torch.randn(64, 8)}, tmp_path / WHOLE, {"format": "pt"})
    CODEC.save(tmp_path / "tokenizer.json")
    assert words in refusal(tmp_path, trust_remote_code=True)


@pytest.mark.parametrize(
    ("device", "words"),
    [("meta", "device 'meta' holds no numbers"), ("xla", "device 'xla' cannot be used by this torch")],
)
def test_devices_that_cannot_be_used_are_named(folder: Path, device: str, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{words}") as caught:
        load(folder, device=device)
    assert len(str(caught.value)) < 250


def test_a_template_as_published_still_ends_turns(tmp_path: Path) -> None:
    model = load(chat_folder(tmp_path, TEMPLATES["llada"]), device="cpu")
    assert model.ends == (45, 48) and model.raw().ends == (45,)


def test_dreams_mask_is_no_end(tmp_path: Path) -> None:
    save_checkpoint(toy(shift=1, qkv_bias=True, dtype=torch.float32), tmp_path, DREAM)
    set_config(tmp_path, eos_token_id=[3, 49])
    with pytest.raises(ValueError, match="eos_token_id=49 is also the mask token"):
        assert Folder(tmp_path).layout
