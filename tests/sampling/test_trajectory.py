"""Trajectories: what was recorded is what happened; saved, loaded."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from tests.toy import PROMPTS, blank, toy
from unveil.sampling import recipes
from unveil.sampling.evolve import SoftTokens
from unveil.sampling.picks import Quota
from unveil.sampling.sampler import Sampler, Select, Step
from unveil.sampling.trajectory import CHOICES, Trajectory

with torch.no_grad():
    ONE = Trajectory.record(recipes.llada(1).stream(toy(), blank([[1]], 1)))


@pytest.fixture(scope="module")
def steps() -> list[Step]:
    canvas = blank(PROMPTS, 8, seed=[1, 2, 3], end_ids=(3, 4))
    with torch.no_grad():
        return list(recipes.remdm(8, steps=6, eta=0.3).stream(toy(gain=0.5), canvas))


def assert_holds(trajectory: Trajectory, steps: list[Step]) -> None:
    assert len(trajectory) == len(steps)
    canvases = [trajectory.canvas(step) for step in range(len(trajectory) + 1)]
    truth = [steps[0].before, *(step.after for step in steps)]
    assert len(canvases) == len(truth)
    for mine, theirs in zip(canvases, truth, strict=True):
        assert (mine.mask_id, mine.end_ids) == (theirs.mask_id, theirs.end_ids)
        for name, value in theirs.tensors().items():
            assert torch.equal(getattr(mine, name), value) and getattr(mine, name).dtype == value.dtype, name
    for name in CHOICES:
        assert torch.equal(trajectory.choices[name], torch.stack([getattr(step, name).chosen for step in steps]))


def test_a_recording_is_what_happened(steps: list[Step]) -> None:
    trajectory = Trajectory.record(steps, recipes.remdm(8))
    assert_holds(trajectory, steps)
    assert trajectory.choices["remask"].any() and trajectory.sampler == repr(recipes.remdm(8))
    assert torch.equal(trajectory.canvas(-1).tokens, steps[-1].after.tokens)


def test_saved_and_loaded_it_is_the_same(steps: list[Step], tmp_path: Path) -> None:
    Trajectory.record(steps, "mine").save(tmp_path / "t.safetensors")
    again = Trajectory.load(tmp_path / "t.safetensors")
    assert_holds(again, steps)
    assert again.sampler == "mine" and [path.name for path in tmp_path.iterdir()] == ["t.safetensors"]


def test_a_stored_canvas_goes_on_where_it_was(steps: list[Step], tmp_path: Path) -> None:
    Trajectory.record(steps).save(tmp_path / "t.safetensors")
    canvas = Trajectory.load(tmp_path / "t.safetensors").canvas(2)
    out = recipes.remdm(8, steps=6, eta=0.3).decode(toy(gain=0.5), canvas)
    assert torch.equal(out.tokens, steps[-1].after.tokens) and torch.equal(out.nfe, steps[-1].after.nfe)


def test_texts_are_those_of_the_ids_that_occur(steps: list[Step], tmp_path: Path) -> None:
    plain = Trajectory.record(steps)
    worded = plain.worded(lambda ids: f"<{','.join(map(str, ids))}>")
    occurring = set(plain.fields["tokens"].flatten().tolist())
    assert plain.texts == {} and worded.texts == {token: f"<{token}>" for token in occurring}
    worded.save(tmp_path / "t")
    assert Trajectory.load(tmp_path / "t").texts == worded.texts
    assert_holds(Trajectory.load(tmp_path / "t"), steps)


def test_texts_of_candidates_are_kept() -> None:
    sampler = Sampler(unmask=Select(pick=Quota(steps=2)), evolve=SoftTokens(k=3))
    with torch.no_grad():
        trajectory = Trajectory.record(sampler.stream(toy(gain=0.3), blank([[1, 2]], 2)))
    texts = trajectory.worded(lambda ids: "").texts
    candidates = set(trajectory.fields["soft_ids"].flatten().tolist())
    assert texts.keys() >= candidates > set(trajectory.fields["tokens"].flatten().tolist())


@given(st.dictionaries(st.integers(0, 2**40), st.text(st.characters())))
def test_any_text_is_saved(texts: dict[int, str]) -> None:
    with TemporaryDirectory() as folder:
        replace(ONE, texts=texts).save(Path(folder) / "t")
        assert Trajectory.load(Path(folder) / "t").texts == texts


def test_files_of_before_there_were_texts_are_read(steps: list[Step], tmp_path: Path) -> None:
    about = {"mask_id": "49", "end_ids": "[3, 4]", "sampler": ""}
    save_file(tensors_of(Trajectory.record(steps), tmp_path), tmp_path / "t", about)
    assert Trajectory.load(tmp_path / "t").texts == {}


def tensors_of(trajectory: Trajectory, folder: Path) -> dict[str, torch.Tensor]:
    trajectory.save(folder / "whole")
    with safe_open(folder / "whole", framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}


ABOUT = {"mask_id": "49", "end_ids": "[]", "sampler": "", "texts": "{}"}
HARM = {
    "a tensor is absent": (lambda t, a: t.pop("canvas.seed"), "'canvas.seed' is absent"),
    "a choice is absent": (lambda t, a: t.pop("choice.unmask"), "it lacks choice.unmask or canvas.soft_ids"),
    "a forward is absent": (
        lambda t, a: t.update({"choice.remask": t["choice.remask"][1:].clone()}), "choice.remask is BOOL of shape ",
    ),
    "one tensor too many": (lambda t, a: t.update({"canvas.more": torch.zeros(1)}), "'canvas.more' is one too many"),
    "a tensor of something else": (lambda t, a: t.update({"w": torch.zeros(1)}), "'w' is one too many"),
    "another kind": (
        lambda t, a: t.update({"canvas.tokens": t["canvas.tokens"].int()}), "canvas.tokens is I32 of shape ",
    ),
    "another shape": (
        lambda t, a: t.update({"canvas.end": t["canvas.end"][:, :1].clone()}), "canvas.end is I64 of shape ",
    ),
    "no forwards, and 8 TB of columns": (
        lambda t, a: t.update({"choice.unmask": torch.zeros(0, 1, 1 << 40, dtype=torch.bool)}),
        "choice.unmask has shape [0, 1, 1099511627776], not forwards, rows and columns",
    ),
    "no rows, and 8 TB of soft tokens": (
        lambda t, a: t.update({"canvas.soft_ids": torch.zeros(2, 0, 1, 1 << 40, dtype=torch.int64)}),
        "canvas.soft_ids is I64 of shape [2, 0, 1, 1099511627776]",
    ),
    "a stage too high": (lambda t, a: t["canvas.stage"].fill_(6), "canvas.stage holds 6, no whole number from 0 to 5"),
    "a stage too low": (lambda t, a: t["canvas.stage"].fill_(-1), "canvas.stage holds -1, no whole number from 0 to 5"),
    "a negative token": (lambda t, a: t["canvas.tokens"][-1].fill_(-7), "canvas.tokens holds -7, no whole number from"),
    "a huge token": (lambda t, a: t["canvas.tokens"].fill_(2**40), "canvas.tokens holds 1099511627776, no whole"),
    "an end beyond the columns": (lambda t, a: t["canvas.end"].fill_(999), "canvas.end holds 999, no whole number"),
    "no number": (lambda t, a: a.update({"mask_id": "x"}), "mask_id is 'x', not a token"),
    "a negative mask": (lambda t, a: a.update({"mask_id": "-3"}), "mask_id is '-3', not a token"),
    "no ends": (lambda t, a: a.pop("end_ids"), "end_ids is None, not a list of tokens"),
    "ends of text": (lambda t, a: a.update({"end_ids": '["a"]'}), "end_ids is '[\"a\"]', not a list of tokens"),
    "no list of texts": (lambda t, a: a.update({"texts": "[1]"}), "texts is '[1]', not a text for each token"),
    "broken texts": (lambda t, a: a.update({"texts": '{"1":'}), "texts is '{\"1\":', not a text for each token"),
    "endless texts": (lambda t, a: a.update({"texts": "[" * 100_000}), "texts is '[[["),
}  # fmt: skip


@pytest.mark.parametrize(("harm", "fault"), HARM.values(), ids=HARM)
def test_parts_that_do_not_fit_are_refused_by_name(
    harm: Callable, fault: str, steps: list[Step], tmp_path: Path
) -> None:
    tensors, about = tensors_of(Trajectory.record(steps), tmp_path), dict(ABOUT)
    save_file(tensors, tmp_path / "t", about)
    assert len(Trajectory.load(tmp_path / "t")) == len(steps)
    harm(tensors, about)
    save_file(tensors, tmp_path / "t", about)
    with pytest.raises(ValueError) as caught:
        Trajectory.load(tmp_path / "t")
    told = str(caught.value).removeprefix(f"{tmp_path / 't'} is not a whole trajectory file (")
    assert told.startswith(fault) and told.endswith("): record it again") and len(told) < 300


def test_a_revision_replaces_a_token_by_another() -> None:
    choices = {name: torch.zeros(1, 1, 4, dtype=torch.bool) for name in CHOICES}
    choices["revise"][..., 1:] = True  # column 1 is written again, 2 is replaced, 3 is masked in the same forward
    choices["remask"][..., 3] = True
    tokens = torch.tensor([[[1, 5, 6, 7]], [[2, 5, 8, 49]]])
    trajectory = replace(ONE, fields=ONE.fields | {"tokens": tokens}, choices=choices)
    assert trajectory.revised.tolist() == [[[False, False, True, False]]]


def test_wrong_files_are_explained(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        Trajectory.record([])
    assert str(caught.value) == "no steps to record: the canvas was done before the first forward"
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"broken\.safetensors is not a whole trajectory file \(.*\): record it again"):
        Trajectory.load(broken)
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(
        ValueError, match=r"is a safetensors file but no trajectory: give one that Trajectory.save wrote"
    ):
        Trajectory.load(tmp_path / "other.safetensors")
