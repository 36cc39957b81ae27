"""Gradients are those of finite differences, and their summary is what it says."""

from typing import Any, get_args

import pytest
import torch
from torch import nn

from tests.diagnostics.context.small import Animals, cell, close, small
from tests.toy import logits
from unveil.decoding.model import Model
from unveil.diagnostics.context.attribution import Attribution, gradient
from unveil.diagnostics.context.few_shot.shots import Place
from unveil.diagnostics.context.readings import FirstMask
from unveil.diagnostics.context.rows import Row, row
from unveil.models.attention import Bidirectional, Causal

SOURCE = Animals(system="note")


def built(model: Model, number: int = 0, source: Animals = SOURCE, **arrangement: Any) -> Row:
    layout = cell(Attribution(), **({"relevant": 1, "distractors": 2, "masks": 3} | arrangement)).arrangement
    shots = source.shots(layout.relevant, layout.distractors, 0)
    return row(model, source, shots, source.questions(number + 1)[number], layout)


def difference(model: Model, one: Row, token: int, column: int, step: float = 1e-5) -> torch.Tensor:
    """Central differences of the token's logit at the first mask, for every number of a column's embedding."""
    width, slopes = model.denoiser.embed.weight.shape[1], []
    change = torch.zeros(len(one.ids), width, dtype=torch.float64)
    hook = model.denoiser.embed.register_forward_hook(lambda module, inputs, output: output + change)
    for place in range(width):
        values = []
        for sign in (1, -1):
            change[column, place] = sign * step
            values.append(logits(model.denoiser, torch.tensor(one.ids), start=one.answer)[one.answer, token])
        change[column, place] = 0.0
        slopes.append((values[0] - values[1]) / (2 * step))
    hook.remove()
    return torch.stack(slopes)


@pytest.mark.parametrize("settings", [{"rule": Bidirectional()}, {"rule": Causal(), "shift": 1}], ids=["both", "back"])
def test_norms_are_those_of_finite_differences(settings: dict[str, Any]) -> None:
    model = small(layers=1, width=16, **settings)
    one = built(model, relevant=1, distractors=0)
    out, norms = gradient(model, one)
    assert norms.shape == (len(one.ids),) and out.tokens is not None
    ahead = norms[one.answer + 1 :]
    assert (ahead == 0).all() if settings["rule"] == Causal() else (ahead > 0).all()
    for column in (0, 3, one.answer - 1, one.answer, len(one.ids) - 1):
        slope = difference(model, one, int(out.tokens), column)
        assert float(norms[column]) == pytest.approx(float(slope.norm()), rel=1e-6, abs=1e-7)


def test_it_answers_as_first_mask_and_leaves_the_model_as_it_was() -> None:
    model = small(gain=2.0)
    rows = [built(model, question, masks=masks) for question, masks in ((0, 1), (1, 3), (2, 20))]
    before = FirstMask()(model, rows)
    with torch.inference_mode():
        found = Attribution()(model, rows)
    assert close([{name: one[name] for name in want} for one, want in zip(found, before, strict=True)], before)
    assert close(FirstMask()(model, rows), before) and not model.denoiser.embed._forward_hooks
    model.denoiser.requires_grad_(True)
    assert close(Attribution()(model, rows), found)
    assert all(weight.grad is None for weight in model.denoiser.parameters())


def test_layers_keep_no_activations() -> None:
    model, calls = small(layers=2), list[int]()
    model.denoiser.layers[1].register_forward_pre_hook(lambda *_: calls.append(1))
    for kept in (False, True):
        model.denoiser.recompute = kept
        Attribution()(model, [built(model)])
        assert model.denoiser.recompute is kept
    assert len(calls) == 2 * 2, "forward, and again for the gradient"


def test_the_hook_leaves_when_a_forward_fails() -> None:
    model = small()
    one = built(model)
    model.denoiser.layers[0] = nn.Identity()
    with pytest.raises(TypeError):
        gradient(model, one)
    assert not model.denoiser.embed._forward_hooks


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize("masks", [1, 4])
def test_the_summary_is_what_it_says(masks: int) -> None:
    model = small()
    one = built(model, masks=masks, relevant=3, distractors=4)  # "note" and its line breaks, 7 examples of 11 tokens
    found, norms = Attribution()(model, [one])[0], gradient(model, one)[1].tolist()
    top, head, answer = max(norms), 3, one.answer
    assert answer == head + 7 * 11 + 6 and len(norms) == answer + masks
    examples = [mean(norms[head + 11 * n : head + 11 * n + 11]) for n in range(7)]
    assert found["kinds"] == [piece.kind for piece in one.pieces[:7]] and found["kinds"].count("relevant") == 3
    want = {
        "masks": mean([norm / top for norm in norms[answer + 1 :]]) if masks > 1 else None,
        "answer_mask": norms[answer] / top,
        "last": mean([norm / top for norm in norms[answer - 50 : answer]]),
        "rest": mean([norm / top for norm in norms[:answer]]),
        "mask_share": sum(norms[answer + 1 :]) / sum(norms),
        "examples": [example / max(examples) for example in examples],
    }
    assert close({name: found[name] for name in want}, want)
    assert max(found["examples"]) == 1.0 and found["kinds"] != sorted(found["kinds"])


@pytest.mark.parametrize("place", get_args(Place))
def test_examples_are_found_around_the_question(place: str) -> None:
    model = small()
    one = built(model, relevant=3, distractors=4, form="infill", masks=1, question=place)
    found, norms = Attribution()(model, [one])[0], gradient(model, one)[1].tolist()
    before = {"left": 0, "middle": 3, "right": 7}[place]  # examples; the question has 11 tokens too, its mask the 7th
    starts = [3 + 11 * (n + (n >= before)) for n in range(7)]
    assert one.answer == 3 + 11 * before + 6
    examples = [mean(norms[start : start + 11]) for start in starts]
    assert found["examples"] == pytest.approx([example / max(examples) for example in examples])
    assert found["kinds"] == [piece.kind for piece in one.pieces if piece.kind in ("relevant", "distractor")]


def test_what_is_not_there_is_none() -> None:
    model = small()
    infill = built(model, relevant=0, distractors=1, form="infill", masks=1, question="left", source=Animals())
    found, norms = Attribution()(model, [infill])[0], gradient(model, infill)[1].tolist()
    assert found["masks"] is None and found["examples"] == [1.0] and found["kinds"] == ["distractor"]
    others = norms[: infill.answer] + norms[infill.answer + 1 :]  # closing and examples too
    assert found["rest"] == pytest.approx(mean(others) / max(norms))
    assert found["last"] == pytest.approx(mean(norms[: infill.answer]) / max(norms))
    assert found["mask_share"] == 0.0
    bare = Attribution()(model, [built(model, relevant=0, distractors=0)])[0]
    assert bare["examples"] == [] and bare["kinds"] == []
