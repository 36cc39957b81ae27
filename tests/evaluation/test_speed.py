"""Timing: what is counted, and that time is charged to whom it belongs."""
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.toy import toy
from unveil.canvas import Canvas
from unveil.checkpoints.tokenizer import FileTokenizer
from unveil.decoding.model import Model
from unveil.evaluation.speed import Timed, measure
from unveil.models.attention import Causal
from unveil.sampling import sampler as sampling
from unveil.sampling.recipes import llada


@pytest.fixture
def model(tmp_path: Path) -> Model:
    tokenizer = FileTokenizer.characters("ab", ["[MASK]"])
    return Model(name="toy", denoiser=toy(dtype=torch.float32), tokenizer=tokenizer, new_tokens=8, revision="r")


SMALL = {"prompt_tokens": 4, "new_tokens": 8, "batch": 3, "repeat": 3}


def test_what_is_counted(model: Model) -> None:
    speed = measure(model, "llada:steps=4", **SMALL)
    assert (speed.forwards, speed.batch, speed.new_tokens, speed.threads) == (4, 3, 8, torch.get_num_threads())
    assert 0 < speed.tokens_per_second_low <= speed.tokens_per_second <= speed.tokens_per_second_high
    assert 0 < speed.outside < 1 and speed.ms_per_forward > 0
    assert speed.to_json()["sampler"] == "llada:steps=4"


def test_no_row_ends_early(model: Model) -> None:
    """Were every token an end id, the speed would still be that of all tokens."""
    ends = toy(dtype=torch.float32, end_ids=tuple(range(1, 49)))
    speed = measure(Model(name="toy", denoiser=ends, tokenizer=model.tokenizer, new_tokens=8, revision="r"),
                    "llada:block=2", **SMALL)  # fmt: skip
    assert speed.forwards == 8


def test_time_in_the_model_is_the_model_s(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = type(model.denoiser).forward

    def slow(*args: object) -> object:
        time.sleep(0.1)
        return forward(*args)

    monkeypatch.setattr(type(model.denoiser), "forward", slow)
    speed = measure(model, "llada:steps=2", **SMALL)
    assert speed.ms_per_forward >= 100 and speed.outside < 0.5
    assert speed.tokens_per_second <= 3 * 8 / 0.2


def test_time_elsewhere_is_not(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    step = sampling.Sampler.step

    def slow(*args: object) -> object:
        time.sleep(0.1)
        return step(*args)

    monkeypatch.setattr(sampling.Sampler, "step", slow)
    assert measure(model, "llada:steps=2", **SMALL).outside > 0.5


def test_timing_changes_no_result() -> None:
    denoiser = toy()
    canvas = Canvas.blank([[1, 2, 3]], 6, mask_id=denoiser.outline.blank_id)
    seconds: list[float] = []
    timed = Timed(inner=denoiser, device=torch.device("cpu"), seconds=seconds)
    assert torch.equal(llada(6).decode(timed, canvas).tokens, llada(6).decode(denoiser, canvas).tokens)
    assert len(seconds) == 6 and min(seconds) > 0


def test_a_sampler_that_a_causal_model_does_not_follow_is_refused(model: Model) -> None:
    denoiser = toy(dtype=torch.float32, shift=1, rule=Causal())
    denoiser.architecture = replace(denoiser.architecture, mask_id=None)
    causal = replace(model, denoiser=denoiser)
    assert measure(causal, "left_to_right", **SMALL).forwards == 8
    with pytest.raises(ValueError, match="toy is causal .*: use left_to_right"):
        measure(causal, "llada", **SMALL)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"batch": 0}, "batch=0 is not positive: it must be at least 1"),
        ({"repeat": -1}, "repeat=-1 is not positive"),
        ({"prompt_tokens": 0}, "prompt_tokens=0 is not positive"),
        ({"new_tokens": 253}, r"4 \+ 253 tokens exceed the model's context of 256: ask for fewer"),
    ],
)
def test_bad_numbers(model: Model, change: dict[str, int], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        measure(model, "llada", **SMALL | change)
