"""Trajectories: what was recorded is what happened; saved, loaded, replayed."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.toy import PROMPTS, blank, toy
from unveil.sampling import recipes
from unveil.sampling.sampler import Step
from unveil.sampling.trajectory import CHOICES, Trajectory


@pytest.fixture(scope="module")
def steps() -> list[Step]:
    canvas = blank(PROMPTS, 8, seed=[1, 2, 3], end_ids=(3, 4))
    with torch.no_grad():
        return list(recipes.remdm(8, steps=6, eta=0.3).stream(toy(gain=0.5), canvas))


def assert_holds(trajectory: Trajectory, steps: list[Step]) -> None:
    assert len(trajectory) == len(steps)
    canvases = list(trajectory.replay())
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
