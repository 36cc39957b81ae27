"""Training: killed and resumed it is the run that was never killed; what it logs, keeps and refuses."""

import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

import unveil
from tests.training import tiny
from unveil.files import read_jsonl
from unveil.models.denoiser import Denoiser
from unveil.objectives.loss import Batch, Example
from unveil.objectives.masked import MaskedDiffusion
from unveil.training.settings import Training
from unveil.training.trainer import train

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    out = tmp_path_factory.mktemp("whole")
    tiny.run(out)
    return out


def assert_same_run(one: Path, other: Path) -> None:
    mine, theirs = (load_file(folder / "state.safetensors") for folder in (one, other))
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        assert torch.equal(value, theirs[name]), name
    logs = [read_jsonl(folder / "metrics.jsonl") for folder in (one, other)]
    for log in logs:
        for record in log:
            del record["rows_per_second"]
    assert logs[0] == logs[1]
    assert (one / "best.txt").read_text() == (other / "best.txt").read_text()


def num_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_a_killed_run_goes_on_as_if_nothing_had_happened(whole: Path, tmp_path: Path) -> None:
    """SIGKILL at a random step of another process."""
    at = random.Random(os.urandom(8)).randint(1, 25)
    code = f"from pathlib import Path; from tests.training.tiny import run; run(Path({str(tmp_path)!r}), pause=0.05)"
    paths = [str(ROOT), str(Path(unveil.__file__).resolve().parents[1])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while num_lines(tmp_path / "metrics.jsonl") < at and process.poll() is None and time.monotonic() < until:
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
    assert at <= num_lines(tmp_path / "metrics.jsonl") < tiny.TRAINING.steps
    tiny.run(tmp_path, resume=True)
    assert_same_run(tmp_path, whole)


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("stops", [(0,), (5,), (6,), (7, 20), (39,), (3, 9, 13, 26)])
def test_interrupted_again_and_again_it_is_the_same_run(whole: Path, tmp_path: Path, stops: tuple[int, ...]) -> None:
    for stop in stops:

        def interrupt(step: int, stop: int = stop) -> None:
            if step == stop:
                raise Interrupted

        with pytest.raises(Interrupted):
            tiny.run(tmp_path, resume=True, on_step=interrupt)
    tiny.run(tmp_path, resume=True)
    assert_same_run(tmp_path, whole)


def test_an_incomplete_last_line_is_written_again(whole: Path, tmp_path: Path) -> None:
    def interrupt(step: int) -> None:
        if step == 15:
            raise Interrupted

    with pytest.raises(Interrupted):
        tiny.run(tmp_path, on_step=interrupt)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 16, "lo')
    tiny.run(tmp_path, resume=True)
    assert_same_run(tmp_path, whole)


def test_a_finished_run_resumed_does_nothing(whole: Path) -> None:
    before = {path.name: path.read_bytes() for path in whole.iterdir() if path.is_file()}
    model = tiny.run(whole, resume=True, on_step=lambda step: pytest.fail("it trained on"))
    assert {path.name: path.read_bytes() for path in whole.iterdir() if path.is_file()} == before
    weights = load_file(whole / "state.safetensors")
    for name, parameter in model.named_parameters():  # what is returned is the moving average
        assert torch.equal(parameter, weights[f"average.module.{name}"])
        assert not torch.equal(parameter, weights[f"model.{name}"])


def test_metrics_say_what_happened(whole: Path) -> None:
    records = read_jsonl(whole / "metrics.jsonl")
    assert [record["step"] for record in records] == list(range(1, 41))
    assert all({"loss", "norm", "lr", "masked", "rows_per_second"} <= record.keys() for record in records)
    assert [record["step"] for record in records if "score" in record] == [8, 16, 24, 32, 40]
    assert [record["lr"] for record in records] == [tiny.TRAINING.rate(step) for step in range(40)]
    first, last = (sum(record["loss"] for record in part) / 10 for part in (records[:10], records[-10:]))
    assert last < first  # it learns


def test_keep_is_called_for_the_best_so_far(tmp_path: Path) -> None:
    seen, kept = iter([1.0, 3.0, 2.0, 3.0, 4.0]), []

    def keep(model: nn.Module) -> None:
        kept.append(num_lines(tmp_path / "metrics.jsonl"))

    train(
        tiny.toy(layers=1, width=16, dtype=torch.float32),
        MaskedDiffusion(),
        tiny.batch,
        Training(steps=5, validate_every=1, save_every=2),
        out=tmp_path,
        validate=lambda model: {"score": next(seen)},
        keep=keep,
    )
    assert kept == [1, 2, 5]


def test_the_rate_warms_up_and_falls_to_zero() -> None:
    training = Training(steps=100, lr=0.5, warmup=10)
    rates = [training.rate(step) for step in range(101)]
    assert rates[:10] == pytest.approx([0.05 * (step + 1) for step in range(10)])
    assert rates[10] == 0.5 and rates[55] == pytest.approx(0.25) and rates[100] == pytest.approx(0)
    assert all(a > b for a, b in zip(rates[10:], rates[11:], strict=False))


def test_gradients_are_clipped_and_the_first_update_is_adams(tmp_path: Path) -> None:
    """With the first step of AdamW every weight moves by about the rate, whatever the gradient's size."""
    model = tiny.toy(layers=1, width=16, dtype=torch.float32)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    training = Training(steps=1, lr=1e-3, warmup=1, weight_decay=0.0, clip=1e-9)
    train(model, MaskedDiffusion(), tiny.batch, training, out=tmp_path)
    state = load_file(tmp_path / "state.safetensors")
    norms = [value.square().sum() for name, value in state.items() if name.startswith("exp_avg.")]
    assert float(torch.stack(norms).sum().sqrt()) <= 0.1 * 1e-9 * 1.01
    moved = [(parameter - before[name]).abs().max() for name, parameter in model.named_parameters()]
    assert max(moved) <= 1e-3 + 1e-6


def not_finite(value: Tensor) -> Tensor:
    return value * math.nan


def not_differentiable(value: Tensor) -> Tensor:
    return (value - value.detach()).sqrt()  # 0, with an infinite slope


@dataclass(frozen=True)
class Broken(MaskedDiffusion):
    """A loss that goes wrong from some step on."""

    at: int
    how: Callable[[Tensor], Tensor]
    seen: list[int] = field(default_factory=list)

    def corrupt(self, batch: Batch, mask_id: int, seed: int) -> Example:
        self.seen.append(seed)
        return super().corrupt(batch, mask_id, seed)

    def losses(self, denoiser: Denoiser, example: Example) -> Iterator[Tensor]:
        for value in super().losses(denoiser, example):
            yield value if len(self.seen) <= self.at else self.how(value)


@pytest.mark.parametrize("how, loss", [(not_finite, "nan"), (not_differentiable, "0.0")])
def test_a_loss_or_gradient_that_is_not_finite_stops_and_leaves_the_state(
    tmp_path: Path, how: Callable[[Tensor], Tensor], loss: str
) -> None:
    model = tiny.toy(layers=1, width=16, dtype=torch.float32)
    settings = replace(tiny.TRAINING, save_every=4, ema=0.0)
    with pytest.raises(FloatingPointError) as caught:
        train(model, Broken(8, how), tiny.batch, settings, out=tmp_path)
    seed = settings.loss_seed(8)
    assert re.fullmatch(
        rf"step 9: the loss of its batch \(seed {seed}\) is {loss}, its gradient (nan|inf); nothing was changed. "
        r"Look at the data of that step, or lower lr=0.003",
        str(caught.value),
    )
    assert all(value.isfinite().all() for value in model.state_dict().values())
    assert num_lines(tmp_path / "metrics.jsonl") == 8
    state = load_file(tmp_path / "state.safetensors")
    assert all(torch.equal(state[f"model.{name}"], value) for name, value in model.state_dict().items())


def test_a_diverging_loss_stops_and_the_last_good_state_stays(tmp_path: Path) -> None:
    """From step 11 on the loss is ten times what it was; the mean of four is seen to be three times the lowest."""
    settings = replace(tiny.TRAINING, save_every=1, patience=4, lr=1e-6)
    model = tiny.toy(layers=1, width=16, dtype=torch.float32)
    with pytest.raises(FloatingPointError) as caught:
        train(model, Broken(10, lambda value: 10 * value), tiny.batch, settings, out=tmp_path)
    last = num_lines(tmp_path / "metrics.jsonl")
    assert 11 <= last <= 14
    assert re.fullmatch(
        rf"the loss diverged: \S+ on average in steps {last - 3} to {last}, \S+ before. "
        rf"The last good state is in {re.escape(str(tmp_path))}/state.safetensors: lower lr=1e-06",
        str(caught.value),
    )
    with safe_open(tmp_path / "state.safetensors", framework="pt") as state:
        assert int(state.metadata()["step"]) == last - 1


@pytest.mark.parametrize("change", [{"layers": 2}, {"width": 32}])
def test_a_state_of_another_model_is_refused(whole: Path, tmp_path: Path, change: dict[str, int]) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    model = tiny.toy(**({"layers": 1, "width": 16} | change), dtype=torch.float32)
    before = [x.clone() for x in model.state_dict().values()]
    with pytest.raises(ValueError, match="state.safetensors is of another model: use its own recipe, or a new folder"):
        train(model, MaskedDiffusion(), tiny.batch, tiny.TRAINING, out=tmp_path, resume=True)
    assert all(torch.equal(x, y) for x, y in zip(before, model.state_dict().values(), strict=True))


def test_a_run_with_other_settings_is_refused(tmp_path: Path) -> None:
    def once(lr: float, resume: bool) -> None:
        model = tiny.toy(layers=1, width=16, dtype=torch.float32)
        settings = {"lr": lr, "betas": (0.9, 0.98)}
        training = Training(steps=2, lr=lr, save_every=1)
        train(model, MaskedDiffusion(), tiny.batch, training, out=tmp_path, resume=resume, settings=settings)

    once(0.1, False)
    once(0.1, True)
    with pytest.raises(ValueError) as caught:
        once(0.2, True)
    assert str(caught.value) == (
        f"{tmp_path} was started with lr=0.1 and is resumed with lr=0.2: "
        "give the same settings, or choose another folder"
    )


def test_a_folder_with_a_run_is_not_overwritten(whole: Path) -> None:
    before = (whole / "state.safetensors").read_bytes()
    with pytest.raises(ValueError) as caught:
        tiny.run(whole)
    assert str(caught.value) == f"{whole} already holds a run: go on with --resume, or choose another folder"
    assert (whole / "state.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    "change, message",
    [
        ({"steps": 0}, "steps=0 is outside its range, from 1 to 1,000,000,000"),
        ({"validate_every": 0}, "validate_every=0 is outside its range, from 1 to 1,000,000,000"),
        ({"save_every": -1}, "save_every=-1 is outside its range, from 1 to 1,000,000,000"),
        ({"patience": 0}, "patience=0 is outside its range, from 1 to 1,000,000,000"),
        ({"lr": 0.0}, "lr=0.0 is outside its range, above 0 to 1,000: the learning rate"),
        ({"clip": 0.0}, "clip=0.0 is outside its range, above 0 to 1,000,000,000: the norm that gradients are cut to"),
        ({"micro_rows": -1}, "micro_rows=-1 is outside its range, from 0 to 1,000,000,000: rows at a time, 0 for all"),
        ({"ema": 1.0}, "ema=1.0 is outside its range, from 0 below 1: a decay, 0 for none"),
        ({"precision": "int8"}, "precision='int8' is unknown: use no, bf16, fp16"),
        ({"optimiser": "sgd"}, "optimiser='sgd' is unknown: use adamw, muon"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        replace(tiny.TRAINING, **change)
    assert str(caught.value) == message
