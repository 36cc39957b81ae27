"""unveil verify: its table, its summary and its exit code."""
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.cli.program import run, words_of
from unveil.canvas import Canvas
from unveil.checkpoints.families.llada import LLADA
from unveil.checkpoints.folder import Folder
from unveil.checkpoints.weights import load_checkpoint, save_checkpoint
from unveil.evaluation.verify import Report, Row, summary
from unveil.models.denoiser import Want
from unveil.sampling.recipes import llada


@pytest.fixture
def recorded(tiny: Path, tmp_path: Path) -> Path:
    """A checkpoint with its own outputs on record, and one of a sampler that nobody knows."""
    model = load_checkpoint(Folder(tiny))
    save_checkpoint(model, tmp_path, LLADA)
    ids = torch.tensor([[1, 2, 3, 8, 8], [3, 2, 1, 8, 4]])
    ends = torch.tensor([5, 5])
    canvas = Canvas.corrupt(ids, ids == 8, start=ends * 0, end=ends, mask_id=8)
    logits = model(canvas, canvas.inside, canvas.inside, None, Want(proposals=False, logits=True)).logits
    save_file({"input_ids": ids, "logits": logits.view(2, 5, 16)}, tmp_path / "forward.safetensors")
    done = llada(6, steps=3).decode(model, Canvas.blank([[2, 3, 4]], 6, mask_id=8))
    trace = {"prompt": [2, 3, 4], "tokens": done.answer(0), "nfe": 3, "sampler": "llada", "settings": {"steps": 3}}
    write(tmp_path, [trace, trace | {"sampler": "fancy"}])
    return tmp_path


def write(folder: Path, traces: list[dict]) -> None:
    (folder / "decodes.json").write_text(json.dumps({"traces": traces}))


def traces_of(folder: Path) -> list[dict]:
    return json.loads((folder / "decodes.json").read_text())["traces"]


def test_agreement_is_exit_code_0(recorded: Path) -> None:
    told = run("verify", recorded)
    assert told.code == 0, told.out + told.err
    assert "2 rows of 5 columns" in told.out and "steps=3" in told.out
    assert "skipped: fancy: no such sampler here (1 decodes)\n" in told.out
    assert told.out.endswith("All agree: 1 decodes and the logits, 1 kinds skipped.\n")


@pytest.mark.parametrize("change", [{"tokens": [0] * 6}, {"nfe": 4}])
def test_a_difference_is_exit_code_1(recorded: Path, change: dict) -> None:
    (good, _) = traces_of(recorded)
    write(recorded, [good, good | change])
    told = run("verify", recorded)
    assert told.code == 1 and "DIFFERS" in told.out
    assert told.out.endswith("1 of 2 lines differ: 2 decodes and the logits.\n")


def test_other_weights_are_exit_code_1(recorded: Path) -> None:
    model = load_checkpoint(Folder(recorded))
    model.norm.weight.data *= 1.01
    save_checkpoint(model, recorded, LLADA)
    told = run("verify", recorded)
    assert told.code == 1 and "DIFFERS" in told.out


def test_what_cannot_be_read_is_exit_code_2(recorded: Path, tiny: Path) -> None:
    assert "nothing recorded" in run("verify", tiny).err
    weights = recorded / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    told = run("verify", recorded)
    assert told.code == 2 and "is not a whole safetensors file" in told.err
    weights.unlink()
    assert "the checkpoint is incomplete, download it again" in run("verify", recorded).err
    assert "does not exist" in words_of(run("verify", recorded / "none").err)


HUGE = 1 << 40  # of eight bytes each, 8 TB
FORWARDS = {
    "8 TB of no rows": ({"input_ids": torch.zeros(0, HUGE).long()}, "input_ids has shape [0, 1099511627776]"),
    "rows of none": ({"input_ids": torch.zeros(2, 0).long()}, "input_ids has shape [2, 0], not rows of 1 to 64"),
    "one row": ({"input_ids": torch.zeros(5).long()}, "input_ids has shape [5], not rows of 1 to 64 columns"),
    "too long": ({"input_ids": torch.zeros(1, 65).long()}, "input_ids has shape [1, 65], not rows of 1 to 64"),
    "numbers": ({"input_ids": torch.zeros(2, 5)}, "input_ids has dtype F32, not I64 or I32: record it again"),
    "negative": ({"input_ids": torch.full((2, 5), -3)}, "input_ids holds -3, no token from 0 to 15: record it again"),
    "huge": ({"input_ids": torch.full((2, 5), 2**60)}, f"input_ids holds {2**60}, no token from 0 to 15"),
    "other logits": ({"logits": torch.zeros(2, 5, 17)}, "logits has shape [2, 5, 17], not [2, 5, 16] as the model"),
    "no logits": ({"logits": torch.zeros(HUGE, 0, 16)}, "logits has shape [1099511627776, 0, 16], not [2, 5, 16]"),
    "whole logits": ({"logits": torch.zeros(2, 5, 16, dtype=torch.int64)}, "logits has dtype I64, not F64 or F32"),
}  # fmt: skip


@pytest.mark.parametrize(("harm", "fault"), FORWARDS.values(), ids=FORWARDS)
def test_a_forward_that_does_not_fit_is_refused_by_name(recorded: Path, harm: dict, fault: str) -> None:
    path = recorded / "forward.safetensors"
    save_file(load_file(path) | harm, path)
    told = run("verify", recorded)
    assert (told.code, told.out) == (2, "") and f"forward.safetensors: {fault}" in told.err


TRACES = {
    "negative": ({"prompt": [2, -3]}, "prompt holds -3, no token from 0 to 15: record it again"),
    "huge": ({"tokens": [1, 10**30]}, f"tokens holds {10**30}, no token from 0 to 15"),
    "text": ({"tokens": "abc"}, "tokens='abc' is no list of tokens"),
    "no tokens": ({"tokens": []}, "tokens=[] is no list of tokens"),
    "too many": ({"tokens": [1] * 62}, "3 tokens and 62 new ones exceed the model's context of 64"),
    "nfe": ({"nfe": "3"}, "nfe='3' is no whole number from 0 to 65536"),
    "sampler": ({"sampler": ["llada"]}, "sampler=['llada'] is no text"),
    "settings": ({"settings": [1]}, "settings=[1] is no object {...}"),
    "steps": ({"settings": {"steps": "many"}}, "settings: steps='many' is no whole number from 0 to 65536"),
    "deep": ({"settings": {"cfg_scale": [[]]}}, "settings: cfg_scale=[[]] is no number"),
    "mask": ({"prompt": [8, 1]}, "cannot be decoded: prompt 0 contains the mask id 8"),
}


@pytest.mark.parametrize(("harm", "fault"), TRACES.values(), ids=TRACES)
def test_a_decode_that_does_not_fit_is_refused_by_name(recorded: Path, harm: dict, fault: str) -> None:
    good, _ = traces_of(recorded)
    write(recorded, [good, good | harm])
    told = run("verify", recorded)
    assert (told.code, told.out) == (2, "") and fault in told.err
    assert "decodes.json, trace 1" in told.err and "Traceback" not in told.err


def test_decodes_that_are_no_list_are_refused(recorded: Path) -> None:
    for text in ('{"traces": {"a": 1}}', '{"traces": 3}', '{"traces": [3]}', "[" * 100_000):
        (recorded / "decodes.json").write_text(text)
        told = run("verify", recorded)
        assert (told.code, told.out) == (2, "") and "decodes.json" in told.err, text[:30]


def test_nothing_checked_is_no_agreement() -> None:
    assert summary(Report(rows=[], skipped=["a"])) == "Nothing could be checked, 1 kinds skipped."
    assert not Report(rows=[], skipped=[]).ok
    row = Row("llada", "", 2, 2, 2, None, True)
    assert summary(Report(rows=[row], skipped=[])) == "All agree: 2 decodes."


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llada_tiny", "dream_tiny"])
def test_the_published_outputs(data: Path, name: str) -> None:
    told = run("verify", data / "parity" / name)
    assert told.code == 0 and "skipped" not in told.out and "All agree" in told.out
