"""Damaged recordings and results: a good one with a part of it changed, read as verify, trace and compare read it.

`python -m tests.evaluation.hostile EXAMPLES READER...` as that of `tests.checkpoints.hostile`.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.checkpoints.hostile import Reader, damaged, in_header, main
from tests.toy import toy
from unveil import api
from unveil.canvas import Canvas
from unveil.checkpoints.families.llada import LLADA
from unveil.checkpoints.weights import save_checkpoint
from unveil.models.denoiser import Want
from unveil.sampling import recipes
from unveil.sampling.trajectory import Trajectory

SIZES = [0, 1, 2, 3, 5, 49, 50, 51, 1 << 20, 1 << 40, 1 << 62]
FILLS = [-1, 0, 1, 5, 49, 50, 1 << 31, 1 << 62]
DTYPES = ["int64", "int32", "int8", "uint8", "bool", "float32", "float64", "bfloat16", "float16", "complex64"]
MOST = 100_000  # numbers of a tensor that is made here


def recorded(folder: Path) -> None:
    """A checkpoint with its own outputs on record."""
    model = toy(dtype=torch.float32)
    save_checkpoint(model, folder, LLADA)
    blank = model.outline.blank_id
    ids = torch.tensor([[1, 2, 3, blank, blank], [3, 2, 1, blank, 4]])
    ends = torch.tensor([5, 5])
    canvas = Canvas.corrupt(ids, ids == blank, start=ends * 0, end=ends, mask_id=blank)
    logits = model(canvas, canvas.inside, canvas.inside, None, Want(proposals=False, logits=True)).logits
    assert logits is not None
    save_file({"input_ids": ids, "logits": logits.view(2, 5, -1)}, folder / "forward.safetensors")
    done = recipes.llada(6, steps=3).decode(model, Canvas.blank([[2, 3, 4]], 6, mask_id=blank))
    one = {"prompt": [2, 3, 4], "tokens": done.answer(0), "nfe": 3}
    settings: dict[str, dict[str, Any]] = {
        "llada": {"steps": 3, "gen_length": 6, "block_length": 6, "temperature": 0.0, "cfg_scale": 0.5,
                  "remasking": "low_confidence", "logits_eos_inf": False},
        "fast": {"steps": None, "threshold": 0.9, "block_length": 3},
        "fast_dual": {"factor": 1.0, "block_length": 6},
        "dream": {"alg": "entropy", "steps": 3, "eps": 0.001, "alg_temp": 0.0, "top_p": None, "top_k": None},
        "evotoken": {"steps": 6, "k_soft": 3, "alpha_soft_mask": 0.8, "block_length": 3},
    }  # fmt: skip
    traces = [one | {"sampler": name, "settings": each} for name, each in settings.items()]
    (folder / "decodes.json").write_text(json.dumps({"traces": traces}))


def verify(folder: Path) -> None:
    """As `unveil verify` does."""
    assert str(api.verify(folder))


def decodes(home: Path, run: Any) -> None:
    """Recorded decodes, the forward left out."""
    recorded(home)
    (home / "forward.safetensors").unlink()
    path = home / "decodes.json"
    good = json.loads(path.read_text())

    def case(text: str) -> None:
        path.write_text(text)
        verify(home)

    run(damaged(good), case)


@st.composite
def retyped(draw: st.DrawFn, good: dict[str, torch.Tensor]) -> str:
    """Up to three tensors of a file in JSON: dropped, or of another dtype, shape and number."""
    found = {}
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from([*good, "more"]))
        shape = list(good[name].shape) if name in good else [1]
        for _ in range(draw(st.integers(0, 2))):
            place = draw(st.integers(0, len(shape)))
            shape[place : place + 1] = draw(st.lists(st.sampled_from(SIZES), max_size=2))
        dtype = str(good[name].dtype).removeprefix("torch.") if name in good else "int64"
        dtype = draw(st.sampled_from([dtype, dtype, *DTYPES]))
        found[name] = draw(st.sampled_from([None, *[[dtype, shape, fill] for fill in FILLS]]))
    return json.dumps(found)


def in_tensors(path: Path, reading: Callable[[], object], run: Any) -> None:
    """Cases of the tensors of a safetensors file, which is whole."""
    good = load_file(path)
    with safe_open(path, framework="pt") as file:
        about = file.metadata()

    def case(text: str) -> None:
        tensors = dict(good)
        for name, made in json.loads(text).items():
            tensors.pop(name, None)
            if made is not None:
                tensors[name] = _filled(*made)
        save_file(tensors, path, about)
        reading()

    run(retyped(good), case)


def _filled(dtype: str, shape: list[int], fill: int) -> torch.Tensor:
    """A tensor of that dtype and shape; of one that would be large in earnest the first number."""
    count = 1
    for size in sorted(shape):
        count *= size
    shape = shape if 0 <= count <= MOST else [1]
    try:
        empty = torch.empty(shape, dtype=getattr(torch, dtype))
    except RuntimeError:  # torch itself has no such shape
        empty = torch.empty([0], dtype=getattr(torch, dtype))
    wide = torch.tensor(fill, dtype=torch.int64).to(empty.dtype)
    return wide.expand(empty.shape).clone() if empty.numel() else empty


def forward(kind: Callable[[Path, Callable[[], object], Any], None]) -> Reader:
    """The recorded forward, alone."""

    def cases(home: Path, run: Any) -> None:
        recorded(home)
        (home / "decodes.json").unlink()
        kind(home / "forward.safetensors", lambda: verify(home), run)

    return cases


def trace(kind: Callable[[Path, Callable[[], object], Any], None]) -> Reader:
    """A trajectory, as `unveil trace` reads it."""

    def cases(home: Path, run: Any) -> None:
        model, path = toy(), home / "a.trace"
        canvas = Canvas.blank([[2, 3, 4], [5]], 6, mask_id=model.outline.blank_id)
        sampler = recipes.evotoken(6, block=3, k=2)
        Trajectory.record(sampler.stream(model, canvas), sampler).worded(str).save(path)
        kind(path, lambda: seen(path), run)

    return cases


def seen(path: Path) -> None:
    found = api.trace(path)
    assert str(found) and found.page()


def about(path: Path, reading: Callable[[], object], run: Any) -> None:
    """Cases of a trajectory's metadata, whose values are JSON themselves."""
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        told = {name: text if name == "sampler" else json.loads(text) for name, text in file.metadata().items()}

    def case(text: str) -> None:
        try:
            values = json.loads(text)
        except RecursionError:  # too deep to be taken apart here: deep in the reader's hands too
            values = dict.fromkeys(told, text)
        save_file(tensors, path, {name: value if name == "sampler" and isinstance(value, str) else json.dumps(value)
                                  for name, value in values.items()})  # fmt: skip
        reading()

    run(damaged(told), case)


def results(name: str) -> Reader:
    """A result or its items, compared with a good one."""

    def cases(home: Path, run: Any) -> None:
        record = {"run": "r", "chat": True, "chat_hash": "h", "adapter": None, "bits": 8}
        result = {
            "task": "sums", "n": 3, "nfe_mean": 2.5, "model": "m", "revision": "f", "sampler": "llada",
            "guidance": 0.0, "num_masks": 8, "dtype": "float32", "seed": 0, "record": record,
        }  # fmt: skip
        items = [
            {"run": "r", "index": i, "id": f"p{i}", "prompt": "1+1", "correct": i > 0, "compat": i > 1}
            for i in range(3)
        ]
        lines = [json.dumps(item) for item in items]
        for stem in ("good", "bad"):
            (home / f"{stem}.json").write_text(json.dumps(result))
            for number in ("", ".1", ".2"):
                (home / f"{stem}.items{number}.jsonl").write_text("\n".join(lines) + "\n")

        def case(text: str) -> None:
            if name == "bad.items.jsonl":
                text = "\n".join([text, *lines[1:]]) + "\n"
            (home / name).write_text(text)
            for grader in ("strict", "compat"):
                found = api.compare([home / "good.json", home / "bad.json"], grader=grader, json=home / "out.json")
                assert str(found)

        several: dict[str, Any] = {"results": [result, result]}
        run(damaged(items[0]) if name == "bad.items.jsonl" else damaged(result) | damaged(several), case)

    return cases


READERS: dict[str, Reader] = {
    "decodes": decodes,
    "forward": forward(in_tensors),
    "forward_header": forward(in_header),
    "trace": trace(in_tensors),
    "trace_header": trace(in_header),
    "trace_metadata": trace(about),
    "result": results("bad.json"),
    "items": results("bad.items.jsonl"),
}

if __name__ == "__main__":
    main(READERS, int(sys.argv[1]), sys.argv[2:])
